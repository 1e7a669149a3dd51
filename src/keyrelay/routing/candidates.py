"""Candidates, and why one cannot serve just now."""

import math
from collections.abc import Callable
from typing import Final

from keyrelay.core.configuration import Key, Provider, Withheld
from keyrelay.core.failures import (
    CALLER_KINDS,
    FAULT_KINDS,
    LIMIT_KINDS,
    Failure,
    FailureKind,
    FailureScope,
)
from keyrelay.core.limits import LimitSource, Unit, WindowKind
from keyrelay.core.providers import ModelRow
from keyrelay.quota.calibration import Calibration
from keyrelay.quota.limits import limits_on_path
from keyrelay.quota.values import Refusal
from keyrelay.routing.circuit import Circuit
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.health import Health, Proof, cell_names
from keyrelay.routing.ways import KeyWays, ways_of

_UNPROVING_KINDS: Final = frozenset(
    {FailureKind.AUTH, FailureKind.BILLING, FailureKind.QUOTA, FailureKind.RATE, FailureKind.PERMISSION}
)
"""After these a key has to show again that it works before everyone uses it: at a reset one request goes first."""


class Candidate:
    """A key, for a model at its provider, with the states that decide whether it may serve.

    `path` are the counts that it draws on: its `own_path`, known from the start, and what has been learned since, as of
    the learned book's change `path_as_of`. `calibration` is what its model makes of a request, `price` what that costs,
    None when nobody knows, and `unit_price` what it takes of the provider's own units. `counts_money` and
    `counts_units` say that one of its limits is about them, `counts_costs` that either does; `unpriced` says why such a
    limit of the operator's could not be kept. `says_limits` says that its answers' headers may tell of limits,
    `tokeniser` names the vocabulary that counts its prompts, empty when none does. `quirks` are the parameter rules of
    its model, `ways` the operations that its provider has, and how they are called; `openai_ways` are those of requests
    in OpenAI's dialect. `head_lines` is what an answer's head says of it, made once by the engine. `used` is a count of
    uses that halves every minute, kept when `least_used` has `tracked` it; `used_at_s` is when it was brought up to
    date.
    """

    __slots__ = (
        "_cell_of",
        "calibration",
        "cells",
        "circuits",
        "clear_as_of",
        "counts_costs",
        "counts_money",
        "counts_units",
        "head_lines",
        "health",
        "id",
        "key",
        "model",
        "openai_ways",
        "own_path",
        "path",
        "path_as_of",
        "price",
        "proofs",
        "provider",
        "provider_id",
        "quirks",
        "says_limits",
        "tokeniser",
        "tracked",
        "unit_price",
        "unpriced",
        "used",
        "used_at_s",
        "ways",
    )

    def __init__(
        self,
        provider: Provider,
        key: Key,
        model: str,
        health: Health,
        calibration: Calibration | None = None,
        *,
        ways: KeyWays | None = None,
    ) -> None:
        self.provider = provider
        self.key = key
        self.model = model
        self.id = f"{key.id}:{model}"
        self.provider_id = provider.id
        self.health = health
        self.clear_as_of = -1
        self.used = 0.0
        self.used_at_s = 0.0
        self.tracked = False
        self.head_lines = ""
        self.says_limits = bool(provider.row.limit_headers or provider.row.organisation_headers)
        self.ways = ways or ways_of(provider, key)
        self.openai_ways = self.ways.openai
        self.own_path = limits_on_path(
            (*provider.limits, *key.limits),
            provider_id=provider.id,
            account=key.account,
            key_label=key.label,
            model=model,
        )
        self.path = self.own_path
        self.path_as_of = -1
        self.quirks = provider.row.quirks_of(model)
        self.price = provider.prices.find(model)
        self.unit_price = provider.unit_prices.find(model)
        units = {limit.limit.unit for limit in self.path}
        self.counts_money = Unit.USD_MICROS in units
        self.counts_units = Unit.UNITS in units
        self.counts_costs = self.counts_money or self.counts_units
        self.unpriced = _unpriced(self) if self.counts_costs else ""
        self.tokeniser = ""
        self.calibration = calibration or Calibration()
        names = cell_names(provider.id, key.account, key.label, model)
        self.cells = tuple(health.cell(name) for name in names.values())
        self._cell_of = dict(zip(names, self.cells, strict=True))
        self.circuits: tuple[Circuit, Circuit] = (
            health.circuit(f"provider:{provider.id}"),
            health.circuit(f"key:{key.id}"),
        )
        keyless = key.secret is None
        self.proofs: tuple[Proof, ...] = (
            health.proof(f"key:{key.id}", proven=keyless),
            health.proof(f"pair:{key.id}:{model}", proven=keyless),
        )

    @property
    def model_row(self) -> ModelRow | None:
        """What the catalogue knows of the model; None for a name that it does not list."""
        return self.provider.models.get(self.model)

    @property
    def strikes(self) -> int:
        """How often this account was refused for this model in a row."""
        return self._cell_of[FailureScope.PAIR].strikes

    @property
    def clear(self) -> bool:
        """Whether nothing speaks against it, as far as was known when anything last changed for anyone."""
        return self.clear_as_of == self.health.changes

    def look(self) -> None:
        """Find out whether nothing at all speaks against it, so that the next requests need not look."""
        at_rest = any(cell.failure is not None or cell.strikes for cell in self.cells)
        doubtful = any(not circuit.closed for circuit in self.circuits) or any(
            not proof.proven for proof in self.proofs
        )
        if not at_rest and not doubtful:
            self.clear_as_of = self.health.changes

    def begin(self, now_s: float) -> None:
        """Note that a request goes to it."""
        if self.clear_as_of == self.health.changes:
            return
        self.health.changes += 1
        for circuit in self.circuits:
            circuit.begin(now_s)
        for proof in self.proofs:
            proof.begin(now_s)

    def succeeded(self) -> None:
        """Note that it answered."""
        provider_circuit, key_circuit = self.circuits
        if provider_circuit.bad:
            provider_circuit.succeeded()
        if key_circuit.bad:
            key_circuit.succeeded()
        if self.clear_as_of == self.health.changes:
            return
        self.health.changes += 1
        for proof in self.proofs:
            if not proof.proven:
                proof.settle(proven=True)
        for cell in self.cells:
            if cell.strikes and not math.isinf(cell.until_s):
                cell.wake()

    def failed(self, failure: Failure, now_s: float, random: Callable[[], float]) -> None:
        """Note a failed attempt: rest what the failure binds, and nothing else."""
        self.health.changes += 1
        if failure.kind in FAULT_KINDS:
            self._fault(failure, now_s, random)
            return
        if failure.kind is FailureKind.ADDRESS:  # nobody was asked
            self.released()
            self._rest(failure)
            return
        for circuit in self.circuits:
            circuit.succeeded()  # it said no, so it is there
        for proof in self.proofs:
            if failure.kind in _UNPROVING_KINDS and self.key.secret is not None:
                proof.settle(proven=False)
            elif not proof.proven:
                proof.settle(proven=failure.kind in CALLER_KINDS)
        self._rest(failure)

    def _fault(self, failure: Failure, now_s: float, random: Callable[[], float]) -> None:
        provider_circuit, key_circuit = self.circuits
        if failure.scope is FailureScope.PROVIDER:
            provider_circuit.failed(now_s, f"{failure.kind}: {failure.message}", random)
        else:  # one model of the provider is overloaded
            self._rest(failure)
        if not failure.reached or failure.scope is not FailureScope.PROVIDER:
            key_circuit.release()
        else:
            key_circuit.failed(now_s, f"{failure.kind}: {failure.message}", random)
        self._stop_trying()

    def _rest(self, failure: Failure) -> None:
        cell = self._cell_of.get(failure.scope)
        if cell is not None and failure.until_s is not None:
            cell.rest(failure.until_s, failure)

    def released(self) -> None:
        """Note that an attempt ended without an outcome: the caller left, or it was never sent."""
        self.health.changes += 1
        for circuit in self.circuits:
            circuit.release()
        self._stop_trying()

    def _stop_trying(self) -> None:
        for proof in self.proofs:
            if not proof.proven:
                proof.settle(proven=False)

    def __repr__(self) -> str:
        return f"<Candidate {self.id}>"


def gate(candidate: Candidate, now_s: float) -> Dropped | None:
    """Whether a candidate may be tried now: None, or why not. The order is that of the most telling reason."""
    if candidate.clear:
        return None
    if candidate.unpriced:
        return Dropped(DropReason.UNPRICED, candidate.unpriced, math.inf)
    for cell in candidate.cells:
        if cell.until_s > now_s and cell.failure is not None:
            return _resting(cell.until_s, cell.failure)
    for circuit in candidate.circuits:
        if not circuit.admits(now_s):
            text = f"{circuit.name} keeps failing: {circuit.reason}"
            return Dropped(DropReason.CIRCUIT_OPEN, text, max(circuit.open_until_s, now_s))
    for proof in candidate.proofs:
        if not proof.admits(now_s):
            return Dropped(DropReason.UNPROVEN, "another request is finding out whether this key works")
    candidate.look()
    return None


def withheld(key: Withheld) -> Dropped:
    """The reason behind a key that takes no requests."""
    if key.reason == "expired":
        return Dropped(DropReason.EXPIRED, "its expiry has passed", math.inf)
    if key.reason == "other_host":
        return Dropped(DropReason.OTHER_HOST, key.detail, math.inf)
    by = f" by {key.set_by}" if key.set_by else ""
    return Dropped(DropReason.DISABLED, f"it was disabled{by}", math.inf)


def _unpriced(candidate: Candidate) -> str:
    """Why a limit of the operator's cannot be kept, since nobody knows what a request takes of it; else nothing.

    A limit that is only believed is left to the provider: it refuses when it has to.
    """
    firm = {key.limit.unit for key in candidate.own_path if key.limit.source is LimitSource.CONFIGURED}
    if Unit.USD_MICROS in firm and candidate.price is None:
        name = f"{candidate.provider_id}/{candidate.model}"
        return f'money is limited and {name} has no price: write [prices."{name}"] in keyrelay.toml'
    if Unit.UNITS in firm and candidate.unit_price is None:
        return f"the provider's own units are limited, and nobody knows how many {candidate.model} takes"
    return ""


def _resting(until_s: float, failure: Failure) -> Dropped:
    if math.isinf(until_s):
        reason = DropReason.DEAD
    elif failure.kind in {FailureKind.QUOTA, FailureKind.BILLING}:
        reason = DropReason.EXHAUSTED
    elif failure.kind in FAULT_KINDS or failure.kind is FailureKind.ADDRESS:  # nothing to wait for
        reason = DropReason.CIRCUIT_OPEN
    else:
        reason = DropReason.RESTING
    return Dropped(reason, f"{failure.kind}: {failure.message}", until_s, failure.kind)


def limited(refusal: Refusal) -> Dropped:
    """The reason behind a refused reservation."""
    limit = refusal.limit.limit
    used = f"{refusal.used} of {refusal.amount} {limit.unit}"
    if limit.window.kind is WindowKind.CONCURRENT and refusal.until_s is not None:
        return Dropped(DropReason.BUSY, f"{used} in flight", None, FailureKind.RATE)
    text = f"{used} per {limit.window.words} used{', the rest is spread over time' if refusal.paced else ''}"
    kind = FailureKind.RATE if limit.window.kind is WindowKind.ROLLING else FailureKind.QUOTA
    sized = limit.unit is not Unit.REQUESTS or refusal.paced
    return Dropped(DropReason.LIMITED, text, refusal.until_s, kind, sized=sized)


def failed(failure: Failure) -> Dropped:
    """The reason behind a failed attempt."""
    reason = DropReason.RESTING if failure.kind in LIMIT_KINDS else DropReason.FAILED
    return Dropped(reason, f"{failure.kind}: {failure.message}", failure.until_s, failure.kind)
