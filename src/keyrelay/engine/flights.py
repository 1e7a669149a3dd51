"""One call to a provider, and all who wait for its answer.

A flight belongs to none of its passengers: the call runs in a task of its own, so that whoever asked first may leave
like any other, and only when the last one has left is the call cancelled. Towards the call a flight is the sink of a
stream. It keeps what has come, so that one who joins late gets all of it, and each passenger takes it at a pace of its
own: the provider is read as fast as the fastest of them, and one who falls too far behind is put off.

What a flight holds is bounded. Beyond `most_bytes`, or when all flights together hold too much, it lets go of what its
passengers have taken: from then on nobody can join, and the answer will not be kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from keyrelay.core.conversation import Answer
from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.ports import Sink

WINDOW_BYTES = 64 * 1024
"""How far ahead of the fastest passenger the provider is read."""

LEAST_BYTES = 256 * 1024
"""What a flight may hold at least, however small the answers are that may be kept."""


class Passenger:
    """One who waits for the answer. `taken` counts the pieces and `taken_bytes` the bytes that it has been given.

    While `live`, it has everything, and what comes is written to its sink in that moment.
    """

    __slots__ = ("_waiter", "live", "put_off", "sink", "taken", "taken_bytes")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.taken = 0
        self.taken_bytes = 0
        self.live = False
        self.put_off = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """There is something for it to look at."""
        self.live = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self) -> None:
        """Wait until it is woken."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self.live = False

    def __repr__(self) -> str:
        return f"<Passenger {'live' if self.live else 'behind'}, {self.taken_bytes} bytes taken>"


class Flights:
    """The flights that others may join, by what they ask for, and what all flights hold together."""

    __slots__ = ("_open", "_under_way", "held_bytes", "most_bytes", "most_held_bytes", "stopped")

    def __init__(self, *, most_bytes: int, most_held_bytes: int) -> None:
        self.most_bytes = max(most_bytes, LEAST_BYTES)
        self.most_held_bytes = max(most_held_bytes, LEAST_BYTES)
        self.held_bytes = 0
        self.stopped = False
        self._open: dict[Hashable, Flight] = {}
        self._under_way: set[Flight] = set()

    def find(self, name: Hashable, scope: str) -> "Flight | None":
        """The flight that somebody of this scope may still join."""
        flight = self._open.get(name)
        return flight if flight is not None and flight.scope == scope and flight.joinable else None

    def begin(self, name: Hashable, scope: str, record: RequestRecord, *, shared: bool) -> "Flight":
        """A new flight; with `shared` others may join it."""
        flight = Flight(self, name, scope, record)
        self._under_way.add(flight)
        if shared:
            self._open[name] = flight
        return flight

    def close(self, flight: "Flight") -> None:
        """Nobody can join it any more."""
        if self._open.get(flight.name) is flight:
            del self._open[flight.name]

    def landed(self, flight: "Flight") -> None:
        """Its call is over."""
        self.close(flight)
        self._under_way.discard(flight)

    def forget(self, scope: str | None = None) -> None:
        """What is under way for this scope, None for all, is neither kept nor joined."""
        for flight in self._under_way:
            if scope is None or flight.scope == scope:
                flight.keep = False
                self.close(flight)

    async def stop(self) -> None:
        """Cancel every call, and wait until they are over. Whoever waited for one is not to try again."""
        self.stopped = True
        tasks = [flight.task for flight in self._under_way if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._under_way)

    def __repr__(self) -> str:
        return f"<Flights {len(self)} under way, {len(self._open)} to be joined, {self.held_bytes} bytes held>"


class Flight:
    """One call and its passengers. Implements `ports.Sink` towards the call.

    `record` is that of the call. `head` is set once a stream has begun, `whole` when an answer in one piece is there,
    `answer` when it is known what it says, `error` when the call has failed, `ended` when it is over. `keep` says that
    its answer may be kept, `gone` that some passenger left because its caller had.
    """

    __slots__ = (
        "_dropped",
        "_flights",
        "_passengers",
        "_pieces",
        "_room",
        "answer",
        "complete",
        "ended",
        "error",
        "gone",
        "head",
        "keep",
        "name",
        "record",
        "scope",
        "size",
        "task",
        "whole",
    )

    def __init__(self, flights: Flights, name: Hashable, scope: str, record: RequestRecord) -> None:
        self._flights = flights
        self._passengers: set[Passenger] = set()
        self._pieces: list[bytes] = []
        self._dropped = 0
        self._room: asyncio.Future[None] | None = None
        self.name = name
        self.scope = scope
        self.record = record
        self.size = 0
        self.complete = True
        self.keep = True
        self.gone = False
        self.head: bytes | None = None
        self.whole: tuple[bytes, bytes] | None = None
        self.error: Exception | None = None
        self.answer: Answer | None = None
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    # The passengers' side.

    @property
    def joinable(self) -> bool:
        """Whether one who joins now gets the whole answer."""
        return self.complete and not self.ended

    @property
    def body(self) -> bytes:
        """What has been streamed, all of it while the flight is `complete`."""
        return b"".join(self._pieces)

    def board(self, sink: Sink) -> Passenger:
        """Take another one in, who has to `leave` in the end."""
        passenger = Passenger(sink)
        self._passengers.add(passenger)
        return passenger

    def leave(self, passenger: Passenger) -> None:
        """One is served, or gone. When the last one goes before the call is over, it is cancelled."""
        self._passengers.discard(passenger)
        self.gone = self.gone or passenger.sink.gone
        if self.ended:
            self._let_go()
        elif not self._passengers:
            self._flights.close(self)
            if self.task is not None:
                self.task.cancel()
        else:
            self._make_room()

    async def begun(self, passenger: Passenger) -> None:
        """Wait until a stream has begun, or the call is over."""
        while self.head is None and not self.ended:
            await passenger.news()

    async def deliver(
        self, passenger: Passenger, head: bytes, before_end: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Send the stream to one passenger to its end; `before_end` is done before the last byte goes out.

        Raise what the call raised, and CallerError for a passenger who is too slow.
        """
        sink = passenger.sink
        await sink.start(head)
        while True:
            if passenger.put_off:
                raise _too_slow()
            data = self._next(passenger)
            if self.ended:
                if self.error is not None:
                    raise self.error
                if before_end is not None:
                    await before_end()
                await sink.end(data)
                return
            if data:
                await sink.write(data)
            else:
                passenger.live = True
                await passenger.news()

    def _next(self, passenger: Passenger) -> bytes:
        """All that it has not been given yet."""
        data = b"".join(self._pieces[passenger.taken - self._dropped :])
        passenger.taken = self._dropped + len(self._pieces)
        passenger.taken_bytes = self.size
        self._make_room()
        return data

    # The call's side.

    def tell(self, answer: Answer) -> None:
        """What the answer says, now that it is whole."""
        self.answer = answer

    async def start(self, head: bytes) -> None:
        """The stream begins."""
        self.head = head
        self._wake_all()

    def write_now(self, data: bytes) -> bool:
        """Take a piece, unless all passengers are behind."""
        if self._ahead():
            return False
        self._add(data)
        return True

    async def write(self, data: bytes) -> None:
        """Take a piece; wait until some passenger is not behind."""
        self._add(data)
        while self._ahead():
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    async def end(self, data: bytes) -> None:
        """Take the last piece."""
        self._hold(data)
        self.land()

    def land(self, *, whole: tuple[bytes, bytes] | None = None, error: Exception | None = None) -> None:
        """The call is over: with an answer in one piece, with an error, or with the end of its stream."""
        if self.ended:
            return
        self.whole, self.error, self.ended = whole, error, True
        self._flights.close(self)
        self._wake_all()
        if not self._passengers:
            self._let_go()

    def _ahead(self) -> bool:
        """Whether the call is too far ahead of every passenger."""
        return all(self.size - passenger.taken_bytes > WINDOW_BYTES for passenger in self._passengers)

    def _add(self, data: bytes) -> None:
        self._hold(data)
        taken = self._dropped + len(self._pieces)
        for passenger in self._passengers:
            if passenger.live and passenger.sink.write_now(data):
                passenger.taken, passenger.taken_bytes = taken, self.size
            else:
                passenger.wake()
        if not self.complete:
            self._trim()

    def _hold(self, data: bytes) -> None:
        if not data:
            return
        self._pieces.append(data)
        self.size += len(data)
        flights = self._flights
        flights.held_bytes += len(data)
        if self.size > flights.most_bytes or flights.held_bytes > flights.most_held_bytes:
            self.complete = False
            flights.close(self)

    def _trim(self) -> None:
        """Let go of what everybody has, and of those who are too far behind."""
        for passenger in self._passengers:
            if self.size - passenger.taken_bytes > self._flights.most_bytes:
                passenger.put_off = True
                passenger.wake()
        present = [passenger.taken for passenger in self._passengers if not passenger.put_off]
        needless = min(present, default=self._dropped) - self._dropped
        if needless > 0:
            self._flights.held_bytes -= sum(map(len, self._pieces[:needless]))
            del self._pieces[:needless]
            self._dropped += needless

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake_all(self) -> None:
        for passenger in self._passengers:
            passenger.wake()

    def _let_go(self) -> None:
        """Nobody needs the pieces any more, once the last passenger has left a flight that is over."""
        if not self._passengers:
            self._flights.held_bytes -= sum(map(len, self._pieces))
            self._dropped += len(self._pieces)
            self._pieces.clear()

    def __repr__(self) -> str:
        state = "over" if self.ended else "streaming" if self.head is not None else "under way"
        return f"<Flight {state}, {len(self._passengers)} aboard, {self.size} bytes>"


def _too_slow() -> CallerError:
    return CallerError(
        503,
        "This answer was read too slowly while others had it already; ask again to get all of it.",
        kind="service_unavailable_error",
        code="too_slow",
        headers=(("retry-after", "1"), ("x-should-retry", "true")),
    )
