"""A stream breaks after its first content: the caller is told so in the stream, and never that it was complete."""

from pathlib import Path

import pytest

from keyrelay.simulator import Change, ProviderPlan, Scenario
from tests.e2e.harness import Caller, calls_of, chat, embedded, environment, load, simulated
from tests.e2e.harness import chat_bytes as body_of
from tests.faults.matrix import AFTER, FAST, TIMEOUT_S, faulty

pytestmark = pytest.mark.alone


@pytest.mark.parametrize("fault", AFTER)
async def test_the_stream_ends_in_an_error_event(tmp_path: Path, fault: str) -> None:
    async with faulty(fault, "provider", tmp_path) as (simulator, gateway):
        reply = await gateway.ask(chat("groq/openai/gpt-oss-120b", stream=True))
        assert reply.status == 200
        assert reply.whole, "the HTTP answer ends properly: it says itself that it is broken"
        assert "[DONE]" not in reply.events
        error = reply.streamed_error
        assert error is not None
        assert (error["type"], error["code"]) == ("upstream_error", "upstream_incomplete")
        assert error["keyrelay"]["provider"] == "groq"
        assert len(reply.events) > 3, "what had come until then was passed on"
        assert reply.seconds < 2 * TIMEOUT_S + 0.5
        assert len(calls_of(simulator)) == 1, "no second try behind the caller's back"
        line = await gateway.line_of(reply.headers["x-request-id"])
        assert line["category"] in {"network", "timeout", "malformed", "service", "overloaded"}
        assert line["usage"]["output_tokens"] > 0, "what was used counts"


@pytest.mark.parametrize("fault", AFTER)
async def test_the_short_stream_of_generate_ends_in_an_error_event_too(tmp_path: Path, fault: str) -> None:
    async with faulty(fault, "provider", tmp_path) as (_, gateway):
        body = {"model": "groq/openai/gpt-oss-120b", "prompt": "Say hello.", "stream": True}
        reply = await gateway.ask(body, "/v1/generate")
        assert reply.streamed_error is not None
        assert "[DONE]" not in reply.events
        assert '"done":true' not in reply.body.decode()


async def test_a_broken_stream_leaves_the_connection_of_the_caller_in_order(tmp_path: Path) -> None:
    async with faulty("eof_mid_stream", "provider", tmp_path) as (_, gateway), Caller(gateway.port) as caller:
        for _ in range(3):
            broken = await caller.post("/v1/chat/completions", chat("groq/openai/gpt-oss-120b", stream=True))
            assert broken.streamed_error is not None
            assert (await caller.post("/v1/chat/completions", chat("gpt-6-luna"))).is_good()


async def test_a_provider_that_never_says_done_is_believed_when_it_gave_a_finish_reason(tmp_path: Path) -> None:
    # Gemini's stream may end without [DONE]; its row says so.
    plan = ProviderPlan(faults={"no_done": 1.0}, limits=())
    async with simulated(Scenario(providers={"gemini": plan})) as simulator:
        environ = environment(simulator, {"gemini": ["sim-gemini-a"]}, **FAST)
        async with embedded(environ, tmp_path) as gateway:
            reply = await gateway.ask(chat(stream=True))
            assert reply.streamed_error is None
            assert reply.text
            assert not (await gateway.line_of(reply.headers["x-request-id"])).get("category")


async def test_streams_that_break_take_the_provider_out(tmp_path: Path) -> None:
    async with faulty("eof_mid_stream", "provider", tmp_path) as (simulator, gateway):
        replies = await load(gateway.port, (body_of(stream=True) for _ in range(60)), concurrency=4)
        broken = [reply for reply in replies if reply.streamed_error]
        # A stream that begins well ends a row of failures: by chance only their share, of twenty calls, opens it.
        assert 0 < len(broken) <= 20 + 4, "after some broken streams the others go elsewhere"
        assert len(broken) == sum(call.fault != "" for call in calls_of(simulator))
        simulator.change(Change(provider="groq", faults={}))
        assert (await gateway.ask(chat(stream=True))).is_good()
