"""Redis is frozen under load: how much longer requests take, against the time before in the same run.

Every request has a limit that the workers share, and is looked up in the cache that they share, so it asks Redis at
least twice while Redis is there. The provider takes the same time for each answer.
"""

import asyncio
import time
from pathlib import Path

import msgspec

from keyrelay.simulator import Latency
from tests.e2e.harness import environment, process, simulated
from tests.faults.backing import Backing
from tests.faults.traffic import KEYS, MODELS, Tally, Traffic, scenario

MOST_S = 0.15
MOST_OPEN_S = 0.001
SETTLED_S = 1.5
"""So long after the freeze every worker has noticed: each gives Redis a sign of life twice a second."""

ANSWER_MS = 50.0
_TAIL = 0.99


class Spread(msgspec.Struct, frozen=True):
    """How long requests took: the middle one, the 99th of a hundred, the longest (seconds)."""

    count: int
    middle_s: float
    tail_s: float
    longest_s: float

    @classmethod
    def of(cls, tally: Tally, begins_at: float, ends_at: float) -> "Spread":
        took = sorted(seconds for began_at, seconds in tally.took if begins_at <= began_at < ends_at)
        assert took, "no request began in this time"
        return cls(len(took), took[len(took) // 2], took[int(_TAIL * (len(took) - 1))], took[-1])

    def __str__(self) -> str:
        return (
            f"p50 {self.middle_s * 1000:.1f} ms, p99 {self.tail_s * 1000:.1f} ms, p100 {self.longest_s * 1000:.1f} ms "
            f"of {self.count}"
        )


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """`before` the freeze, `at` it, with the circuits `open`, and after the thaw.

    The longest at the freeze is held against the middle one before: the delay and whatever the machine adds. With the
    circuit open the middle ones are compared, since the longest ones are the machine's.
    """

    tally: Tally
    before: Spread
    at: Spread
    open: Spread
    after: Spread

    @property
    def most_s(self) -> float:
        """How much longer the slowest request at the freeze took than the middle one before."""
        return self.at.longest_s - self.before.middle_s

    @property
    def open_s(self) -> float:
        """How much longer the middle request took with the circuit open than before."""
        return self.open.middle_s - self.before.middle_s

    @property
    def good(self) -> bool:
        """Nobody failed, and nobody waited longer than is promised."""
        return not (self.tally.errors or self.tally.cut) and self.most_s <= MOST_S and self.open_s <= MOST_OPEN_S

    def __str__(self) -> str:
        return (
            f"{self.tally}; before {self.before}; at the freeze {self.at} (+{self.most_s * 1000:.1f} ms); circuit open "
            f"{self.open} (p50 {self.open_s * 1000:+.2f} ms); after the thaw {self.after}"
        )


def _body(number: int) -> object:
    messages = [{"role": "user", "content": f"question {number}"}]
    return {"model": MODELS[number % len(MODELS)], "messages": messages, "temperature": 0}


async def frozen_redis(directory: Path, seconds: float, *, rate: float, workers: int, **more: str) -> Delays:
    """Load for so many seconds before the freeze, as many frozen, and as many after it."""
    with Backing.up(postgres=False) as backing:
        async with simulated(scenario(Latency(first_token_ms=(ANSWER_MS, ANSWER_MS)))) as simulator:
            limit = "1000000 requests per 60s for account+model"
            environ = environment(
                simulator,
                KEYS,
                GROQ_TIER="paid",
                OPENAI_TIER="paid",
                GROQ_LIMITS=limit,
                OPENAI_LIMITS=limit,
                KEYRELAY_LOG_LEVEL="error",
                KEYRELAY_WORKERS=str(workers),
                **backing.environ,
                **more,
            )
            async with process(environ, directory) as gateway:
                traffic = Traffic(lambda: gateway.port, rate=rate, body=_body)
                await asyncio.gather(*(traffic.ask() for _ in range(4 * workers)))  # the first ones are slower
                began_at = time.monotonic()
                load = asyncio.create_task(traffic.run(3 * seconds))
                await asyncio.sleep(seconds)
                frozen_at = time.monotonic()
                backing.redis.freeze()
                await asyncio.sleep(seconds)
                thawed_at = time.monotonic()
                backing.redis.thaw()
                await load
        tally = traffic.tally
        return Delays(
            tally=tally,
            before=Spread.of(tally, began_at, frozen_at - 2 * ANSWER_MS / 1000),
            at=Spread.of(tally, frozen_at - 2 * ANSWER_MS / 1000, frozen_at + SETTLED_S),
            open=Spread.of(tally, frozen_at + SETTLED_S, thawed_at),
            after=Spread.of(tally, thawed_at, time.monotonic()),
        )
