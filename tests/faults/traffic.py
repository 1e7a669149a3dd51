"""Steady traffic through the gateway, and the books afterwards: what was acknowledged has its row in the store, once.

An answer is acknowledged when its last byte has arrived. Requests are sent by the clock, whether or not those before
have been answered, each on a connection of its own. One that breaks is asked again where that is wanted, on another
connection and as OpenAI's SDK does it by default: twice at most, after about half a second and about a whole one.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from keyrelay.simulator import Latency, ProviderPlan, Scenario, Simulator
from keyrelay.storage.database import open_database
from keyrelay.storage.schema import ATTEMPTS, REQUESTS, USAGE_DAYS
from tests.e2e.harness import Caller, Reply, calls_of

KEYS = {"groq": [f"k{n}=sim-groq-{n}" for n in range(4)], "openai": [f"k{n}=sim-openai-{n}" for n in range(4)]}
MODELS = ("groq/openai/gpt-oss-20b", "openai/gpt-5.4-mini")
PAID = {"GROQ_TIER": "paid", "OPENAI_TIER": "paid", "KEYRELAY_LOG_LEVEL": "error", "KEYRELAY_CACHE": "off"}
SDK_RETRIES = 2
_FIRST_PAUSE_S = 0.5
_JITTER = 0.25
"""Pauses are shorter than they could be by up to this share, so that not all come back at once."""

LATENCY = Latency(first_token_ms=(50.0, 400.0), tokens_per_s=50.0)


def scenario(latency: Latency = LATENCY) -> Scenario:
    """Providers that take everything."""
    generous = ProviderPlan(limits=(), answer_tokens=(4, 24))
    return Scenario(providers=dict.fromkeys(KEYS, generous), latency=latency, recorded_calls=1_000_000)


class Cut(msgspec.Struct, frozen=True):
    """A try that got no whole answer: the caller's port, and from when until when it was under way (monotonic).

    `streaming`: the answer had begun, as a stream. Such a one is asked again by the application, and by no SDK.
    """

    port: int
    began_at: float
    ended_at: float
    streaming: bool = False


class Tally(msgspec.Struct, kw_only=True):
    """What callers saw. `errors` are answers that were whole and no success, less those `refused` as expected.

    `failed` requests were cut off as often as they were asked. `took`: when each good one began (monotonic) and how
    many seconds it took.
    """

    asked: int = 0
    acknowledged: set[str] = set()
    errors: Counter[str] = Counter()
    refused: int = 0
    cut: list[Cut] = []
    failed: int = 0
    took: list[tuple[float, float]] = []

    def __str__(self) -> str:
        errors = "".join(f"; {count} times {error}" for error, count in self.errors.most_common(5))
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.asked} asked, {len(self.acknowledged)} acknowledged{refused}, {len(self.cut)} cut off{errors}"


class Traffic:
    """Requests at `rate` per second to whatever port `port` gives; None: nobody is asked now.

    `body` makes the request of a number. Errors with a code of `expected` are counted as refusals. What is cut off is
    asked again `retries` times.
    """

    def __init__(
        self,
        port: Callable[[], int | None],
        *,
        rate: float = 0.0,
        body: Callable[[int], object] | None = None,
        expected: frozenset[str] = frozenset(),
        retries: int = 0,
    ) -> None:
        self.tally = Tally()
        self._port = port
        self._rate = rate
        self._body = body or various(random.Random(0))
        self._expected = expected
        self._retries = retries
        self._chance = random.Random(0)
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    async def run(self, seconds: float) -> None:
        """Ask by the clock until the time is up or `stop`, and wait for the answers."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due_at = began_at + number / self._rate
                if due_at - began_at > seconds or self._stopping.is_set():
                    break
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                group.create_task(self.ask())

    async def press(self, at_once: int, in_a_row: int) -> None:
        """Ask as fast as it goes, so many at once, until each of them has been refused so many times in a row."""

        async def insist() -> None:
            refused = 0
            while refused < in_a_row:
                refused = 0 if await self.ask() else refused + 1

        await asyncio.gather(*(insist() for _ in range(at_once)))

    async def ask(self) -> bool:
        """One request; whether it got a good answer."""
        port = self._port()
        if port is None:
            return False
        self.tally.asked += 1
        body = self._body(next(self._numbers))
        for retry in range(self._retries + 1):
            if retry:
                await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (retry - 1) * self._chance.uniform(1 - _JITTER, 1))
            began_at = time.monotonic()
            reply = await self._try(port, body, began_at)
            if reply is not None:
                return self._note(reply, began_at)
        self.tally.failed += 1
        return False

    async def _try(self, port: int, body: object, began_at: float) -> Reply | None:
        """Ask once; None when it was cut off."""
        own_port, reply = 0, None
        try:
            async with Caller(port) as caller:
                _, writer = await caller.streams()
                own_port = writer.get_extra_info("sockname")[1]
                reply = await caller.post("/v1/chat/completions", body)
        except (OSError, asyncio.IncompleteReadError):
            pass
        if reply is not None and reply.whole:
            return reply
        streaming = reply is not None and reply.headers.get("content-type", "").startswith("text/event-stream")
        self.tally.cut.append(Cut(own_port, began_at, time.monotonic(), streaming))
        return None

    def _note(self, reply: Reply, began_at: float) -> bool:
        if reply.is_good():
            self.tally.acknowledged.add(reply.headers["x-request-id"])
            self.tally.took.append((began_at, reply.seconds))
            return True
        if reply.status != 200 and reply.error["code"] in self._expected:
            self.tally.refused += 1
        else:
            self.tally.errors[f"{reply.status} {reply.body[-160:]!r}"] += 1
        return False


def various(chance: random.Random) -> Callable[[int], object]:
    """Requests of different sizes to both models, each third one streamed."""

    def body(number: int) -> object:
        messages = [{"role": "user", "content": f"question {number} {'x' * chance.randrange(400)}"}]
        return {"model": MODELS[number % len(MODELS)], "messages": messages, "stream": number % 3 == 0}

    return body


class Books(msgspec.Struct, kw_only=True):
    """What the store has, beside what was acknowledged and what providers saw. `unknown` rows have no known end;
    `doubled` are rows that are there twice, or that the sums count more or less often than once."""

    rows: int
    unknown: int
    lost: set[str]
    doubled: int
    unaccounted: int

    @property
    def right(self) -> bool:
        """Nothing acknowledged is lost, nothing is there twice, and no call that a provider saw is missing."""
        return not (self.lost or self.doubled or self.unaccounted)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows ({self.unknown} unknown), {len(self.lost)} lost, {self.doubled} doubled, "
            f"{self.unaccounted} calls without a row"
        )


async def books(url: str, data_directory: Path, tally: Tally, simulator: Simulator) -> Books:
    """Read the store, SQLite's where `url` is empty, and compare."""
    database = open_database(url, data_directory)
    try:
        return await database.read(lambda connection: _compare(connection, tally, len(calls_of(simulator))))
    finally:
        await database.close()


def _compare(connection: sa.Connection, tally: Tally, calls: int) -> Books:
    ids = [row.id for row in connection.execute(sa.select(REQUESTS.c.id))]
    summed = connection.execute(sa.select(sa.func.sum(USAGE_DAYS.c.requests))).scalar_one() or 0
    unknown = sa.select(sa.func.count()).select_from(REQUESTS).where(REQUESTS.c.category == "unknown")
    with_rows = connection.execute(sa.select(sa.func.count()).select_from(ATTEMPTS)).scalar_one()
    without = connection.execute(sa.select(sa.func.count(REQUESTS.c.sent_ms))).scalar_one()
    return Books(
        rows=len(ids),
        unknown=connection.execute(unknown).scalar_one(),
        lost=tally.acknowledged - set(ids),
        doubled=len(ids) - len(set(ids)) + abs(summed - len(ids)),
        unaccounted=max(0, calls - with_rows - without),
    )
