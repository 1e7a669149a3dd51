"""Conversations that hop between two gateways over one Redis, through real sockets, also while Redis is broken."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from keyrelay.simulator import ProviderPlan, Scenario
from tests.e2e.harness import Caller, Embedded, Reply, embedded, environment, simulated, until
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = {
    "gemini": "gemini/gemini-3.1-flash-lite",
    "anthropic": "anthropic/claude-haiku-5-5",
    "groq": "groq/openai/gpt-oss-20b",
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED = {"role": "user", "content": 'call weather {"city": "Oslo"}'}
MOST_S = 0.15
"""The longest that a request may be delayed by a Redis that does not answer."""
LATE_S = 0.15
"""What a request takes without Redis, and what a busy machine may add to it."""

Pair = tuple[Embedded, Embedded]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two hosts, as far as they can tell."""
    keys = {name: [f"key{n}=sim-{name}-{n}" for n in range(4)] for name in MODELS}
    paid = {f"{name.upper()}_TIER": "paid" for name in MODELS}
    only = {"GEMINI_DIALECT": "gemini", "REDIS_URL": redis.url, **paid}
    async with simulated(Scenario(providers={name: ProviderPlan(limits=()) for name in MODELS})) as simulator:
        environ = [environment(simulator, keys, **only, KEYRELAY_PORT=port) for port in ("18787", "18788")]
        async with (
            embedded(environ[0], tmp_path_factory.mktemp("one")) as one,
            embedded(environ[1], tmp_path_factory.mktemp("two")) as two,
        ):
            yield one, two


async def respond(gateway: Embedded, *, stream: bool = False, **members: Any) -> Reply:
    return await gateway.ask({"model": MODELS["groq"], "stream": stream, **members}, "/v1/responses")


def id_of(reply: Reply) -> str:
    """The id of an answer, whole or streamed."""
    assert reply.status == 200, reply.body
    text = reply.body.decode()
    start = text.index('"resp_') + 1
    return text[start : start + len("resp_") + 32]


async def about(gateway: Embedded, path: str, method: str = "GET") -> Reply:
    async with Caller(gateway.port) as caller:
        return await caller.get(f"/v1/responses/{path}", method)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_follow_up_at_another_gateway_finds_the_answer_at_once(gateways: Pair, *, stream: bool) -> None:
    previous = None
    for number, gateway in zip(range(10), itertools.cycle(gateways), strict=False):
        more: dict[str, Any] = {} if previous is None else {"previous_response_id": previous}
        reply = await respond(gateway, stream=stream, input=f"Word {number}.", **more)
        previous = id_of(reply)
    items = (await about(gateways[0], f"{previous}/input_items")).json["data"]
    assert [item["content"][0]["text"] for item in items] == ["Word 9."]


async def test_what_one_gateway_deletes_is_gone_at_the_other(gateways: Pair) -> None:
    one, two = gateways
    first = id_of(await respond(one, input="Say one."))
    second = id_of(await respond(two, input="Say two.", previous_response_id=first))
    assert (await about(two, first)).status == (await about(one, second)).status == 200
    assert (await about(two, first, "DELETE")).json["deleted"] is True
    assert (await about(one, first)).status == (await about(two, first)).status == 404
    for gateway in gateways:
        reply = await respond(gateway, input="More.", previous_response_id=second)
        assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")


async def test_an_answer_that_is_not_to_be_kept_is_kept_by_nobody(gateways: Pair, redis: RedisServer) -> None:
    one, two = gateways
    before = redis.command("dbsize")
    answer_id = id_of(await respond(one, input="Hi.", store=False))
    assert (await about(one, answer_id)).status == (await about(two, answer_id)).status == 404
    assert redis.command("dbsize") == before


@pytest.mark.parametrize("provider", ["gemini", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_signatures_hops_and_stays_with_its_account(
    gateways: Pair, provider: str, *, stream: bool
) -> None:
    """The client keeps words and calls and nothing else; where thoughts are missing, thinking would be left out."""
    await gateways[1].ask({"model": MODELS[provider], "messages": [ASKED]})  # so that their turns differ
    messages: list[dict[str, Any]] = [ASKED]
    keys = set()
    for gateway in itertools.islice(itertools.cycle(gateways), 6):
        body = {"model": MODELS[provider], "messages": messages, "tools": [WEATHER], "reasoning_effort": "low"}
        called = await gateway.ask({**body, "stream": False})
        assert called.status == 200, called.body
        assert not {"signatures", "reasoning"} & set(called.headers.get("x-keyrelay-left-out", "").split())
        keys.add(called.headers["x-keyrelay-key"])
        if stream:
            reply = await gateway.ask({**body, "stream": True})
            assert reply.is_good() or "tool_calls" in reply.body.decode()
        message = called.json["choices"][0]["message"]
        calls = [{name: call[name] for name in ("id", "type", "function")} for call in message.get("tool_calls") or ()]
        kept = {"role": "assistant", "content": message["content"]} | ({"tool_calls": calls} if calls else {})
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "7 degrees"} for call in calls]
        messages = [*messages, kept, *(results or [ASKED])]
    assert len(keys) == 1


async def test_while_redis_does_not_answer_each_gateway_goes_on_from_what_it_has_said(
    gateways: Pair, redis: RedisServer
) -> None:
    one, two = gateways
    first = id_of(await respond(one, input="Before."))
    redis.freeze()
    try:
        for _ in range(3):
            began_at = time.monotonic()
            reply = await respond(one, input="During.", previous_response_id=first)
            assert reply.status == 200, reply.body
            assert time.monotonic() - began_at < MOST_S + LATE_S
        during = id_of(reply)
        assert (await about(one, during)).status == 200
        elsewhere = await respond(two, input="During.", previous_response_id=during)
        assert elsewhere.error["code"] == "previous_response_not_found"
        assert (await about(one, first, "DELETE")).status == 200
    finally:
        redis.thaw()
    await until(lambda: all(waits(gateway) for gateway in gateways), "Redis is asked again")
    after = id_of(await respond(one, input="After."))
    assert (await respond(two, input="After.", previous_response_id=after)).status == 200

    async def gone() -> bool:
        return (await about(two, first)).status == 404

    for _ in range(300):
        if await gone():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a deletion that Redis could not be told is told when it is back")


async def test_a_redis_that_comes_back_empty_takes_nothing_from_who_remembers(
    gateways: Pair, redis: RedisServer
) -> None:
    one, two = gateways
    first = id_of(await respond(one, input="Before."))
    redis.kill()
    assert (await respond(one, input="During.", previous_response_id=first)).status == 200
    redis.start()
    await until(lambda: all(waits(gateway) for gateway in gateways), "Redis is asked again")
    assert (await respond(one, input="After.", previous_response_id=first)).status == 200
    lost = await respond(two, input="After.", previous_response_id=first)
    assert lost.error["code"] == "previous_response_not_found"


def waits(gateway: Embedded) -> bool:
    """Whether a gateway asks Redis."""
    return gateway.application.data._gateway.recall.waits
