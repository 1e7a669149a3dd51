import asyncio

from keyrelay.upstream.sweeper import Sweeper


async def test_it_ticks_while_there_is_something_soon_and_then_stops() -> None:
    loop = asyncio.get_running_loop()
    left = 3
    at: list[float] = []

    def sweep(now: float) -> float | None:
        nonlocal left
        at.append(now)
        left -= 1
        return {2: now + 0.01, 1: now + 0.05}.get(left)

    sweeper = Sweeper(loop, 0.01, sweep)
    assert repr(sweeper) == "<Sweeper stopped>"
    sweeper.start()
    await asyncio.sleep(0.035)
    assert (repr(sweeper), len(at)) == ("<Sweeper dormant>", 2)
    await asyncio.sleep(0.1)
    assert (repr(sweeper), len(at)) == ("<Sweeper stopped>", 3)


async def test_starting_again_before_the_late_tick() -> None:
    sweeper = Sweeper(asyncio.get_running_loop(), 0.01, lambda now: now + 10)
    sweeper.start()
    await asyncio.sleep(0.03)
    assert repr(sweeper) == "<Sweeper dormant>"
    sweeper.start()
    assert repr(sweeper) == "<Sweeper ticking>"
    sweeper.stop()
    assert repr(sweeper) == "<Sweeper stopped>"
