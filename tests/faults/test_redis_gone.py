"""A gateway whose Redis is lost while limits are only believed: found when a worker spun for ever."""

import asyncio
import time
from pathlib import Path

from keyrelay.simulator import Scenario
from tests.e2e.harness import Caller, chat, embedded, environment, simulated
from tests.servers.redis_server import RedisServer

MODEL = "openai/gpt-oss-20b"


async def test_a_lost_redis_lets_no_request_spin(tmp_path: Path) -> None:
    async with RedisServer() as redis, simulated(Scenario()) as simulator:
        environ = environment(simulator, {"groq": ["a=sim-groq-a"]}, KEYRELAY_REDIS_URL=redis.url)
        async with embedded(environ, tmp_path) as gateway:
            assert (await gateway.ask(chat(MODEL))).is_good()
            redis.kill()
            asked = [
                asyncio.ensure_future(gateway.ask(chat(MODEL), headers={"x-keyrelay-deadline-ms": "2000"}))
                for _ in range(4)
            ]
            longest_s = 0.0
            while not all(each.done() for each in asked):
                began_at = time.monotonic()
                async with Caller(gateway.port) as caller:
                    assert (await caller.get("/livez")).status == 200
                longest_s = max(longest_s, time.monotonic() - began_at)
                await asyncio.sleep(0.05)
            assert longest_s < 1.0
            assert {(await each).status for each in asked} <= {200, 429, 503, 504}
