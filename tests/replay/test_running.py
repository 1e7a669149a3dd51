from typing import Any

import msgspec
import pytest

from keyrelay.core.errors import ConfigurationError
from keyrelay.replay.figures import Figures
from keyrelay.replay.plan import load_plan, plan_of
from keyrelay.replay.running import replay
from keyrelay.replay.trace import load_trace
from tests.replay.helpers import INSTANT, acme, every, per_minute


def test_the_same_replay_gives_the_same_figures() -> None:
    trace, plan = load_trace("burst"), load_plan("default+policy=weighted")
    first, second = replay(trace, plan), replay(trace, plan)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_another_seed_draws_other_latencies() -> None:
    trace = load_trace("burst")
    first, second = (replay(trace, load_plan("default", (f"seed={seed}",))) for seed in (0, 1))
    assert first.latency_p50_ms != second.latency_p50_ms


def test_without_limits_everything_is_answered_at_once() -> None:
    figures = replay(every(0.1, 50), acme(**INSTANT))
    assert (figures.requests, figures.answered, figures.refused, figures.upstream_calls) == (50, 50, 0, 50)
    assert (figures.quota_yield, figures.usable, figures.latency_p99_ms) == (1.0, 50, 0.0)
    assert figures.models["m"].answered == 50


def test_latency_is_transit_and_generation() -> None:
    latency: dict[str, Any] = {"latency": {"first_token_ms": [300, 300], "tokens_per_s": 20}, "transit_ms": [50, 50]}
    for stream in (False, True):
        figures = replay(every(5.0, 10, output_tokens=20, stream=stream), acme(**latency))
        assert figures.latency_p50_ms == pytest.approx(1350, abs=0.1)
        assert (figures.answered, figures.waited) == (10, 0)


def sizes(figures: Figures) -> tuple[int, int, int]:
    return figures.answered, figures.upstream_429, figures.self_caused


def test_the_ledger_spares_the_refusals() -> None:
    limited: dict[str, Any] = {"limits": [per_minute(5)], "true_limits": [per_minute(5)], **INSTANT}
    trace = every(1.0, 30, deadline_s=1.0)
    assert sizes(replay(trace, acme(**limited))) == (5, 0, 0)
    blind = replay(trace, acme(ledger=False, **limited))
    assert blind.answered == 5
    assert blind.self_caused == blind.upstream_429 > 0


def test_a_limit_that_the_gateway_was_not_told_is_no_fault_of_its_own() -> None:
    hidden = replay(every(1.0, 30, deadline_s=1.0), acme(true_limits=[per_minute(5)], **INSTANT))
    assert hidden.upstream_429 > 0
    assert hidden.self_caused == 0
    assert hidden.usable == 5


def test_two_keys_more_and_one_key_less() -> None:
    trace, limits = every(0.5, 60, deadline_s=0.5), [per_minute(10)]
    limited: dict[str, Any] = {"limits": limits, "true_limits": limits, **INSTANT}
    answered = [replay(trace, acme(keys=keys, **limited)).answered for keys in (1, 2, 3, 5)]
    assert answered == [10, 20, 30, 50]
    dead = replay(trace, acme(keys=["a", {"label": "b", "state": "invalid"}, "c"], **limited))
    assert (dead.answered, dead.usable) == (20, 20)


def test_keys_of_one_account_share_its_quota() -> None:
    limited: dict[str, Any] = {"limits": [per_minute(10)], "true_limits": [per_minute(10)], **INSTANT}
    keys = ["a", {"label": "b", "account": "a"}]
    assert sizes(replay(every(0.5, 60, deadline_s=0.5), acme(keys=keys, **limited))) == (10, 0, 0)


def test_a_plan_that_no_gateway_would_start_with_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="policy"):
        replay(every(1.0, 1), acme(settings={"policy": "best"}))


def test_a_model_that_nobody_has_is_refused_and_not_answerable() -> None:
    figures = replay(every(1.0, 3, model="gpt-0"), plan_of({"providers": {"mistral": {}}}, "x"))
    assert (figures.answered, figures.usable, sum(figures.reasons.values())) == (0, 0, 3)
    assert figures.reasons == {"model_not_found": 3}


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    replay(every(0.1, 250), acme(**INSTANT), lambda done, of: seen.append((done, of)))
    assert seen == [(0, 250), (100, 250), (200, 250), (250, 250)]


@pytest.fixture(scope="module")
def day() -> dict[str, Figures]:
    trace = load_trace("day")
    return {name: replay(trace, load_plan(name)) for name in ("default", "round_robin", "priority")}


def test_on_the_shipped_day_nearly_all_of_the_quota_that_could_be_used_is(day: dict[str, Figures]) -> None:
    default = day["default"]
    assert default.quota_yield >= 0.99
    assert default.quota_yield > max(day["round_robin"].quota_yield, day["priority"].quota_yield)
    assert default.answered + default.refused == default.requests


def test_on_the_shipped_day_counting_spares_nearly_all_refusals(day: dict[str, Figures]) -> None:
    assert min(day["round_robin"].self_caused, day["priority"].self_caused) > 100
    assert day["default"].self_caused < 5


def test_on_the_shipped_day_no_refusal_is_self_caused(day: dict[str, Figures]) -> None:
    assert day["default"].self_caused == 0


def test_without_a_waiting_room_who_finds_nothing_free_is_refused_at_once() -> None:
    limits = [per_minute(5)]
    limited: dict[str, Any] = {"limits": limits, "true_limits": limits, **INSTANT}
    patient = acme(**limited)
    hasty = acme(settings={"max_waiting": 0}, **limited)
    trace = every(0.1, 10, deadline_s=120.0)
    waited, refused = replay(trace, patient), replay(trace, hasty)
    assert (waited.answered, waited.waited, refused.answered, refused.waited) == (10, 5, 5, 0)
    assert waited.wait_p50_ms == pytest.approx(60_000, rel=0.1)


def test_a_request_without_a_deadline_waits_as_long_as_the_room_lets_it() -> None:
    limits = [per_minute(5)]
    limited: dict[str, Any] = {"limits": limits, "true_limits": limits, **INSTANT}
    for wait_s, answered in ((10, 5), (59, 8)):
        figures = replay(every(1.0, 8), acme(settings={"max_wait_s": wait_s}, **limited))
        assert (figures.usable, figures.answered) == (answered, answered)
