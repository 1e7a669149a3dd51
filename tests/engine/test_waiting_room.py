import asyncio
import gc
import math
import random
import selectors
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count, pairwise
from typing import Any, TypeVar

import pytest

from keyrelay.core.failures import FailureKind
from keyrelay.engine.waiting_room import (
    MIN_REST_S,
    RELOOK_S,
    Entry,
    Later,
    Unserved,
    WaitingRoom,
    WaitingSettings,
    earliest_slot,
    sleep_s,
)
from keyrelay.quota.fairness import Priority
from keyrelay.routing.drops import Dropped, DropReason

START_S = 1_800_000_000.0
T = TypeVar("T")


class VirtualSelector(selectors.DefaultSelector):
    """Time passes at once when nothing else is to be done. Waiting for nothing at all is a test that is stuck."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits and no timer is set")
        self.passed_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock a test does not have to wait for."""

    def __init__(self) -> None:
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.passed_s


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class LoopClock:
    """The event loop's clock; wall time beside it may be set."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def epoch_s(self) -> float:
        return START_S + self.monotonic_s() + self.moved_s


class Quota:
    """Slots that come free at times (seconds from the start), and who took them, when."""

    def __init__(self, clock: LoopClock, *free_at_s: float, reset: bool = False) -> None:
        self.clock = clock
        self.free_at_s = deque(sorted(free_at_s))
        self.reset = reset
        self.taken: list[tuple[str, float]] = []
        self.tried_at_s: list[float] = []

    def attempt(self, name: str) -> Callable[[], str | Later]:
        def take() -> str | Later:
            now_s = self.clock.epoch_s() - START_S
            self.tried_at_s.append(now_s)
            if self.free_at_s and self.free_at_s[0] <= now_s:
                self.free_at_s.popleft()
                self.taken.append((name, now_s))
                return name
            return self.later()

        return take

    def later(self) -> Later:
        return Later(START_S + self.free_at_s[0], self.reset) if self.free_at_s else Later()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.taken]


class Scene:
    """A room and what is waited for in it."""

    def __init__(self, *free_at_s: float, settings: WaitingSettings | None = None, reset: bool = False) -> None:
        self.clock = LoopClock()
        self.draws = count(1)
        settings = settings or WaitingSettings()
        self.room = WaitingRoom(settings, self.clock, random=lambda: (next(self.draws) % 8) / 8)
        self.quota = Quota(self.clock, *free_at_s, reset=reset)

    def wait(
        self,
        name: str,
        *,
        for_s: float = 100.0,
        quota: Quota | None = None,
        slot: Later | None = None,
        on_idle: Callable[[], Awaitable[None]] | None = None,
        group: str = "m",
        client: str = "one",
        priority: Priority = Priority.INTERACTIVE,
        size_bytes: int = 10,
    ) -> asyncio.Task[str | Unserved]:
        entry = Entry(
            group=group,
            until_at=self.clock.monotonic_s() + for_s,
            client=client,
            priority=priority,
            size_bytes=size_bytes,
        )
        attempt = (quota or self.quota).attempt(name)
        return asyncio.create_task(self.room.wait(entry, attempt, slot=slot, on_idle=on_idle))

    def assert_empty(self) -> None:
        view = self.room.view()
        assert (view.waiting, view.bytes, view.groups, view.oldest_s) == (0, 0, 0, 0.0)
        assert not any(view.by_priority.values())
        assert not self.room._held
        assert view.entered == view.served + view.expired + view.left + view.failed


async def passes(seconds: float) -> None:
    await asyncio.sleep(seconds)


class TestWaiting:
    def test_one_waits_for_the_slot_and_gets_it_when_it_comes(self) -> None:
        async def main() -> None:
            scene = Scene(7.0)
            assert await scene.wait("a", slot=scene.quota.later()) == "a"
            [(_, at_s)] = scene.quota.taken
            assert 7.0 <= at_s < 7.01
            assert len(scene.quota.tried_at_s) == 1, "once, when it is time"
            scene.assert_empty()

        run(main())

    def test_five_hundred_wait_and_twenty_slots_come_at_once(self) -> None:
        async def main() -> None:
            scene = Scene(*[30.0] * 20, reset=True)
            tasks = [
                scene.wait(f"c{number % 10}", client=f"c{number % 10}", for_s=60, slot=scene.quota.later())
                for number in range(500)
            ]
            outcomes = await asyncio.gather(*tasks)
            assert Counter(scene.quota.names) == {f"c{number}": 2 for number in range(10)}, "fair among the clients"
            assert all(30 <= at_s < 31.1 for _, at_s in scene.quota.taken)
            assert Counter(outcomes)[Unserved.EXPIRED] == 480
            tries = [at_s for at_s in scene.quota.tried_at_s if 29 < at_s < 32]
            assert len(tries) == 21, "one more than there were slots"
            scene.assert_empty()

        run(main())

    @pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
    def test_five_hundred_on_a_real_loop(self, kind: str) -> None:
        async def main() -> None:
            scene = Scene(*[0.02] * 20, *[0.04 + number / 2500 for number in range(480)])
            scene.clock.moved_s = -scene.clock.monotonic_s()
            outcomes = await asyncio.gather(
                *(scene.wait(str(number), client=f"c{number % 7}", for_s=math.inf) for number in range(500))
            )
            assert sorted(outcomes) == sorted(map(str, range(500))), "each slot was used once, and nobody was refused"
            for client in range(7):
                mine = [int(name) for name in scene.quota.names if int(name) % 7 == client]
                assert mine == sorted(mine), "in order"
            first = Counter(int(name) % 7 for name in scene.quota.names[:70])
            assert set(first.values()) == {10}
            assert len(scene.quota.tried_at_s) < 1100
            scene.assert_empty()

        make_loop = asyncio.new_event_loop if kind == "asyncio" else pytest.importorskip("uvloop").new_event_loop
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())

    def test_who_comes_while_others_wait_does_not_overtake(self) -> None:
        async def main() -> None:
            scene = Scene(5.0, 6.0, 7.0)
            tasks = [scene.wait("first", slot=scene.quota.later())]
            assert not scene.room.crowded("m")
            await passes(1)
            assert scene.room.crowded("m")
            assert not scene.room.crowded("other")
            tasks += [scene.wait("second"), scene.wait("third")]
            await asyncio.gather(*tasks)
            assert scene.quota.names == ["first", "second", "third"]
            assert not scene.room.crowded("m")

        run(main())

    def test_classes_share_by_weight_and_clients_equally(self) -> None:
        async def main() -> None:
            scene = Scene(*[5.0] * 24)
            for number in range(100):
                for priority in Priority:
                    client = "noisy" if number < 90 else "quiet"
                    scene.wait(f"{priority} {client}", priority=priority, client=client, for_s=9)
            await passes(6)
            assert Counter(name.split()[0] for name in scene.quota.names) == {"interactive": 16, "agent": 6, "batch": 2}
            assert Counter(name.split()[1] for name in scene.quota.names) == {"noisy": 12, "quiet": 12}
            await passes(6)
            scene.assert_empty()

        run(main())

    def test_a_full_quota_stops_nobody_who_waits_for_another(self) -> None:
        async def main() -> None:
            scene = Scene(50.0)
            other = Quota(scene.clock, 1.0, 2.0, 3.0)
            full = scene.wait("full", group="a", slot=scene.quota.later())
            names = [scene.wait(name, group="b", quota=other) for name in "xyz"]
            assert await asyncio.gather(*names) == ["x", "y", "z"]
            assert 3.0 <= scene.clock.monotonic_s() < 3.02
            assert await full == "full"

        run(main())

    def test_groups_that_want_the_same_slots_take_turns(self) -> None:
        async def main() -> None:
            scene = Scene(*range(1, 31))
            for number in range(90):
                scene.wait(f"g{number % 3}", group=f"g{number % 3}", client=str(number), for_s=35)
            await passes(31)
            assert Counter(scene.quota.names) == {"g0": 10, "g1": 10, "g2": 10}

        run(main())

    def test_a_smaller_request_that_comes_first_looks_for_itself(self) -> None:
        async def main() -> None:
            scene = Scene(50.0)
            small = Quota(scene.clock, 0.0)
            large = scene.wait("large", priority=Priority.BATCH, slot=scene.quota.later())
            await passes(1)
            assert await scene.wait("small", quota=small) == "small"
            assert scene.clock.monotonic_s() < 1.1
            assert await large == "large"

        run(main())

    def test_a_slot_that_a_newcomer_knows_of_is_tried(self) -> None:
        async def main() -> None:
            scene = Scene(50.0)
            first = scene.wait("first", slot=scene.quota.later())
            await passes(1)
            scene.quota.free_at_s = deque([2.0, 3.0])
            second = scene.wait("second", slot=scene.quota.later())
            assert [await first, await second] == ["first", "second"]
            assert scene.clock.monotonic_s() < 3.1

        run(main())


class TestDeadlines:
    @pytest.mark.parametrize("for_s", [0.5, 3.0, 29.999])
    def test_a_deadline_ends_the_wait_exactly(self, for_s: float) -> None:
        async def main() -> None:
            scene = Scene()
            assert await scene.wait("a", for_s=for_s) is Unserved.EXPIRED
            assert scene.clock.monotonic_s() == pytest.approx(for_s, abs=1e-6)
            scene.assert_empty()

        run(main())

    @pytest.mark.parametrize("for_s", [0.0, -1.0, math.nan, -math.inf])
    def test_a_deadline_that_has_passed_or_is_none_ends_it_at_once(self, for_s: float) -> None:
        async def main() -> None:
            scene = Scene(0.0)
            assert await scene.wait("a", for_s=for_s) is Unserved.EXPIRED
            assert (scene.quota.tried_at_s, scene.clock.monotonic_s()) == ([], 0.0)
            scene.assert_empty()

        run(main())

    def test_without_any_deadline_one_waits_on(self) -> None:
        async def main() -> None:
            scene = Scene(10_000.0)
            assert await scene.wait("a", for_s=math.inf) == "a"

        run(main())

    def test_no_slot_before_the_deadline_is_said_at_once(self) -> None:
        async def main() -> None:
            scene = Scene(60.0)
            long = scene.wait("long", slot=scene.quota.later())
            assert await scene.wait("own try", for_s=50, slot=scene.quota.later()) is Unserved.TOO_LATE
            assert await scene.wait("behind others", for_s=50) is Unserved.TOO_LATE
            assert scene.clock.monotonic_s() == 0.0
            assert scene.room.view().refused == 2
            assert scene.room.next_slot("m") == Later(START_S + 60.0), "which is the time to tell"
            assert scene.room.next_slot("other") is None
            assert await long == "long"

        run(main())

    def test_heads_whose_slot_moved_beyond_their_deadline_make_way(self) -> None:
        async def main() -> None:
            scene = Scene(2.0)
            tasks = [scene.wait(str(number), for_s=20, slot=scene.quota.later()) for number in range(50)]
            patient = scene.wait("patient", for_s=99, slot=scene.quota.later())
            await passes(0)
            scene.quota.free_at_s = deque([70.0])
            assert set(await asyncio.gather(*tasks)) == {Unserved.TOO_LATE}
            assert scene.clock.monotonic_s() < 2.1
            assert scene.room.view().expired == 50
            assert await patient == "patient"

        run(main())

    def test_a_turn_that_comes_with_the_deadline_is_passed_on(self) -> None:
        async def main() -> None:
            scene = Scene()
            late = scene.wait("late", for_s=3.0)
            other = scene.wait("other")
            await passes(0)

            def at_the_deadline() -> None:
                scene.quota.free_at_s = deque([0.0])
                scene.room.announce()

            asyncio.get_running_loop().call_at(3.0, at_the_deadline)
            assert await late is Unserved.EXPIRED
            assert await other == "other"
            assert scene.clock.monotonic_s() < 3.1

        run(main())


class TestWakeUps:
    def test_an_announcement_lets_only_the_head_try_and_only_once(self) -> None:
        async def main() -> None:
            scene = Scene(50.0)
            tasks = [scene.wait(str(number), slot=scene.quota.later()) for number in range(500)]
            await passes(1)
            for _ in range(10):
                scene.room.announce()
            await passes(0.5)
            assert len(scene.quota.tried_at_s) == 1
            scene.quota.free_at_s.extendleft([1.0, 1.0, 1.0])
            scene.room.announce()
            await passes(0.1)
            assert scene.quota.names == ["0", "1", "2"], "one after the other, until nothing is free"
            assert len(scene.quota.tried_at_s) == 5
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            scene.assert_empty()
            view = scene.room.view()
            assert (view.served, view.left, view.failed) == (3, 497, 0), "one of those who left had tried"

        run(main())

    def test_announcements_without_end_make_no_busy_loop(self) -> None:
        async def main() -> None:
            scene = Scene()
            task = scene.wait("a", for_s=2)
            while not task.done():
                scene.room.announce()
                await passes(0.001)
            tries = scene.quota.tried_at_s
            assert 100 < len(tries) <= 201
            assert all(later_s - earlier_s >= MIN_REST_S - 1e-6 for earlier_s, later_s in pairwise(tries))

        run(main())

    def test_tries_that_take_long_are_made_less_often(self) -> None:
        async def main() -> None:
            scene = Scene()
            tries = []

            scene_loop = asyncio.get_running_loop()
            assert isinstance(scene_loop, VirtualLoop)
            virtual = scene_loop.virtual

            def slow() -> Later:
                tries.append(scene.clock.monotonic_s())
                virtual.passed_s += 0.002
                return Later()

            task = asyncio.create_task(scene.room.wait(Entry(group="m", until_at=10.0), slow))
            while not task.done():
                scene.room.announce()
                await passes(0.001)
            assert len(tries) == pytest.approx(10 / 0.042, rel=0.1), "a 20th of the time"

        run(main())

    @pytest.mark.parametrize("at_s", [0.0, -1.0, math.nan, -math.inf, START_S - 5, START_S, -1e300])
    def test_times_that_make_no_sense_make_no_busy_loop(self, at_s: float) -> None:
        async def main() -> None:
            scene = Scene()
            tries = []

            def hopeless() -> Later:
                tries.append(scene.clock.monotonic_s())
                return Later(at_s)

            outcome = await scene.room.wait(Entry(group="m", until_at=20.0), hopeless, slot=Later(at_s))
            assert outcome is Unserved.EXPIRED
            assert all(later_s - earlier_s >= MIN_REST_S - 1e-9 for earlier_s, later_s in pairwise(tries))
            assert 20 <= len(tries) <= 40, "less and less often, down to once a second"
            scene.assert_empty()

        run(main())

    def test_after_a_success_looking_begins_anew(self) -> None:
        async def main() -> None:
            scene = Scene()
            times = deque([START_S] * 30)

            def first() -> str | Later:
                return Later(times.popleft()) if times else "first"

            tried_at_s = []

            def second() -> Later:
                tried_at_s.append(scene.clock.monotonic_s())
                return Later(START_S)

            one = asyncio.create_task(scene.room.wait(Entry(group="m", until_at=99.0), first))
            two = asyncio.create_task(scene.room.wait(Entry(group="m", until_at=99.0), second))
            assert await one == "first"
            await passes(1)
            assert [at_s - tried_at_s[0] for at_s in tried_at_s[:4]] == pytest.approx([0, 0.02, 0.06, 0.14])
            two.cancel()

        run(main())

    def test_a_slot_that_is_always_a_moment_ahead_makes_no_busy_loop(self) -> None:
        async def main() -> None:
            scene = Scene()
            tries = []

            def teasing() -> Later:
                tries.append(scene.clock.monotonic_s())
                return Later(scene.clock.epoch_s() + 1e-6)

            assert await scene.room.wait(Entry(group="m", until_at=2.0), teasing) is Unserved.EXPIRED
            assert all(later_s - earlier_s >= MIN_REST_S - 1e-9 for earlier_s, later_s in pairwise(tries))

        run(main())

    @pytest.mark.parametrize("at_s", [None, math.inf, START_S + 1e12])
    def test_a_slot_that_is_unknown_or_far_away_is_looked_for_now_and_then(self, at_s: float | None) -> None:
        async def main() -> None:
            scene = Scene()
            tries = []

            def unknown() -> Later:
                tries.append(scene.clock.monotonic_s())
                return Later(None if at_s is None else at_s)

            entry = Entry(group="m", until_at=math.inf if at_s else 100.0)
            task = asyncio.create_task(scene.room.wait(entry, unknown))
            await passes(101)
            if at_s == math.inf:
                assert task.result() is Unserved.TOO_LATE
                return
            assert tries == pytest.approx([RELOOK_S * number for number in range(7)], abs=0.1)
            task.cancel()

        run(main())

    def test_wall_time_that_is_set_is_noticed(self) -> None:
        async def main() -> None:
            scene = Scene(3600.0)
            task = scene.wait("a", for_s=4000, slot=scene.quota.later())
            await passes(1)
            scene.clock.moved_s = 3600.0
            assert await task == "a"
            assert scene.clock.monotonic_s() <= 2 * RELOOK_S

        run(main())


class TestJitter:
    def test_a_release_after_a_reset_is_drawn_once_for_each_group_and_reset(self) -> None:
        async def main() -> None:
            scene = Scene(*[40.0] * 4, *[80.0] * 4, reset=True, settings=WaitingSettings(jitter_s=4.0))
            for group in "xy":
                for _ in range(4):
                    scene.wait(group, group=group, slot=scene.quota.later())
            await passes(99)
            released = [(name, round(at_s, 1)) for name, at_s in scene.quota.taken]
            assert released == [("x", 40.5)] * 4 + [("y", 81.5)] * 4
            assert next(scene.draws) == 4, "x for the first reset, y for both"

        run(main())

    @pytest.mark.parametrize("reset_s", [45.0, 57_600.0])
    def test_neither_a_look_nor_an_announcement_brings_the_release_forward(self, reset_s: float) -> None:
        async def main() -> None:
            scene = Scene(*[reset_s] * 3, reset=True, settings=WaitingSettings(jitter_s=8.0))
            tasks = [scene.wait(str(number), for_s=reset_s + 9, slot=scene.quota.later()) for number in range(3)]
            await passes(reset_s)
            while scene.room.view().waiting:
                scene.room.announce()
                await passes(0.1)
            assert [at_s for _, at_s in scene.quota.taken] == pytest.approx([reset_s + 1.0] * 3, abs=0.1)
            assert [await task for task in tasks] == ["0", "1", "2"]

        run(main())

    def test_a_slot_that_is_no_reset_is_used_at_once(self) -> None:
        async def main() -> None:
            scene = Scene(40.0, settings=WaitingSettings(jitter_s=4.0))
            await scene.wait("a", slot=scene.quota.later())
            assert scene.clock.monotonic_s() < 40.01

        run(main())


class TestBounds:
    def test_the_number_is_bounded(self) -> None:
        async def main() -> None:
            scene = Scene(settings=WaitingSettings(max_waiting=3))
            tasks = [scene.wait(str(number), client=str(number), for_s=5) for number in range(3)]
            await passes(0)
            assert await scene.wait("4", client="4") is Unserved.ROOM_FULL
            assert scene.room.view().refused == 1
            tasks[0].cancel()
            await passes(0)
            assert scene.room.view().waiting == 2
            assert await scene.wait("5", client="5", for_s=1) is Unserved.EXPIRED, "a place was free again"

        run(main())

    def test_the_bytes_are_bounded(self) -> None:
        async def main() -> None:
            scene = Scene(settings=WaitingSettings(max_bytes=100))
            first = scene.wait("a", client="a", size_bytes=60, for_s=2)
            await passes(0)
            assert await scene.wait("b", client="b", size_bytes=41) is Unserved.BYTES_FULL
            last = scene.wait("c", client="c", size_bytes=40, for_s=2)
            await passes(0)
            assert scene.room.view().bytes == 100
            await asyncio.gather(first, last)
            scene.assert_empty()

        run(main())

    def test_one_client_alone_cannot_fill_it(self) -> None:
        async def main() -> None:
            scene = Scene(settings=WaitingSettings(max_waiting=100))
            noisy = [scene.wait("noisy", client="noisy", for_s=5) for _ in range(200)]
            await passes(0)
            assert scene.room.view().waiting == 81
            quiet = scene.wait("quiet", client="quiet", for_s=5)
            await passes(0)
            assert scene.room.view().waiting == 82
            assert await quiet is Unserved.EXPIRED
            outcomes = Counter(await asyncio.gather(*noisy))
            assert outcomes == {Unserved.EXPIRED: 81, Unserved.ROOM_FULL: 119}
            scene.assert_empty()

        run(main())


class TestKeepAlive:
    def test_it_is_called_every_so_often_until_the_turn_comes(self) -> None:
        async def main() -> None:
            scene = Scene(35.0)
            called = []

            async def on_idle() -> None:
                called.append(scene.clock.monotonic_s())
                await passes(1.0)

            assert await scene.wait("a", slot=scene.quota.later(), on_idle=on_idle) == "a"
            await passes(60)
            assert called == pytest.approx([10.0, 21.0, 32.0])

        run(main())

    def test_one_who_is_served_soon_hears_nothing(self) -> None:
        async def main() -> None:
            scene = Scene(9.0)

            async def on_idle() -> None:
                raise AssertionError

            assert await scene.wait("a", slot=scene.quota.later(), on_idle=on_idle) == "a"

        run(main())

    @pytest.mark.parametrize("pause_s", [None, 0.0, 3.0])
    def test_a_caller_who_does_not_take_it_has_gone(self, pause_s: float | None) -> None:
        async def main() -> None:
            scene = Scene(50.0)

            async def on_idle() -> None:
                if pause_s is not None:
                    await passes(pause_s)
                raise ConnectionResetError

            gone = scene.wait("gone", slot=scene.quota.later(), on_idle=on_idle)
            other = scene.wait("other")
            with pytest.raises(ConnectionResetError):
                await gone
            assert scene.clock.monotonic_s() == pytest.approx(10.0 + (pause_s or 0.0))
            assert (scene.room.view().waiting, scene.room.view().left) == (1, 1)
            assert await other == "other"

        run(main())

    def test_a_caller_who_is_slow_to_take_it_holds_up_nobody(self) -> None:
        async def main() -> None:
            scene = Scene(20.0, 20.0)
            ended = []

            async def on_idle() -> None:
                try:
                    await passes(3600)
                finally:
                    ended.append(scene.clock.monotonic_s())

            slow = scene.wait("slow", slot=scene.quota.later(), on_idle=on_idle)
            other = scene.wait("other")
            assert [await slow, await other] == ["slow", "other"]
            assert scene.clock.monotonic_s() < 20.1
            assert len(ended) == 1, "its call was over before its turn was used"

        run(main())

    def test_a_call_that_will_not_end_is_left_behind(self) -> None:
        async def main() -> None:
            scene = Scene(20.0)

            async def on_idle() -> None:
                for _ in range(2):
                    with suppress(asyncio.CancelledError):
                        await passes(30)

            assert await scene.wait("a", slot=scene.quota.later(), on_idle=on_idle) == "a"
            assert scene.clock.monotonic_s() < 21.1
            await passes(60)

        run(main())

    def test_a_caller_found_gone_when_its_turn_comes_passes_it_on(self) -> None:
        async def main() -> None:
            scene = Scene(20.0)

            async def on_idle() -> None:
                try:
                    await passes(3600)
                except asyncio.CancelledError:
                    raise ConnectionResetError from None

            gone = scene.wait("gone", slot=scene.quota.later(), on_idle=on_idle)
            other = scene.wait("other")
            with pytest.raises(ConnectionResetError):
                await gone
            assert await other == "other"
            assert scene.clock.monotonic_s() < 20.1

        run(main())

    def test_a_call_under_way_ends_before_the_deadline_is_told(self) -> None:
        async def main() -> None:
            scene = Scene()
            ended = []

            async def on_idle() -> None:
                try:
                    await passes(3600)
                finally:
                    await passes(0.01)
                    ended.append(scene.clock.monotonic_s())

            assert await scene.wait("a", for_s=12, on_idle=on_idle) is Unserved.EXPIRED
            assert ended == pytest.approx([12.01])

        run(main())

    def test_who_leaves_takes_the_call_along_and_its_failure_is_no_news(self) -> None:
        async def main() -> None:
            scene = Scene()
            news: list[dict[str, Any]] = []
            ended = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: news.append(context))

            async def on_idle() -> None:
                try:
                    await passes(3600)
                finally:
                    ended.append(scene.clock.monotonic_s())
                    raise ConnectionResetError

            task = scene.wait("a", on_idle=on_idle)
            await passes(12)
            task.cancel()
            await passes(1)
            assert ended == [12.0]
            del task
            gc.collect()
            assert news == []
            scene.assert_empty()

        run(main())


class TestLeaving:
    def test_who_leaves_as_the_chosen_head_passes_the_turn_on(self) -> None:
        async def main() -> None:
            scene = Scene(1.0)
            first = scene.wait("first", slot=Later(START_S + 50))
            second = scene.wait("second")
            await passes(2)
            scene.room.announce()
            first.cancel()
            assert await second == "second"
            assert scene.clock.monotonic_s() < 2.1
            assert first.cancelled()
            scene.assert_empty()

        run(main())

    def test_when_the_head_leaves_the_next_one_looks_for_itself(self) -> None:
        async def main() -> None:
            scene = Scene(50.0)
            small = Quota(scene.clock, 0.0)
            large = scene.wait("large", slot=scene.quota.later())
            behind = scene.wait("small", quota=small)
            await passes(1)
            large.cancel()
            assert await behind == "small"
            assert scene.clock.monotonic_s() < 1.1

        run(main())

    def test_a_try_that_finds_waiting_useless_ends_the_wait_and_passes_the_turn_on(self) -> None:
        async def main() -> None:
            scene = Scene(1.0)

            def useless() -> str | Later:
                raise LookupError("no key is left")

            entry = Entry(group="m", until_at=99.0)
            ends = asyncio.create_task(scene.room.wait(entry, useless, slot=scene.quota.later()))
            other = scene.wait("other")
            with pytest.raises(LookupError, match="no key is left"):
                await ends
            assert await other == "other"
            assert (scene.room.view().failed, scene.room.view().left) == (1, 0)
            scene.assert_empty()

        run(main())

    def test_an_unsound_weight_takes_no_place(self) -> None:
        async def main() -> None:
            scene = Scene()
            entry = Entry(group="m", until_at=9.0, weight=0.0)
            with pytest.raises(ValueError, match="weight"):
                await scene.room.wait(entry, Later)
            scene.assert_empty()
            assert not scene.room.crowded("m")

        run(main())

    @pytest.mark.parametrize("who", range(4))
    def test_cancelled_at_any_step_nothing_is_held_and_nobody_is_stuck(self, who: int) -> None:
        for step in count():
            if run(_cancel_at(who, step)):
                break
        assert step > 20, "there were steps to be cancelled at"


async def _cancel_at(who: int, step: int) -> bool:
    """Four wait, with all that may happen to them; cancel one at a step of the loop. Whether all had ended by then."""
    scene = Scene(11.0, 11.0, 13.0, settings=WaitingSettings(idle_s=5.0))
    scene_loop = asyncio.get_running_loop()

    async def on_idle() -> None:
        await passes(0)
        await passes(0.5 if scene.clock.monotonic_s() < 8 else 3600)

    tasks = [
        scene.wait("0", slot=scene.quota.later(), on_idle=on_idle),
        scene.wait("1", on_idle=on_idle, client="two"),
        scene.wait("2", on_idle=on_idle),
        scene.wait("3", for_s=12.0, on_idle=on_idle),
    ]
    scene_loop.call_at(6.0, scene.room.announce)
    for _ in range(step):
        if all(task.done() for task in tasks):
            break
        await asyncio.sleep(0)
        if scene_loop.time() == 0 or _quiet(scene_loop):
            await _next_event(scene_loop)
    over = all(task.done() for task in tasks)
    tasks[who].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert scene.clock.monotonic_s() <= 13.1, "nobody waited longer than without"
    served = [outcome for outcome in outcomes if isinstance(outcome, str) and not isinstance(outcome, Unserved)]
    assert sorted(served) == sorted(scene.quota.names), "whoever took a slot has it"
    assert len(served) >= 2
    scene.assert_empty()
    return over


def _quiet(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether nothing is to be done before the next timer, but for the one who asks."""
    ready: deque[object] = vars(loop)["_ready"]
    return not ready


async def _next_event(loop: asyncio.AbstractEventLoop) -> None:
    """Let time pass until the next timer."""
    timers: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]
    live = [timer.when() for timer in timers if not timer.cancelled()]
    if live:
        await asyncio.sleep(max(0.0, min(live) - loop.time()))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_whatever_order_the_room_is_empty_in_the_end(seed: int) -> None:
    async def main() -> None:
        dice = random.Random(seed)
        slots = sorted(dice.uniform(0, 60) for _ in range(60))
        scene = Scene(*slots, settings=WaitingSettings(max_waiting=40, max_bytes=2000, idle_s=3.0))

        async def on_idle() -> None:
            await passes(dice.choice([0.0, 0.1, 20.0]))
            if dice.random() < 0.05:
                raise ConnectionResetError

        tasks = []
        for number in range(150):
            await passes(dice.expovariate(4.0))
            tasks.append(
                scene.wait(
                    str(number),
                    for_s=dice.choice([0.5, 5.0, 200.0]),
                    slot=scene.quota.later() if dice.random() < 0.5 else None,
                    on_idle=on_idle if dice.random() < 0.5 else None,
                    group=dice.choice("xyz"),
                    client=dice.choice("abcd"),
                    priority=dice.choice(list(Priority)),
                    size_bytes=dice.randrange(100),
                )
            )
            if dice.random() < 0.2:
                dice.choice(tasks).cancel()
            if dice.random() < 0.3:
                scene.room.announce()
            view = scene.room.view()
            assert view.waiting <= 40
            assert view.bytes <= 2000
            assert sum(view.by_priority.values()) == view.waiting
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        served = [outcome for outcome in outcomes if isinstance(outcome, str) and not isinstance(outcome, Unserved)]
        assert sorted(served) == sorted(scene.quota.names)
        scene.assert_empty()
        assert scene.room.view().served == len(served) > 10

    run(main())


def test_view_and_repr_say_how_it_stands() -> None:
    async def main() -> None:
        scene = Scene()
        tasks = [scene.wait("a", size_bytes=7)]
        await passes(2)
        tasks.append(scene.wait("b", size_bytes=5, priority=Priority.BATCH, group="other"))
        await passes(1)
        view = scene.room.view()
        assert (view.waiting, view.bytes, view.groups, view.entered) == (2, 12, 2, 2)
        assert view.by_priority == {Priority.INTERACTIVE: 1, Priority.AGENT: 0, Priority.BATCH: 1}
        assert view.oldest_s == pytest.approx(3.0)
        assert repr(scene.room) == "<WaitingRoom 2 waiting in 2 groups, 12 bytes>"
        for task in tasks:
            task.cancel()

    run(main())


def drops_of(*rows: tuple[DropReason, float | None]) -> Iterator[Dropped]:
    for reason, until_s in rows:
        kind = FailureKind.QUOTA if reason is DropReason.EXHAUSTED else FailureKind.RATE
        yield Dropped(reason, "because", until_s, kind)


class TestEarliestSlot:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([], None),
            ([(DropReason.DEAD, math.inf)], None),
            ([(DropReason.NO_CAPABILITY, None), (DropReason.FAILED, 105.0)], None),
            ([(DropReason.LIMITED, None)], None),
            ([(DropReason.EXHAUSTED, math.inf)], None),
            ([(DropReason.LIMITED, math.nan)], None),
            ([(DropReason.CIRCUIT_OPEN, 105.0)], None),
            ([(DropReason.LIMITED, 130.0), (DropReason.RESTING, 120.0)], Later(120.0)),
            ([(DropReason.LIMITED, 130.0), (DropReason.CIRCUIT_OPEN, 105.0)], Later(105.0)),
            ([(DropReason.DEAD, math.inf), (DropReason.LIMITED, 130.0)], Later(130.0)),
            ([(DropReason.UNPROVEN, None), (DropReason.LIMITED, 130.0)], Later(101.0)),
            ([(DropReason.EXHAUSTED, 120.0), (DropReason.LIMITED, 130.0)], Later(120.0, reset=True)),
            ([(DropReason.EXHAUSTED, 140.0), (DropReason.LIMITED, 130.0)], Later(130.0)),
            ([(DropReason.LIMITED, -5.0)], Later(-5.0)),
        ],
    )
    def test_table(self, rows: list[tuple[DropReason, float | None]], expected: Later | None) -> None:
        assert earliest_slot(drops_of(*rows), 100.0) == expected


@pytest.mark.parametrize(
    ("at_s", "misses", "expected"),
    [
        (None, 0, RELOOK_S),
        (math.inf, 0, RELOOK_S),
        (1e300, 5, RELOOK_S),
        (105.0, 5, 5.001),
        (130.0, 5, 30.001),
        (130.1, 5, RELOOK_S),
        (100.0, 0, 0.01),
        (99.0, 3, 0.08),
        (math.nan, 1000, 1.0),
        (-math.inf, 10_000, 1.0),
    ],
)
def test_the_sleep_until_a_slot_has_bounds(at_s: float | None, misses: int, expected: float) -> None:
    assert sleep_s(at_s, 100.0, misses) == pytest.approx(expected)
