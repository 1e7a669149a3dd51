"""What is remembered of conversations, in Redis: what one process has kept, all workers and hosts can read.

Reading takes as long as the circuit allows for each round, and a round holds a bounded number of bytes, so that a long
conversation takes several of them and not a longer wait for a Redis that is gone. Writes are collected for one turn of
the event loop and go out together in tasks; what is too much at a time, or too large, is known to this process alone.
What a client has forgotten is marked as deleted rather than removed, since others may hold it: a mark that could not be
set is set when Redis is back.

All keys of a client carry one hash tag, so that a script can count its bytes and let go of the oldest. How much all
clients have together is looked at every few seconds: when it is too much, those that have most are cut down to a level
(`level`) that nobody is above, and those below it lose nothing. Nothing is left to Redis's own eviction, because the
counts of all limits are there too.
"""

import asyncio
import hashlib
import struct
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from keyrelay.core.errors import SealedValueError, StoreError
from keyrelay.storage.redis.client import Breaker, Client, end
from keyrelay.storage.redis.one_key_scripts import OneKeyScript

MAX_WRITES = 64
"""Tasks that may be writing at a time."""

MOST_VALUE_BYTES = 1024 * 1024
"""The largest value that goes to Redis; a larger one would take longer than a request may wait for it."""

MOST_QUEUED_BYTES = 16 * 1024 * 1024
"""Bytes that may be on their way to Redis at a time."""

MOST_ROUND_BYTES = 512 * 1024
"""A round of reading ends, and a round of writing goes out, with the value that reaches so many."""

MOST_NAMES = 500
"""Names in one round of reading."""

MOST_ROUNDS = 100
"""Rounds of one reading; what is not there by then is not known."""

MOST_OWED = 10_000
"""Deletions that wait for Redis to come back; beyond them the oldest is dropped."""

ENTRY_BYTES = 500
"""What a value takes in Redis beside itself: its name, its expiry, its places in the tables."""

LOOK_EVERY_S = 10.0
"""How often a process that writes looks at what all clients have."""

REPORT_EVERY_S = 60.0
"""Values that are not what they should be are all counted, and reported no more often than this."""

_DELETED = b"\x00"
_OWED_EVERY_S = 1.0

_EXPIRY = struct.Struct(">d")

_Entry = tuple[str, bytes | None]
"""An id, and its value behind its expiry, sealed; None: it was deleted."""


class Seal(Protocol):
    """What makes values and their ids unreadable for all but one client; see `vault.client_seal`."""

    def name(self, entry_id: str) -> str:
        """The name that stands for an id."""
        ...

    def seal(self, entry_id: str, value: bytes) -> bytes:
        """The sealed value, which does not begin with a zero byte."""
        ...

    def open(self, entry_id: str, sealed: bytes) -> bytes:
        """What was sealed for this id. Raise SealedValueError."""
        ...


class _Batch:
    """What is written for a client in one turn of the event loop, and the task that does it."""

    __slots__ = ("entries", "task", "ttl_s")

    def __init__(self, ttl_s: float) -> None:
        self.entries: list[_Entry] = []
        self.ttl_s = ttl_s
        self.task: asyncio.Task[None] | None = None


class _Found:
    """What a reading has found so far."""

    __slots__ = ("deleted", "values")

    def __init__(self, values: dict[str, tuple[bytes, float]], deleted: Iterable[str]) -> None:
        self.values = values
        self.deleted = set(deleted)


class RedisState:
    """Implements `SharedState`, the engine's protocol for what processes share of conversations.

    `most_bytes` bounds what all clients have together. `seals_of` gives one seal for each secret of a client: the first
    one seals, all of them open; a client without any has nothing here. `failed` counts rounds that Redis did not
    answer, `skipped` values that were not written, `wrong` values that were not sealed for who asked. The client and
    its circuit belong to whoever made them.
    """

    __slots__ = (
        "_breaker",
        "_client",
        "_level",
        "_looked_at",
        "_most_bytes",
        "_open",
        "_owed",
        "_paying",
        "_prefix",
        "_queued_bytes",
        "_report",
        "_reported_at",
        "_scripts",
        "_seals_of",
        "_tasks",
        "_totals",
        "failed",
        "skipped",
        "wrong",
    )

    def __init__(
        self,
        client: Client,
        breaker: Breaker,
        *,
        prefix: str,
        most_bytes: int,
        seals_of: Callable[[str], Sequence[Seal]],
        report: Callable[[str], None],
    ) -> None:
        self._client = client
        self._breaker = breaker
        self._prefix = f"{prefix}:state"
        self._most_bytes = self._level = most_bytes
        self._seals_of = seals_of
        self._report = report
        self._scripts = {name: OneKeyScript(client, f"state_{name}") for name in ("get", "look", "put")}
        self._open: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._paying: asyncio.Task[None] | None = None
        self._owed: dict[tuple[str, str], float] = {}
        self._queued_bytes = 0
        self._totals: dict[str, int] = {}
        self._looked_at = self._reported_at = -REPORT_EVERY_S
        self.failed = 0
        self.skipped = 0
        self.wrong = 0

    @property
    def waits(self) -> bool:
        """Whether Redis may be asked."""
        return not self._breaker.is_open

    # Reading.

    async def read(
        self,
        client: str,
        wanted: Sequence[str],
        known: Sequence[str],
        into: dict[str, tuple[bytes, float]] | None = None,
    ) -> tuple[Mapping[str, tuple[bytes, float]], AbstractSet[str]]:
        """Which of the wanted values there are, each with its expiry, and which of the known were deleted.

        Values are in `into` round by round.
        """
        owed = (entry_id for entry_id in (*wanted, *known) if (client, entry_id) in self._owed)
        found = _Found({} if into is None else into, owed)
        for seal in self._seals_of(client):
            asked = [each for each in wanted if each not in found.values and each not in found.deleted]
            try:
                await self._read(self._base(client), seal, asked, known, found)
            except StoreError:
                self.failed += 1
                break
        return found.values, found.deleted

    async def _read(self, base: str, seal: Seal, wanted: Sequence[str], known: Sequence[str], found: _Found) -> None:
        """Ask round by round. Raise StoreError; what has been found until then stays."""
        place = checked = 0
        for _ in range(MOST_ROUNDS):
            asked, check = wanted[place : place + MOST_NAMES], known[checked : checked + MOST_NAMES]
            if not asked and not check:
                return
            names = map(seal.name, (*asked, *check))
            values, marks = await self._call("get", base, MOST_ROUND_BYTES, len(asked), *names)
            for entry_id, value in zip(asked, values, strict=False):  # beyond its bytes a round gives no more values
                if value == _DELETED:
                    found.deleted.add(entry_id)
                elif value is not None:
                    self._take(seal, entry_id, value, found)
            found.deleted.update(entry_id for entry_id, mark in zip(check, marks, strict=True) if mark)
            place, checked = place + len(values), checked + len(check)

    def _take(self, seal: Seal, entry_id: str, value: bytes, found: _Found) -> None:
        try:
            plain = seal.open(entry_id, value)
        except SealedValueError:
            self.wrong += 1
            now_at = asyncio.get_running_loop().time()
            if now_at - self._reported_at >= REPORT_EVERY_S:
                self._reported_at = now_at
                self._report(
                    "Redis gave back something else than what was remembered of a conversation; it was not used."
                    f" That makes {self.wrong} since the start."
                )
        else:
            found.values[entry_id] = plain[_EXPIRY.size :], _EXPIRY.unpack_from(plain)[0]

    # Writing.

    def write(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> None:
        """Have a value kept, unless it is too large or too much is on its way."""
        seals = self._seals_of(client)
        if not seals or len(value) > MOST_VALUE_BYTES or self._queued_bytes + len(value) > MOST_QUEUED_BYTES:
            self.skipped += 1
        elif not self._breaker.is_open:
            sealed = seals[0].seal(entry_id, _EXPIRY.pack(now_s + ttl_s) + value)
            self._put(client, (entry_id, sealed), ttl_s)

    def delete(self, client: str, entry_id: str, *, ttl_s: float) -> None:
        """Have a value forgotten everywhere, as soon as Redis can be told."""
        if len(self._owed) >= MOST_OWED:
            del self._owed[next(iter(self._owed))]
        self._owed[client, entry_id] = ttl_s
        if not self._put(client, (entry_id, None), ttl_s):
            self._pay_later()

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when all that has been collected for a client until now has been tried."""
        batch = self._open.get(client)
        return None if batch is None else batch.task

    def _put(self, client: str, entry: _Entry, ttl_s: float) -> bool:
        """Collect a value, or the mark of a deletion, for the task that writes it; whether there is one."""
        batch = self._open.get(client)
        if batch is None:
            if self._breaker.is_open or len(self._tasks) >= MAX_WRITES:
                self.skipped += 1
                return False
            batch = self._open[client] = _Batch(ttl_s)
            batch.task = self._begin(self._write(client, batch))
        batch.entries.append(entry)
        self._queued_bytes += len(entry[1] or b"")
        return True

    async def _write(self, client: str, batch: _Batch) -> None:
        """Write what was collected in one turn of the event loop."""
        del self._open[client]
        try:
            for entries in _rounds(batch.entries):
                words = tuple(self._words(client, entries))
                self._totals[_tag(client)] = await self._store(_tag(client), batch.ttl_s, words)
                for entry_id, value in entries:
                    if value is None:
                        self._owed.pop((client, entry_id), None)
        except StoreError:
            self.failed += 1
            self._pay_later()
        else:
            self._look_soon(batch.ttl_s)
        finally:
            self._queued_bytes -= sum(len(value or b"") for _, value in batch.entries)

    def _words(self, client: str, entries: Iterable[_Entry]) -> Iterator[bytes | str]:
        """Names and values as the script has them; a deletion is for every name that the id has."""
        seals = self._seals_of(client)
        for entry_id, value in entries:
            for seal in seals if value is None else seals[:1]:
                yield seal.name(entry_id)
                yield _DELETED if value is None else value

    async def _store(self, tag: str, ttl_s: float, words: Sequence[bytes | str] = ()) -> int:
        """Write for a client, and let go of its oldest above the level; what it has then. Raise StoreError."""
        base = f"{{{self._prefix}:{tag}}}"
        total: int = await self._call("put", base, _milliseconds(ttl_s), self._level, ENTRY_BYTES, *words)
        return total

    def _pay_later(self) -> None:
        if self._owed and self._paying is None:
            self._paying = asyncio.create_task(self._pay(), name="deletions that Redis has not been told")

    async def _pay(self) -> None:
        """Tell Redis of deletions until it knows of all."""
        while self._owed:
            await asyncio.sleep(_OWED_EVERY_S)
            for (client, entry_id), ttl_s in tuple(self._owed.items())[:MOST_NAMES]:
                if not self._put(client, (entry_id, None), ttl_s):
                    break
            if self._tasks:
                await asyncio.wait(
                    tuple(self._tasks)
                )  # and for no others: where much is written there is no end of them
        self._paying = None

    # What all clients have.

    def _look_soon(self, ttl_s: float) -> None:
        now_at = asyncio.get_running_loop().time()
        if now_at - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now_at
            self._begin(self._look(ttl_s))

    async def _look(self, ttl_s: float) -> None:
        """Say what clients have, see what all have, and cut down those that have too much."""
        told, self._totals = self._totals, {}
        try:
            words = [word for item in told.items() for word in item]
            flat = await self._call("look", f"{{{self._prefix}}}:clients", _milliseconds(ttl_s), *words)
            held = {tag.decode(): size for tag, size in zip(flat[::2], flat[1::2], strict=True)}
            self._level = level(held.values(), self._most_bytes)
            for tag, size in held.items():
                if size > self._level:
                    self._totals[tag] = await self._store(tag, ttl_s)
        except StoreError:
            self.failed += 1
            self._totals = told | self._totals

    # What all of it needs.

    async def _call(self, script: str, key: str, *words: str | bytes | int) -> Any:
        """What a script answers. Raise StoreError."""
        return await self._breaker.call(self._scripts[script].run, key, *words)

    def _base(self, client: str) -> str:
        return f"{{{self._prefix}:{_tag(client)}}}"

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def written(self) -> None:
        """Wait for what is under way, none of which takes long."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def aclose(self) -> None:
        """Let what is under way end."""
        paying, self._paying = self._paying, None
        if paying is not None:
            await end((paying,))
        await self.written()

    def __repr__(self) -> str:
        state = "asleep" if self._breaker.is_open else "awake"
        return f"<RedisState {state}, {len(self._tasks)} writes under way, {len(self._owed)} deletions owed>"


def level(held: Iterable[int], most: int) -> int:
    """What nobody may have more of, so that all together have `most`; `most` itself where they have no more."""
    left, sizes = most, sorted(held)
    if sum(sizes) <= most:
        return most
    for place, size in enumerate(sizes):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return most


def _rounds(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    """Entries in groups, each of which ends with the one that makes it large."""
    group, size = list[_Entry](), 0
    for entry in entries:
        group.append(entry)
        size += len(entry[1] or b"")
        if size >= MOST_ROUND_BYTES or len(group) >= MOST_NAMES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _tag(client: str) -> str:
    """A client as it stands in keys: labels may hold anything."""
    return hashlib.blake2b(client.encode(), digest_size=8).hexdigest()


def _milliseconds(ttl_s: float) -> int:
    return max(1, int(ttl_s * 1000))
