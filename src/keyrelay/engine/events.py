"""What happens, told to those who listen just now: live screens, alerts, other workers.

Nothing is made for a topic that nobody wants: ask `wants` before making an event. Each listener has a queue of its own
that is bounded: who does not keep up loses the oldest events and is told how many. The newest events are kept for a
while, so that who comes back with the id of the last one may catch up.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.ports import Clock

MAX_LISTENERS = 100
MAX_QUEUED = 500
"""Events that wait for one listener."""

MAX_KEPT = 1_000
"""Events that are kept for those who come back."""

GRACE_S = 30.0
"""How long events of a topic are still made and kept after its last listener has gone: it may come back."""

WISHED_S = GRACE_S + 5.0
"""How long a wish of another worker holds: as long as its listeners may come back, to whichever worker."""

_SERIALS = 1 << 24


class Topic(StrEnum):
    """What events are about."""

    REQUESTS = "requests"
    ATTEMPTS = "attempts"
    KEYS = "keys"
    HEALTH = "health"
    QUOTA = "quota"
    ALERTS = "alerts"
    CONFIGURATION = "configuration"


EVERYTHING = frozenset(Topic)
OF_CLIENTS = frozenset({Topic.REQUESTS, Topic.ATTEMPTS})
"""Topics of which clients hear what is about themselves."""

RELAYED = frozenset({Topic.REQUESTS, Topic.ATTEMPTS, Topic.QUOTA, Topic.ALERTS})
"""What one worker alone knows of; the rest every worker finds out by itself."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened: `data` is a document in JSON on one line, `client` whose request it is about, if any's.

    Ids sort by time.
    """

    id: str
    topic: Topic
    data: bytes
    client: str = ""


class Listener:
    """One who listens, to everybody's events or (`client`) to those of one client; close it in the end.

    `lost` counts the events that were let go of since they were taken last; None when nobody knows how many.
    `apart` is news of other hosts: why theirs are missing, or "" for that they are there again; None for none.
    """

    __slots__ = ("_closed", "_leave", "_queue", "_waiter", "apart", "client", "lost", "topics")

    def __init__(self, topics: frozenset[Topic], client: str | None, leave: "Callable[[Listener], None]") -> None:
        self.topics = topics
        self.client = client
        self.lost: int | None = 0
        self.apart: str | None = None
        self._queue: deque[Event] = deque()
        self._leave = leave
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def hears(self, event: Event) -> bool:
        """Whether an event is for this one."""
        return event.topic in self.topics and self.client in {None, event.client}

    def put(self, event: Event) -> None:
        """Have an event wait; the oldest one goes when there are too many."""
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            if self.lost is not None:
                self.lost += 1
        self._queue.append(event)
        self._wake()

    async def take(self, timeout_s: float) -> list[Event]:
        """All events that wait; waits at most so long for the first one, and not at all once it is closed."""
        if not self._queue and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._waiter, timeout_s)
            except TimeoutError:
                pass
            finally:
                self._waiter = None
        events = list(self._queue)
        self._queue.clear()
        return events

    def taken_lost(self) -> int | None:
        """How many events were let go of before those that were just taken; counting begins anew."""
        lost, self.lost = self.lost, 0
        return lost

    def taken_apart(self) -> str | None:
        """The news of other hosts, once."""
        apart, self.apart = self.apart, None
        return apart

    def tell_apart(self, problem: str) -> None:
        """Have it told why events of other hosts are missing; "" when they are there again."""
        self.apart = problem
        self._wake()

    def close(self) -> None:
        """Listen no more. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._leave(self)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        whose = "everybody" if self.client is None else self.client
        return f"<Listener to {', '.join(sorted(self.topics))} of {whose}, {len(self._queue)} waiting>"


class Events:
    """Who listens, and what they are told. `tag` tells the ids of one worker from those of the others.

    `relay`, if there is one, gets the events that other workers do not find out by themselves.
    """

    __slots__ = (
        "_apart",
        "_clock",
        "_kept",
        "_last_ms",
        "_listeners",
        "_serial",
        "_tag",
        "_until_at",
        "_wanted",
        "relay",
    )

    def __init__(self, clock: Clock, tag: int = 0) -> None:
        self._clock = clock
        self._tag = f"{tag:04x}"
        self._listeners: list[Listener] = []
        self._wanted: Counter[Topic] = Counter()
        self._until_at: dict[Topic, float] = {}
        self._kept: deque[Event] = deque(maxlen=MAX_KEPT)
        self._last_ms = 0
        self._serial = 0
        self._apart = ""
        self.relay: Callable[[Event], None] | None = None

    def wants(self, topic: Topic) -> bool:
        """Whether anybody here or elsewhere listens to a topic, or did a moment ago."""
        if topic in self._wanted:
            return True
        return topic in self._until_at and self._still_wanted(topic)

    def listened(self) -> frozenset[Topic]:
        """The topics that are listened to in this process."""
        return frozenset(self._wanted)

    def subscribe(self, topics: Iterable[Topic], *, client: str | None = None, after: str | None = None) -> Listener:
        """Begin to listen; `after` is the id of the last event that was heard before.

        Raise CallerError (503) when too many listen.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            message = f"{MAX_LISTENERS} listen already. Close a live screen, or try again later."
            raise CallerError(
                503,
                message,
                kind="service_unavailable_error",
                code="too_many_listeners",
                headers=(("retry-after", "30"),),
            )
        listener = Listener(frozenset(topics), client, self._left)
        if after is not None:
            missed = [event for event in self._kept if event.id > after and listener.hears(event)]
            if not any(event.id == after for event in self._kept) or len(missed) > MAX_QUEUED:
                listener.lost = None
            for event in missed:
                listener.put(event)
        if self._apart:
            listener.tell_apart(self._apart)
        self._listeners.append(listener)
        self._wanted.update(listener.topics)
        return listener

    def publish(self, topic: Topic, data: bytes, *, client: str = "") -> None:
        """Tell of something; `data` is JSON on one line. Neither waits nor raises."""
        event = Event(self._next_id(), topic, data, client)
        self.take(event)
        if self.relay is not None and topic in RELAYED and self.wants(topic):
            self.relay(event)  # also when they are wanted here alone: who listens may come back to another worker

    def take(self, event: Event) -> None:
        """Tell of what happened here or in another worker."""
        self._kept.append(event)
        for listener in self._listeners:
            if listener.hears(event):
                listener.put(event)

    def missed(self) -> None:
        """Some events of other workers have not come; nobody knows how many."""
        for listener in self._listeners:
            if listener.topics & RELAYED:
                listener.lost = None

    def set_apart(self, problem: str) -> None:
        """Why events of other hosts are missing from now on; "" when they are there again."""
        was, self._apart = self._apart, problem
        for listener in self._listeners if was or problem else ():
            listener.tell_apart(problem)
        if was and not problem:
            self.missed()

    def wish(self, topics: Iterable[Topic]) -> None:
        """Another worker wants to hear of these for a while."""
        until_at = self._clock.monotonic_s() + WISHED_S
        for topic in topics:
            self._until_at[topic] = max(until_at, self._until_at.get(topic, 0.0))

    def close(self) -> None:
        """End all listening."""
        for listener in tuple(self._listeners):
            listener.close()

    def _left(self, listener: Listener) -> None:
        self._listeners.remove(listener)
        for topic in listener.topics:
            self._wanted[topic] -= 1
            if not self._wanted[topic]:
                del self._wanted[topic]
                grace_at = self._clock.monotonic_s() + GRACE_S
                self._until_at[topic] = max(grace_at, self._until_at.get(topic, 0.0))

    def _still_wanted(self, topic: Topic) -> bool:
        if self._clock.monotonic_s() < self._until_at[topic]:
            return True
        del self._until_at[topic]
        if not self._wanted and not self._until_at:
            self._kept.clear()
        return False

    def _next_id(self) -> str:
        self._last_ms = max(self._last_ms, int(self._clock.epoch_s() * 1000))
        self._serial = (self._serial + 1) % _SERIALS
        if not self._serial:
            self._last_ms += 1  # so that ids go on sorting by time
        return f"{self._last_ms:012x}{self._serial:06x}{self._tag}"

    def __repr__(self) -> str:
        return f"<Events {len(self._listeners)} listeners, {len(self._kept)} kept>"
