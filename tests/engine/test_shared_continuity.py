"""Conversations that several processes serve: what one remembers, the others fetch before they need it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Answer, Conversation, Message, Text, Thinking, ToolCall
from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.continuity import MOST_FETCHED, Continuity
from keyrelay.engine.continuity_store import MemoryContinuityStore
from keyrelay.engine.recall import MOST_FETCHING_S, MOST_KEEPING_S, fetched
from keyrelay.engine.shared_continuity import SharedContinuityStore
from keyrelay.engine.stored_responses import MOST_LINKS, StoredResponses
from keyrelay.ports import UpstreamCall
from keyrelay.wire.registry import DIALECTS
from tests.engine.cached import STOP
from tests.engine.rig import START_S, FakeAnswer, ListSink, Outcome, Rig, delta, providers, stream_of

KEEP_S = 3_600.0
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


class Common:
    """What the processes of a test share: all that is written, as soon as it is `told`, and what was asked for."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], tuple[bytes, float]] = {}
        self.deleted: set[tuple[str, str]] = set()
        self.reads: list[int] = []
        self.telling: asyncio.Future[None] | None = None
        self.waits = True
        self.asking: asyncio.Future[None] | None = None

    async def read(
        self,
        client: str,
        wanted: Sequence[str],
        known: Sequence[str],
        into: dict[str, tuple[bytes, float]] | None = None,
    ) -> tuple[Mapping[str, tuple[bytes, float]], AbstractSet[str]]:
        self.reads.append(len(wanted))
        await (asyncio.sleep(0) if self.asking is None else asyncio.shield(self.asking))
        values = {} if into is None else into
        values |= {each: self.held[client, each] for each in wanted if (client, each) in self.held}
        return values, {each for each in (*wanted, *known) if (client, each) in self.deleted}

    def write(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> None:
        self.held[client, entry_id] = value, now_s + ttl_s

    def delete(self, client: str, entry_id: str, *, ttl_s: float) -> None:
        assert ttl_s == KEEP_S
        self.held.pop((client, entry_id), None)
        self.deleted.add((client, entry_id))

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        return self.telling

    def __repr__(self) -> str:
        return f"<Common {len(self.held)}>"


def process(common: Common, most_bytes: int = 1 << 22) -> SharedContinuityStore:
    return SharedContinuityStore(MemoryContinuityStore(most_bytes), common)


# Turns of conversations.

SIGNED = ToolCall("c1", "f", '{"a":1}', signature="g", signed_by="gemini")
BARE = ToolCall("c1", "f", '{"a": 1}')
THOUGHT = Thinking(text="Hm.", signature="s", signed_by="anthropic")


def conversation(*parts: Any) -> Conversation:
    return Conversation(messages=tuple(Message(role="assistant" if each else "user", parts=each) for each in parts))


async def restored(continuity: Continuity, asked: Conversation) -> Conversation:
    await continuity.fetch(asked, "app", now_s=START_S)
    return continuity.restore(asked, "app", now_s=START_S)


async def test_what_another_process_remembers_is_put_back_and_asked_for_once() -> None:
    common = Common()
    here, there = (Continuity(process(common), keep_s=KEEP_S) for _ in range(2))
    here.remember("app", Answer(parts=(THOUGHT, Text("So:"), SIGNED)), "acc", now_s=START_S)
    here.remember("app", Answer(parts=(THOUGHT, Text("Done."))), "acc", now_s=START_S)
    asked = conversation((Text("So:"), BARE), (), (Text("Done."),), (), (Text("unknown"),))
    for _ in range(2):
        back = await restored(there, asked)
        signed = msgspec.structs.replace(BARE, signature="g", signed_by="gemini")
        assert [message.parts for message in back.messages] == [
            (THOUGHT, Text("So:"), signed),
            (),
            (THOUGHT, Text("Done.")),
            (),
            (Text("unknown"),),
        ]
        assert there.account_of(asked, "app", now_s=START_S) == "acc"
    assert common.reads == [3, 1, 1]  # call and words; the turn that the call points to; again what nobody knew
    assert there.knows("app")
    assert not there.knows("other")


async def test_who_remembers_it_all_asks_nobody() -> None:
    common = Common()
    here = Continuity(process(common), keep_s=KEEP_S)
    here.remember("app", Answer(parts=(THOUGHT, SIGNED)), "acc", now_s=START_S)
    assert (await restored(here, conversation((BARE,)))).messages[0].parts[0] == THOUGHT
    await restored(here, conversation(()))
    assert common.reads == []


async def test_of_a_very_long_conversation_the_newest_turns_are_looked_for() -> None:
    common = Common()
    there = Continuity(process(common), keep_s=KEEP_S)
    turns = [turn for number in range(MOST_FETCHED + 10) for turn in ((Text(f"{number}"),), ())]
    await restored(there, conversation(*turns))
    assert common.reads == [MOST_FETCHED]


async def test_nobody_is_asked_where_nothing_is_kept_or_nobody_answers() -> None:
    common = Common()
    continuity, responses = Continuity(process(common), keep_s=0), StoredResponses(process(common), keep_s=0)
    assert not continuity.waits
    assert not responses.waits
    assert Continuity(process(common)).waits
    assert StoredResponses(process(common)).waits
    common.waits = False
    assert not Continuity(process(common)).waits
    await Continuity(process(common)).fetch(conversation((BARE,)), "app", now_s=START_S)
    assert common.reads == []


async def test_what_does_not_fit_here_is_not_told_to_others() -> None:
    common = Common()
    store = process(common, most_bytes=4_000)
    assert not store.put("app", "1", b"x" * 2_000, now_s=START_S, ttl_s=KEEP_S)
    assert store.put("app", "2", b"x", now_s=START_S, ttl_s=KEEP_S)
    assert set(common.held) == {("app", "2")}
    assert repr(store).startswith("<SharedContinuityStore <MemoryContinuityStore 1 values of 1 clients")


async def test_what_is_kept_here_meanwhile_stands() -> None:
    common = Common()
    common.write("app", "1", b"old", now_s=START_S, ttl_s=KEEP_S)
    store = process(common)
    fetching = asyncio.create_task(store.fetch("app", ["1"], START_S))
    await asyncio.sleep(0)
    store.put("app", "1", b"new", now_s=START_S, ttl_s=KEEP_S)
    await fetching
    assert store.get("app", "1", START_S) == b"new"


@pytest.mark.parametrize("gives_up", [False, True])
async def test_what_is_deleted_while_it_is_fetched_does_not_come_back(*, gives_up: bool) -> None:
    common = Slow() if gives_up else Common()
    for entry_id in ("1", "2"):
        common.write("app", entry_id, b"v", now_s=START_S, ttl_s=KEEP_S)
    store = process(common)
    fetches = [asyncio.create_task(store.fetch(client, ["1", "2"], START_S)) for client in ("app", "app", "other")]
    await asyncio.sleep(0)
    common.held |= {("other", "1"): (b"v", START_S + KEEP_S)}
    read = dict(common.held)
    assert not store.delete("app", "1", ttl_s=KEEP_S)
    common.held = read  # what was on the way by then arrives
    await asyncio.sleep(0.01)
    for fetching in fetches:
        fetching.cancel()
    await asyncio.gather(*fetches, return_exceptions=True)
    assert (store.get("app", "1", START_S), store.get("app", "2", START_S)) == (None, b"v")
    assert store.get("other", "1", START_S) == b"v"
    assert store._fetches == []


async def test_a_fetched_value_ends_with_the_one_that_was_kept() -> None:
    common = Common()
    common.write("app", "1", b"v", now_s=START_S - KEEP_S + 10, ttl_s=KEEP_S)
    store = process(common)
    await store.fetch("app", ["1"], START_S)
    assert store.get("app", "1", START_S + 9) == b"v"
    assert store.get("app", "1", START_S + 10) is None


# Answers by their ids.


def asked(**members: Any) -> CallRequest:
    caller = DIALECTS.callers["responses"]
    return caller.request("chat", json.dumps({"model": "m", **members}).encode(), max_depth=64)


async def test_a_long_chain_of_answers_is_fetched_in_few_rounds() -> None:
    common, turns = Common(), 3 * MOST_LINKS + 50
    here, there = (StoredResponses(process(common), keep_s=KEEP_S) for _ in range(2))
    for number in range(turns):
        more = {"previous_response_id": f"resp_{number - 1}"} if number else {}
        here.keep(asked(input=f"{number}", **more), b'{"id":"resp_%d","output":[]}' % number, "app", now_s=START_S)
    request = asked(input="x", previous_response_id=f"resp_{turns - 1}")
    await there.fetch(request, "app", now_s=START_S)
    items = json.loads(bytes(there.expand(request, "app", now_s=START_S).fields["input"]))
    assert [item["content"] for item in items] == [*map(str, range(turns)), "x"]
    assert len(common.reads) == 1 + 4
    common.reads.clear()
    await there.fetch(request, "app", now_s=START_S)
    assert sum(common.reads) == 0  # it is only asked what was deleted meanwhile


async def test_items_that_are_referred_to_are_fetched_with_their_answers() -> None:
    common = Common()
    here, there = (StoredResponses(process(common), keep_s=KEEP_S) for _ in range(2))
    item = {"type": "message", "role": "assistant", "id": f"msg_{1:032x}0000", "content": []}
    here.keep(asked(input="Hi"), json.dumps({"id": f"resp_{1:032x}", "output": [item]}).encode(), "app", now_s=START_S)
    request = asked(input=[5, {"type": "item_reference", "id": item["id"]}, {"type": "item_reference"}])
    await there.fetch(request, "app", now_s=START_S)
    assert common.reads == [2]
    request = asked(input=[{"type": "item_reference", "id": item["id"]}])
    assert json.loads(bytes(there.expand(request, "app", now_s=START_S).fields["input"])) == [item]
    await there.fetch(asked(input="Hi"), "app", now_s=START_S)
    assert common.reads == [2]


async def test_an_answer_that_another_process_has_deleted_is_gone_with_what_goes_on_from_it() -> None:
    common = Common()
    here, there = (StoredResponses(process(common), keep_s=KEEP_S) for _ in range(2))
    here.keep(asked(input="1"), b'{"id":"resp_1"}', "app", now_s=START_S)
    here.keep(asked(input="2", previous_response_id="resp_1"), b'{"id":"resp_2"}', "app", now_s=START_S)
    await there.fetch_one("resp_1", "app", now_s=START_S)
    assert json.loads(there.delete("resp_1", "app", now_s=START_S))["deleted"]
    request = asked(input="3", previous_response_id="resp_2")
    await here.fetch(request, "app", now_s=START_S)
    with pytest.raises(CallerError) as caught:
        here.expand(request, "app", now_s=START_S)
    assert caught.value.code == "previous_response_not_found"


# Through the engine.


def plain(_: str, __: UpstreamCall) -> Outcome:
    return FakeAnswer()


def thinking(_: str, call: UpstreamCall) -> Outcome:
    """Thinks, and calls a tool."""
    message = {
        "reasoning_content": "Hm.",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return FakeAnswer(
        body={"id": "x", "choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}
    )


HISTORY = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
]


async def respond(rig: Rig, sink: ListSink | None = None, **members: Any) -> dict[str, Any]:
    request, number = asked(stream=sink is not None, **members), len(rig.records)
    record = RequestRecord(f"req_{number:032x}", rig.clock.monotonic_s(), client="app")
    rig.records.append(record)
    reply = await rig.gateway.serve(request, record, sink or ListSink())
    body: dict[str, Any] = {} if reply is None else json.loads(reply[1])
    return body


async def test_a_follow_up_reaches_another_process() -> None:
    common, prompts = Common(), list[str]()

    def script(_: str, call: UpstreamCall) -> Outcome:
        prompts.append(bytes(call.body).decode())
        return FakeAnswer()

    here, there = (Rig(script, providers("acme"), state=common) for _ in range(2))
    there.records.append(RequestRecord("req_other", 0.0))  # so that ids differ
    first = await respond(here, input="One.")
    second = await respond(there, input="Two.", previous_response_id=first["id"])
    await respond(here, input="Three.", previous_response_id=second["id"])
    assert [word in prompts[-1] for word in ("One.", "Two.", "Three.")] == [True] * 3
    with pytest.raises(CallerError, match="not found"):
        await respond(there, input="x", previous_response_id="resp_none")


async def test_thoughts_that_another_process_has_seen_are_put_back() -> None:
    common, bodies = Common(), list[dict[str, Any]]()

    def script(key: str, call: UpstreamCall) -> Outcome:
        bodies.append(msgspec.json.decode(call.body))
        return thinking(key, call)

    environ = {"DEEPSEEK_API_KEYS": "a=sim-a", "DEEPSEEK_MODELS": "m"}
    here, there = (Rig(script, environ, state=common) for _ in range(2))
    await here.ask("deepseek/m", tools=TOOLS)
    await there.ask("deepseek/m", messages=HISTORY, tools=TOOLS)
    assert bodies[-1]["messages"][1]["reasoning_content"] == "Hm."
    assert common.reads == [1, 1]


@pytest.mark.parametrize("more", [{}, {"tools": TOOLS}, {"messages": HISTORY, "tools": TOOLS}])
async def test_what_goes_through_as_it_is_asks_and_tells_nobody(more: dict[str, Any]) -> None:
    common = Common()
    rig = Rig(plain, providers("acme", "best"), state=common)
    await rig.ask(**more)
    assert (common.reads, common.held) == ([], {})


async def test_a_first_turn_asks_nobody() -> None:
    common = Common()
    rig = Rig(thinking, {"DEEPSEEK_API_KEYS": "a=sim-a", "DEEPSEEK_MODELS": "m"}, state=common)
    await rig.ask("deepseek/m", tools=TOOLS)
    await respond(rig, input="hi")
    assert common.reads == []


async def test_an_answer_that_is_not_to_be_kept_leaves_none_of_its_words() -> None:
    common = Common()
    rig = Rig(thinking, {"DEEPSEEK_API_KEYS": "a=sim-a", "DEEPSEEK_MODELS": "m"}, state=common)
    await respond(rig, input="hi", store=False)
    assert common.held == {}
    await respond(rig, input="hi")
    assert len(common.held) == 3  # the answer, the turn, what its call points to


async def test_nobody_is_asked_what_no_provider_takes_back() -> None:
    common = Common()
    turns = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And?"}]
    for environ, reads in ((providers("acme"), []), (providers("acme", ACME_DIALECT="ollama"), [1])):
        common.reads.clear()
        rig = Rig(plain, environ, state=common)
        with contextlib.suppress(CallerError):
            await respond(rig, input=turns)
        assert common.reads == reads


@pytest.fixture
async def telling() -> AsyncIterator[asyncio.Future[None]]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    yield future
    future.cancel()


@pytest.mark.parametrize("streamed", [False, True])
async def test_others_know_of_an_answer_before_its_last_byte(telling: asyncio.Future[None], *, streamed: bool) -> None:
    common = Common()
    common.telling = telling
    events = (delta("Hello."), STOP)
    rig = Rig(lambda *_: stream_of(*events) if streamed else FakeAnswer(), providers("acme"), state=common)
    sink = ListSink() if streamed else None
    answering = asyncio.create_task(respond(rig, sink, input="hi"))
    await asyncio.sleep(MOST_KEEPING_S / 4)
    assert not answering.done()
    assert len(common.held) == 1
    assert sink is None or "response.completed" not in sink.text
    telling.set_result(None)
    await asyncio.wait_for(answering, MOST_KEEPING_S / 2)
    assert sink is None or "response.completed" in sink.text


async def test_no_answer_waits_for_ever_until_others_know_of_it(telling: asyncio.Future[None]) -> None:
    common = Common()
    common.telling = telling
    rig = Rig(plain, providers("acme"), state=common)
    async with asyncio.timeout(MOST_KEEPING_S * 3):
        assert (await respond(rig, input="hi"))["status"] == "completed"
    assert not telling.done()


async def test_no_request_waits_for_ever_until_it_is_known_what_others_remember(telling: asyncio.Future[None]) -> None:
    common = Common()
    rig = Rig(plain, providers("acme"), state=common)
    first = await respond(rig, input="hi")
    common.asking = telling
    async with asyncio.timeout(MOST_FETCHING_S * 2):
        turns = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And?"}]
        reply = await respond(rig, input=turns, previous_response_id=first["id"])
    assert reply["status"] == "completed"


class Slow(Common):
    """Gives what there is, and never says that this is all."""

    async def read(
        self,
        client: str,
        wanted: Sequence[str],
        known: Sequence[str],
        into: dict[str, tuple[bytes, float]] | None = None,
    ) -> tuple[Mapping[str, tuple[bytes, float]], AbstractSet[str]]:
        found = await super().read(client, wanted, known, into)
        await asyncio.get_running_loop().create_future()
        return found


async def test_who_asks_again_for_what_was_too_much_to_fetch_needs_only_the_rest() -> None:
    common = Slow()
    here, there = process(common), process(common)
    here.put("app", "1", b"one", now_s=START_S, ttl_s=KEEP_S)
    until_at = asyncio.get_running_loop().time() + 0.01
    assert not await fetched(there.fetch("app", ["1", "2"], START_S), until_at)
    assert there.get("app", "1", START_S) == b"one"


async def test_answers_that_were_not_fetched_in_time_are_to_be_asked_for_again(telling: asyncio.Future[None]) -> None:
    common = Common()
    here, there = (Rig(plain, providers("acme"), state=common) for _ in range(2))
    first = await respond(here, input="hi")
    common.asking = telling
    with pytest.raises(CallerError) as caught:
        await respond(there, input="And?", previous_response_id=first["id"])
    assert (caught.value.status, caught.value.code) == (503, "state_not_ready")
    assert ("x-should-retry", "true") in caught.value.headers
