"""The response cache for callers of every dialect: one table of what has to hold, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from keyrelay.simulator import Change, Latency, ProviderPlan, Scenario, Simulator
from tests.e2e.cache_callers import CALL, CHATS, EMBEDDINGS, MODELS, WAYS, Asking, cache_of, same_but_for_id
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply, calls_of, embedded, environment, simulated

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_SECRET = "0c2f6f1b2e6d4c6f9a3f6a7d8e9f0a1b"
THINKER = "gemini/gemini-3.1-flash-lite"
SLOW = Latency(first_token_ms=(60, 60), tokens_per_s=1000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated(Scenario(providers={name: ProviderPlan(limits=()) for name in MODELS})) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    keys = {name: [] if name == "ollama" else [f"sim-{name}-a"] for name in MODELS}
    more = {f"{name.upper()}_TIER": "paid" for name in MODELS}
    more |= {f"{name.upper()}_DIALECT": name for name in MODELS if name != "groq"}
    environ = environment(simulator, keys, KEYRELAY_CIRCUIT_FAILURES="1000", **more)
    environ["CLIENT_API_KEYS_MAP"] += f",{OTHER_SECRET}:others"
    directory: Path = tmp_path_factory.mktemp("data")
    async with embedded(environ, directory) as running:
        yield running


class Table:
    """One way through the gateway; each case asks with words of its own."""

    def __init__(self, gateway: Embedded, simulator: Simulator, way: tuple[str, str, bool], case: str) -> None:
        caller, self.provider, self.stream = way
        self.gateway = gateway
        self.simulator = simulator
        self.asking: Asking = CHATS[caller]
        self.words = f"{case}, {caller} to {self.provider}, {'streamed' if self.stream else 'whole'}"
        self._calls_before = len(calls_of(simulator))

    @property
    def calls(self) -> int:
        return len(calls_of(self.simulator)) - self._calls_before

    async def ask(self, *, secret: str = CLIENT_SECRET, tools: bool = False, **headers: str) -> Reply:
        words = CALL if tools else self.words
        path, body = self.asking.request(words, MODELS[self.provider], stream=self.stream, tools=tools)
        async with Caller(self.gateway.port, secret) as caller:
            return await caller.post(path, body, headers=headers)

    async def good(self, own: str = "") -> Reply:
        reply = await self.ask(x_keyrelay_cache=own)
        assert reply.status == 200, reply.body
        return reply

    def change(self, **what: Any) -> None:
        self.simulator.change(Change(provider=self.provider, **what))


async def hit(table: Table) -> None:
    first, second = await table.good(), await table.good()
    assert (cache_of(first), cache_of(second), table.calls) == ("miss", "hit", 1)
    assert same_but_for_id(first, second)
    assert first.headers["content-type"] == second.headers["content-type"]
    assert (second.headers["age"], second.headers["x-keyrelay-attempts"]) == ("0", "0")
    assert second.headers["x-keyrelay-provider"] == table.provider
    line = await table.gateway.line_of(second.headers["x-request-id"])
    assert (line["cached"], line["cost_usd"], "attempts" in line) == ("hit", 0.0, False)
    assert line["usage"]["output_tokens"] > 0


async def refresh(table: Table) -> None:
    await table.good()
    fresh = await table.good("refresh")
    again = await table.good()
    assert (cache_of(fresh), cache_of(again), table.calls) == ("miss", "hit", 2)
    assert same_but_for_id(fresh, again)


async def no_store(table: Table) -> None:
    for _ in range(2):
        assert cache_of(await table.good("no-store")) == ""
    assert (cache_of(await table.good()), table.calls) == ("miss", 3)


async def tool_call(table: Table) -> None:
    replies = [await table.ask(tools=True) for _ in range(2)]
    assert all(b"weather" in reply.body for reply in replies), replies[0].body
    assert ([cache_of(reply) for reply in replies], table.calls) == (["miss", "miss"], 2)


async def error(table: Table) -> None:
    table.change(script=("blocked", "malformed"))
    assert [(await table.ask()).status for _ in range(2)] == [400, 400]
    assert cache_of(await table.good()) == "miss"
    assert cache_of(await table.good()) == "hit"


async def broken(table: Table) -> None:
    table.change(script=("error_event_mid",))
    first = await table.ask()
    assert b"rror" in first.body
    second = await table.good()
    assert (cache_of(second), cache_of(await table.good()), table.calls) == ("miss", "hit", 2)
    assert b"rror" not in second.body.replace(b'"error":null', b"")


async def single_flight(table: Table) -> None:
    table.change(latency=SLOW)
    try:
        path, body = table.asking.request(table.words, MODELS[table.provider], stream=table.stream)
        leader = Caller(table.gateway.port)
        asking = asyncio.create_task(leader.post(path, body))
        await asyncio.sleep(0.02)
        followers = [asyncio.create_task(table.good()) for _ in range(3)]
        await asyncio.sleep(0.02)
        asking.cancel()
        await leader.close()
        replies = await asyncio.gather(*followers)
    finally:
        table.change(latency=Latency())
    assert [cache_of(reply) for reply in replies] == ["shared"] * 3
    assert same_but_for_id(replies[0], replies[1])
    assert same_but_for_id(replies[1], replies[2])
    kept = await table.good()
    assert (cache_of(kept), table.calls) == ("hit", 1)
    assert same_but_for_id(kept, replies[0])


async def other_client(table: Table) -> None:
    for secret in (CLIENT_SECRET, OTHER_SECRET):
        assert [cache_of(await table.ask(secret=secret)) for _ in range(2)] == ["miss", "hit"]
    assert table.calls == 2


Case = Callable[[Table], Awaitable[None]]
CASES: tuple[Case, ...] = (hit, refresh, no_store, tool_call, error, broken, single_flight, other_client)
TABLE = [
    pytest.param(way, case, id=f"{way[0]}-{way[1]}-{'stream' if way[2] else 'whole'}-{case.__name__}")
    for way in WAYS
    for case in CASES
    if (way[2] or case is not broken) and (CHATS[way[0]].tools is not None or case is not tool_call)
]
"""What breaks before it is whole is tried again, and one of the endpoints has no tools."""


@pytest.mark.parametrize(("way", "case"), TABLE)
async def test_the_cache(gateway: Embedded, simulator: Simulator, way: tuple[str, str, bool], case: Case) -> None:
    await case(Table(gateway, simulator, way, case.__name__))


@pytest.mark.parametrize("name", EMBEDDINGS)
async def test_embeddings(gateway: Embedded, simulator: Simulator, name: str) -> None:
    asking, model = EMBEDDINGS[name]
    before = len(calls_of(simulator))
    path, body = asking.request(f"embedded by {name}", model, stream=False)
    for secret in (CLIENT_SECRET, OTHER_SECRET):
        async with Caller(gateway.port, secret) as caller:
            first, second = [await caller.post(path, body) for _ in range(2)]
        assert (first.status, cache_of(first), cache_of(second)) == (200, "miss", "hit"), first.body
        assert first.body == second.body
    assert len(calls_of(simulator)) - before == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", ["gemini", "chat"])
async def test_an_answer_that_its_account_has_signed_is_not_kept(
    gateway: Embedded, simulator: Simulator, caller: str, *, stream: bool
) -> None:
    asking = CHATS[caller]
    words = f"signed, {caller}, {stream}"
    path, body = asking.request(words, THINKER, stream=stream)
    body = body.replace(b'"thinkingBudget":0', b'"thinkingBudget":-1')
    replies = [await gateway.ask(body, path) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200], replies[0].body
    signed = b"thoughtSignature" in replies[0].body or b"signature" in replies[0].body
    assert (signed, [cache_of(reply) for reply in replies]) == (True, ["miss", "miss"])


class TestResponses:
    """Answers that can be asked for again by their id: each replay is one of its own."""

    @staticmethod
    async def made(gateway: Embedded, words: str, *, stream: bool, **more: Any) -> tuple[str, str]:
        body = {"model": MODELS["groq"], "input": words, "temperature": 0, "stream": stream, **more}
        reply = await gateway.ask(body, "/v1/responses")
        assert reply.status == 200, reply.body
        text = reply.events[-1] if stream else reply.body
        answer = msgspec.json.decode(text)
        return (answer["response"] if stream else answer)["id"], cache_of(reply)

    @staticmethod
    async def found(gateway: Embedded, answer_id: str, method: str = "GET") -> int:
        return (await gateway.ask(b"", f"/v1/responses/{answer_id}", method=method)).status

    @pytest.mark.parametrize("stream", [False, True])
    async def test_each_is_found_gone_on_from_and_deleted_by_its_own_id(
        self, gateway: Embedded, *, stream: bool
    ) -> None:
        words = f"My name is Ada, {stream}."
        (first, _), (second, how) = [await self.made(gateway, words, stream=stream) for _ in range(2)]
        assert (how, first != second) == ("hit", True)
        assert await self.found(gateway, first, "DELETE") == 200
        assert (await self.found(gateway, first), await self.found(gateway, second)) == (404, 200)
        then = {"input": "Who am I?", "previous_response_id": second}
        reply = await gateway.ask({"model": MODELS["groq"], **then}, "/v1/responses")
        assert reply.status == 200, reply.body
        assert reply.json["previous_response_id"] == second

    @pytest.mark.parametrize("stream", [False, True])
    async def test_so_is_each_of_those_who_share_a_call(
        self, gateway: Embedded, simulator: Simulator, *, stream: bool
    ) -> None:
        simulator.change(Change(provider="groq", latency=SLOW))
        try:
            made = [self.made(gateway, f"shared, {stream}", stream=stream) for _ in range(3)]
            askings = await asyncio.gather(*made)
        finally:
            simulator.change(Change(provider="groq", latency=Latency()))
        assert sorted(how for _, how in askings) == ["miss", "shared", "shared"]
        assert len({answer_id for answer_id, _ in askings}) == 3
        assert [await self.found(gateway, answer_id) for answer_id, _ in askings] == [200] * 3

    async def test_what_goes_on_from_another_answer_is_made_anew(self, gateway: Embedded) -> None:
        first, _ = await self.made(gateway, "I like tea.", stream=False)
        for _ in range(2):
            _, how = await self.made(gateway, "What do I like?", stream=False, previous_response_id=first)
            assert how == ""

    async def test_what_is_not_to_be_stored_is_replayed_and_not_stored(self, gateway: Embedded) -> None:
        (_, _), (second, how) = [await self.made(gateway, "Forget me.", stream=False, store=False) for _ in range(2)]
        assert (how, await self.found(gateway, second)) == ("hit", 404)


@pytest.mark.parametrize(("provider", "member"), [("anthropic", "seed"), ("groq", "logit_bias")])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_could_not_be_said_is_named_again(
    gateway: Embedded, provider: str, member: str, *, stream: bool
) -> None:
    messages = [{"role": "user", "content": "Named again."}]
    body = {"model": MODELS[provider], "messages": messages, "stream": stream, "seed": 7, "logit_bias": {"7": 1}}
    first, second = [await gateway.ask(body) for _ in range(2)]
    assert (cache_of(first), cache_of(second)) == ("miss", "hit")
    assert member in first.headers["x-keyrelay-left-out"]
    assert second.headers["x-keyrelay-left-out"] == first.headers["x-keyrelay-left-out"]


async def test_all_of_it_is_counted_and_forgotten(gateway: Embedded) -> None:
    report = (await gateway.ask(b"", "/api/v1/cache", method="GET")).json
    assert report["hits"] > 20
    assert {"signed", "tool_calls", "broken"} <= set(report["not_kept"])
    assert (report["under_way"], report["wrong"]) == (0, {})
    for asking, stream in ((CHATS["ollama"], False), (CHATS["gemini array"], True)):
        path, body = asking.request("to be forgotten", MODELS["groq"], stream=stream)
        assert [cache_of(await gateway.ask(body, path)) for _ in range(2)] == ["miss", "hit"]
        assert (await gateway.ask(b"", "/api/v1/cache", method="DELETE")).json["purged"] > 0
        assert cache_of(await gateway.ask(body, path)) == "miss"
