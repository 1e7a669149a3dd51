"""A coarse guard against becoming slow; the exact figure is measured by hand, on an idle machine."""

import asyncio
import time

from keyrelay.simulator import ProviderPlan
from tests.simulator.helpers import Bench, chat, per, request_bytes, row

CALLS = 3000
CONNECTIONS = 16


async def test_many_calls_are_no_burden() -> None:
    limits = (per(10**9, "60s"), per(10**9, "60s", "tokens"), per(10**9, "day@UTC"))
    data = request_bytes("/groq/v1/chat/completions", chat(max_tokens=40), headers={"authorization": "Bearer sim-a"})
    async with Bench(row("groq"), groq=ProviderPlan(limits=limits)) as bench:

        async def worker() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            for _ in range(CALLS // CONNECTIONS):
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(size)
            writer.close()

        began = time.process_time()
        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
        per_call_s = (time.process_time() - began) / bench.judge.total
        assert {call.status for call in bench.judge.calls} == {200}
        assert per_call_s < 0.001, "client and server together"
