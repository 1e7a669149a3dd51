import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.engine.flights import LEAST_BYTES, WINDOW_BYTES, Flight, Flights

HEAD = b"x: y\r\n"
SCOPE = "client:app"


class Caller:
    """A sink that takes what it may: everything, or piece by piece when told."""

    def __init__(self, *, keeps_up: bool = True) -> None:
        self.gone = False
        self.head = b""
        self.pieces: list[bytes] = []
        self.ended = False
        self.at_once = 0
        self._keeps_up = keeps_up
        self._may_take = asyncio.Semaphore(0)

    def take(self, pieces: int = 1) -> None:
        for _ in range(pieces):
            self._may_take.release()

    async def start(self, head: bytes) -> None:
        self.head = head

    def write_now(self, data: bytes) -> bool:
        if self._keeps_up:
            self.pieces.append(data)
            self.at_once += 1
        return self._keeps_up

    async def write(self, data: bytes) -> None:
        if not self._keeps_up:
            await self._may_take.acquire()
        self.pieces.append(data)

    async def end(self, data: bytes) -> None:
        self.pieces.append(data)
        self.ended = True

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Journey:
    """A flight whose call a test makes by hand, and its passengers as tasks."""

    def __init__(self, flights: Flights) -> None:
        self.flights = flights
        self.flight = flights.begin("name", SCOPE, RequestRecord("req_1"), shared=True)
        self.flight.task = asyncio.create_task(self._call())
        self.cancelled = False

    async def _call(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.flights.landed(self.flight)

    def ride(self, caller: Caller, before_end: Callable[[], None] | None = None) -> "asyncio.Task[None]":
        return asyncio.create_task(self._ride(caller, before_end))

    async def _ride(self, caller: Caller, before_end: Callable[[], None] | None) -> None:
        passenger = self.flight.board(caller)

        async def noted() -> None:
            if before_end is not None:
                before_end()

        try:
            await self.flight.begun(passenger)
            if self.flight.head is not None:
                await self.flight.deliver(passenger, self.flight.head, noted)
            elif self.flight.error is not None:
                raise self.flight.error
        finally:
            self.flight.leave(passenger)

    async def close(self) -> None:
        assert self.flight.task is not None
        self.flight.task.cancel()
        await asyncio.gather(self.flight.task, return_exceptions=True)


@pytest.fixture
def flights() -> Flights:
    return Flights(most_bytes=LEAST_BYTES, most_held_bytes=4 * LEAST_BYTES)


@pytest.fixture
async def journey(flights: Flights) -> AsyncIterator[Journey]:
    made = Journey(flights)
    yield made
    await made.close()


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


# Who may join.


async def test_a_flight_is_found_by_its_name_and_scope_until_it_is_over(journey: Journey) -> None:
    flights, flight = journey.flights, journey.flight
    assert flights.find("name", SCOPE) is flight
    assert flights.find("other", SCOPE) is None
    assert flights.find("name", "client:other") is None
    flight.land(whole=(HEAD, b"x"))
    assert flights.find("name", SCOPE) is None
    assert repr(flight) == "<Flight over, 0 aboard, 0 bytes>"


async def test_a_flight_that_is_not_shared_is_not_found(flights: Flights) -> None:
    flight = flights.begin("name", SCOPE, RequestRecord("req_1"), shared=False)
    assert flights.find("name", SCOPE) is None
    assert len(flights) == 1
    flights.landed(flight)
    assert repr(flights) == "<Flights 0 under way, 0 to be joined, 0 bytes held>"


async def test_a_second_flight_of_the_name_is_not_closed_by_the_first(flights: Flights) -> None:
    first = flights.begin("name", SCOPE, RequestRecord("req_1"), shared=True)
    second = flights.begin("name", SCOPE, RequestRecord("req_2"), shared=True)
    flights.landed(first)
    assert flights.find("name", SCOPE) is second


async def test_what_is_under_way_can_be_forgotten(flights: Flights) -> None:
    mine = flights.begin("a", "client:a", RequestRecord("req_1"), shared=True)
    other = flights.begin("b", "client:b", RequestRecord("req_2"), shared=True)
    flights.forget("client:a")
    assert (mine.keep, other.keep) == (False, True)
    assert flights.find("a", "client:a") is None
    assert flights.find("b", "client:b") is other
    flights.forget()
    assert not other.keep


# Streams.


async def test_all_get_everything_whenever_they_join(journey: Journey) -> None:
    flight = journey.flight
    first, second, third = Caller(), Caller(), Caller()
    tasks = [journey.ride(first)]
    await turn()
    await flight.start(HEAD)
    assert flight.write_now(b"a")
    tasks.append(journey.ride(second))
    await turn()
    assert flight.write_now(b"b")
    await flight.write(b"c")
    tasks.append(journey.ride(third))
    await turn()
    assert flight.body == b"abc"
    await flight.end(b"d")
    await asyncio.gather(*tasks)
    for caller in (first, second, third):
        assert (caller.head, caller.body, caller.ended) == (HEAD, b"abcd", True)
    assert journey.flights.held_bytes == 0


async def test_pieces_go_out_in_the_moment_they_come(journey: Journey) -> None:
    flight = journey.flight
    callers = [Caller() for _ in range(3)]
    tasks = [journey.ride(caller) for caller in callers]
    await flight.start(HEAD)
    await turn()
    for _ in range(10):
        assert flight.write_now(b"x")
    assert [caller.at_once for caller in callers] == [10, 10, 10]
    await flight.end(b"")
    await asyncio.gather(*tasks)


async def test_the_row_is_written_before_the_last_byte(journey: Journey) -> None:
    caller = Caller()
    seen: list[bool] = []
    task = journey.ride(caller, lambda: seen.append(caller.ended))
    await journey.flight.start(HEAD)
    await journey.flight.end(b"x")
    await task
    assert seen == [False]


async def test_a_slow_one_holds_nobody_up_and_loses_nothing(journey: Journey) -> None:
    flight = journey.flight
    fast, slow = Caller(), Caller(keeps_up=False)
    tasks = [journey.ride(fast), journey.ride(slow)]
    await flight.start(HEAD)
    await turn()
    for _ in range(100):
        assert flight.write_now(b"x" * 1000)
        await turn(1)
    assert len(fast.body) == 100_000
    assert len(slow.body) == 0
    await flight.end(b"!")
    await tasks[0]
    assert not tasks[1].done()
    slow.take(2)
    await tasks[1]
    assert slow.body == fast.body
    assert journey.flights.held_bytes == 0


async def test_the_call_waits_while_everybody_is_behind(journey: Journey) -> None:
    flight = journey.flight
    slow, slower = Caller(keeps_up=False), Caller(keeps_up=False)
    tasks = [journey.ride(slow), journey.ride(slower)]
    await flight.start(HEAD)
    await turn()
    assert flight.write_now(b"a")
    await turn()
    assert flight.write_now(b"x" * WINDOW_BYTES)
    assert flight.write_now(b"y")
    assert not flight.write_now(b"z")
    writing = asyncio.create_task(flight.write(b"z"))
    await turn()
    assert not writing.done()
    slow.take()
    await asyncio.wait_for(writing, 1)
    slow.take(9)
    slower.take(9)
    await flight.end(b"!")
    await asyncio.gather(*tasks)
    assert slow.body == slower.body == b"a" + b"x" * WINDOW_BYTES + b"yz!"


async def test_one_who_leaves_lets_a_waiting_call_go_on(journey: Journey) -> None:
    flight = journey.flight
    fast, slow = Caller(), Caller(keeps_up=False)
    tasks = [journey.ride(slow), journey.ride(fast)]
    await flight.start(HEAD)
    await turn()
    tasks[1].cancel()
    await flight.write(b"x")
    await turn()
    writing = asyncio.create_task(flight.write(b"x" * (WINDOW_BYTES + 1)))
    await turn()
    assert not writing.done()
    late = journey.ride(Caller())
    await asyncio.wait_for(writing, 1)
    slow.take(5)
    await flight.end(b"")
    await asyncio.gather(tasks[0], late)


async def test_a_large_stream_is_let_go_of_as_it_is_taken(journey: Journey) -> None:
    flight, flights = journey.flight, journey.flights
    caller = Caller()
    task = journey.ride(caller)
    await flight.start(HEAD)
    await turn()
    for _ in range(100):
        await flight.write(b"x" * 10_000)
        assert flights.held_bytes <= LEAST_BYTES + 10_000
    assert not flight.complete
    assert not flight.joinable
    assert flights.find("name", SCOPE) is None
    await flight.end(b"!")
    await task
    assert len(caller.body) == 1_000_001
    assert flights.held_bytes == 0


async def test_one_who_falls_too_far_behind_is_put_off(journey: Journey) -> None:
    flight, flights = journey.flight, journey.flights
    fast, slow = Caller(), Caller(keeps_up=False)
    tasks = [journey.ride(fast), journey.ride(slow)]
    await flight.start(HEAD)
    await turn()
    for _ in range(100):
        await flight.write(b"x" * 10_000)
        await turn(1)
        assert flights.held_bytes <= 2 * LEAST_BYTES
    slow.take()
    with pytest.raises(CallerError) as caught:
        await tasks[1]
    assert (caught.value.status, caught.value.code) == (503, "too_slow")
    await flight.end(b"")
    await tasks[0]
    assert len(fast.body) == 1_000_000


async def test_when_all_flights_hold_too_much_they_let_go(flights: Flights) -> None:
    journeys = [Journey(flights) for _ in range(30)]
    callers = [Caller() for _ in journeys]
    tasks = [journey.ride(caller) for journey, caller in zip(journeys, callers, strict=True)]
    for journey in journeys:
        await journey.flight.start(HEAD)
    await turn()
    for _ in range(20):
        for journey in journeys:
            await journey.flight.write(b"x" * 10_000)
    assert flights.held_bytes <= flights.most_held_bytes + 30 * 10_000
    assert not all(journey.flight.complete for journey in journeys)
    for journey in journeys:
        await journey.flight.end(b"")
    await asyncio.gather(*tasks)
    assert {len(caller.body) for caller in callers} == {200_000}
    assert flights.held_bytes == 0
    for journey in journeys:
        await journey.close()


# Leaving.


async def test_the_call_goes_on_until_the_last_one_has_left(journey: Journey) -> None:
    first, second = Caller(), Caller()
    tasks = [journey.ride(first), journey.ride(second)]
    await turn()
    first.gone = True
    tasks[0].cancel()
    await turn()
    assert not journey.cancelled
    assert journey.flight.gone
    tasks[1].cancel()
    await turn()
    assert journey.cancelled
    assert journey.flights.find("name", SCOPE) is None
    assert len(journey.flights) == 0


@pytest.mark.parametrize("leave_at", range(12))
async def test_who_leaves_at_any_moment_harms_nobody(leave_at: int, journey: Journey) -> None:
    flight = journey.flight
    stays, leaves, slow = Caller(), Caller(), Caller(keeps_up=False)
    tasks = {"stays": journey.ride(stays), "leaves": journey.ride(leaves), "slow": journey.ride(slow)}
    slow.take(100)
    left_by_now = 0

    async def moment() -> None:
        nonlocal left_by_now
        if left_by_now == leave_at:
            tasks["leaves"].cancel()
        left_by_now += 1
        await asyncio.sleep(0)

    await moment()
    await flight.start(HEAD)
    for _ in range(4):
        await moment()
        if not flight.write_now(b"x"):
            await flight.write(b"x")
        await moment()
    await moment()
    await flight.end(b"!")
    await moment()
    await moment()
    await asyncio.gather(tasks["stays"], tasks["slow"])
    await asyncio.gather(tasks["leaves"], return_exceptions=True)
    assert stays.body == slow.body == b"xxxx!"
    assert stays.body.startswith(leaves.body)
    assert journey.flights.held_bytes == 0
    assert not journey.cancelled


# Other ends.


async def test_a_whole_answer_is_there_for_all(journey: Journey) -> None:
    tasks = [journey.ride(Caller()) for _ in range(3)]
    await turn()
    journey.flight.land(whole=(HEAD, b"body"))
    journey.flight.land(error=CallerError(500, "too late"))
    await asyncio.gather(*tasks)
    assert journey.flight.whole == (HEAD, b"body")
    assert journey.flight.error is None


@pytest.mark.parametrize("begun", [False, True])
async def test_a_failure_reaches_all(begun: bool, journey: Journey) -> None:
    tasks = [journey.ride(Caller()) for _ in range(3)]
    if begun:
        await journey.flight.start(HEAD)
        await turn()
    journey.flight.land(error=CallerError(502, "no"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3


async def test_stopping_cancels_what_is_under_way(flights: Flights) -> None:
    journeys = [Journey(flights) for _ in range(3)]
    await turn()
    await flights.stop()
    assert [journey.cancelled for journey in journeys] == [True] * 3
    assert len(flights) == 0


async def test_representations(journey: Journey) -> None:
    caller = Caller()
    passenger = journey.flight.board(caller)
    assert repr(journey.flight) == "<Flight under way, 1 aboard, 0 bytes>"
    await journey.flight.start(HEAD)
    assert repr(journey.flight) == "<Flight streaming, 1 aboard, 0 bytes>"
    assert repr(passenger) == "<Passenger behind, 0 bytes taken>"
    passenger.live = True
    assert repr(passenger) == "<Passenger live, 0 bytes taken>"


def test_a_flight_is_a_sink(flights: Flights) -> None:
    assert isinstance(flights.begin("n", SCOPE, RequestRecord("req_1"), shared=False), Flight)
