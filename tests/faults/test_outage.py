"""Nothing can serve, or nobody is there any more: quick and honest ends."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyrelay.simulator import Latency, ProviderPlan, Scenario
from tests.e2e.harness import (
    CLIENT_SECRET,
    calls_of,
    chat,
    chat_bytes,
    embedded,
    environment,
    load,
    read_head,
    simulated,
    until,
)
from tests.faults.matrix import DEADLINE_S, FAST, KEYS, PRICES, TIMEOUT_S

pytestmark = pytest.mark.alone

DOWN = ["500", "503", "529", "refuse", "rst_before_head", "half_head", "malformed_json", "error_in_200"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", DOWN)
async def test_everything_is_down(tmp_path: Path, fault: str, stream: bool) -> None:
    plan = ProviderPlan(limits=(), faults={fault: 1.0})
    async with simulated(Scenario(providers={"groq": plan, "openai": plan})) as simulator:
        environ = environment(simulator, KEYS, **FAST, **PRICES)
        async with embedded(environ, tmp_path) as gateway:
            replies = await load(gateway.port, (chat_bytes(stream=stream) for _ in range(40)), concurrency=4)
            for reply in replies:
                assert reply.status in {502, 503}, reply.body
                assert reply.headers["content-type"] == "application/json"
                assert int(reply.headers["retry-after"]) >= 1
                assert reply.error["keyrelay"]["candidates"]
                assert reply.seconds <= DEADLINE_S + 0.5
            # Once the circuits are open nobody waits and nobody asks.
            asked = len(calls_of(simulator))
            assert asked <= 1.1 * len(replies) + 3 * 10
            last = await gateway.ask(chat(stream=stream))
            assert last.status == 503
            assert last.seconds < 0.25
            assert len(calls_of(simulator)) <= asked + 1


async def test_dead_keys_only(tmp_path: Path) -> None:
    plan = ProviderPlan(accept_unknown_keys=False, limits=())
    async with simulated(Scenario(providers={"groq": plan, "openai": plan})) as simulator:
        environ = environment(simulator, KEYS, **FAST, **PRICES)
        async with embedded(environ, tmp_path) as gateway:
            replies = await load(gateway.port, (chat_bytes() for _ in range(30)), concurrency=8)
            assert {reply.status for reply in replies} == {503}
            assert {reply.headers["x-should-retry"] for reply in replies} == {"false"}
            assert len(calls_of(simulator)) == 6, "each key is asked once"
            reasons = {one["reason"] for one in (await gateway.ask(chat())).error["keyrelay"]["candidates"]}
            assert reasons == {"dead"}


UNREACHABLE = {
    "connection refused": "http://127.0.0.1:{closed}",
    "no such host": "http://keyrelay-test.invalid",
    "TLS to a plain port": "https://127.0.0.1:{plain}",
    "nobody accepts": "http://127.0.0.1:{full}",
}


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue is full, so that connecting to it hangs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_a_provider_that_cannot_be_reached(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    async with simulated() as simulator:
        with full_listener() as full:
            plain = simulator.address.rpartition(":")[2]
            url = UNREACHABLE[name].format(closed=closed, plain=plain, full=full)
            environ = environment(simulator, KEYS, **FAST, **PRICES) | {"GROQ_BASE_URL": url, "GROQ_PRIORITY": "0"}
            async with embedded(environ, tmp_path) as gateway:
                replies = await load(gateway.port, (chat_bytes() for _ in range(40)), concurrency=4)
                assert all(reply.is_good() for reply in replies)
                assert max(reply.seconds for reply in replies) < 3 * TIMEOUT_S + 1
                failed = gateway.lines("attempt_failed")
                assert 0 < len(failed) <= 8, "after some tries it is left alone"
                assert {line["kind"] for line in failed} <= {"network", "timeout"}
                alone = await gateway.ask(chat("groq/openai/gpt-oss-120b"))
                assert alone.status in {502, 503}


async def test_a_redirect_is_not_followed_and_takes_no_key_anywhere(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(4096))
        writer.close()

    elsewhere = await asyncio.start_server(record, "127.0.0.1", 0)
    port = elsewhere.sockets[0].getsockname()[1]
    plan = ProviderPlan(limits=(), faults={f"redirect:http://127.0.0.1:{port}/v1": 1.0})
    async with simulated(Scenario(providers={"groq": plan})) as simulator:
        environ = environment(simulator, KEYS, **FAST, **PRICES)
        async with embedded(environ, tmp_path) as gateway:
            replies = await load(gateway.port, (chat_bytes() for _ in range(20)), concurrency=2)
            assert all(reply.is_good() for reply in replies)
            assert (await gateway.ask(chat("groq/openai/gpt-oss-120b"))).status in {502, 503}
    elsewhere.close()
    await elsewhere.wait_closed()
    assert seen == []


async def test_each_provider_sees_its_own_keys_and_never_the_clients_secret(tmp_path: Path) -> None:
    plans = {
        name: ProviderPlan(limits=(), accept_unknown_keys=False, keys={key.partition("=")[2]: "ok" for key in keys})
        for name, keys in KEYS.items()
    }
    async with simulated(Scenario(providers=plans)) as simulator:
        async with embedded(environment(simulator, KEYS, **PRICES), tmp_path) as gateway:
            replies = await load(gateway.port, (chat_bytes() for _ in range(60)), concurrency=4)
            assert all(reply.is_good() for reply in replies)
        assert {call.status for call in calls_of(simulator)} == {200}
        assert {call.key.split("-")[1] == call.provider for call in calls_of(simulator)} == {True}


class TestTheCallerLeaves:
    LINES = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_before_the_answer(self, tmp_path: Path, stream: bool) -> None:
        plan = ProviderPlan(latency=Latency(first_token_ms=(30_000, 30_000)))
        await self._leave(tmp_path, plan, stream=stream, events=0)

    async def test_in_the_middle_of_a_stream(self, tmp_path: Path) -> None:
        plan = ProviderPlan(latency=Latency(first_token_ms=(10, 10), tokens_per_s=10), answer_tokens=(500, 500))
        await self._leave(tmp_path, plan, stream=True, events=2)

    async def test_while_the_stream_is_silent(self, tmp_path: Path) -> None:
        plan = ProviderPlan(faults={"stall_mid_stream": 1.0})
        await self._leave(tmp_path, plan, stream=True, events=2)

    async def _leave(self, directory: Path, plan: ProviderPlan, *, stream: bool, events: int) -> None:
        async with simulated(Scenario(providers={"openai": plan})) as simulator:
            environ = environment(simulator, {"openai": ["sim-openai-a"]})
            async with embedded(environ, directory) as gateway:
                body = chat_bytes(stream=stream)
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(f"{self.LINES}content-length: {len(body)}\r\n\r\n".encode() + body)
                await until(lambda: calls_of(simulator), "the call has arrived")
                if events:
                    assert (await read_head(reader))[0] == 200
                for _ in range(events):
                    await reader.readuntil(b"data: ")
                left_at = time.monotonic()
                writer.close()
                await writer.wait_closed()
                await until(simulator.judge.disconnects, "the simulator sees the disconnect", 5.0)
                assert simulator.judge.disconnects()[0].at_mono_s - left_at < 1.0
                await until(gateway.lines, "the request has been written down")
                line = gateway.lines()[0]
                assert line["category"] == "caller_gone"
                assert len(gateway.lines()) == 1
                await until(lambda: len(gateway.application.data.visits) == 0, "nothing is under way")
                assert (await gateway.ask(chat("llama"))).status == 404, "and the gateway goes on"
