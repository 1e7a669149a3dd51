"""In which state a key is: one answer out of everything that is known."""

import math

import msgspec
import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind
from keyrelay.quota.values import LimitKey, Standing
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.routing.key_states import KeyFacts, KeyState, key_condition, model_conditions
from tests.routing.helpers import failure

NOW_S = 1_000_000.0
FACTS = KeyFacts(provider_id="groq", account="team", label="work", set_by="user:alice")


@pytest.fixture
def health() -> Health:
    health = Health(CircuitSettings())
    health.proof("key:groq/work").settle(proven=True)
    return health


def state_of(health: Health, facts: KeyFacts = FACTS) -> KeyState:
    return key_condition(health, facts, NOW_S).state


def standing(
    used: int,
    reset_s: float | None,
    kind: WindowKind = WindowKind.DAY,
    *,
    model: bool = False,
    models: tuple[str, ...] = (),
) -> Standing:
    scope = (ScopePart.ACCOUNT, ScopePart.MODEL) if model else (ScopePart.ACCOUNT,)
    window = Window(kind, 60.0) if kind is WindowKind.ROLLING else Window(kind)
    limit = Limit(unit=Unit.REQUESTS, amount=10, window=window, scope=scope, models=models)
    key = LimitKey(limit, ("acct:groq/team",))
    return Standing(
        limit=key, amount=10, used=used, reserved=0, reset_s=reset_s, source=LimitSource.CONFIGURED, firm=True
    )


def test_a_key_that_answers_is_ready_and_one_nobody_tried_is_unknown(health: Health) -> None:
    assert state_of(health) is KeyState.READY
    health.proof("key:groq/work").settle(proven=False)
    unknown = key_condition(health, FACTS, NOW_S)
    assert (unknown.state, unknown.set_by) == (KeyState.UNKNOWN, "")
    assert "Test it" in unknown.way_back
    assert state_of(health, msgspec.structs.replace(FACTS, keyless=True)) is KeyState.READY


def test_what_a_person_has_said_comes_first(health: Health) -> None:
    health.cell("key:groq/work").rest(math.inf, failure(FailureKind.AUTH))
    disabled = key_condition(health, msgspec.structs.replace(FACTS, enabled=False), NOW_S)
    assert (disabled.state, disabled.set_by, disabled.way_back) == (KeyState.DISABLED, "user:alice", "Enable it.")
    assert state_of(health, msgspec.structs.replace(FACTS, expires_s=NOW_S)) is KeyState.EXPIRED
    assert state_of(health, msgspec.structs.replace(FACTS, expires_s=NOW_S + 1)) is KeyState.INVALID


def test_a_key_that_belongs_to_another_address_is_sent_nowhere(health: Health) -> None:
    elsewhere = msgspec.structs.replace(FACTS, elsewhere="it was entered for https://a.example")
    found = key_condition(health, elsewhere, NOW_S)
    assert found.state is KeyState.OTHER_HOST
    assert "https://a.example" in found.message
    assert state_of(health, msgspec.structs.replace(elsewhere, enabled=False)) is KeyState.DISABLED


@pytest.mark.parametrize(
    ("kind", "until_s", "state"),
    [
        (FailureKind.AUTH, math.inf, KeyState.INVALID),
        (FailureKind.AUTH, NOW_S + 9, KeyState.INVALID),
        (FailureKind.PERMISSION, NOW_S + 9, KeyState.INVALID),
        (FailureKind.BILLING, math.inf, KeyState.OUT_OF_CREDIT),
        (FailureKind.BILLING, NOW_S + 9, KeyState.OUT_OF_CREDIT),
        (FailureKind.QUOTA, NOW_S + 9, KeyState.EXHAUSTED),
        (FailureKind.QUOTA, math.inf, KeyState.INVALID),
        (FailureKind.RATE, NOW_S + 9, KeyState.RESTING),
        (FailureKind.ADDRESS, NOW_S + 9, KeyState.RESTING),
        (FailureKind.RATE, NOW_S, KeyState.READY),
    ],
)
@pytest.mark.parametrize("cell", ["key:groq/work", "account:groq/team", "provider:groq"])
def test_what_the_provider_said(health: Health, cell: str, kind: FailureKind, until_s: float, state: KeyState) -> None:
    health.cell(cell).rest(until_s, failure(kind))
    found = key_condition(health, FACTS, NOW_S)
    assert found.state is state
    if state is not KeyState.READY:
        assert (found.kind, found.set_by) == (kind, "provider")
        assert found.until_s == (None if math.isinf(until_s) else until_s)
        assert found.way_back


def test_what_rests_longest_decides(health: Health) -> None:
    health.cell("key:groq/work").rest(NOW_S + 5, failure(FailureKind.RATE))
    health.cell("account:groq/team").rest(NOW_S + 50, failure(FailureKind.QUOTA))
    found = key_condition(health, FACTS, NOW_S)
    assert (found.state, found.until_s) == (KeyState.EXHAUSTED, NOW_S + 50)


@pytest.mark.parametrize("name", ["key:groq/work", "provider:groq"])
def test_a_circuit_that_is_open_is_a_rest(health: Health, name: str) -> None:
    for _ in range(5):
        health.circuit(name).failed(NOW_S, "service: down", lambda: 0.5)
    found = key_condition(health, FACTS, NOW_S)
    assert (found.state, found.until_s, found.set_by) == (KeyState.RESTING, NOW_S + 30.0, "keyrelay")
    assert state_of(health) is KeyState.RESTING
    assert key_condition(health, FACTS, NOW_S + 31).state is KeyState.READY


@pytest.mark.parametrize(
    ("kind", "state"), [(WindowKind.DAY, KeyState.EXHAUSTED), (WindowKind.ROLLING, KeyState.RESTING)]
)
def test_counts_of_which_nothing_is_left(health: Health, kind: WindowKind, state: KeyState) -> None:
    full = msgspec.structs.replace(FACTS, standings={"m": (standing(10, NOW_S + 60, kind), standing(9, None))})
    found = key_condition(health, full, NOW_S)
    assert (found.state, found.until_s, found.set_by) == (state, NOW_S + 60, "keyrelay")
    assert found.message.startswith("10 of 10 requests per ")
    for_good = msgspec.structs.replace(FACTS, standings={"": (standing(11, None, kind), standing(10, NOW_S + 60))})
    last = key_condition(health, for_good, NOW_S)
    assert (last.until_s, last.way_back) == (None, "Raise the limit, or add another key.")


def test_a_model_that_rests_leaves_the_key_ready_until_no_other_is_left(health: Health) -> None:
    health.cell("pair:groq/team:a").rest(NOW_S + 20, failure(FailureKind.RATE, FailureScope.PAIR))
    both = msgspec.structs.replace(FACTS, standings={"a": (), "b": ()})
    assert state_of(health, both) is KeyState.READY
    assert {name: each.until_s for name, each in model_conditions(health, both, NOW_S).items()} == {"a": NOW_S + 20}
    health.cell("model:groq:b").rest(NOW_S + 10, failure(FailureKind.MODEL, FailureScope.MODEL))
    found = key_condition(health, both, NOW_S)
    assert (found.state, found.until_s) == (KeyState.RESTING, NOW_S + 10)
    counted = msgspec.structs.replace(
        FACTS, standings={"a": (), "c": (standing(10, None, model=True), standing(1, None, models=("c*",)))}
    )
    assert key_condition(health, counted, NOW_S).until_s == NOW_S + 20
    only = msgspec.structs.replace(FACTS, standings={"c": (standing(10, None, model=True),)})
    assert key_condition(health, only, NOW_S).state is KeyState.EXHAUSTED
    nameless = msgspec.structs.replace(FACTS, standings={"": (standing(10, None, model=True),)})
    assert model_conditions(health, nameless, NOW_S) == {}
    assert state_of(health, nameless) is KeyState.READY


def test_a_person_can_end_whatever_keeps_a_key_back(health: Health) -> None:
    names = ("key:groq/work", "account:groq/team", "provider:groq", "pair:groq/team:a", "model:groq:a")
    others = ("key:groq/home", "account:groq/else", "pair:groq/teams:a", "model:other:a", "provider:other")
    for name in (*names, *others):
        health.cell(name).rest(math.inf, Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="no"))
    for name in ("key:groq/work", "provider:groq", "key:groq/home"):
        for _ in range(5):
            health.circuit(name).failed(NOW_S, "down", lambda: 0.5)
    health.cell("pair:groq/team:b")
    changes = health.changes
    health.wake(provider_id="groq", account="team", label="work")
    assert health.changes > changes
    assert [name for name in (*names, *others) if health.cell(name).failure is None] == list(names)
    assert not health.circuit("key:groq/home").closed
    assert health.circuit("key:groq/work").closed
    assert state_of(health) is KeyState.READY
