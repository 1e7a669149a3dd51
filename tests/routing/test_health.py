import math

import pytest

from keyrelay.core.failures import FailureKind, FailureScope
from keyrelay.routing import health as module
from keyrelay.routing.circuit import Circuit
from keyrelay.routing.health import Cell, Proof, cell_names
from tests.routing.helpers import MANUAL, NOW_S, failure, half, health


class Told:
    """A watcher that remembers names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def cell_changed(self, cell: Cell) -> None:
        self.names.append(f"cell {cell.name}")

    def proof_changed(self, proof: Proof) -> None:
        self.names.append(f"proof {proof.name}")

    def circuit_changed(self, circuit: Circuit) -> None:
        self.names.append(f"circuit {circuit.name}")


class TestCell:
    def test_at_first_it_rests_nothing(self) -> None:
        cell = Cell("pair:groq/home:llama")
        assert (cell.until_s, cell.failure, cell.strikes) == (0.0, None, 0)
        assert repr(cell) == "<Cell pair:groq/home:llama ready>"

    def test_it_rests_until_the_time_given(self) -> None:
        cell, why = Cell("key:groq/home"), failure(FailureKind.RATE)
        cell.rest(NOW_S + 60, why)
        assert (cell.until_s, cell.failure, cell.strikes) == (NOW_S + 60, why, 1)
        assert repr(cell) == f"<Cell key:groq/home resting until {NOW_S + 60:.1f}: rate>"

    def test_a_shorter_rest_is_a_strike_and_cuts_nothing(self) -> None:
        cell, day = Cell("x"), failure(FailureKind.QUOTA)
        cell.rest(NOW_S + 3600, day)
        cell.rest(NOW_S + 5, failure(FailureKind.RATE))
        assert (cell.until_s, cell.failure, cell.strikes) == (NOW_S + 3600, day, 2)

    def test_a_longer_rest_takes_its_place(self) -> None:
        cell, dead = Cell("x"), failure(FailureKind.AUTH)
        cell.rest(NOW_S + 5, failure())
        cell.rest(MANUAL, dead)
        assert (cell.until_s, cell.failure) == (math.inf, dead)
        assert repr(cell) == "<Cell x resting until a person acts: auth>"

    def test_awake_it_has_forgotten_everything(self) -> None:
        cell = Cell("x")
        cell.rest(NOW_S + 60, failure())
        cell.wake()
        assert (cell.until_s, cell.failure, cell.strikes) == (0.0, None, 0)


class TestProof:
    def test_one_request_at_a_time_finds_out(self) -> None:
        proof = Proof("key:groq/home")
        assert repr(proof) == "<Proof key:groq/home untried>"
        assert proof.admits(NOW_S)
        proof.begin(NOW_S)
        assert repr(proof) == "<Proof key:groq/home being tried>"
        assert not proof.admits(NOW_S)
        assert not proof.admits(NOW_S + 0.99)

    def test_what_takes_longer_than_a_refusal_is_as_good_as_proven(self) -> None:
        proof = Proof("x")
        proof.begin(NOW_S)
        assert proof.admits(NOW_S + 1)
        proof.begin(NOW_S + 1)  # the time counts from the first
        assert proof.admits(NOW_S + 1)

    def test_proven_it_lets_everybody_pass(self) -> None:
        proof = Proof("x")
        proof.begin(NOW_S)
        proof.settle(proven=True)
        assert (proof.proven, proof.admits(NOW_S), repr(proof)) == (True, True, "<Proof x proven>")
        proof.begin(NOW_S)
        assert proof.admits(NOW_S)

    def test_refused_it_has_to_be_found_out_again(self) -> None:
        proof = Proof("x", proven=True)
        proof.settle(proven=False)
        assert proof.admits(NOW_S)
        proof.begin(NOW_S)
        assert not proof.admits(NOW_S)

    def test_bug_on_a_clock_at_nought_everybody_tried_at_once(self) -> None:
        proof = Proof("x")
        proof.begin(0.0)
        assert not proof.admits(0.0)


class TestHealth:
    def test_everything_is_made_when_first_asked_for_and_kept(self) -> None:
        known = health()
        assert known.cell("a") is known.cell("a")
        assert known.proof("a", proven=True) is known.proof("a")
        assert known.proof("a").proven
        assert known.circuit("a") is known.circuit("a")
        assert known.cell("a") is not known.cell("b")

    @pytest.mark.parametrize(
        ("name", "failures", "opens_after"), [("provider:groq", 5, 5), ("key:groq/a", 5, 3), ("key:groq/a", 2, 2)]
    )
    def test_a_key_goes_out_sooner_than_its_provider(self, name: str, failures: int, opens_after: int) -> None:
        circuit = health(failures=failures).circuit(name)
        count = 0
        while circuit.closed:
            circuit.failed(NOW_S, "x", half)
            count += 1
        assert count == opens_after

    def test_a_key_with_another_secret_begins_anew_and_others_are_told(self) -> None:
        known, told = health(failures=1), Told()
        names = ["key:groq/a", "account:groq/own", "pair:groq/own:llama", "key:groq/ab", "pair:groq/other:llama"]
        proofs = [known.proof("key:groq/a"), known.proof("pair:groq/a:llama")]
        cells = [known.cell(name) for name in names]
        circuits = [known.circuit("key:groq/a"), known.circuit("provider:groq")]
        for cell in cells:
            cell.rest(MANUAL, failure())
        for circuit in circuits:
            circuit.failed(NOW_S, "x", half)
        changes = known.changes
        known.watch(told)
        known.forget(provider_id="groq", account="own", label="a")
        assert known.changes > changes
        assert [known.cell(name) is cell for name, cell in zip(names, cells, strict=True)] == [False] * 3 + [True] * 2
        assert [known.proof(proof.name) is proof for proof in proofs] == [False, False]
        assert [known.circuit(circuit.name) is circuit for circuit in circuits] == [False, True]
        assert [cell.failure is None for cell in cells] == [True] * 3 + [False] * 2
        heard = len(told.names)
        for cell in cells[:3]:  # a request that was sent with the old secret comes back
            cell.rest(MANUAL, failure())
        circuits[0].failed(NOW_S, "x", half)
        proofs[0].settle(proven=True)
        assert len(told.names) == heard

    def test_a_watcher_is_told_of_every_change_and_of_nothing_else(self) -> None:
        known, told = health(failures=1), Told()
        cell, proof, circuit = known.cell("a"), known.proof("a"), known.circuit("a")
        cell.rest(NOW_S, failure())
        known.watch(told)
        assert [*known.cells(), *known.proofs(), *known.circuits()] == [cell, proof, circuit]
        for name in ("a", "b"):  # what was there before, and what comes after
            known.cell(name).rest(NOW_S + 5, failure())
            known.cell(name).rest(NOW_S + 4, failure())
            known.cell(name).wake()
            known.proof(name).begin(NOW_S)
            known.proof(name).begin(NOW_S)
            known.proof(name).settle(proven=True)
            known.proof(name).settle(proven=True)
            known.proof(name).settle(proven=False)
            known.circuit(name).failed(NOW_S, "x", half)
        assert told.names == [
            f"{what} {name}" for name in ("a", "b") for what in ("cell", "cell", "proof", "proof", "proof", "circuit")
        ]

    def test_what_others_tell_is_not_told_again(self) -> None:
        known, told = health(), Told()
        known.watch(told)
        cell, proof = known.cell("a"), known.proof("a")
        cell.take_over(NOW_S + 9, failure(), 4)
        assert (cell.until_s, cell.strikes, cell.failure) == (NOW_S + 9, 4, failure())
        cell.take_over(NOW_S + 5, failure(FailureKind.QUOTA), 2)
        assert (cell.until_s, cell.strikes, cell.failure) == (NOW_S + 9, 4, failure())
        cell.forget()
        assert (cell.until_s, cell.strikes, cell.failure) == (0.0, 0, None)
        proof.take_over(proven=False, trying_since_s=NOW_S)
        assert not proof.admits(NOW_S)
        proof.take_over(proven=True, trying_since_s=None)
        assert proof.proven
        assert told.names == []

    def test_its_repr_counts(self) -> None:
        known = health(failures=1)
        known.cell("a")
        known.cell("b").rest(NOW_S, failure())
        known.circuit("c")
        known.circuit("d").failed(NOW_S, "x", half)
        assert repr(known) == "<Health 1 of 2 cells resting, 1 of 2 circuits open>"

    def test_it_does_not_grow_without_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert module.MAX_CELLS == 100_000
        monkeypatch.setattr(module, "MAX_CELLS", 2)
        known = health()
        first, second = known.cell("a"), known.cell("b")
        known.cell("c")
        assert known.cell("b") is second
        assert known.cell("a") is not first
        proof = known.proof("a")
        known.proof("b")
        known.proof("c")
        assert known.proof("a") is not proof


def test_each_scope_binds_what_it_names_and_equal_names_stay_apart() -> None:
    assert cell_names("groq", "org", "home", "llama") == {
        FailureScope.KEY: "key:groq/home",
        FailureScope.ACCOUNT: "account:groq/org",
        FailureScope.PAIR: "pair:groq/org:llama",
        FailureScope.MODEL: "model:groq:llama",
        FailureScope.PROVIDER: "provider:groq",
    }
    names = [*cell_names("a", "a", "a", "a").values(), *cell_names("b", "a", "a", "a").values()]
    assert len(set(names)) == 10
