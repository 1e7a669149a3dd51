import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from keyrelay.replay.virtual_time import BEGINNING_S, VirtualClock, VirtualLoop

T = TypeVar("T")
DAY_S = 86_400.0


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now_s() -> float:
    return asyncio.get_running_loop().time() - BEGINNING_S


def test_a_year_of_sleep_takes_no_time() -> None:
    async def sleep() -> float:
        await asyncio.sleep(365 * DAY_S)
        return now_s()

    began_s = time.monotonic()
    assert run(sleep()) == pytest.approx(365 * DAY_S)
    assert time.monotonic() - began_s < 5


def test_timers_fire_at_their_times_and_in_their_order() -> None:
    async def watch() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        def note(name: str) -> None:
            seen.append((name, now_s()))

        for name, delay_s in (("late", 7200.0), ("soon", 0.001), ("middle", 60.0)):
            loop.call_later(delay_s, note, name)
        loop.call_later(30.0, seen.append, ("cancelled", 0.0)).cancel()
        await asyncio.sleep(10_000)
        return seen

    seen = run(watch())
    assert [name for name, _ in seen] == ["soon", "middle", "late"]
    assert [at_s for _, at_s in seen] == pytest.approx([0.001, 60.0, 7200.0])


def test_timeouts_and_waits_count_virtual_time() -> None:
    async def wait() -> tuple[float, float, set[str]]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(45):
                await asyncio.sleep(1000)
        after_timeout_s = now_s()
        tasks = [asyncio.create_task(asyncio.sleep(length_s), name=str(length_s)) for length_s in (1, 100)]
        done, pending = await asyncio.wait(tasks, timeout=50)
        for task in pending:
            task.cancel()
        return after_timeout_s, now_s(), {task.get_name() for task in done}

    after_timeout_s, after_wait_s, done = run(wait())
    assert after_timeout_s == pytest.approx(45)
    assert after_wait_s == pytest.approx(95)
    assert done == {"1"}


def test_while_something_is_ready_the_clock_stands_still() -> None:
    async def spin() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now_s()

    assert run(spin()) == 0


def test_a_wait_without_end_is_an_error_and_no_hang() -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    task = loop.create_task(forever())
    with pytest.raises(RuntimeError, match="never ends"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_what_a_thread_sends_arrives() -> None:
    async def listen() -> str:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(arrived.set_result, "hello"))
        thread.start()
        thread.join()
        return await arrived

    assert run(listen()) == "hello"


def test_the_clock_tells_loop_time_and_the_time_of_day() -> None:
    async def read() -> tuple[float, float, float, str]:
        clock = VirtualClock(asyncio.get_running_loop(), 1_800_000_000.0)
        await asyncio.sleep(12.5)
        return clock.monotonic_s() - BEGINNING_S, clock.epoch_s(), clock.now(), repr(clock)

    monotonic_s, epoch_s, now, shown = run(read())
    assert monotonic_s == pytest.approx(12.5, abs=1e-6)
    assert epoch_s == now == pytest.approx(1_800_000_012.5, abs=1e-6)
    assert shown == "<VirtualClock 1800000012.500>"
