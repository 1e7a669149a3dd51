"""A bulletin for all workers and hosts in Redis: a stream of what is new, and a hash of what is so now.

One task writes, another listens, each with a connection of its own. Words about the same subject that have not been
told yet are one word, the newest; they are kept while Redis is away. Whoever comes, or comes back, reads the hash
first and listens from there, and so does who finds that the stream has run away from it: nothing is missed, and what
is said twice is taken twice. How old a word is is reckoned by
Redis's clock alone.

Redis is never the only place: should it come back empty, each worker tells again what it knows and nobody else has.
While it is away every worker is alone, and nothing fails.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.client import REDIS_ERRORS, Client, end, open_client, passing_cancellation, store_error

MOST_ENTRIES = 10_000
"""Entries that the stream keeps, about."""

MOST_SUBJECTS = 50_000
"""Subjects of which the hash keeps the present state."""

MOST_WAITING = 10_000
"""Words that wait for Redis to come back; beyond them the oldest is dropped."""

BLOCK_S = 2.0
"""So long one look for new words waits for some."""

LOOK_EVERY_S = 5.0
"""How often it is made sure that Redis has not lost what it held."""

RETRY_S = (0.1, 2.0)
"""Between these, at random and doubling, are the waits before trying again."""

_IDLE_MS = 7 * 86_400_000
_BATCH = 200
_SLACK_S = 1.0  # nobody waits for these calls, so they may take longer than those of requests


class Word(Protocol):
    """What is published: the newest word about a subject, of use for `lasts_s` seconds; 0: not kept for later."""

    @property
    def subject(self) -> str:
        """What it is about; not empty."""
        ...

    @property
    def value(self) -> bytes:
        """What is said."""
        ...

    @property
    def lasts_s(self) -> float:
        """For how long it is of use."""
        ...


Receive = Callable[[str, bytes, float], None]


class _Waiting(NamedTuple):
    """A word that is still to be told, when it was said (event loop's clock), and whether it was said before."""

    word: Word
    said_at: float
    again: bool


class RedisBulletin:
    """Implements `Bulletin`. `worker` is an id of this process, new at each start; `prefix` begins every key.

    `random` returns a number in [0, 1); `report` gets a sentence when Redis is lost and when it is found again.
    """

    __slots__ = (
        "_last",
        "_lost",
        "_name",
        "_number",
        "_offset_s",
        "_present",
        "_random",
        "_reader",
        "_receive",
        "_report",
        "_scripts",
        "_sending",
        "_tasks",
        "_waiting",
        "_woken",
        "_worker",
        "_writer",
        "keys",
        "published",
    )

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        worker: str,
        timeout_s: float,
        random: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._reader = open_client(url, timeout_s=timeout_s + _SLACK_S, blocking_s=BLOCK_S, max_connections=2)
        self._writer = open_client(url, timeout_s=timeout_s + _SLACK_S, max_connections=2)
        self._worker = worker.replace(" ", "_").encode()
        self._random = random
        self._report = report
        self._scripts = {name: _script(name) for name in ("publish", "catch_up", "look")}
        self._waiting: dict[str, _Waiting] = {}
        self._sending: dict[str, _Waiting] = {}
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._receive: Receive | None = None
        self._present: Callable[[], Iterator[Word]] | None = None
        self._name = b""
        self._last = b"0-0"
        self._number = 0
        self._offset_s = 0.0
        self._lost: set[str] = set()
        self.keys = tuple(f"{prefix}:{{bulletin}}:{part}" for part in ("stream", "hash"))
        """The keys of stream and hash; in a cluster both are in one slot."""
        self.published = 0
        """Words that Redis has taken."""

    def __repr__(self) -> str:
        state = "alone" if self._lost else "connected" if self._name else "not connected yet"
        return f"<RedisBulletin {state}, {self.published} published, {len(self._waiting)} waiting>"

    def subscribe(self, receive: Receive, present: Callable[[], Iterator[Word]]) -> None:
        """Call `receive(subject, value, age_s)` for each word of another worker; `present` lists all that is known."""
        self._receive = receive
        self._present = present

    def publish(self, word: Word) -> None:
        """Tell everyone else as soon as possible. Neither waits nor raises."""
        self._enqueue(word, again=False)

    def _enqueue(self, word: Word, *, again: bool) -> None:
        waiting = self._waiting
        waiting.pop(word.subject, None)
        if len(waiting) >= MOST_WAITING:
            del waiting[next(iter(waiting))]
        waiting[word.subject] = _Waiting(word, asyncio.get_running_loop().time(), again)
        self._woken.set()

    def start(self) -> None:
        """Begin to write and to listen; Redis need not be there yet."""
        self._begin(self._listen)
        self._begin(self._write)

    def _begin(self, work: Callable[[], AsyncIterator[None]], after_s: float = 0.0) -> None:
        task = asyncio.create_task(self._keep(work, after_s), name=f"bulletin: {work.__name__}")
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            """Should an error of ours end it, it is said, and the work goes on."""
            self._tasks.discard(task)
            if not task.cancelled():
                self._lose(work, f"sharing failed with {type(task.exception()).__name__}")
                self._begin(work, RETRY_S[1])

        task.add_done_callback(ended)

    async def aclose(self) -> None:
        """Say what is still to be said, if Redis takes it within a second, and leave."""
        try:
            async with asyncio.timeout(_SLACK_S):
                while (self._waiting or self._sending) and self._tasks and not self._lost:
                    self._woken.set()
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self._waiting.clear()
        await end(self._tasks)
        await self._reader.aclose()
        await self._writer.aclose()

    async def _keep(self, work: Callable[[], AsyncIterator[None]], after_s: float) -> None:
        """Do the work for ever: after an error wait, longer each time, and begin again."""
        wait_s, most_s = RETRY_S
        await asyncio.sleep(after_s)
        while True:
            try:
                async for _ in work():
                    wait_s = RETRY_S[0]
                    self._found(work)
            except StoreError as error:
                self._lose(work, str(error))
            await asyncio.sleep(wait_s * (0.5 + self._random()))
            wait_s = min(2 * wait_s, most_s)

    def _lose(self, work: Callable[[], AsyncIterator[None]], why: str) -> None:
        if not self._lost:
            self._report(f"{why}; what workers find out is not shared for now")
        self._lost.add(work.__name__)

    def _found(self, work: Callable[[], AsyncIterator[None]]) -> None:
        if work.__name__ in self._lost:
            self._lost.discard(work.__name__)
            if not self._lost:
                self._report("what workers find out is shared again")

    async def _run(self, client: Client, script: str, *arguments: bytes | str | int) -> Any:
        try:
            return await passing_cancellation(
                client.eval(self._scripts[script], len(self.keys), *self.keys, *arguments)
            )
        except REDIS_ERRORS as error:
            raise store_error(error) from None

    # Writing.

    async def _write(self) -> AsyncIterator[None]:
        """Publish what waits, again and again; yields after each success."""
        while True:
            while not (self._waiting or self._sending):
                self._woken.clear()
                await self._woken.wait()
            await self._send()
            yield

    async def _send(self) -> None:
        """Publish one batch; when that fails the same is tried again, and nobody minds what is said twice."""
        for subject in tuple(self._waiting)[: _BATCH - len(self._sending)]:
            self._sending[subject] = self._waiting.pop(subject)
        now_at = asyncio.get_running_loop().time()
        arguments: list[bytes | str | int] = [self._worker, MOST_ENTRIES, MOST_SUBJECTS, _IDLE_MS]
        for subject, (word, said_at, again) in self._sending.items():
            times = _milliseconds(now_at - said_at), _milliseconds(word.lasts_s)
            arguments += (subject, word.value, *times, int(again))
        await self._run(self._writer, "publish", *arguments)
        self.published += len(self._sending)
        self._sending.clear()

    # Listening.

    async def _listen(self) -> AsyncIterator[None]:
        """Catch up, then take word after word; yields whenever Redis has answered. Ends when some were lost."""
        look_at = await self._catch_up()
        yield
        while True:
            if asyncio.get_running_loop().time() >= look_at:
                if not await self._look():
                    return
                look_at = asyncio.get_running_loop().time() + LOOK_EVERY_S
            for entry_id, fields in await self._read():
                self._last = entry_id
                self._number += 1
                if int(fields[b"number"]) != self._number:
                    return
                if fields[b"worker"] != self._worker:
                    self._hear(fields[b"subject"].decode(), fields[b"value"], fields[b"said"])
            yield

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The entries since the last one; waits for some."""
        try:
            answer: Any = await passing_cancellation(
                self._reader.xread({self.keys[0]: self._last}, count=_BATCH, block=int(BLOCK_S * 1000))
            )
        except REDIS_ERRORS as error:
            raise store_error(error) from None
        return answer[0][1] if answer else []

    async def _catch_up(self) -> float:
        """Read what is so now; tell what is missing there. Returns when to look again (event loop's clock)."""
        new_name = secrets.token_hex(8)
        now_ms, name, self._last, number, flat = await self._run(self._reader, "catch_up", new_name, _IDLE_MS)
        self._set_clock(now_ms)
        self._number = int(number)
        held = {subject.decode(): value for subject, value in zip(flat[::2], flat[1::2], strict=True)}
        for subject, value in held.items():
            said, _, worker, word = value.split(b" ", 3)
            if worker != self._worker and subject not in self._waiting and subject not in self._sending:
                self._hear(subject, word, said)
        if name != self._name and self._present is not None:
            for missing in self._present():
                if missing.subject not in held and missing.subject not in self._waiting and missing.lasts_s:
                    self._enqueue(missing, again=True)
        self._name = name
        return asyncio.get_running_loop().time() + LOOK_EVERY_S

    async def _look(self) -> bool:
        """Whether this is still the bulletin that it was."""
        now_ms, name = await self._run(self._reader, "look", _IDLE_MS)
        self._set_clock(now_ms)
        return bool(name == self._name)

    def _set_clock(self, now_ms: bytes) -> None:
        self._offset_s = int(now_ms) / 1000 - asyncio.get_running_loop().time()

    def _hear(self, subject: str, value: bytes, said_ms: bytes) -> None:
        if self._receive is not None:
            now_s = asyncio.get_running_loop().time() + self._offset_s
            self._receive(subject, value, max(0.0, now_s - int(said_ms) / 1000))


def _milliseconds(seconds: float) -> int:
    return max(0, int(seconds * 1000))


def _script(name: str) -> str:
    return (Path(__file__).parent / "lua" / f"bulletin_{name}.lua").read_text(encoding="utf-8")
