"""True limits, counted exactly, and what the judge makes of them."""

import asyncio
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import CALENDAR_KINDS, Window, WindowKind
from keyrelay.quota.calendars import period_bounds
from keyrelay.simulator import Change, KeyPlan, ProviderPlan, Scope
from keyrelay.simulator.limits import Enforcer, limit_of, period
from tests.simulator.helpers import NOON, Bench, chat, per, row

LIMIT = per(3, "60s")


async def test_no_sliding_window_ever_holds_more() -> None:
    async with Bench(row("groq", limits=(LIMIT,))) as bench:
        statuses = []
        for _ in range(40):
            statuses.append((await bench.ask("groq")).status)
            bench.clock.advance(7)
        limit, scope = limit_of(LIMIT), Scope("groq", account="sim-a", model="small")
        assert bench.judge.max_in_window(limit, scope, refused=False) == 3
        assert bench.judge.max_in_window(limit, scope) == 9
        violation = bench.judge.violations()[0]
        assert violation.scope == scope
        assert len(violation.calls) == statuses.count(429)
        assert violation.limit == limit


async def test_concurrent_calls_are_admitted_exactly() -> None:
    async with Bench(row("groq", limits=(per(25, "60s"),))) as bench:
        answers = await asyncio.gather(*(bench.ask("groq") for _ in range(60)))
        assert sorted(a.status for a in answers) == [200] * 25 + [429] * 35


async def test_a_refused_call_uses_nothing_up() -> None:
    async with Bench(row("groq", limits=(per(1, "60s"), per(3, "24h")))) as bench:
        for _ in range(5):
            await bench.ask("groq")
        for _ in range(2):
            bench.clock.advance(60)
            assert (await bench.ask("groq")).status == 200
        bench.clock.advance(60)
        assert "requests per day (RPD)" in (await bench.ask("groq")).json["error"]["message"]


async def test_scopes() -> None:
    plan = ProviderPlan(keys={"sim-a": KeyPlan(account="x"), "sim-b": KeyPlan(account="x"), "sim-c": "ok"})
    async with Bench(row("groq", limits=(per(1, "60s"),)), groq=plan) as bench:
        assert (await bench.ask("groq", key="sim-a")).status == 200
        assert (await bench.ask("groq", key="sim-b")).status == 429
        assert (await bench.ask("groq", key="sim-c")).status == 200
        assert (await bench.ask("groq", chat("thinker"), key="sim-b")).status == 200
        bench.simulator.change(Change(provider="groq", limits=(per(2, "60s", scope=["key"]),)))
        wanted = [("sim-a", 200), ("sim-a", 200), ("sim-a", 429), ("sim-b", 200)]
        assert [(key, (await bench.ask("groq", key=key)).status) for key, _ in wanted] == wanted
        bench.simulator.change(Change(provider="groq", limits=(per(1, "60s", scope=["provider"]),)))
        assert [(await bench.ask("groq", key=key)).status for key in ("sim-a", "sim-c")] == [200, 429]


async def test_a_limit_of_some_models_leaves_others_alone() -> None:
    async with Bench(row("groq", limits=(per(0, "60s", models=["think*"]),))) as bench:
        assert (await bench.ask("groq")).status == 200
        assert (await bench.ask("groq", chat("thinker"))).status == 429


async def test_input_counts_on_arrival_and_output_when_it_is_there() -> None:
    limits = (per(40, "60s", "tokens"),)
    async with Bench(row("openai", limits=limits)) as bench:
        first = await bench.ask("openai", chat(max_tokens=30))
        told = {"prompt_tokens": 6, "completion_tokens": 30, "total_tokens": 36}
        assert told.items() <= first.json["usage"].items()
        assert (await bench.ask("openai")).status == 429
        limit, scope = limit_of(limits[0]), Scope("openai")
        assert bench.judge.max_in_window(limit, scope, refused=False) == 36
        assert bench.judge.max_in_window(limit, scope) == 42


async def test_output_tokens_have_a_limit_of_their_own() -> None:
    async with Bench(row("anthropic", limits=(per(30, "60s", "output_tokens"),))) as bench:
        assert (await bench.ask("anthropic", chat(max_tokens=30))).status == 200
        answer = await bench.ask("anthropic")
        assert answer.status == 429
        assert answer.headers["retry-after"] == "60"


async def test_a_calendar_day_ends_at_midnight_over_there() -> None:
    async with Bench(row("gemini", limits=(per(1, "day@America/Los_Angeles"),))) as bench:
        assert [(await bench.ask("gemini")).status for _ in range(2)] == [200, 429]
        bench.clock.advance(12 * 3600 - 0.001)
        assert (await bench.ask("gemini")).status == 429
        bench.clock.advance(0.001)
        assert (await bench.ask("gemini")).status == 200


async def test_a_limit_that_never_resets() -> None:
    async with Bench(row("openai", limits=(per(1, "once"),))) as bench:
        assert (await bench.ask("openai")).status == 200
        bench.clock.advance(400 * 86400)
        assert (await bench.ask("openai")).status == 429


async def test_hidden_limits_bind_and_show_nowhere() -> None:
    plan = ProviderPlan(limits=(per(100, "24h"),), hidden_limits=(per(1, "60s"),))
    async with Bench(row("groq"), groq=plan) as bench:
        first = await bench.ask("groq")
        assert first.headers["x-ratelimit-limit-requests"] == "100"
        assert "1" not in [v for k, v in first.headers.items() if k.startswith("x-ratelimit-limit")]
        assert (await bench.ask("groq")).status == 429


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 8), 23), ((2026, 11, 1), 25), ((2026, 11, 21), 24)])
def test_days_have_the_hours_that_they_have(day: tuple[int, int, int], hours: int) -> None:
    noon = dt.datetime(*day, 20, tzinfo=dt.UTC).timestamp()
    start, end = period(Window(WindowKind.DAY, zone="America/Los_Angeles"), noon)
    assert end - start == hours * 3600


def test_a_month_over_new_year() -> None:
    start, end = period(Window(WindowKind.MONTH), dt.datetime(2026, 12, 31, 23, tzinfo=dt.UTC).timestamp())
    assert (start, end) == tuple(dt.datetime(*m, 1, tzinfo=dt.UTC).timestamp() for m in ((2026, 12), (2027, 1)))


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=60))
def test_a_rolling_log_is_what_counting_all_entries_gives(steps: list[tuple[float, int]]) -> None:
    enforcer = Enforcer((per(8, "60s", "input_tokens"),))
    caller, now, passed = Scope("p", "a", "k", "m"), NOON, list[tuple[float, int]]()
    for gap, tokens in steps:
        now += gap
        held = sum(amount for at, amount in passed if at > now - 60)
        excess = enforcer.admit(caller, tokens, now)
        assert (excess is None) == (held + tokens <= 8)
        if excess is None:
            passed.append((now, tokens))
        else:
            later = sum(amount for at, amount in passed if at > excess.free_at_s - 60)
            assert later + tokens <= 8


@given(
    days=st.integers(0, 3652),
    window=st.builds(
        Window,
        st.sampled_from(sorted(CALENDAR_KINDS)),
        zone=st.sampled_from(("America/Los_Angeles", "UTC", "Europe/Berlin", "Asia/Kolkata")),
        day=st.integers(1, 31),
    ),
)
def test_the_judge_and_the_gateway_agree_on_every_calendar(days: int, window: Window) -> None:
    now = NOON + days * 86400
    assert period(window, now) == period_bounds(now, window)


def test_a_quota_that_expires_lets_nothing_through_from_then_on() -> None:
    enforcer = Enforcer((per(100, "once:2026-11-22@UTC"),))
    caller, midnight = Scope("p", "a", "k", "m"), dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp()
    assert enforcer.admit(caller, 1, midnight - 1) is None
    excess = enforcer.admit(caller, 1, midnight)
    assert excess is not None
    assert (excess.used, excess.free_at_s) == (1, float("inf"))


@pytest.mark.parametrize(("unit", "window", "passing"), [("units", "day@UTC", 2), ("usd_micros", "day@UTC", 5)])
def test_what_a_call_takes_of_units_and_money(unit: str, window: str, passing: int) -> None:
    enforcer = Enforcer((per(2, window, unit),))
    outcomes = [enforcer.admit(Scope("p", "a", "k", "m"), 10, NOON) for _ in range(5)]
    assert [outcome is None for outcome in outcomes] == [True] * passing + [False] * (5 - passing)


def test_what_is_in_flight_is_not_limited() -> None:
    enforcer = Enforcer((per(1, "concurrent"),))
    assert [enforcer.admit(Scope("p", "a", "k", "m"), 10, NOON) for _ in range(3)] == [None] * 3
