import asyncio

from keyrelay.upstream.sweeper import Sweeper
from tests.upstream.hostile import soon


async def test_it_ticks_while_there_is_something_soon_and_then_stops() -> None:
    loop = asyncio.get_running_loop()
    left = 3
    at: list[float] = []

    def sweep(now: float) -> float | None:
        nonlocal left
        at.append(now)
        left -= 1
        return {2: now + 0.01, 1: now + 0.5}.get(left)

    sweeper = Sweeper(loop, 0.01, sweep)
    assert repr(sweeper) == "<Sweeper stopped>"
    sweeper.start()
    assert repr(sweeper) == "<Sweeper ticking>"
    await soon(lambda: len(at) == 2)
    assert repr(sweeper) == "<Sweeper dormant>"
    await soon(lambda: len(at) == 3)
    assert repr(sweeper) == "<Sweeper stopped>"


async def test_starting_again_before_the_late_tick() -> None:
    sweeper = Sweeper(asyncio.get_running_loop(), 0.01, lambda now: now + 10)
    sweeper.start()
    await soon(lambda: repr(sweeper) == "<Sweeper dormant>")
    sweeper.start()
    assert repr(sweeper) == "<Sweeper ticking>"
    sweeper.stop()
    assert repr(sweeper) == "<Sweeper stopped>"
