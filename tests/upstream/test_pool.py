import asyncio

import pytest

from keyrelay.core.origins import Origin
from keyrelay.ports import Fault
from keyrelay.upstream.connection import Connection
from keyrelay.upstream.pool import Pool
from keyrelay.upstream.settings import TransportSettings

ORIGIN = Origin("http", "provider.example", 80)
STOP = Fault(kind="network", message="stop", reached=False)


def a_pool(limit: int = 2) -> Pool:
    settings = TransportSettings(max_connections_per_origin=limit, max_waiting_per_origin=3, idle_timeout_s=10)
    return Pool(ORIGIN, settings, asyncio.get_running_loop())


def opened(pool: Pool) -> Connection:
    assert pool.reserve_slot()
    connection = Connection(pool)
    pool.settle_slot(connection)
    return connection


async def test_last_in_first_out() -> None:
    pool = a_pool()
    first, second = opened(pool), opened(pool)
    assert pool.take() is None
    pool.release(first)
    pool.release(second)
    assert repr(pool) == "<Pool http://provider.example open=2 idle=2 opening=0 waiting=0>"
    assert [pool.take(), pool.take(), pool.take()] == [second, first, None]
    assert pool.reused_total == 2


async def test_slots_are_bounded() -> None:
    pool = a_pool()
    opened(pool)
    assert pool.reserve_slot()
    assert not pool.reserve_slot()
    pool.settle_slot(None)
    assert pool.reserve_slot()


async def test_the_queue_is_served_in_its_order() -> None:
    pool = a_pool(limit=1)
    connection = opened(pool)
    waiting = [asyncio.create_task(pool.queue(1e9)) for _ in range(4)]
    await asyncio.sleep(0)
    assert repr(pool).endswith("waiting=3>")
    full = await waiting[3]
    assert isinstance(full, Fault)
    assert not full.reached
    pool.release(connection)
    assert await waiting[0] is connection
    connection.drop()
    assert await waiting[1] is None
    assert pool.opening == 1
    pool.close(STOP)
    assert await waiting[2] is STOP


async def test_a_connection_granted_to_one_who_left_goes_to_the_next() -> None:
    pool = a_pool(limit=1)
    connection = opened(pool)
    waiting = [asyncio.create_task(pool.queue(1e9)) for _ in range(2)]
    await asyncio.sleep(0)
    pool.release(connection)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert await waiting[1] is connection


async def test_a_slot_granted_to_one_who_left_goes_to_the_next() -> None:
    pool = a_pool(limit=1)
    connection = opened(pool)
    waiting = [asyncio.create_task(pool.queue(1e9)) for _ in range(2)]
    await asyncio.sleep(0)
    connection.drop()
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert await waiting[1] is None
    assert pool.opening == 1


async def test_a_slot_nobody_waits_for_any_more_stays_free() -> None:
    pool = a_pool(limit=1)
    connection = opened(pool)
    waiting = asyncio.create_task(pool.queue(1e9))
    await asyncio.sleep(0)
    waiting.cancel()
    connection.drop()
    assert pool.opening == 0
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.unused


async def test_a_connection_lost_while_it_was_opened_frees_its_slot() -> None:
    pool = a_pool(limit=1)
    assert pool.reserve_slot()
    connection = Connection(pool)
    connection.drop()
    pool.settle_slot(connection)
    assert pool.unused


async def test_making_room_drops_the_oldest_idle_connection() -> None:
    pool = a_pool()
    first, second = opened(pool), opened(pool)
    pool.release(first)
    pool.release(second)
    pool.make_room()
    pool.make_room()
    assert (first.closed, second.closed) == (True, False)


async def test_sweeping() -> None:
    pool = a_pool(limit=1)
    now = pool.loop.time()
    assert pool.sweep(now) is None
    connection = opened(pool)
    assert pool.sweep(now) == now + 0.05
    waiting = asyncio.create_task(pool.queue(now + 1))
    await asyncio.sleep(0)
    pool.sweep(now + 1)
    late = await waiting
    assert isinstance(late, Fault)
    assert (late.kind, late.reached) == ("timeout", False)
    pool.release(connection)
    assert pool.sweep(now + 5) == connection.idle_since + 10
    assert pool.sweep(now + 50) is None
    assert connection.closed
