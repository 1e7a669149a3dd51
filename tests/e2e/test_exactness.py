"""Every quota to the last request, and no limit crossed: the real command under ten times what its limits allow.

The simulator is the judge. It counts in a naive sliding log of its own, so a call that it refuses for a limit is one
that should not have been sent. Windows are shortened, since a minute is too long for a suite; `tests/replay` shows a
whole day on a virtual clock.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.simulator import ProviderPlan, Scenario, Simulator
from keyrelay.simulator.limits import Scope
from tests.e2e.harness import Caller, calls_of, chat_bytes, environment, process, simulated, until

pytestmark = pytest.mark.alone

WINDOW_S = 2
WINDOWS = 8
PER_WINDOW = {"gemini": 1, "nvidia": 2, "deepinfra": 5, "deepseek": 15, "cohere": 60, "huggingface": 1000}
"""How many requests each provider takes in one window. None of them sends headers, which would speak of minutes."""

MODEL = "tested"
SHORT = (4, 8)
ACCOUNT_AND_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
LEAST_SHARE = 0.99


def row(amount: int, unit: Unit = Unit.REQUESTS, window: str = f"{WINDOW_S}s") -> LimitRow:
    return LimitRow(unit=unit, amount=amount, window=window, scope=ACCOUNT_AND_MODEL)


def plan(*rows: LimitRow) -> ProviderPlan:
    return ProviderPlan(limits=rows, models=(MODEL,), answer_tokens=SHORT)


def told(providers: Mapping[str, str], simulator: Simulator, **more: str) -> dict[str, str]:
    """The environment of a gateway that knows these limits, `<PROVIDER>_LIMITS` by provider, and no others."""
    environ = environment(simulator, {name: [f"one=sim-{name}-one"] for name in providers}, **more)
    for name, limits in providers.items():
        prefix = name.upper()
        environ |= {f"{prefix}_LIMITS": limits, f"{prefix}_TIER": "paid", f"{prefix}_MODELS": MODEL}
    return environ


async def press(
    port: int, provider: str, *, at_once: int, until_at: float, enough: asyncio.Event | None = None
) -> Counter[int]:
    """Ask one provider again and again over so many connections; how often each status came back."""
    statuses: Counter[int] = Counter()
    body = chat_bytes(model=f"{provider}/{MODEL}")

    async def work() -> None:
        async with Caller(port) as caller:
            while (left_s := until_at - time.monotonic()) > 0 and not (enough and enough.is_set()):
                deadline_ms = max(1, math.ceil(left_s * 1000))
                reply = await caller.post(
                    "/v1/chat/completions", body, headers={"x-keyrelay-deadline-ms": str(deadline_ms)}
                )
                statuses[reply.status] += 1
                if reply.status != 200:
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return statuses


def most_in_any_window(simulator: Simulator, provider: str, row_: LimitRow) -> int:
    limit = Limit(unit=row_.unit, amount=row_.amount, window=parse_window(row_.window), scope=row_.scope)
    return simulator.judge.max_in_window(limit, Scope(provider=provider))


async def test_ten_times_the_demand_gets_all_of_each_window_and_no_more(tmp_path: Path) -> None:
    scenario = Scenario(providers={name: plan(row(amount)) for name, amount in PER_WINDOW.items()})
    limits = {name: f"{amount} requests per {WINDOW_S}s for account+model" for name, amount in PER_WINDOW.items()}
    async with simulated(scenario) as simulator, process(told(limits, simulator), tmp_path) as gateway:
        # Until just before the window in which nothing more may come.
        until_at = time.monotonic() + WINDOWS * WINDOW_S - 0.3
        await asyncio.gather(
            *(
                press(gateway.port, name, at_once=min(10 * amount, 60), until_at=until_at)
                for name, amount in PER_WINDOW.items()
            )
        )
        assert simulator.judge.violations() == []
        accepted = Counter(call.provider for call in calls_of(simulator) if call.status == 200)
        for name, amount in PER_WINDOW.items():
            assert most_in_any_window(simulator, name, row(amount)) <= amount, name
            assert amount * (WINDOWS - 1) <= accepted[name] <= amount * WINDOWS, accepted
        for name in ("deepseek", "cohere", "huggingface"):
            assert accepted[name] >= LEAST_SHARE * PER_WINDOW[name] * WINDOWS, accepted


async def test_requests_tokens_and_days_together(tmp_path: Path) -> None:
    rows = (row(20), row(600, Unit.TOKENS), row(60, window="day@UTC"))
    text = (
        f"20 requests per {WINDOW_S}s for account+model; 600 tokens per {WINDOW_S}s for account+model; "
        "60 requests per day@UTC for account+model"
    )
    scenario = Scenario(providers={"deepseek": plan(*rows)})
    async with simulated(scenario) as simulator, process(told({"deepseek": text}, simulator), tmp_path) as gateway:
        enough, until_at = asyncio.Event(), time.monotonic() + 16.0
        pressing = asyncio.create_task(press(gateway.port, "deepseek", at_once=40, until_at=until_at, enough=enough))
        await until(lambda: sum(call.status == 200 for call in calls_of(simulator)) >= 60, "the day's quota", 16.0)
        await asyncio.sleep(2 * WINDOW_S)  # in which the other limits would let more through
        enough.set()
        await pressing
        accepted = [call for call in calls_of(simulator) if call.status == 200]
        assert simulator.judge.violations() == []
        assert len(accepted) == 60, "the day's quota to the last request"
        for each in rows[:2]:
            assert most_in_any_window(simulator, "deepseek", each) <= each.amount


@pytest.mark.parametrize(("keys", "per_key"), [(20, 25)])
async def test_a_herd_that_waits_for_a_reset_is_served_at_once_and_nobody_is_refused(
    tmp_path: Path, keys: int, per_key: int
) -> None:
    window_s = 6
    labels = [f"k{number:02}=sim-gemini-{number:02}" for number in range(keys)]
    scenario = Scenario(providers={"gemini": plan(row(per_key, window=f"{window_s}s"))})
    async with simulated(scenario) as simulator:
        environ = environment(
            simulator,
            {"gemini": labels},
            GEMINI_LIMITS=f"{per_key} requests per {window_s}s for account+model",
            GEMINI_TIER="paid",
            GEMINI_MODELS=MODEL,
        )
        async with process(environ, tmp_path) as gateway:
            body = chat_bytes(model=f"gemini/{MODEL}")

            async def ask() -> tuple[int, float]:
                async with Caller(gateway.port) as caller:
                    reply = await caller.post("/v1/chat/completions", body)
                    return reply.status, time.monotonic()

            first = await asyncio.gather(*(ask() for _ in range(keys * per_key)))
            assert Counter(status for status, _ in first) == {200: keys * per_key}
            second = await asyncio.gather(*(ask() for _ in range(keys * per_key)))
            assert Counter(status for status, _ in second) == {200: keys * per_key}
            # The reset is when the first of the herd before is a window old; it took a while to be served itself.
            reset_at = max(at for _, at in first) + window_s
            ends = sorted(at for _, at in second)
            assert ends[math.ceil(0.99 * len(ends)) - 1] - reset_at < 5.0
            assert simulator.judge.violations() == []
            assert all(call.status == 200 for call in calls_of(simulator))
