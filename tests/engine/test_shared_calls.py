"""One call for all who ask for the same at the same time, through the whole engine."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from keyrelay.engine.flights import LEAST_BYTES
from keyrelay.engine.shelf import CacheSettings
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import UpstreamCall
from keyrelay.quota.fairness import Priority
from tests.engine.cached import Asking, Front, PacedStream, answer_of, echo, turn, until
from tests.engine.rig import ListSink, Outcome, delta, error, providers

SLOW = Wishes(deadline_s=30.0)


class Gate:
    """An upstream whose answers wait until a test lets them go."""

    def __init__(self, answer: Callable[[UpstreamCall], Outcome] = lambda call: echo("", call)) -> None:
        self.waiting: list[asyncio.Future[Outcome | None]] = []
        self.cancelled = 0
        self._answer = answer

    async def __call__(self, _: str, call: UpstreamCall) -> Outcome:
        future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future or self._answer(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def open(self, outcome: Outcome | None = None) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(outcome)
        self.waiting.clear()


async def warmed(gate: Gate, settings: CacheSettings | None = None) -> Front:
    """A front whose key has proved itself, so that it serves many at a time."""
    front = Front(gate, settings)
    first = front.start("first", own="no-store")
    await until(lambda: gate.waiting)
    gate.open()
    await first
    front.rows.clear()
    front.rig.upstream.calls.clear()
    return front


async def ended(tasks: "list[asyncio.Task[Asking]]") -> list[Asking]:
    return await asyncio.wait_for(asyncio.gather(*tasks), 5.0)


# Sharing.


@pytest.mark.parametrize("stream", [False, True])
async def test_five_hundred_at_once_make_one_call(stream: bool) -> None:
    gate = Gate()
    front = Front(gate)
    tasks = [front.start(stream=stream) for _ in range(500)]
    await until(lambda: gate.waiting)
    await turn()
    gate.open()
    askings = await ended(tasks)
    assert front.calls == 1
    assert {asking.text for asking in askings} == {"you said hi"}
    assert Counter(asking.cache for asking in askings) == {"miss": 1, "shared": 499}
    assert len({asking.fields["x-request-id"] for asking in askings}) == 500
    assert Counter(row.cached for row in front.rows) == {"": 1, "shared": 499}
    assert len({row.id for row in front.rows}) == 500
    (made,) = [row for row in front.rows if not row.cached]
    for row in front.rows:
        assert (row.provider, row.key, row.model, row.usage, row.status, row.category) == (
            "acme",
            "k00",
            "m",
            made.usage,
            200,
            "",
        )
        assert (row.cost_usd, len(row.attempts)) == ((0.0, 0) if row.cached else (None, 1))
    assert (front.counts.misses, front.counts.shared, front.counts.stored) == (1, 499, 1)
    assert front.counts.saved.output_tokens == 499 * 2
    assert repr(front.answers.flights) == "<Flights 0 under way, 0 to be joined, 0 bytes held>"


async def test_the_time_a_follower_waits_is_the_providers_not_ours() -> None:
    gate = Gate()
    front = Front(gate)
    tasks = [front.start(), front.start()]
    await until(lambda: gate.waiting)
    await asyncio.sleep(0.05)
    gate.open()
    await ended(tasks)
    for row in front.rows:
        assert row.upstream_ms >= 45
        assert row.ms - row.upstream_ms < 40


async def test_different_requests_and_clients_share_nothing() -> None:
    gate = Gate()
    front = await warmed(gate)
    tasks = [front.start(prompt, client=client) for prompt in "xy" for client in "ab" for _ in range(3)]
    await until(lambda: len(gate.waiting) == 4)
    gate.open()
    askings = await ended(tasks)
    assert front.calls == 4
    assert [asking.text for asking in askings] == ["you said x"] * 6 + ["you said y"] * 6


@pytest.mark.parametrize(
    "more",
    [
        {"own": "refresh"},
        {"own": "no-store"},
        {"wishes": Wishes(priority=Priority.BATCH)},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"functions": [{"name": "f"}]},
    ],
)
async def test_some_make_a_call_of_their_own(more: dict[str, Any]) -> None:
    gate = Gate()
    front = await warmed(gate)
    tasks = [front.start(), front.start(**more), front.start()]
    await until(lambda: len(gate.waiting) == 2)
    await turn()
    gate.open()
    await ended(tasks)
    assert front.calls == 2


async def test_those_of_one_priority_share() -> None:
    gate = Gate()
    front = Front(gate)
    tasks = [front.start(wishes=Wishes(priority=Priority.BATCH)) for _ in range(5)]
    await until(lambda: gate.waiting)
    gate.open()
    await ended(tasks)
    assert front.calls == 1


async def test_with_tools_calls_are_shared_only_where_such_answers_are_kept() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for kept, calls in ((False, 3), (True, 1)):
        gate = Gate()
        front = await warmed(gate, CacheSettings(mode="all", tools=kept))
        tasks = [front.start(tools=tools) for _ in range(3)]
        await turn(30)
        gate.open()
        await ended(tasks)
        assert front.calls == calls


async def test_who_names_a_deadline_follows_but_does_not_lead() -> None:
    gate = Gate()
    front = await warmed(gate)
    tasks = [front.start(wishes=SLOW), front.start(wishes=SLOW), front.start()]
    await until(lambda: len(gate.waiting) == 3)
    tasks.append(front.start(wishes=SLOW))
    await turn()
    assert len(gate.waiting) == 3
    gate.open()
    assert (await ended(tasks))[3].cache == "shared"


# Streams.


async def test_who_joins_late_gets_all_of_a_stream() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream)
    tasks = [front.start(stream=True)]
    for letter in "abcd":
        stream.send(delta(letter))
        await turn()
        tasks.append(front.start(stream=True))
        await turn()
    stream.finish()
    askings = await ended(tasks)
    assert {asking.text for asking in askings} == {"abcd"}
    assert len({asking.sink.text for asking in askings}) == 1
    assert front.calls == 1
    assert (await front.ask(stream=True)).cache == "hit"


class SlowSink(ListSink):
    """Takes nothing before it may."""

    def __init__(self) -> None:
        super().__init__(keeps_up=False)
        self.may = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.may.wait()
        await super().write(data)


async def test_a_slow_follower_holds_up_neither_the_call_nor_the_leader() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream)
    slow = SlowSink()
    fast = front.start(stream=True)
    stream.send(delta("x"))
    await turn()
    lagging = front.start(stream=True, sink=slow)
    await turn()
    for _ in range(100):
        stream.send(delta("y" * 1000))
        await turn(2)
    stream.finish()
    assert len((await asyncio.wait_for(fast, 5)).text) == 100_001
    assert not lagging.done()
    slow.may.set()
    assert len((await asyncio.wait_for(lagging, 5)).text) == 100_001


async def test_a_follower_too_far_behind_is_put_off() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream, CacheSettings(mode="all", most_answer_bytes=0))
    slow = SlowSink()
    fast = front.start(stream=True)
    lagging = front.start(stream=True, sink=slow)
    stream.send(delta("x"))
    await turn()
    for _ in range(60):
        stream.send(delta("y" * (LEAST_BYTES // 20)))
        await turn(2)
    slow.may.set()
    asking = await asyncio.wait_for(lagging, 5)
    assert asking.error is not None
    assert (asking.error.code, front.row_of(asking).category) == ("too_slow", "too_slow")
    stream.finish()
    assert (await asyncio.wait_for(fast, 5)).sink.ended


async def test_a_stream_that_breaks_off_breaks_off_for_all_who_had_some_of_it() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream)
    tasks = [front.start(stream=True) for _ in range(3)]
    stream.send(delta("half"))
    await turn()
    stream.break_off()
    askings = await ended(tasks)
    assert all("upstream_incomplete" in asking.sink.text for asking in askings)
    assert {row.category for row in front.rows} == {"network"}
    assert front.counts.stored == 0


async def test_those_who_wait_for_quota_hear_that_they_wait() -> None:
    """A stream that began with comments, because nobody could serve it yet, is shared with them and kept without."""
    stream = PacedStream()
    front = Front(lambda *_: stream)
    tasks = [front.start(stream=True) for _ in range(2)]
    await until(lambda: front.calls)
    flight = front.answers.flights.find(*_only(front))
    assert flight is not None
    await flight.start(b"x-request-id: req_1\r\ncontent-type: text/event-stream\r\n")
    assert flight.write_now(b": waiting for quota\n\n")
    stream.send(delta("x"))
    stream.finish()
    askings = await ended(tasks)
    assert all(asking.sink.text.startswith(": waiting for quota\n\n") for asking in askings)
    kept = await front.ask(stream=True)
    assert kept.cache == "hit"
    assert "waiting" not in kept.sink.text


def _only(front: Front) -> tuple[Any, str]:
    ((name, flight),) = front.answers.flights._open.items()
    return name, flight.scope


# Leaving.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_leader_who_leaves_harms_nobody_and_its_row_is_written_once(stream: bool) -> None:
    gate = Gate()
    front = Front(gate)
    leader = front.start(stream=stream)
    await until(lambda: gate.waiting)
    followers = [front.start(stream=stream) for _ in range(3)]
    await turn()
    leader.cancel()
    await turn()
    assert leader.cancelled()
    assert not front.rows, "the call that it caused goes on"
    gate.open()
    askings = await ended(followers)
    assert {asking.text for asking in askings} == {"you said hi"}
    assert front.calls == 1
    assert Counter(row.id for row in front.rows) == {"req_1": 1, "req_2": 1, "req_3": 1, "req_4": 1}
    (row,) = [row for row in front.rows if row.id == "req_1"]
    assert (len(row.attempts), row.cached, row.usage is not None) == (1, "", True)


async def test_a_leader_who_leaves_in_the_middle_of_a_stream_harms_nobody() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream)
    leader = front.start(stream=True)
    stream.send(delta("a"))
    await turn()
    follower = front.start(stream=True)
    await turn()
    leader.cancel()
    stream.send(delta("b"))
    await turn()
    stream.finish()
    assert (await asyncio.wait_for(follower, 5)).text == "ab"
    assert (await front.ask(stream=True)).cache == "hit"


@pytest.mark.parametrize("begun", [False, True])
async def test_when_all_have_left_the_call_is_cancelled_and_one_row_each_is_written(begun: bool) -> None:
    stream = PacedStream()
    gate = Gate(lambda _: stream)
    front = Front(gate)
    tasks = [front.start(stream=True) for _ in range(3)]
    await until(lambda: gate.waiting)
    if begun:
        gate.open()
        stream.send(delta("a"))
        await turn()
    for task in tasks:
        task.cancel()
    await turn()
    assert all(task.cancelled() for task in tasks)
    assert stream.closed if begun else gate.cancelled == 1
    assert sorted((row.id, row.category) for row in front.rows) == [
        ("req_1", "caller_gone"),
        ("req_2", "caller_gone"),
        ("req_3", "caller_gone"),
    ]
    assert len(front.answers.flights) == 0
    assert front.counts.stored == 0
    assert front.rig.upstream.running == 0


async def test_who_comes_after_all_have_left_gets_a_call_of_its_own() -> None:
    gate = Gate()
    front = Front(gate)
    leader = front.start()
    await until(lambda: gate.waiting)
    leader.cancel()
    gate.waiting.clear()
    await until(leader.done)
    late = front.start()
    await until(lambda: gate.waiting)
    gate.open()
    assert (await asyncio.wait_for(late, 5)).cache == "miss"
    assert front.calls == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("who", range(3))
@pytest.mark.parametrize("moment", range(16))
async def test_anybody_may_leave_at_any_moment(moment: int, who: int, stream: bool) -> None:
    answer = PacedStream()
    gate = Gate(lambda _: answer if stream else answer_of("abcd"))
    front = Front(gate)
    tasks = [front.start(stream=stream) for _ in range(3)]

    async def script() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.open()
        for letter in "abcd":
            answer.send(delta(letter))
            await asyncio.sleep(0)
        answer.finish()

    running = asyncio.create_task(script())
    for _ in range(moment):
        await asyncio.sleep(0)
    tasks[who].cancel()
    await running
    for _ in range(3):
        gate.open()
        await turn(20)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Asking):
            assert outcome.text == "abcd"
            assert outcome.error is None
        else:
            assert place == who
    assert len(front.answers.flights) == 0
    assert front.answers.flights.held_bytes == 0
    assert front.rig.upstream.running == 0
    counts = Counter(row.id for row in front.rows)
    assert set(counts.values()) == {1}
    assert len(counts) >= 2, "who left before it had begun has no row"
    assert front.calls <= 2


# Failures.


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_call_fails_one_of_the_others_tries_again(stream: bool) -> None:
    gate = Gate()
    front = Front(gate)
    tasks = [front.start(stream=stream) for _ in range(100)]
    await until(lambda: gate.waiting)
    await turn()
    gate.open(error(400, "not like this"))
    await until(lambda: gate.waiting)
    await turn()
    gate.open()
    askings = await ended(tasks)
    assert front.calls == 2
    assert [asking.error is not None for asking in askings] == [True] + [False] * 99
    assert {asking.text for asking in askings[1:]} == {"you said hi"}
    assert Counter(row.cached for row in front.rows) == {"": 2, "shared": 98}


async def test_when_that_fails_too_all_are_told_each_with_its_own_request() -> None:
    gate = Gate()
    front = Front(gate)
    tasks = [front.start() for _ in range(100)]
    await until(lambda: gate.waiting)
    await turn()
    for _ in range(2):
        gate.open(error(400, "not like this"))
        await turn(30)
    askings = await ended(tasks)
    assert front.calls == 2
    assert {asking.error.status for asking in askings if asking.error} == {400}
    ids = [(asking.error.detail or {})["request_id"] for asking in askings if asking.error]
    assert ids == [asking.record.id for asking in askings]
    assert Counter(row.id for row in front.rows) == {f"req_{n}": 1 for n in range(1, 101)}


async def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    gate = Gate()
    front = Front(gate)
    leader = front.start()
    await until(lambda: gate.waiting)
    asking = await asyncio.wait_for(front.ask(wishes=Wishes(deadline_s=0.05)), 1.0)
    assert asking.error is not None
    assert (asking.error.status, asking.error.code) == (504, "deadline_exceeded")
    assert front.row_of(asking).category == "deadline_exceeded"
    gate.open()
    assert (await leader).cache == "miss"


async def test_a_fault_of_our_own_is_told_to_the_leader_and_tried_once_by_the_others() -> None:
    faults = [RuntimeError("bug")]

    def script(_: UpstreamCall) -> Outcome:
        if faults:
            raise faults.pop()
        return answer_of()

    gate = Gate(script)
    front = Front(gate)
    leader, follower = front.start(), front.start()
    await until(lambda: gate.waiting)
    await turn()
    gate.open()
    with pytest.raises(RuntimeError, match="bug"):
        await leader
    await until(lambda: gate.waiting)
    gate.open()
    assert (await follower).text == "hello"
    (row,) = [row for row in front.rows if row.id == "req_1"]
    assert (row.status, row.category) == (500, "internal")


async def test_a_fault_of_our_own_twice_is_told_to_all() -> None:
    def script(_: UpstreamCall) -> Outcome:
        raise RuntimeError("bug")

    gate = Gate(script)
    front = Front(gate)
    tasks = [front.start() for _ in range(3)]
    for _ in range(2):
        await until(lambda: gate.waiting)
        await turn()
        gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["bug"] * 3


# The end.


class Present(ListSink):
    """A caller who is still there."""

    gone = False


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_gateway_stops_calls_are_cut_off_and_written_down(stream: bool) -> None:
    paced = PacedStream()
    gate = Gate(lambda call: paced if stream else echo("", call))
    front = Front(gate)
    tasks = [front.start(stream=stream, sink=Present()) for _ in range(2)]
    await until(lambda: gate.waiting)
    if stream:
        gate.open()
        paced.send(delta("a"))
        await turn()
    await front.answers.flights.stop()
    askings = await ended(tasks)
    assert {asking.error.code for asking in askings if asking.error} == {"shutting_down"}
    (made,) = [row for row in front.rows if row.id == "req_1"]
    assert made.category == "shutdown"
    assert made.status == (200 if stream else 503)
    assert len(front.rows) == 2


class SyncedJournal:
    """A journal that says when it was asked to wait for the disk."""

    full = False
    syncs = True

    def __init__(self) -> None:
        self.synced_rows: list[int] = []
        self.front: Front | None = None

    def reserved(self, entry: object) -> None:
        """Nothing to do."""

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        """Nothing to do."""

    async def synced(self) -> None:
        assert self.front is not None
        self.synced_rows.append(len(self.front.rows))


async def test_every_row_is_on_the_disk_before_its_answer_ends() -> None:
    journal = SyncedJournal()
    gate = Gate()
    front = journal.front = Front(gate, journal=journal)
    tasks = [front.start(), front.start()]
    await until(lambda: gate.waiting)
    await turn()
    gate.open()
    await ended(tasks)
    assert (await front.ask()).cache == "hit"
    assert journal.synced_rows == [1, 2, 3]


async def test_canaries_among_cancelled_callers() -> None:
    """Whoever asks gets what was made of its own prompt, however many share, leave and fail around it."""
    front = Front(echo, environ=providers("acme", keys=3))
    seen = 0

    async def one(number: int) -> None:
        nonlocal seen
        client, prompt = f"client{number % 7}", f"canary-{number % 7}-{number % 11}"
        asking = await front.ask(prompt, client=client, stream=bool(number % 2))
        assert asking.text == f"you said {prompt}"
        seen += 1

    tasks = [asyncio.create_task(one(number)) for number in range(700)]
    for step, task in enumerate(tasks):
        if step % 5 == 0:
            await asyncio.sleep(0)
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in outcomes if isinstance(each, Exception)]
    assert seen >= 560
    assert front.calls < 400
    assert front.rig.upstream.running == 0
