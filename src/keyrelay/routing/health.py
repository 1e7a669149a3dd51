"""What is known of keys, accounts and models at this moment: resting places, proofs, circuits.

A `Cell` rests a scope until a time. A `Proof` keeps a key that nobody has tried from being tried by everyone at
once: until it has answered, one request at a time finds out, so that an invalid or used-up key costs one call.

Other workers are told through a `Watcher`, at changes only: what says nothing new costs nothing. What they have found
comes in by `take_over` and `forget`, of which the watcher hears nothing.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from keyrelay.core.failures import Failure, FailureScope
from keyrelay.routing.circuit import Circuit, CircuitSettings

PRESUMED_GOOD_S = 1.0
"""A refusal comes at once: a key in use for this long without one is as good as proven."""

MAX_CELLS = 100_000

KEY_PREFIX = "key:"
KEY_FAILURES = 3
"""A key whose calls fail while its neighbours' succeed goes out sooner than its provider would."""


class Cell:
    """One scope that may rest. `until_s` is 0 when it does not, infinity when only a person can end it."""

    __slots__ = ("changed", "failure", "name", "strikes", "until_s")

    def __init__(self, name: str, changed: "Callable[[Cell], None] | None" = None) -> None:
        self.name = name
        self.changed = changed
        self.until_s = 0.0
        self.failure: Failure | None = None
        self.strikes = 0

    def rest(self, until_s: float, failure: Failure) -> None:
        """Rest until then; a shorter rest never cuts a longer one."""
        self.strikes += 1
        if until_s > self.until_s:
            self.until_s = until_s
            self.failure = failure
            if self.changed is not None:
                self.changed(self)

    def wake(self) -> None:
        """End the rest and forget the strikes: it has answered."""
        self.forget()
        if self.changed is not None:
            self.changed(self)

    def take_over(self, until_s: float, failure: Failure, strikes: int) -> None:
        """Rest as another worker found, unless it rests for longer already."""
        self.strikes = max(self.strikes, strikes)
        if until_s > self.until_s:
            self.until_s = until_s
            self.failure = failure

    def forget(self) -> None:
        """Be awake, as another worker found."""
        self.until_s = 0.0
        self.failure = None
        self.strikes = 0

    def __repr__(self) -> str:
        if self.failure is None:
            return f"<Cell {self.name} ready>"
        until = "a person acts" if math.isinf(self.until_s) else f"{self.until_s:.1f}"
        return f"<Cell {self.name} resting until {until}: {self.failure.kind}>"


class Proof:
    """Whether something has answered since it was last refused."""

    __slots__ = ("changed", "name", "proven", "trying_since_s")

    def __init__(self, name: str, changed: "Callable[[Proof], None] | None" = None, *, proven: bool = False) -> None:
        self.name = name
        self.changed = changed
        self.proven = proven
        self.trying_since_s: float | None = None

    def admits(self, now_s: float) -> bool:
        """Whether a request may pass: proven, or nobody is finding out, or it is taking too long to be a refusal."""
        return self.proven or self.trying_since_s is None or now_s - self.trying_since_s >= PRESUMED_GOOD_S

    def begin(self, now_s: float) -> None:
        """Note that a request passes; the first one since a refusal finds out."""
        if not self.proven and self.trying_since_s is None:
            self.trying_since_s = now_s
            if self.changed is not None:
                self.changed(self)

    def settle(self, *, proven: bool) -> None:
        """Note what was found out."""
        news = proven is not self.proven or self.trying_since_s is not None
        self.take_over(proven=proven, trying_since_s=None)
        if news and self.changed is not None:
            self.changed(self)

    def take_over(self, *, proven: bool, trying_since_s: float | None) -> None:
        """Be as another worker found."""
        self.proven = proven
        self.trying_since_s = trying_since_s

    def __repr__(self) -> str:
        state = "proven" if self.proven else "untried" if self.trying_since_s is None else "being tried"
        return f"<Proof {self.name} {state}>"


class Watcher(Protocol):
    """Is told of every change, to tell other workers of it. Must neither wait nor raise."""

    def cell_changed(self, cell: Cell) -> None:
        """It rests, for longer than before, or it is awake again."""
        ...

    def proof_changed(self, proof: Proof) -> None:
        """It is being tried, or that has ended."""
        ...

    def circuit_changed(self, circuit: Circuit) -> None:
        """It has opened or closed, or a probe has begun or ended."""
        ...


class Health:
    """All cells, proofs and circuits by name. Survives a change of configuration.

    `changes` goes up whenever any of them may have changed: what was found clear stays clear until then.
    """

    __slots__ = ("_cells", "_circuit_settings", "_circuits", "_proofs", "_watcher", "changes")

    def __init__(self, circuit_settings: CircuitSettings) -> None:
        self._cells: dict[str, Cell] = {}
        self._proofs: dict[str, Proof] = {}
        self._circuits: dict[str, Circuit] = {}
        self._circuit_settings = circuit_settings
        self._watcher: Watcher | None = None
        self.changes = 0

    def watch(self, watcher: Watcher) -> None:
        """Tell the watcher of every change from now on."""
        self._watcher = watcher
        for cell in self._cells.values():
            cell.changed = watcher.cell_changed
        for proof in self._proofs.values():
            proof.changed = watcher.proof_changed
        for circuit in self._circuits.values():
            circuit.changed = watcher.circuit_changed

    def cells(self) -> Iterator[Cell]:
        """All cells so far."""
        return iter(self._cells.values())

    def proofs(self) -> Iterator[Proof]:
        """All proofs so far."""
        return iter(self._proofs.values())

    def circuits(self) -> Iterator[Circuit]:
        """All circuits so far."""
        return iter(self._circuits.values())

    def cell(self, name: str) -> Cell:
        """The cell of that name, made when first asked for."""
        cell = self._cells.get(name)
        if cell is None:
            self._make_room(self._cells)
            cell = self._cells[name] = Cell(name, self._watcher.cell_changed if self._watcher else None)
        return cell

    def proof(self, name: str, *, proven: bool = False) -> Proof:
        """The proof of that name; `proven` counts when it is made."""
        proof = self._proofs.get(name)
        if proof is None:
            self._make_room(self._proofs)
            changed = self._watcher.proof_changed if self._watcher else None
            proof = self._proofs[name] = Proof(name, changed, proven=proven)
        return proof

    def circuit(self, name: str) -> Circuit:
        """The circuit of that name."""
        circuit = self._circuits.get(name)
        if circuit is None:
            settings = self._circuit_settings
            if name.startswith(KEY_PREFIX):
                settings = msgspec.structs.replace(settings, failures=min(KEY_FAILURES, settings.failures))
            circuit = self._circuits[name] = Circuit(
                name, settings, self._watcher.circuit_changed if self._watcher else None
            )
        return circuit

    def forget(self, *, provider_id: str, account: str, label: str) -> None:
        """Know nothing any more of a key that is gone or has another secret, nor of its account; others are told.

        A request that was sent with the old secret keeps what it has, and says nothing of the new one.
        """
        own = {f"key:{provider_id}/{label}", f"account:{provider_id}/{account}"}
        pairs = (f"pair:{provider_id}/{account}:", f"pair:{provider_id}/{label}:")

        def named(places: Iterable[str]) -> list[str]:
            return [name for name in places if name in own or name.startswith(pairs)]

        for cell in [self._cells.pop(name) for name in named(self._cells)]:
            cell.wake()
            cell.changed = None
        for circuit in [self._circuits.pop(name) for name in named(self._circuits)]:
            circuit.succeeded()
            circuit.changed = None
        for proof in [self._proofs.pop(name) for name in named(self._proofs)]:
            proof.changed = None
        self.changes += 1

    def wake(self, *, provider_id: str, account: str, label: str) -> None:
        """End every rest that keeps this key back, its provider's as well: a person has said so. Others are told."""
        own = {
            f"{KEY_PREFIX}{provider_id}/{label}",
            f"account:{provider_id}/{account}",
            f"provider:{provider_id}",
        }
        starts = (f"pair:{provider_id}/{account}:", f"model:{provider_id}:")
        for name, cell in self._cells.items():
            if cell.failure is not None and (name in own or name.startswith(starts)):
                cell.wake()
        for name, circuit in self._circuits.items():
            if name in own and not circuit.closed:
                circuit.succeeded()
        self.changes += 1

    @staticmethod
    def _make_room(places: dict[str, Cell] | dict[str, Proof]) -> None:
        if len(places) >= MAX_CELLS:
            del places[next(iter(places))]

    def __repr__(self) -> str:
        resting = sum(cell.failure is not None for cell in self._cells.values())
        is_open = sum(not circuit.closed for circuit in self._circuits.values())
        return (
            f"<Health {resting} of {len(self._cells)} cells resting, {is_open} of {len(self._circuits)} circuits open>"
        )


def cell_names(provider_id: str, account: str, label: str, model: str) -> dict[FailureScope, str]:
    """Which cell each scope of failure binds for a candidate."""
    return {
        FailureScope.KEY: f"key:{provider_id}/{label}",
        FailureScope.ACCOUNT: f"account:{provider_id}/{account}",
        FailureScope.PAIR: f"pair:{provider_id}/{account}:{model}",
        FailureScope.MODEL: f"model:{provider_id}:{model}",
        FailureScope.PROVIDER: f"provider:{provider_id}",
    }
