"""How everything stands, from a real pool and a real ledger."""

import asyncio
import math

import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.limits import Limit, ScopePart, Window, WindowKind
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import KeyHistory
from keyrelay.engine.status_view import KEPT_S, StatusView
from keyrelay.engine.strangers import Strangers
from keyrelay.quota.values import Amounts
from keyrelay.routing.status import BRIEF_S, Level, Part, Status
from tests.engine.rig import START_S, FakeClock, providers
from tests.engine.test_quota_view import DAY, MINUTE, Viewed, limit

NOW_S = START_S


class Still(FakeClock):
    """A clock that a test alone moves on."""

    def monotonic_s(self) -> float:
        return self.moved_s

    def epoch_s(self) -> float:
        return NOW_S + self.moved_s


class Standing(Viewed):
    """Two providers with a key each, and how they stand."""

    def __init__(self, *limits: Limit, **environ: str) -> None:
        super().__init__(providers("acme", "best") | environ, **({"acme": limits} if limits else {}))
        self.clock, self.parts = Still(), list[Part]()
        keys = KeyHealth(self.pool, self.ledger, KeyHistory(), self.clock, strangers=Strangers(self.ledger))
        self.status_view = StatusView(
            self.pool, self.ledger, keys=keys, quota=self.view, parts=lambda: self.parts, clock=self.clock
        )

    def status(self) -> Status:
        self.clock.moved_s += KEPT_S
        return asyncio.run(self.status_view.status())

    def reasons(self) -> list[str]:
        return [reason.text for reason in self.status().reasons]


def resting(kind: FailureKind, for_s: float) -> tuple[float, Failure]:
    failure = Failure(kind=kind, scope=FailureScope.KEY, message="it says no", until_s=NOW_S + for_s)
    return NOW_S + for_s, failure


def test_all_is_well_and_routes_and_models_are_listed() -> None:
    standing = Standing()
    found = standing.status()
    assert (found.level, found.reasons, found.hints) == (Level.OPERATIONAL, (), ())
    standing.candidate("k00")
    (model,) = (each for each in standing.status().services if each.kind == "model")
    assert (model.name, model.level, model.serving, model.choices) == ("m", Level.OPERATIONAL, 2, 2)


def test_a_name_that_a_caller_mistyped_is_no_model() -> None:
    standing = Standing()
    denied = Failure(kind=FailureKind.MODEL, scope=FailureScope.PAIR, message="no such model", until_s=NOW_S + 600)
    for provider, model in (("acme", "typo"), ("best", "m"), ("best", "gone"), ("best", "new")):
        candidate = standing.pool.candidate_of(provider, "k00", model)
        assert candidate is not None
        if model == "gone":
            candidate.begin(NOW_S)
            candidate.succeeded()
        if model != "new":
            candidate.failed(denied, NOW_S, lambda: 0.0)
    models = {each.name: each.serving for each in standing.status().services if each.kind == "model"}
    assert models == {"m": 1, "gone": 0, "new": 1}, "one that is listed, one that has answered, one not denied"


@pytest.mark.parametrize(
    ("window", "level"),
    [(MINUTE, Level.OPERATIONAL), (DAY, Level.AT_RISK), (Window(WindowKind.CONCURRENT), Level.OPERATIONAL)],
)
def test_a_count_that_is_full_is_out_unless_it_is_back_soon(window: Window, level: Level) -> None:
    standing = Standing(limit(3, window, ScopePart.KEY))
    standing.use("k00", 3)
    found = standing.status()
    assert found.level is level
    if level is Level.AT_RISK:
        assert found.reasons[0].text == "Only the key best/k00 still serves; acme/k00 is out."
        assert found.reasons[0].until_s is not None
        model = next(each for each in found.services if each.name == "m")
        assert (model.serving, model.reasons[1].text) == (1, "acme/k00 is out: 3 of 3 requests per day@UTC are used.")


@pytest.mark.parametrize(
    ("kind", "for_s", "level"),
    [
        (FailureKind.RATE, BRIEF_S / 2, Level.OPERATIONAL),
        (FailureKind.RATE, 20 * BRIEF_S, Level.AT_RISK),
        (FailureKind.AUTH, math.inf, Level.AT_RISK),
        (FailureKind.BILLING, math.inf, Level.AT_RISK),
    ],
)
def test_a_key_that_rests_is_out_unless_it_is_back_soon(kind: FailureKind, for_s: float, level: Level) -> None:
    standing = Standing()
    standing.candidate("k00")
    standing.pool.health.cell("key:acme/k00").rest(*resting(kind, for_s))
    found = standing.status()
    assert found.level is level
    assert next(each for each in found.services if each.name == "m").level is level


def test_a_provider_that_fails_is_out_until_it_has_answered() -> None:
    standing = Standing()
    standing.candidate("k00")
    circuit = standing.pool.health.circuit("provider:acme")
    for _ in range(5):
        circuit.failed(NOW_S, "service: it is down.", lambda: 0.5)
    assert standing.status().level is Level.AT_RISK
    standing.clock.moved_s = 10_000  # half open
    assert "1 of 1 keys of acme is out (acme/k00): Calls kept failing: service: it is down." in standing.reasons()
    circuit.succeeded()
    assert standing.status().level is Level.OPERATIONAL


def test_a_quota_that_will_not_last_is_a_loss_to_come() -> None:
    standing = Standing(ACME_RPD="100", BEST_RPD="100")
    for candidate in list(standing.pool.plan("m").candidates()):  # type: ignore[union-attr]
        standing.learner.accepted(candidate, Amounts(60), NOW_S - 3000, NOW_S - 3000)
        taken = standing.ledger.reserve(candidate.path, Amounts(60), NOW_S)
        standing.ledger.settle(taken, Amounts(60), NOW_S)
        if candidate.provider_id == "acme":
            found = standing.status()
            assert found.level is Level.DEGRADED
            assert found.reasons[0].text.startswith("acme/k00: At 36 requests an hour it runs out in about 1 h ")
    found = standing.status()
    assert found.level is Level.AT_RISK
    assert found.reasons[0].text.startswith("All that serves runs out before it comes back. ")


def test_what_everything_hangs_on_is_asked() -> None:
    standing = Standing()
    standing.parts = [Part(name="store", degraded=True, detail="it does not answer")]
    assert standing.reasons() == ["Store: It does not answer."]


def test_a_status_is_given_again_for_a_moment() -> None:
    standing = Standing()
    before = standing.status()
    standing.parts = [Part(name="journal", ok=False, detail="full")]
    assert asyncio.run(standing.status_view.status()) is before
    assert standing.status().level is Level.DOWN
