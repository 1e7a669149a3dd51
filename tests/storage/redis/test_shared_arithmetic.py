"""Several workers on one Redis, next to a plain list of all calls: the same calls are admitted, the same is counted."""

import asyncio
import random
import secrets
import time

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, ScopePart, Unit, WindowKind, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.redis.shared_ledger import SharedLedger
from tests.servers.redis_server import RedisServer

LONG_WINDOWS = (
    "1h",
    "24h",
    "day@America/Los_Angeles",
    "week@Europe/Berlin",
    "month:31@Asia/Kolkata",
    "once",
    "concurrent",
)
few = st.integers(0, 9)


class Call(msgspec.Struct, eq=False):
    """A call as the list has it."""

    reservation: object
    by: SharedLedger
    path: tuple[LimitKey, ...]
    amounts: Amounts
    settled: bool = False


def used(key: LimitKey, calls: list[Call]) -> int:
    in_flight_only = key.limit.window.kind is WindowKind.CONCURRENT
    return sum(
        call.amounts.of(key.limit.unit)
        for call in calls
        if any(other.limit.window == key.limit.window and other.bound == key.bound for other in call.path)
        and not (in_flight_only and call.settled)
    )


amounts_of = st.builds(Amounts, st.just(1), few, few, few, few)


@st.composite
def limit_keys(draw: st.DrawFn) -> LimitKey:
    window = parse_window(draw(st.sampled_from(LONG_WINDOWS)))
    unit = Unit.REQUESTS if window.kind is WindowKind.CONCURRENT else draw(st.sampled_from(list(Unit)))
    limit = Limit(unit=unit, amount=draw(st.integers(1, 25)), window=window, scope=(ScopePart.ACCOUNT,))
    return LimitKey(limit, (draw(st.sampled_from(("acct:p/a", "prov:p"))),))


def distinct(key: LimitKey) -> object:
    return key.limit.unit, key.limit.window, key.bound


paths = st.lists(limit_keys(), min_size=1, max_size=4, unique_by=distinct).map(tuple)


async def run(url: str, limits: list[tuple[LimitKey, ...]], data: st.DataObject) -> None:
    prefix = f"model-{secrets.token_hex(6)}"
    workers = [
        SharedLedger(
            url,
            prefix=prefix,
            worker=f"host/{slot}",
            epoch_s=time.time,
            random=random.random,
            report=lambda _: None,
            barrier_s=0.0,
            beat_s=1e6,  # nobody sets anything aside, so that what is admitted depends on what is used alone
            timeout_s=2.0,
        )
        for slot in range(3)
    ]
    for worker in workers:
        await worker.start(["p"])
    for worker in workers:
        assert await worker.serving("p")
    try:
        await compare(workers, limits, data)
    finally:
        for worker in workers:
            await worker.stop()


async def compare(workers: list[SharedLedger], limits: list[tuple[LimitKey, ...]], data: st.DataObject) -> None:
    calls: list[Call] = []
    for _ in range(data.draw(st.integers(1, 25), label="steps")):
        open_calls = [call for call in calls if not call.settled]
        ends = data.draw(st.booleans(), label="end one")
        if ends and open_calls:
            call = data.draw(st.sampled_from(open_calls), label="which")
            if data.draw(st.booleans(), label="a stream"):
                call.by.answered(call.reservation, time.time())
            call.settled = True
            call.amounts = data.draw(st.one_of(st.just(Amounts(requests=0)), amounts_of), label="used")
            call.by.settle(call.reservation, call.amounts, time.time(), arrived=data.draw(st.booleans()))
            continue
        worker = data.draw(st.sampled_from(workers))
        path, amounts = data.draw(st.sampled_from(limits)), data.draw(amounts_of)
        while any(other.status().unsent for other in workers):  # noqa: ASYNC110 - it happens in Redis
            await asyncio.sleep(0)
        fits = all(
            used(key, calls) + amounts.of(key.limit.unit) <= key.limit.amount
            or (not amounts.of(key.limit.unit) and used(key, calls) <= key.limit.amount)
            for key in path
        )
        worker._blocks.clear()
        outcome = worker.reserve(path, amounts, time.time())
        refusal = outcome if isinstance(outcome, Refusal) else await worker.confirm(outcome, time.time())
        assert (refusal is None) == fits, (refusal, [used(key, calls) for key in path])
        if refusal is None:
            calls.append(Call(outcome, worker, path, amounts))
        elif not isinstance(outcome, Refusal):
            assert refusal.used == used(refusal.limit, calls)


def test_workers_admit_what_a_list_of_all_calls_would(redis_server: RedisServer) -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(limits=st.lists(paths, min_size=1, max_size=3), data=st.data())
        def holds(limits: list[tuple[LimitKey, ...]], data: st.DataObject) -> None:
            runner.run(run(redis_server.url, limits, data))

        holds()
