"""The waiting room: where requests wait for quota instead of failing.

Who waits for the same thing (a model name, asked for in the same way) is one group. Only the head of a group, by
`quota.fairness`, tries to choose a candidate: when the earliest slot that its last try named is there, or when an
attempt has ended somewhere and something may be free earlier. When it succeeds the next one is woken at once, and so
on until one fails: N free slots are filled in one go, by N + 1 tries, however many wait.

A try is a synchronous function, called in the task of the one who waits, right before `wait` returns: nothing that
was reserved can be lost by cancelling. What times a try names is not trusted: after one that failed a group rests
for at least MIN_REST_S, and longer if its tries would take more than a 20th of the time.

Groups that want the same slot are woken together, the one that was served longest ago first.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from keyrelay.core.failures import FailureKind
from keyrelay.ports import Clock
from keyrelay.quota.fairness import WEIGHTS, FairQueue, Priority, Ticket, may_join
from keyrelay.routing.drops import PASSING_REASONS, Dropped, DropReason
from keyrelay.routing.health import PRESUMED_GOOD_S

MIN_REST_S = 0.01
"""A group does not try again sooner after a try that failed."""

_LONGEST_REST_S = 0.25
_TRY_SHARE = 20
"""Tries that fail may take one part in so many of the time."""

RELOOK_S = 15.0
"""However far the next slot is said to be, the head looks again after this, or twice this: clocks are set."""

_LONGEST_BACKOFF_S = 1.0
_SLACK_S = 0.001
"""Timers may ring a millisecond early."""

_LEAST_IDLE_S = 0.05
_HUSH_S = 1.0
"""How long a call to `on_idle` that is under way may take to end once it is cancelled."""

OutcomeT = TypeVar("OutcomeT")


class WaitingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds: how many may wait, bytes of the bodies that they hold.

    `wait_s`: how long a request waits at most when it names no deadline. `jitter_s`: a release after a reset comes at
    random within so many seconds. `idle_s`: how often `on_idle` is called. `weights`: how the classes share.
    """

    max_waiting: int = 1000
    max_bytes: int = 256 * 1024 * 1024
    wait_s: float = 60.0
    jitter_s: float = 1.0
    idle_s: float = 10.0
    weights: Mapping[Priority, float] = WEIGHTS


class Later(msgspec.Struct, frozen=True):
    """A try that failed: the earliest slot (epoch), None when unknown; `reset`: then a calendar period ends."""

    at_s: float | None = None
    reset: bool = False


class Unserved(StrEnum):
    """Why a wait ended with nothing."""

    EXPIRED = "expired"  # the deadline came first
    TOO_LATE = "too_late"  # the earliest slot comes after the deadline
    ROOM_FULL = "room_full"  # as many wait as may, or this client holds its share
    BYTES_FULL = "bytes_full"  # the same, of the bytes of bodies


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to wait, for what, and until when (monotonic clock). `group` is whatever is equal for equal wants."""

    group: Hashable
    until_at: float
    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    size_bytes: int = 0
    weight: float = 1.0


class RoomView(msgspec.Struct, frozen=True, kw_only=True):
    """The room at one moment, and what it has counted since it was made.

    `entered` is the sum of `waiting` and of how they ended: `served`, `expired` (at the deadline, or as no slot comes
    before it), `left` (the caller has gone) and `failed` (a try found that waiting is of no use). `refused` never
    entered.
    """

    waiting: int
    bytes: int
    groups: int
    by_priority: dict[Priority, int]
    oldest_s: float
    entered: int
    served: int
    expired: int
    left: int
    failed: int
    refused: int


def earliest_slot(drops: Iterable[Dropped], now_s: float) -> Later | None:
    """When the first of those passed over may be back; None when none of them is merely limited, or none comes back.

    A candidate whose circuit is open is no reason to wait, but may be back before those that are limited. A full
    limit without a time never has room again; other passing reasons without one end with somebody else's attempt.
    """
    best_s, reset, waitable = math.inf, False, False
    for drop in drops:
        passing = drop.reason in PASSING_REASONS
        if not passing and drop.reason is not DropReason.CIRCUIT_OPEN:
            continue
        at_s = drop.until_s
        if at_s is None and passing and drop.reason is not DropReason.LIMITED:
            at_s = now_s + PRESUMED_GOOD_S
        if at_s is None or not math.isfinite(at_s):
            continue
        waitable = waitable or passing
        if at_s < best_s:
            best_s, reset = at_s, drop.kind is FailureKind.QUOTA
    return Later(best_s, reset) if waitable else None


def sleep_s(at_s: float | None, now_s: float, misses: int) -> float:
    """How long to sleep until a slot, whatever its time is; after `misses` tries that failed in a row."""
    if at_s is None:
        return RELOOK_S
    ahead_s = at_s - now_s
    if ahead_s > 2 * RELOOK_S:  # so that no look falls between a reset and its jittered release
        return RELOOK_S
    if ahead_s > 0:
        return ahead_s + _SLACK_S
    return min(_LONGEST_BACKOFF_S, MIN_REST_S * 2.0 ** min(misses, 10))  # it has passed, or is no time at all


class WaitingRoom:
    """All who wait. Everything happens on one event loop."""

    __slots__ = ("_bytes", "_clock", "_counts", "_held", "_random", "_settings", "_waiters", "groups")

    def __init__(self, settings: WaitingSettings, clock: Clock, *, random: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self.groups: dict[Hashable, _Group] = {}
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        self._held: dict[str, _Held] = {}
        self._bytes = 0
        self._counts: Counter[str] = Counter()

    def configure(self, settings: WaitingSettings) -> None:
        """Go on with other settings; who waits already waits as he was let in."""
        self._settings = settings

    def crowded(self, group: Hashable) -> bool:
        """Whether others wait for the same already, so that whoever comes now has to queue behind them."""
        return group in self.groups

    def next_slot(self, group: Hashable) -> Later | None:
        """What the last try of a group has named; None when nobody waits there, or nobody has tried."""
        waiting = self.groups.get(group)
        return None if waiting is None else waiting.slot

    def announce(self) -> None:
        """Something may be free earlier than was thought: an attempt has ended, a setting has changed."""
        for group in self.groups.values():
            self._hurry(group)

    async def wait(
        self,
        entry: Entry,
        attempt: Callable[[], OutcomeT | Later],
        *,
        slot: Later | None = None,
        on_idle: Callable[[], Awaitable[None]] | None = None,
    ) -> OutcomeT | Unserved:
        """Wait until `attempt` succeeds; it is called when it is this one's turn. Unserved: nothing came in time.

        `slot` is what the caller's own try has just named, None when others wait already and it has not tried.
        `on_idle` is called every `idle_s` of waiting, one call at a time; what it raises ends the wait, as what
        `attempt` raises does. It is cancelled when the turn comes.
        """
        refusal = self._refusal(entry, slot)
        if refusal is not None:
            self._counts["refused"] += 1
            return refusal
        waiter = self._enter(entry, slot)
        keep_alive = _KeepAlive(on_idle, self._clock, self._settings.idle_s)
        ending = "left"
        try:
            while True:
                left_s = entry.until_at - self._clock.monotonic_s()
                if not left_s > 0:
                    await keep_alive.hush()
                    ending = "expired"
                    return Unserved.EXPIRED
                if not waiter.turn.done():
                    await keep_alive.sleep(waiter.turn, left_s)
                    continue
                if keep_alive.speaking:
                    await keep_alive.hush()
                    continue
                ending = "failed"
                started_at = self._clock.monotonic_s()
                outcome = attempt()
                if not isinstance(outcome, Later):
                    ending = "served"
                    return outcome
                ending = "left"
                if self._too_late(outcome, entry):
                    ending = "expired"
                    return Unserved.TOO_LATE
                self._rest(waiter, outcome, started_at)
        finally:
            keep_alive.cancel()
            self._counts[ending] += 1
            self._leave(waiter, served=ending == "served")

    def view(self) -> RoomView:
        """The room at this moment."""
        oldest = next(iter(self._waiters), None)
        by_priority = Counter(waiter.entry.priority for waiter in self._waiters)
        counts = self._counts
        return RoomView(
            waiting=len(self._waiters),
            bytes=self._bytes,
            groups=len(self.groups),
            by_priority={priority: by_priority[priority] for priority in Priority},
            oldest_s=0.0 if oldest is None else max(0.0, self._clock.monotonic_s() - oldest.since),
            entered=counts["entered"],
            served=counts["served"],
            expired=counts["expired"],
            left=counts["left"],
            failed=counts["failed"],
            refused=counts["refused"],
        )

    def _refusal(self, entry: Entry, slot: Later | None) -> Unserved | None:
        held = self._held.get(entry.client) or _Held()
        settings = self._settings
        if not may_join(1, held=held.waiting, free=settings.max_waiting - len(self._waiters)):
            return Unserved.ROOM_FULL
        if not may_join(entry.size_bytes, held=held.bytes, free=settings.max_bytes - self._bytes):
            return Unserved.BYTES_FULL
        known = slot or self.next_slot(entry.group)
        return Unserved.TOO_LATE if known is not None and self._too_late(known, entry) else None

    def _too_late(self, slot: Later, entry: Entry) -> bool:
        if slot.at_s is None:
            return False
        return slot.at_s - self._clock.epoch_s() >= entry.until_at - self._clock.monotonic_s()

    def _enter(self, entry: Entry, slot: Later | None) -> "_Waiter":
        loop = asyncio.get_running_loop()
        group = self.groups.get(entry.group)
        if group is None:
            group = _Group(FairQueue(self._settings.weights))
        waiter = _Waiter(entry, group, loop.create_future(), self._clock.monotonic_s())
        waiter.ticket = group.queue.enter(waiter, priority=entry.priority, client=entry.client, weight=entry.weight)
        self.groups[entry.group] = group
        self._waiters[waiter] = None
        self._held.setdefault(entry.client, _Held()).add(1, entry.size_bytes)
        self._bytes += entry.size_bytes
        self._counts["entered"] += 1
        if slot is None:
            if group.queue.head() is waiter.ticket:
                self._hurry(group)
        elif group.trying is None:  # else the head is about to find out
            if group.judge is None:
                self._judge(waiter, slot)
            else:
                self._arm(group, min(group.due_at, self._due_at(group, slot)))
        return waiter

    def _leave(self, waiter: "_Waiter", *, served: bool) -> None:
        """Free a place, and pass on the turn that it had or the answer to when the next one is."""
        entry, group = waiter.entry, waiter.group
        if served:
            group.queue.served(waiter.ticket)
            group.misses = 0
            self.groups[entry.group] = self.groups.pop(entry.group)  # last of all now
        else:
            group.queue.leave(waiter.ticket)
        del self._waiters[waiter]
        self._bytes -= entry.size_bytes
        held = self._held[entry.client]
        held.add(-1, -entry.size_bytes)
        if not held.waiting:
            del self._held[entry.client]
        if not len(group.queue):
            group.disarm()
            del self.groups[entry.group]
        elif group.trying is waiter:
            group.trying = None
            self._wake(group)
        elif group.judge is waiter:
            self._hurry(group)

    def _rest(self, waiter: "_Waiter", slot: Later, started_at: float) -> None:
        """A try has failed: sleep until the slot that it named."""
        group = waiter.group
        now = self._clock.monotonic_s()
        cost_s = (now - started_at) * _TRY_SHARE * len(self.groups)
        group.rest_until = now + max(MIN_REST_S, min(cost_s, _LONGEST_REST_S))
        group.misses += 1
        group.trying = None
        waiter.turn = asyncio.get_running_loop().create_future()
        self._judge(waiter, slot)

    def _judge(self, waiter: "_Waiter", slot: Later) -> None:
        """Take what one waiter found out as the group's next slot."""
        group = waiter.group
        group.judge = waiter
        group.slot = slot
        self._arm(group, self._due_at(group, slot))

    def _due_at(self, group: "_Group", slot: Later) -> float:
        """When to try for a slot, on the monotonic clock: after a reset at random within `jitter_s`."""
        at_s = slot.at_s
        if slot.reset and at_s is not None:
            if at_s != group.reset_s:
                group.reset_s = at_s
                group.jitter_s = self._random() * self._settings.jitter_s
            at_s += group.jitter_s
        now = self._clock.monotonic_s()
        return max(group.rest_until, now + sleep_s(at_s, self._clock.epoch_s(), group.misses))

    def _hurry(self, group: "_Group") -> None:
        """Let the head try as soon as the group has rested; after a reset not before its release, which is set."""
        released_s = group.reset_s + group.jitter_s
        if group.trying is not None or group.reset_s <= self._clock.epoch_s() < released_s:
            return
        if group.rest_until <= self._clock.monotonic_s():
            self._wake(group)
        elif group.rest_until < group.due_at:
            self._arm(group, group.rest_until)

    def _arm(self, group: "_Group", due_at: float) -> None:
        group.disarm()
        group.due_at = due_at
        delay_s = max(0.0, due_at - self._clock.monotonic_s())
        group.timer = asyncio.get_running_loop().call_later(delay_s, self._ring, group)

    def _ring(self, rung: "_Group") -> None:
        """A group's time has come, and that of those who wait for the same moment."""
        rung.timer = None
        now = max(rung.due_at, self._clock.monotonic_s())
        for group in self.groups.values():
            if group.rest_until <= now and group.due_at <= now + _SLACK_S:
                self._wake(group)

    def _wake(self, group: "_Group") -> None:
        head = group.queue.head()
        if head is not None:
            group.disarm()
            group.trying = head.item
            head.item.turn.set_result(None)

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self._waiters)} waiting in {len(self.groups)} groups, {self._bytes} bytes>"


class _Waiter:
    """One who waits. `turn` is set when it is to try, `since` (monotonic) when it came."""

    __slots__ = ("entry", "group", "since", "ticket", "turn")

    ticket: "Ticket[_Waiter]"

    def __init__(self, entry: Entry, group: "_Group", turn: asyncio.Future[None], since: float) -> None:
        self.entry = entry
        self.group = group
        self.turn = turn
        self.since = since


class _Group:
    """Those who wait for the same.

    `trying` has been woken and has not tried yet; `judge` is whose try named the `slot`. `due_at` and `rest_until` are
    on the monotonic clock; `reset_s` (epoch) is the reset for which `jitter_s` was drawn; `misses` counts tries that
    failed since one succeeded.
    """

    __slots__ = (
        "due_at",
        "jitter_s",
        "judge",
        "misses",
        "queue",
        "reset_s",
        "rest_until",
        "slot",
        "timer",
        "trying",
    )

    def __init__(self, queue: FairQueue[_Waiter]) -> None:
        self.queue = queue
        self.trying: _Waiter | None = None
        self.judge: _Waiter | None = None
        self.slot: Later | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.due_at = math.inf
        self.rest_until = -math.inf
        self.reset_s = math.nan
        self.jitter_s = 0.0
        self.misses = 0

    def disarm(self) -> None:
        """Set no alarm."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.due_at = math.inf


class _Held(msgspec.Struct):
    """What one client holds of the room."""

    waiting: int = 0
    bytes: int = 0

    def add(self, waiting: int, size_bytes: int) -> None:
        """Count more, or less."""
        self.waiting += waiting
        self.bytes += size_bytes


class _KeepAlive:
    """Calls `on_idle` while somebody waits, in a task of its own: a caller slow to take it holds up nobody."""

    __slots__ = ("_call", "_clock", "_every_s", "_next_at", "_task")

    def __init__(self, call: Callable[[], Awaitable[None]] | None, clock: Clock, every_s: float) -> None:
        self._call = call
        self._clock = clock
        self._every_s = max(_LEAST_IDLE_S, every_s)
        self._next_at = clock.monotonic_s() + self._every_s if call is not None else math.inf
        self._task: asyncio.Future[None] | None = None

    @property
    def speaking(self) -> bool:
        """Whether a call is under way, or has ended and not been looked at."""
        return self._task is not None

    async def sleep(self, turn: asyncio.Future[None], longest_s: float) -> None:
        """Until it is the turn, at most so long, and perhaps shorter; raise what a call has raised."""
        now = self._clock.monotonic_s()
        if self._call is not None and self._task is None and now >= self._next_at:
            self._task = asyncio.ensure_future(self._call())
            self._task.add_done_callback(_look_at)
        until = {turn} if self._task is None else {turn, self._task}
        timeout_s = longest_s if self._task is not None else min(longest_s, self._next_at - now)
        await asyncio.wait(until, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._task is not None and self._task.done():
            self._end()

    async def hush(self) -> None:
        """End a call that is under way, before somebody else speaks; raise what it has raised."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_HUSH_S)
            self._end()

    def cancel(self) -> None:
        """End a call that is under way, without waiting for that."""
        if self._task is not None:
            self._task.cancel()

    def _end(self) -> None:
        task, self._task = self._task, None
        self._next_at = self._clock.monotonic_s() + self._every_s
        if task is not None and task.done() and not task.cancelled():
            task.result()


def _look_at(task: asyncio.Future[None]) -> None:
    """Take notice of how a call ended, even if nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
