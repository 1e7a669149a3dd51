import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import StoreError
from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.redis.own_word import share_of
from keyrelay.storage.redis.scripts import NAMES, read_scripts
from keyrelay.storage.redis.shared_ledger import SharedLedger
from keyrelay.storage.redis.terms import Spent
from tests.faults.shared_exactness import most_in_any
from tests.servers.fault_proxy import FaultProxy
from tests.servers.guarded import free_port
from tests.servers.redis_server import RedisServer

Open = Callable[..., SharedLedger]


def path(amount: int, window: str, unit: Unit = Unit.REQUESTS, bound: str = "acct:p/a") -> tuple[LimitKey, ...]:
    limit = Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.ACCOUNT,))
    return (LimitKey(limit, (bound,)),)


@pytest.fixture
async def ledgers(redis_prefix: str) -> AsyncIterator[Open]:
    """Opens ledgers, and stops them at the end."""
    opened: list[SharedLedger] = []

    def open_one(url: str, slot: str = "host/0", **settings: object) -> SharedLedger:
        settings = {"barrier_s": 0.0, "beat_s": 0.05, "transit_skew_s": 0.1, **settings}
        ledger = SharedLedger(
            url,
            prefix=redis_prefix,
            worker=slot,
            epoch_s=time.time,
            random=random.random,
            report=lambda _: None,
            **settings,  # type: ignore[arg-type]
        )
        opened.append(ledger)
        return ledger

    yield open_one
    for ledger in opened:
        await ledger.stop()


async def started(ledger: SharedLedger) -> SharedLedger:
    await ledger.start(["p"])
    assert await ledger.serving("p")
    return ledger


async def attempt(ledger: SharedLedger, limits: tuple[LimitKey, ...], amounts: Amounts | None = None) -> object:
    reservation = ledger.reserve(limits, amounts or Amounts(), time.time())
    if isinstance(reservation, Refusal):
        return reservation
    return await ledger.confirm(reservation, time.time()) or reservation


async def use_up(ledger: SharedLedger, limits: tuple[LimitKey, ...], *, patience_s: float = 0.0) -> list[object]:
    """Take one after another until none is left for `patience_s`."""
    taken: list[object] = []
    last_at = time.monotonic()
    while True:
        outcome = await attempt(ledger, limits)
        if not isinstance(outcome, Refusal):
            taken.append(outcome)
            last_at = time.monotonic()
        elif time.monotonic() - last_at > patience_s:
            return taken
        else:
            await asyncio.sleep(0.02)


async def shown(ledger: SharedLedger, limits: tuple[LimitKey, ...]) -> int:
    ledger.peek(limits, time.time())
    await asyncio.sleep(0.15)
    return ledger.peek(limits, time.time())[0].used


async def abandon(ledger: SharedLedger) -> None:
    """What a kill leaves behind: nothing is said."""
    ledger._partitions.clear()
    await ledger.stop()


async def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in Redis
            await asyncio.sleep(0.01)


async def test_what_is_set_aside_by_an_idle_worker_is_given_back(ledgers: Open, redis_url: str) -> None:
    limits = path(100, "1h")
    busy, idle = [await started(ledgers(redis_url, f"host/{slot}")) for slot in (0, 1)]
    assert not isinstance(await attempt(idle, limits), Refusal)
    await asyncio.sleep(0.2)
    began_at = time.monotonic()
    assert len(await use_up(busy, limits)) < 99  # something was set aside
    taken = await use_up(busy, limits, patience_s=0.7)
    assert time.monotonic() - began_at < 3.0
    assert await shown(busy, limits) == 100
    assert taken


async def test_a_worker_cut_off_keeps_to_what_it_had_set_aside_and_reports_it(
    ledgers: Open, redis_server: RedisServer
) -> None:
    limits = path(100, "1h")
    async with FaultProxy(redis_server.port) as proxy:
        cut = await started(ledgers(proxy.url(redis_server.url), "host/0"))
        other = await started(ledgers(redis_server.url, "host/1"))
        for ledger in (cut, other):
            await attempt(ledger, limits)
        await asyncio.sleep(0.3)
        await proxy.set("blackhole")
        alone, asked = await asyncio.gather(use_up(cut, limits), use_up(other, limits, patience_s=0.7))
        assert 5 < len(alone) <= 25
        assert len(asked) > 50
        assert 2 + len(alone) + len(asked) <= 100
        assert cut.status().apart == ("p",)
        for reservation in alone[:3]:
            cut.settle(reservation, Amounts(requests=0), time.time())
        await proxy.set("pass")
        assert await cut.serving("p", within_s=5)
        for reservation in alone[3:5]:  # these were reported while under way
            cut.settle(reservation, Amounts(requests=0), time.time())
        used = 2 + len(alone) - 5 + len(asked)
        for ledger in (cut, other):
            assert await shown(ledger, limits) == used
        rest = await use_up(other, limits, patience_s=0.7)
        assert used + len(rest) == 100


async def test_what_may_have_been_admitted_is_taken_from_what_is_set_aside(
    ledgers: Open, redis_server: RedisServer
) -> None:
    limits = path(100, "1h")
    async with FaultProxy(redis_server.port) as proxy:
        ledger = await started(ledgers(proxy.url(redis_server.url)))
        await attempt(ledger, limits)
        await asyncio.sleep(0.2)
        (hold,) = ledger._partitions["p"].holds.values()
        assert hold.set_aside[0] == 99
        await proxy.set("blackhole")
        outcomes = await asyncio.gather(*(attempt(ledger, limits) for _ in range(60)))
        # Sixty questions got no answer: were they all admitted, 39 are left.
        assert sum(not isinstance(outcome, Refusal) for outcome in outcomes) == 39


@pytest.mark.parametrize("slow", ["frozen", "refused"])
async def test_nobody_waits_for_a_redis_that_is_gone(ledgers: Open, own_redis_server: RedisServer, slow: str) -> None:
    limits = path(1000, "1h")
    ledger = await started(ledgers(own_redis_server.url))
    await attempt(ledger, limits)
    await asyncio.sleep(0.2)
    if slow == "frozen":
        own_redis_server.freeze()
    else:
        own_redis_server.kill()
    began_at = time.perf_counter()
    outcomes = await asyncio.gather(*(attempt(ledger, limits) for _ in range(20)))
    assert time.perf_counter() - began_at < 0.15
    assert not any(isinstance(outcome, Refusal) for outcome in outcomes)
    took = []
    for _ in range(100):
        began_at = time.perf_counter()
        await attempt(ledger, limits)
        took.append(time.perf_counter() - began_at)
    assert sorted(took)[90] < 0.001
    assert not ledger.status().connected
    own_redis_server.thaw()


async def test_a_worker_that_never_met_redis_admits_nothing(ledgers: Open) -> None:
    ledger = ledgers(f"redis://127.0.0.1:{free_port()}/0")
    await ledger.start(["p"])
    refusal = await attempt(ledger, path(1000, "1h"))
    assert isinstance(refusal, Refusal)
    assert refusal.until_s is not None
    assert not isinstance(await attempt(ledger, ()), Refusal)
    assert not await ledger.serving("p", within_s=0.05)


@pytest.mark.parametrize("scripts_too", [False, True])
async def test_counts_that_were_flushed_are_made_up(
    ledgers: Open, own_redis_server: RedisServer, scripts_too: bool
) -> None:
    limits, day = path(10, "1h"), path(1000, "day@UTC", Unit.TOKENS)
    workers = [await started(ledgers(own_redis_server.url, f"host/{slot}")) for slot in (0, 1)]
    open_calls = [await attempt(worker, (*limits, *day), Amounts(1, 50)) for worker in (*workers, *workers, workers[0])]
    workers[0].settle(open_calls[0], Amounts(1, 30), time.time(), arrived=True)
    await asyncio.sleep(0.1)
    epoch = workers[0]._partitions["p"].epoch
    if scripts_too:
        own_redis_server.flush()
    else:
        own_redis_server.command("flushall")
    await until(lambda: all(worker._partitions["p"].epoch != epoch for worker in workers))
    assert await workers[0].serving("p")
    assert await workers[1].serving("p")
    assert await shown(workers[1], limits) == 5
    assert await shown(workers[1], day) == 230
    for reservation, by in zip(open_calls[1:], (workers[1], *workers, workers[0]), strict=True):
        by.settle(reservation, Amounts(1, 10), time.time())
    await asyncio.sleep(0.1)
    assert await shown(workers[0], day) == 70
    assert len(await use_up(workers[1], limits, patience_s=0.7)) == 5


async def test_what_the_store_knows_of_workers_that_are_gone_is_counted(
    ledgers: Open, own_redis_server: RedisServer
) -> None:
    limits, day = path(10, "60s"), path(10, "day@UTC")
    asked: list[str] = []

    async def rebuild(provider: str) -> Iterable[Spent]:
        asked.append(provider)
        if len(asked) == 1:
            raise StoreError("the store is away")
        now_s = time.time()
        return [((*limits, *day), Amounts(), now_s - 30), (limits, Amounts(), now_s - 3600), (day, Amounts(2), now_s)]

    ledger = ledgers(own_redis_server.url, rebuild=rebuild)
    await ledger.start(["p"])
    assert await ledger.serving("p")
    assert asked == ["p", "p"]
    assert [await shown(ledger, limits), await shown(ledger, day)] == [1, 3]
    assert len(await use_up(ledger, (*limits, *day))) == 7


def test_shares_make_the_whole_in_lua_and_in_python(redis_server: RedisServer) -> None:
    text = read_scripts()["leave"].text.decode().partition("-- Leave in")[0]
    script = (
        "local out = {} for n = 0, 40 do for w = 1, 9 do for r = 0, w - 1 do "
        "out[#out + 1] = share_of(n, w, r) end end end return out"
    )
    shares = [share_of(n, w, r) for n in range(41) for w in range(1, 10) for r in range(w)]
    assert redis_server.command("eval", text + script, 0) == shares


@given(amount=st.integers(0, 10**15), workers=st.integers(1, 300))
def test_shares_make_the_whole(amount: int, workers: int) -> None:
    shares = [share_of(amount, workers, rank) for rank in range(workers)]
    assert sum(shares) == amount
    assert max(shares) - min(shares) <= 1


def test_without_a_share_there_is_nothing() -> None:
    assert share_of(100, 0, 0) == 0


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (None, "less"),  # all that it had set aside may have been used
        ((), "all"),
        ((3, 100.0), "three less"),
    ],
)
async def test_a_killed_workers_place_is_taken_by_the_next_process_of_its_name(
    ledgers: Open, redis_url: str, told: tuple[()] | tuple[int, float] | None, left: str
) -> None:
    limits = path(100, "1h")
    killed = await started(ledgers(redis_url, "host/0"))
    other = await started(ledgers(redis_url, "host/1"))
    for ledger in (killed, other):
        await attempt(ledger, limits)
    await asyncio.sleep(0.2)
    await abandon(killed)
    journal: list[Spent] | None = None if told is None else []
    if told and journal is not None:
        journal += [(limits, Amounts(), time.time())] * told[0] + [(limits, Amounts(), time.time() - told[1])]
    await started(ledgers(redis_url, "host/0", predecessor=journal))
    assert other.status().workers == 2 or await other.serving("p")
    got = len(await use_up(other, limits, patience_s=0.7))
    expected = {"less": range(60, 90), "all": range(98, 99), "three less": range(95, 96)}[left]
    assert got in expected


async def test_whoever_is_silent_keeps_its_share_until_it_counts_as_dead(ledgers: Open, redis_url: str) -> None:
    limits = path(10, "1h")
    terms = {"silent_s": 0.2, "worker_expiry_s": 1.2}
    dead = await started(ledgers(redis_url, "host/0", **terms))
    alive = await started(ledgers(redis_url, "host/1", **terms))
    await until(lambda: alive.status().workers == 2)
    await asyncio.sleep(0.2)  # both know their shares
    await abandon(dead)
    await asyncio.sleep(0.7)
    assert len(await use_up(alive, limits)) == 5
    assert len(await use_up(alive, limits, patience_s=1.2)) == 5


async def test_a_share_that_has_grown_may_be_used_when_what_others_had_of_it_counts_no_more(
    ledgers: Open, own_redis_server: RedisServer
) -> None:
    """The one who comes back first is the last in a new roster, so its share goes to the next one."""
    limits, back = path(1, "2s"), asyncio.Event()

    async def rebuild(_: str) -> Iterable[Spent]:
        await asyncio.sleep(2.5 if back.is_set() else 0.0)  # for so long all go by their own word
        return ()

    async with FaultProxy(own_redis_server.port) as proxy:
        urls = (own_redis_server.url, proxy.url(own_redis_server.url))
        terms = {"silent_s": 0.1, "rebuild": rebuild}
        first, *_ = workers = [await started(ledgers(url, f"host/{slot}", **terms)) for slot, url in enumerate(urls)]
        await until(lambda: all(worker._partitions["p"].workers == 2 for worker in workers))
        await proxy.set("refuse")
        own_redis_server.kill()
        back.set()
        await asyncio.sleep(4.0)  # until each may use its share
        arrivals: list[float] = []

        async def insist(ledger: SharedLedger, until_at: float) -> None:
            while time.monotonic() < until_at:
                outcome = await attempt(ledger, limits)
                if not isinstance(outcome, Refusal):
                    arrivals.append(time.time())
                    ledger.settle(outcome, Amounts(), time.time(), arrived=True)
                await asyncio.sleep(0.01)

        insisting = asyncio.gather(*(insist(worker, time.monotonic() + 4.0) for worker in workers))
        own_redis_server.start()
        await until(lambda: first.status().connected)
        await proxy.set("pass")
        await insisting
        assert len(arrivals) > 1
        assert most_in_any(arrivals, 2.0) == 1


async def test_a_cancelled_confirm_gives_back_what_it_may_have_taken(ledgers: Open, redis_url: str) -> None:
    limits = (*path(20, "1h"), *path(20, "concurrent"))
    ledger = await started(ledgers(redis_url))
    for at_once in (True, False):
        tasks = [asyncio.create_task(attempt(ledger, limits)) for _ in range(10)]
        if not at_once:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert await shown(ledger, limits) == 0
    assert len(await use_up(ledger, limits)) == 20


async def test_leases_of_a_killed_worker_end_within_thirty_seconds(ledgers: Open, redis_server: RedisServer) -> None:
    killed = await started(ledgers(redis_server.url))
    limits = path(3, "concurrent")
    await use_up(killed, limits)
    (key,) = [key for key in redis_server.command("keys", f"*{killed._terms.prefix}*:z") if ":w:" in key]
    scores = [float(score) / 1e6 for _, score in redis_server.command("zrange", key, 0, -1, "withscores")]
    assert len(scores) == 3
    assert all(time.time() + 28 < score <= time.time() + 30 for score in scores)


async def test_leases_are_renewed_while_requests_last(ledgers: Open, redis_server: RedisServer) -> None:
    ledger, limits = await started(ledgers(redis_server.url)), path(3, "concurrent")
    await use_up(ledger, limits)
    (key,) = [key for key in redis_server.command("keys", f"*{ledger._terms.prefix}*:z") if ":w:" in key]
    for lease, _ in redis_server.command("zrange", key, 0, -1, "withscores"):
        redis_server.command("zadd", key, 1, lease)
    ledger._partitions["p"]._leases_at = 0.0
    await asyncio.sleep(0.15)
    scores = [float(score) / 1e6 for _, score in redis_server.command("zrange", key, 0, -1, "withscores")]
    assert len(scores) == 3
    assert all(score > time.time() + 28 for score in scores)


async def test_leases_taken_without_redis_are_told(ledgers: Open, redis_server: RedisServer) -> None:
    limits = path(20, "concurrent")
    async with FaultProxy(redis_server.port) as proxy:
        ledger = await started(ledgers(proxy.url(redis_server.url)))
        first = await attempt(ledger, limits)
        await asyncio.sleep(0.2)
        await proxy.set("blackhole")
        alone = await use_up(ledger, limits)
        assert 10 < len(alone) <= 19
        ledger.settle(alone.pop(), Amounts(), time.time())
        alone += await use_up(ledger, limits)
        await proxy.set("pass")
        assert await ledger.serving("p")
        assert await shown(ledger, limits) == 1 + len(alone)
        for reservation in (first, *alone):
            ledger.settle(reservation, Amounts(), time.time())
        await asyncio.sleep(0.05)
        assert len(await use_up(ledger, limits, patience_s=0.2)) == 20


async def test_a_period_that_ended_before_the_question_came_is_not_counted_in(ledgers: Open, redis_url: str) -> None:
    ledger, limits = await started(ledgers(redis_url)), path(2, "day@UTC")
    await attempt(ledger, limits)
    partition, plan = ledger._plans[limits]
    (hold,) = plan.holds
    for shift_us in (-86_400_000_000, 86_400_000_000):
        hold.start_us, hold.end_us = hold.start_us + shift_us, hold.end_us + shift_us
        partition.planned(plan)
        outcome = await attempt(ledger, limits)
        if shift_us < 0:
            assert not isinstance(outcome, Refusal)
    assert isinstance(outcome, Refusal)
    assert await shown(ledger, limits) == 2


async def test_every_key_has_an_end(ledgers: Open, redis_server: RedisServer) -> None:
    ledger = await started(ledgers(redis_server.url))
    for window in ("1s", "24h", "day@UTC", "once", "concurrent"):
        limits = path(3, window, bound=f"acct:p/{window}")
        await attempt(ledger, limits)
        ledger.settle(await attempt(ledger, limits), Amounts(), time.time(), arrived=True)
        assert isinstance(await attempt(ledger, limits, Amounts(5)), Refusal)
    await asyncio.sleep(0.2)
    keys = redis_server.command("keys", f"*{ledger._terms.prefix}*")
    assert len(keys) > 8
    assert all(redis_server.command("ttl", key) > 0 for key in keys)
    assert len({key[: key.index("}")] for key in keys}) == 1  # one hash slot


async def test_scripts_that_were_flushed_are_loaded_again(ledgers: Open, own_redis_server: RedisServer) -> None:
    ledger, limits = await started(ledgers(own_redis_server.url)), path(100, "1h")
    first = await attempt(ledger, limits)
    own_redis_server.command("script", "flush")
    ledger.settle(first, Amounts(requests=0), time.time())
    await until(lambda: ledger.status().openings == 1)
    assert await ledger.serving("p", within_s=1.0)
    assert await shown(ledger, limits) == 0


async def test_a_redis_that_kept_its_keys_over_a_restart_is_not_believed(ledgers: Open, redis_prefix: str) -> None:
    limits = path(10, "1h")
    async with RedisServer(persistent=True) as server:
        ledger = await started(ledgers(server.url))
        epoch = ledger._partitions["p"].epoch
        await use_up(ledger, limits)
        server.restart()
        await until(lambda: bool(ledger.status().apart))
        assert await ledger.serving("p")
        assert ledger._partitions["p"].epoch != epoch
        assert await shown(ledger, limits) == 10
        await ledger.stop()


async def test_a_node_that_says_where_the_keys_are_is_followed(ledgers: Open, redis_server: RedisServer) -> None:
    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", redis_server.port)
        try:
            while data := await reader.read(1 << 20):
                if b"EVALSHA" in data:
                    writer.write(b"-MOVED 42 127.0.0.1:%d\r\n" % redis_server.port)
                    continue
                ours.write(data)
                writer.write(await theirs.read(1 << 20))
        finally:
            ours.close()
            writer.close()

    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as node:
        port = node.sockets[0].getsockname()[1]
        ledger = await started(ledgers(f"redis+cluster://127.0.0.1:{port}"))
        assert len(await use_up(ledger, path(7, "1h"))) == 7
        await ledger.stop()


async def test_it_serves_on_a_cluster(ledgers: Open, redis_cluster: RedisServer) -> None:
    ledger = await started(ledgers(redis_cluster.url))
    limits = (*path(7, "1h"), *path(100, "day@UTC", Unit.TOKENS), *path(9, "once"), *path(8, "concurrent"))
    assert len(await use_up(ledger, limits)) == 7


async def test_it_tells_how_it_stands(ledgers: Open, redis_url: str) -> None:
    ledger = await started(ledgers(redis_url))
    await until(lambda: ledger.status().workers == 1)
    status = ledger.status()
    assert (status.connected, status.openings, status.apart, status.unsent) == (True, 0, (), 0)
    assert "sk-" not in repr(ledger)
    assert "partitions=1" in repr(ledger)
    assert "serving" in repr(ledger._partitions["p"])


def test_every_script_is_shipped() -> None:
    assert set(read_scripts()) == set(NAMES)
