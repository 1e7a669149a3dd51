"""Brings rows from the journals into the store, in batches and at its own pace.

A row that the store has not confirmed stays in its journal, so whatever the store does (it is down, hangs, is full)
costs nothing but time, and a row may come to it twice: it has to take that. Each journal is a lane with a standing of
its own: one that cannot be read holds up no other.

A row that the store refuses for good while it takes others must not hold up those behind it: halves of the batch are
tried until it stands alone, and it is set aside, for a person. Whether it is the row or the store is told by others
having been taken since it was first refused; while there are fewer of those than of the refused, all of them wait.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from keyrelay.core.errors import StoreError
from keyrelay.core.moments import duration_words
from keyrelay.ports import Clock, UsageStore

_REST_SHARE = 0.25
"""When more waits than one batch, the recorder rests for this share of the time that the last one took."""

_PROBES = 3
"""So many rows of a batch are tried alone, by chance, before it is taken apart: a store that takes none is at fault."""

ResultT = TypeVar("ResultT")


class Backlog(Protocol):
    """A journal that the store does not have yet, wholly. One reader at a time; all on one event loop."""

    @property
    def exhausted(self) -> bool:
        """Everything has been kept, and nothing will be added."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong with it, for a person; empty when nothing."""
        ...

    @property
    def rows_waiting(self) -> int | None:
        """Rows that the store does not have; None while nobody has counted them."""
        ...

    @property
    def bytes_waiting(self) -> int:
        """Bytes of journal that they take."""
        ...

    @property
    def damaged_bytes(self) -> int:
        """Bytes that nothing could be made of."""
        ...

    async def read(self, max_rows: int, max_bytes: int) -> Sequence[bytes]:
        """The rows that come next, the same ones, and perhaps more, until `kept`; none when none wait.

        Raise StoreError when they cannot be read.
        """
        ...

    async def kept(self) -> None:
        """The rows that were read last are where they belong."""
        ...

    async def tend(self) -> None:
        """Do what has been put off: to be called every second or so."""
        ...


class Rejects(Protocol):
    """Where rows go that the store will never take."""

    async def keep(self, line: bytes, reason: str) -> None:
        """Keep a row for good. Raise StoreError when that cannot be done."""
        ...


class RecorderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Pace and bounds.

    Every `interval_s` what waits is written, `max_rows` or `max_bytes` at a time. After a failure the next try comes
    after `backoff_s`, doubled each time up to `max_backoff_s`, of which a random part. A write is given up after
    `write_timeout_s`; from `slow_s` on it counts as trouble.
    """

    interval_s: float = 0.5
    max_rows: int = 4000
    max_bytes: int = 2 * 1024 * 1024
    backoff_s: float = 0.5
    max_backoff_s: float = 5.0
    write_timeout_s: float = 60.0
    slow_s: float = 5.0


_DEFAULTS = RecorderSettings()


class Degradation(msgspec.Struct, frozen=True):
    """Why rows do not get into the store as they should, for a person, and since when (epoch seconds)."""

    why: str
    since_s: float


class RecorderCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and bytes that wait now; since the start: rows written, rows set aside, writes that failed.

    `last_error` is what the store said last, however long ago.
    """

    rows_waiting: int
    bytes_waiting: int
    rows_written: int
    rows_rejected: int
    failures: int
    last_error: str


class _Lane(msgspec.Struct, eq=False):
    """A journal and how it fares. `retry_at` is a reading of the monotonic clock.

    `failures` in a row; `refused`: the last one was for good, and before the first such the store had confirmed
    `confirmed_before` rows. `done` rows are kept; the step numbered `dry_at` was the last to find nothing to read.
    """

    backlog: Backlog
    failures: int = 0
    retry_at: float = -math.inf
    refused: bool = False
    confirmed_before: int = 0
    done: int = 0
    dry_at: int = 0
    damaged_bytes: int = 0

    def goal(self) -> float:
        """How many rows will be done once those that wait now are; infinity while nobody has counted them."""
        waiting = self.backlog.rows_waiting
        return math.inf if waiting is None else self.done + waiting

    def has_come_to(self, goal: float, step: int) -> bool:
        """Whether as many rows are done, or nothing was left at a step after that one."""
        return self.done >= goal or self.dry_at > step or self.backlog.exhausted


class _Refusal(msgspec.Struct, frozen=True):
    """Why something was not done; `lasting`: trying it again is of no use."""

    reason: str
    lasting: bool


class Recorder:
    """Moves rows from `backlogs`, the first one first, to the store; `report` gets sentences for the log."""

    def __init__(
        self,
        store: UsageStore,
        backlogs: Sequence[Backlog],
        rejects: Rejects,
        *,
        clock: Clock,
        random: Callable[[], float],
        report: Callable[[str], None],
        settings: RecorderSettings = _DEFAULTS,
    ) -> None:
        self._store = store
        self._lanes = [_Lane(backlog) for backlog in backlogs]
        self._rejects = rejects
        self._clock = clock
        self._random = random
        self._report = report
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._moved = asyncio.Condition()
        self._flushes = self._step_number = 0
        self._writing_at: float | None = None
        self._store_trouble: Degradation | None = None
        self._journal_trouble: Degradation | None = None
        self._confirmed = self._rows_written = self._rows_rejected = self._failures = 0
        self._last_error = ""

    def start(self) -> None:
        """Begin, in the event loop that is running; once is enough."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="recorder")

    def add(self, backlog: Backlog) -> None:
        """One more journal that somebody has left behind: it comes before the others."""
        self._lanes.insert(0, _Lane(backlog))
        self._hurry.set()

    async def flush(self, timeout_s: float) -> bool:
        """Return once everything written so far is in the store or set aside; False when that takes longer."""
        step = self._step_number
        goals = [(lane, lane.goal()) for lane in self._lanes]
        for lane, _ in goals:
            lane.retry_at = -math.inf
        self._flushes += 1
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: all(lane.has_come_to(goal, step) for lane, goal in goals))
        except TimeoutError:
            return False
        finally:
            self._flushes -= 1
        return True

    async def drain(self, timeout_s: float) -> bool:
        """Write what waits, and stop; False when something is left, which then stays in its journal."""
        if self._task is None:
            return False
        drained = await self.flush(timeout_s)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        return drained

    @property
    def degraded(self) -> Degradation | None:
        """Why rows do not get where they belong, None while they do."""
        if self._store_trouble is not None:
            return self._store_trouble
        if self._writing_at is not None:
            waited_s = self._clock.monotonic_s() - self._writing_at
            if waited_s >= self._settings.slow_s:
                since_s = self._clock.epoch_s() - waited_s
                return Degradation(f"the store has not answered for {duration_words(waited_s)}", since_s)
        return self._journal_trouble

    def counts(self) -> RecorderCounts:
        """How much waits and how much has been done."""
        return RecorderCounts(
            rows_waiting=sum(lane.backlog.rows_waiting or 0 for lane in self._lanes),
            bytes_waiting=sum(lane.backlog.bytes_waiting for lane in self._lanes),
            rows_written=self._rows_written,
            rows_rejected=self._rows_rejected,
            failures=self._failures,
            last_error=self._last_error,
        )

    async def _run(self) -> None:
        while True:
            self._hurry.clear()
            began_at = self._clock.monotonic_s()
            much_waits = False
            for lane in tuple(self._lanes):
                if refusal := await self._tried(lane.backlog.tend()):
                    self._failed(lane, refusal)
                elif lane.retry_at <= self._clock.monotonic_s():
                    much_waits |= await self._visit(lane)
            self._lanes = [lane for lane in self._lanes if not lane.backlog.exhausted]
            self._note_journals()
            async with self._moved:
                self._moved.notify_all()
            if much_waits:
                await asyncio.sleep((self._clock.monotonic_s() - began_at) * _REST_SHARE)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.interval_s):
                        await self._hurry.wait()

    async def _visit(self, lane: _Lane) -> bool:
        """Take one batch from a journal to the store; whether the next one should follow at once."""
        moved = await self._tried(self._step(lane))
        if isinstance(moved, _Refusal):
            self._failed(lane, moved)
            return False
        self._succeeded(lane)
        return moved and (self._flushes > 0 or lane.backlog.bytes_waiting >= self._settings.max_bytes)

    async def _step(self, lane: _Lane) -> bool:
        """Take one batch; False when there was none. Raise StoreError."""
        self._step_number = step = self._step_number + 1
        lines = await lane.backlog.read(self._settings.max_rows, self._settings.max_bytes)
        if not lines:
            lane.dry_at = step
            return False
        if not lane.refused:
            lane.confirmed_before = self._confirmed
        refusal = await self._tried(self._write(lines))
        rejected = 0
        if refusal is not None:
            rejected = await self._sift(lane, lines, refusal)
        lane.done += len(lines)  # in one breath with the rows no longer waiting: `_Lane.goal` adds both
        await lane.backlog.kept()
        self._rows_written += len(lines) - rejected
        return True

    async def _write(self, lines: Sequence[bytes]) -> None:
        self._writing_at = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                await self._store.write(lines)
        except TimeoutError:
            raise StoreError("the store has not answered in time") from None
        finally:
            self._writing_at = None
        self._confirmed += len(lines)

    async def _sift(self, lane: _Lane, lines: Sequence[bytes], refusal: _Refusal) -> int:
        """Write what the store takes of a batch that it has refused, and set aside the rest; return how many those are.

        Raise StoreError when it seems to be the store's fault: then all of the batch is tried again later.
        """
        if not refusal.lasting:
            raise StoreError(refusal.reason)
        await self._probe(lane, lines)
        refused: list[tuple[bytes, str]] = []
        parts = deque([lines])
        while parts:
            part = parts.popleft()
            answer = await self._tried(self._write(part))
            if answer is None:
                continue
            if not answer.lasting:
                raise StoreError(answer.reason)
            if len(part) == 1:
                refused.append((part[0], answer.reason))
            else:
                half = len(part) // 2
                parts.extend((part[:half], part[half:]))
        if len(refused) > self._confirmed - lane.confirmed_before:
            raise StoreError(refused[0][1], lasting=True)
        for line, reason in refused:
            await self._rejects.keep(line, reason)
            self._rows_rejected += 1
            self._report(f"the store does not take a row, which has been set aside: {reason}")
        return len(refused)

    async def _probe(self, lane: _Lane, lines: Sequence[bytes]) -> None:
        """Raise StoreError unless the store takes one row of some that are tried, or has taken others since."""
        answer: _Refusal | None = None
        for place in {int(self._random() * len(lines)) for _ in range(_PROBES)}:
            answer = await self._tried(self._write(lines[place : place + 1]))
            if answer is None:
                return
        if answer is not None and self._confirmed == lane.confirmed_before:
            raise StoreError(answer.reason, lasting=answer.lasting)

    async def _tried(self, work: Awaitable[ResultT]) -> ResultT | _Refusal:
        """What comes of it; whatever an adapter raises is a refusal, so that the recorder goes on."""
        try:
            return await work
        except StoreError as error:
            return _Refusal(str(error), error.lasting)
        except Exception as error:  # noqa: BLE001  an adapter's fault must not end it; its text may hold anything
            return _Refusal(f"the store or the journal failed ({type(error).__name__})", lasting=True)

    def _failed(self, lane: _Lane, refusal: _Refusal) -> None:
        settings = self._settings
        longest_s = min(settings.max_backoff_s, settings.backoff_s * 2.0 ** min(lane.failures, 30))
        lane.retry_at = self._clock.monotonic_s() + longest_s * (1 + self._random()) / 2
        lane.failures += 1
        lane.refused = refusal.lasting
        self._failures += 1
        self._last_error = refusal.reason
        if self._store_trouble is None:
            self._store_trouble = Degradation(refusal.reason, self._clock.epoch_s())
            self._report(f"rows wait in the journal: {refusal.reason}")
        else:
            self._store_trouble = replace(self._store_trouble, why=refusal.reason)

    def _succeeded(self, lane: _Lane) -> None:
        lane.failures, lane.retry_at, lane.refused = 0, -math.inf, False
        trouble = self._store_trouble
        if trouble is not None and not any(other.failures for other in self._lanes):
            self._store_trouble = None
            lasted = duration_words(self._clock.epoch_s() - trouble.since_s)
            self._report(f"rows get into the store again, after {lasted}")

    def _note_journals(self) -> None:
        """What the journals have to say: trouble with the disk, and bytes that were damaged."""
        problem = next((lane.backlog.problem for lane in self._lanes if lane.backlog.problem), "")
        if not problem:
            self._journal_trouble = None
        elif self._journal_trouble is None or self._journal_trouble.why != problem:
            since_s = self._clock.epoch_s() if self._journal_trouble is None else self._journal_trouble.since_s
            self._journal_trouble = Degradation(problem, since_s)
            self._report(problem)
        for lane in self._lanes:
            fresh = lane.backlog.damaged_bytes - lane.damaged_bytes
            if fresh > 0:
                lane.damaged_bytes += fresh
                self._report(f"{fresh} bytes of {lane.backlog!r} are damaged: their rows are lost")

    def __repr__(self) -> str:
        state = "degraded" if self.degraded else "ok"
        return f"<Recorder {len(self._lanes)} journals, {self._rows_written} rows written, {state}>"
