"""Several gateways with several workers each on one Redis, which is killed, frozen, flushed and restarted meanwhile,
under ten times what the limits allow. The provider is the judge: it must never see more than a limit in any window.

`scripts/shared-limits` runs it at length, the suite for a few seconds. Requests come in by the front door.
"""

import argparse
import asyncio
import contextlib
import itertools
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from keyrelay.core.limits import Limit, ScopePart, Unit, WindowKind, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.simulator import Call, Latency, ProviderPlan, Scenario, Simulator
from keyrelay.simulator.limits import Scope
from tests.e2e.harness import Caller, Process, calls_of, chat_bytes, environment, process, simulated
from tests.faults.backing import Backing
from tests.servers.redis_server import RedisServer

MODEL = "tested"
ACCOUNT_AND_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
SINGLE = {"gemini": 1, "nvidia": 2, "deepinfra": 5, "deepseek": 15, "cohere": 60, "huggingface": 1000}
"""Requests per window. None of these providers sends headers, which would speak of minutes."""

MIXED = "perplexity"
MOST_CALLERS = 60
LEAST_SHARE = 0.99
SHARED_FROM = 15
"""From this amount on, all of it has to be used, and every worker has a share of its own."""

_QUICK = Latency()
_PAUSE_S = 0.05


class Phase(msgspec.Struct, frozen=True):
    """For how long something lasts, and what is done to Redis before it."""

    name: str
    lasts_s: float
    fault: Callable[[RedisServer], None] | None = None
    serves: bool = True
    """Whether it is long enough that every provider with a share for each worker has to be used."""


def phases(window_s: int) -> tuple[Phase, ...]:
    """Long enough without Redis that workers go over to their shares: 7 s, and until nothing counts any more."""
    away_s = 8.0 + 2 * window_s
    back_s = 4.0 + 2 * window_s
    return (
        Phase("up", (2 + 6) * window_s),
        Phase("killed", away_s, RedisServer.kill),
        Phase("back", back_s, RedisServer.start),
        Phase("frozen", away_s, RedisServer.freeze),
        Phase("thawed", back_s, RedisServer.thaw),
        Phase("flushed", back_s, RedisServer.flush),
        Phase("restarted", back_s, RedisServer.restart),
        Phase("flushed again", back_s, RedisServer.flush),
    )


def row(amount: int, window: str, unit: Unit = Unit.REQUESTS) -> LimitRow:
    return LimitRow(unit=unit, amount=amount, window=window, scope=ACCOUNT_AND_MODEL)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, its limits, and how many callers ask it at a time."""

    name: str
    rows: tuple[LimitRow, ...]
    callers: int
    latency: Latency = _QUICK

    @property
    def told(self) -> str:
        """The limits as the operator tells the gateway."""
        return "; ".join(f"{each.amount} {_UNITS[each.unit]} {_per(each)} for account+model" for each in self.rows)


_UNITS = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}


def _per(each: LimitRow) -> str:
    return "concurrent" if each.window == "concurrent" else f"per {each.window}"


def single(names: Iterable[str], window_s: int) -> list[Provider]:
    """One limit each."""
    return [
        Provider(name=name, rows=(row(SINGLE[name], f"{window_s}s"),), callers=min(10 * SINGLE[name], MOST_CALLERS))
        for name in names
    ]


def mixed(window_s: int, day: int) -> Provider:
    """Requests, tokens, a day, and calls at a time."""
    rows = (
        row(30, f"{window_s}s"),
        row(1200, f"{window_s}s", Unit.TOKENS),
        row(day, "day@UTC"),
        row(4, "concurrent"),
    )
    return Provider(name=MIXED, rows=rows, callers=40, latency=Latency(first_token_ms=(100.0, 300.0)))


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider saw: for each limit the most in any window, calls by phase, and the share of the first limit that
    was used while Redis was up."""

    provider: Provider
    most: tuple[int, ...]
    by_phase: Mapping[str, int]
    used: float
    statuses: Mapping[int, int]
    crossings: tuple[str, ...]

    def wrong(self, plan: Sequence[Phase]) -> list[str]:
        """What does not hold."""
        found = [
            f"{most} of {each.amount} {_per(each)}"
            for most, each in zip(self.most, self.provider.rows, strict=True)
            if most > each.amount
        ]
        found += self.crossings
        if self.provider.name != MIXED and self.provider.rows[0].amount >= SHARED_FROM:
            if self.used < LEAST_SHARE:
                found.append(f"{self.used:.1%} used while Redis was up")
            found += [
                f"nothing served: {phase.name}" for phase in plan if phase.serves and not self.by_phase[phase.name]
            ]
        if set(self.statuses) - {200, 0}:  # 0: whoever asked has left
            found.append(f"the provider answered {dict(self.statuses)}")
        return found

    def __str__(self) -> str:
        most = ", ".join(
            f"{most} of {each.amount} {_UNITS[each.unit]} {_per(each)}"
            for most, each in zip(self.most, self.provider.rows, strict=True)
        )
        counted = ", ".join(f"{name} {count}" for name, count in self.by_phase.items())
        return f"{self.provider.name}: at most {most}; {self.used:.1%} used while Redis was up; calls: {counted}"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them saw, and what callers got."""

    seen: tuple[Seen, ...]
    plan: tuple[Phase, ...]
    statuses: Mapping[str, int]

    @property
    def wrong(self) -> list[str]:
        return [f"{each.provider.name}: {text}" for each in self.seen for text in each.wrong(self.plan)]

    @property
    def good(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        return "\n".join([*map(str, self.seen), f"callers got {dict(self.statuses)}", *self.wrong])


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How long windows are, and who shares the limits: gateways, and workers of each."""

    window_s: int = 5
    instances: int = 2
    workers: int = 4


async def shared_limits(
    directory: Path, providers: Sequence[Provider], plan: Sequence[Phase], setting: Setting
) -> Outcome:
    """Press all providers while Redis goes through the phases."""
    scenario = Scenario(
        providers={
            each.name: ProviderPlan(
                limits=tuple(one for one in each.rows if one.window != "concurrent"),
                models=(MODEL,),
                answer_tokens=(4, 8),
                latency=each.latency,
            )
            for each in providers
        },
        recorded_calls=1_000_000,
    )
    with Backing.up() as backing:
        await backing.make_tables()
        async with simulated(scenario) as simulator, contextlib.AsyncExitStack() as stack:
            environ = told(providers, simulator, setting.workers) | backing.environ
            homes = [directory / f"host-{number}" for number in range(setting.instances)]
            gateways = await asyncio.gather(*(stack.enter_async_context(_instance(environ, home)) for home in homes))
            statuses: Counter[str] = Counter()
            until_at = time.monotonic() + sum(phase.lasts_s for phase in plan)
            pressing = asyncio.gather(*(press(gateways, each, statuses, until_at) for each in providers))
            spans = await _through(plan, backing.redis)
            await pressing
        return Outcome(
            seen=tuple(_seen(simulator, each, spans, setting.window_s) for each in providers),
            plan=tuple(plan),
            statuses=statuses,
        )


def told(providers: Sequence[Provider], simulator: Simulator, workers: int) -> dict[str, str]:
    """The environment of a gateway that knows these limits and no others."""
    environ = environment(simulator, {each.name: [f"one=sim-{each.name}-one"] for each in providers})
    for each in providers:
        prefix = each.name.upper()
        environ |= {f"{prefix}_LIMITS": each.told, f"{prefix}_TIER": "paid", f"{prefix}_MODELS": MODEL}
    return environ | {"KEYRELAY_WORKERS": str(workers), "KEYRELAY_CACHE": "off", "KEYRELAY_MAX_WAIT_S": "600"}


@contextlib.asynccontextmanager
async def _instance(environ: Mapping[str, str], directory: Path) -> AsyncIterator[Process]:
    await asyncio.to_thread(directory.mkdir)
    async with process(environ, directory) as gateway:
        yield gateway
        await gateway.stop()


async def press(gateways: Sequence[Process], provider: Provider, statuses: Counter[str], until_at: float) -> None:
    """Ask one provider again and again, each caller at one gateway over a connection of its own."""
    body = chat_bytes(model=f"{provider.name}/{MODEL}")
    ports = itertools.cycle(gateway.port for gateway in gateways)

    async def work(port: int) -> None:
        async with Caller(port) as caller:
            while (left_s := until_at - time.monotonic()) > 0:
                deadline = {"x-keyrelay-deadline-ms": str(max(1, math.ceil(min(left_s, 20.0) * 1000)))}
                reply = await caller.post("/v1/chat/completions", body, headers=deadline)
                statuses["good" if reply.is_good() else f"{reply.status} {reply.error['code']}"] += 1
                if reply.status != 200:
                    await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(work(next(ports)) for _ in range(provider.callers)))


async def _through(plan: Sequence[Phase], redis: RedisServer) -> dict[str, tuple[float, float]]:
    """Do to Redis what the phases say; when each lasted (epoch)."""
    spans = {}
    for phase in plan:
        if phase.fault is not None:
            await asyncio.to_thread(phase.fault, redis)
        began_s = time.time()
        await asyncio.sleep(phase.lasts_s)
        spans[phase.name] = (began_s, time.time())
    return spans


def _seen(simulator: Simulator, provider: Provider, spans: Mapping[str, tuple[float, float]], window_s: int) -> Seen:
    calls = [call for call in calls_of(simulator) if call.provider == provider.name]
    arrivals = [call.arrived_s for call in calls if call.status == 200]
    began_s, ended_s = spans["up"]
    first_s = began_s + window_s
    last_s = first_s + math.floor((ended_s - first_s) / window_s) * window_s
    allowed = provider.rows[0].amount * (last_s - first_s) / window_s
    return Seen(
        provider=provider,
        most=tuple(_most(simulator, provider.name, each, calls) for each in provider.rows),
        by_phase={
            name: sum(begins_s <= at_s < ends_s for at_s in arrivals) for name, (begins_s, ends_s) in spans.items()
        },
        used=sum(first_s <= at_s < last_s for at_s in arrivals) / allowed if allowed else math.nan,
        statuses=Counter(call.status for call in calls),
        crossings=tuple(_crossings(provider.rows[0], [call.arrived_s for call in calls], spans)),
    )


def _crossings(limit: LimitRow, arrivals: Sequence[float], spans: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """When more came than a rolling limit of requests takes, and how much too early that was."""
    length_s = parse_window(limit.window).length_s
    for first_s, last_s in zip(arrivals, arrivals[limit.amount :], strict=False):
        if last_s - first_s < length_s:
            early_ms = (length_s - (last_s - first_s)) * 1000
            name, began_s = max(((name, span[0]) for name, span in spans.items() if span[0] <= last_s), key=_second)
            when = f"{first_s - began_s:.3f} and {last_s - began_s:.3f} s after: {name}"
            yield f"one more, {early_ms:.1f} ms too early, {when}"


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _most(simulator: Simulator, provider: str, each: LimitRow, calls: Sequence[Call]) -> int:
    limit = Limit(unit=each.unit, amount=each.amount, window=parse_window(each.window), scope=each.scope)
    if limit.window.kind is WindowKind.CONCURRENT:
        return most_at_once(calls)
    return simulator.judge.max_in_window(limit, Scope(provider=provider))


def most_at_once(calls: Iterable[Call]) -> int:
    """The most calls that were under way at any time; ends count before beginnings at the same time."""
    changes: list[tuple[float, int]] = []
    for call in calls:
        ends = [at_s for at_s in (call.ended_s, call.disconnected_s) if at_s is not None]
        changes += [(call.arrived_s, 1), (min(ends, default=math.inf), -1)]
    under_way = itertools.accumulate(change for _, change in sorted(changes))
    return max(under_way, default=0)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="scripts/shared-limits", description=__doc__)
    parser.add_argument("providers", nargs="*", metavar="PROVIDER", help=f"{', '.join(SINGLE)}, {MIXED} (default: all)")
    parser.add_argument("--window-s", type=int, default=5, help="length of the windows (default 5)")
    parser.add_argument("--instances", type=int, default=2, help="gateways (default 2)")
    parser.add_argument("--workers", type=int, default=4, help="workers of each (default 4)")
    parser.add_argument("--day", type=int, default=400, help="what the mixed one may do in a day (default 400)")
    given = parser.parse_args()
    names = given.providers or [*SINGLE, MIXED]
    if unknown := set(names) - {*SINGLE, MIXED}:
        sys.exit(f"no such provider: {', '.join(sorted(unknown))}")
    providers = single((name for name in names if name != MIXED), given.window_s)
    providers += [mixed(given.window_s, given.day)] if MIXED in names else []
    setting = Setting(window_s=given.window_s, instances=given.instances, workers=given.workers)
    with tempfile.TemporaryDirectory() as directory:
        outcome = uvloop.run(shared_limits(Path(directory), providers, phases(given.window_s), setting))
    sys.stdout.write(f"{outcome}\n")
    sys.exit(not outcome.good)


if __name__ == "__main__":
    main()
