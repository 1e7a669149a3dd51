import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.engine.continuity import Continuity
from keyrelay.engine.continuity_store import MemoryContinuityStore
from keyrelay.wire.responses.caller import ResponsesCaller
from tests.wire.responses.asked import facts_of
from tests.wire.responses.strategies import ANSWERS, REQUEST, TOOLS

DAY_S = 86_400.0
SIGNED = Thinking(text="Hm.", signature="c2ln", signed_by="anthropic")
CALL = ToolCall("c1", "f", '{"a":1,"b":[2.0]}', signature="g", signed_by="gemini")
BARE = ToolCall("c1", "f", '{ "b": [2], "a": 1 }')


@pytest.fixture
def continuity() -> Continuity:
    return Continuity(MemoryContinuityStore(1 << 20))


def conversation(*turns: tuple[Part, ...]) -> Conversation:
    messages = [Message(role="user", parts=(Text("Hi"),))]
    for parts in turns:
        messages += [Message(role="assistant", parts=parts), Message(role="user", parts=(Text("And?"),))]
    return Conversation(messages=tuple(messages))


def restored(continuity: Continuity, *parts: Part, client: str = "app", now_s: float = 1) -> tuple[Part, ...]:
    return continuity.restore(conversation(parts), client, now_s=now_s).messages[1].parts


@pytest.mark.parametrize(
    ("given", "left", "back"),
    [
        ((CALL,), (BARE,), (replace(BARE, signature="g", signed_by="gemini"),)),
        ((SIGNED, Text("So:"), CALL), (Text("So:"), CALL), (SIGNED, Text("So:"), CALL)),
        ((Text("So:"), SIGNED, CALL), (Text("So:"), CALL), (Text("So:"), SIGNED, CALL)),
        ((Text("So:"), SIGNED, CALL), (CALL,), (SIGNED, CALL)),
        ((SIGNED, Text("So:"), CALL), (CALL,), (SIGNED, CALL)),
        ((SIGNED, Text("So:"), CALL), (Refusal("So:"), CALL), (Refusal("So:"), SIGNED, CALL)),
        ((CALL, SIGNED), (CALL,), (CALL, SIGNED)),
        ((SIGNED, Text("Yes.")), (Text(" Yes.\n"),), (SIGNED, Text(" Yes.\n"))),
        ((Thinking(text="why"), Text("Yes.")), (Text("Yes."),), (Thinking(text="why"), Text("Yes."))),
        ((SIGNED, Refusal("No.")), (Refusal("No."),), (SIGNED, Refusal("No."))),
        ((SIGNED, Text("Yes.")), (Thinking(text="Hm."), Text("Yes.")), (SIGNED, Text("Yes."))),
        ((SIGNED, Text("Yes.")), (Thinking(text="Own."), Text("Yes.")), (Thinking(text="Own."), Text("Yes."))),
        ((SIGNED, CALL), (SIGNED, BARE), (SIGNED, replace(BARE, signature="g", signed_by="gemini"))),
        (
            (SIGNED, ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}")),
            (ToolCall("c2", "f", "{}"),),
            (SIGNED, ToolCall("c2", "f", "{}")),
        ),
        (
            (SIGNED, ToolCall("c1", "patch", '{"input":"*** Begin"}')),
            (ToolCall("c1", "patch", "*** Begin", custom=True),),
            (SIGNED, ToolCall("c1", "patch", "*** Begin", custom=True)),
        ),
    ],
)
def test_what_a_client_dropped_is_put_back(
    continuity: Continuity, given: tuple[Part, ...], left: tuple[Part, ...], back: tuple[Part, ...]
) -> None:
    continuity.remember("app", Answer(parts=given), "acc", now_s=0)  # type: ignore[arg-type]  # parts of answers
    assert restored(continuity, *left) == back


def test_nobody_else_gets_it_and_nobody_too_late(continuity: Continuity) -> None:
    assert not continuity.knows("app")
    continuity.remember("app", Answer(parts=(CALL,)), "acc", now_s=0)
    assert continuity.knows("app")
    assert restored(continuity, BARE, client="other") == (BARE,)
    assert restored(continuity, BARE, now_s=DAY_S) == (BARE,)


@pytest.mark.parametrize(
    "other", [replace(BARE, id="c2"), replace(BARE, name="g"), replace(BARE, arguments='{"a":2,"b":[2]}')]
)
def test_another_call_is_not_mistaken_for_it(continuity: Continuity, other: ToolCall) -> None:
    continuity.remember("app", Answer(parts=(CALL,)), "acc", now_s=0)
    assert restored(continuity, other) == (other,)


def test_what_has_nothing_to_come_back_is_not_kept() -> None:
    store = MemoryContinuityStore(1 << 20)
    continuity = Continuity(store)
    for parts in ((Text("Yes."),), (ToolCall("c", "f", "{}"),), (SIGNED,), (Thinking(), Text("Yes."))):
        continuity.remember("app", Answer(parts=parts), "acc", now_s=0)
    assert store.size() == (0, 0)
    Continuity(store, keep_s=0).remember("app", Answer(parts=(CALL,)), "acc", now_s=0)
    assert store.size() == (0, 0)
    assert repr(continuity).startswith("<Continuity over <MemoryContinuityStore 0 values")


def test_without_words_only_signatures_and_their_account_are_kept() -> None:
    store = MemoryContinuityStore(1 << 20)
    continuity = Continuity(store)
    continuity.remember("app", Answer(parts=(SIGNED, Text("So:"), CALL)), "acc", now_s=0, words=False)
    continuity.remember("app", Answer(parts=(Thinking(text="unsigned"), Text("Yes."))), "acc", now_s=0, words=False)
    assert store.size()[0] == 2
    held = b"".join(entry.value for entry in store._entries.values())
    assert not [word for word in (b"Hm.", b"So:", b"c2ln", b'"a"', b"unsigned") if word in held]
    signed = replace(BARE, signature="g", signed_by="gemini")
    assert restored(continuity, SIGNED, Text("So:"), BARE) == (SIGNED, Text("So:"), signed)
    assert restored(continuity, Text("So:"), BARE) == (Text("So:"), signed)
    assert continuity.account_of(conversation((BARE,)), "app", now_s=1) == "acc"


def test_a_conversation_that_lacks_nothing_is_the_same_object(continuity: Continuity) -> None:
    continuity.remember("app", Answer(parts=(SIGNED, CALL)), "acc", now_s=0)
    whole = conversation((SIGNED, CALL))
    assert continuity.restore(whole, "app", now_s=1) is whole
    assert continuity.restore(conversation((Text("Hello"),)), "app", now_s=1) == conversation((Text("Hello"),))


def test_messages_of_one_turn_are_one(continuity: Continuity) -> None:
    continuity.remember("app", Answer(parts=(SIGNED, Text("So:"), CALL)), "acc", now_s=0)
    continuity.remember("app", Answer(parts=(Thinking(text="done"), Text("Yes."))), "acc", now_s=0)
    asked = Conversation(
        messages=(
            Message(role="user", parts=(Text("Hi"),)),
            Message(role="assistant", parts=(Text("So:"),)),
            Message(role="assistant", parts=(BARE,)),
            Message(role="user", parts=(ToolResult(call_id="c1", parts=(Text("3"),)),)),
            Message(role="assistant", parts=(Text("Yes."),)),
        )
    )
    messages = continuity.restore(asked, "app", now_s=1).messages
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[1].parts == (SIGNED, Text("So:"), replace(BARE, signature="g", signed_by="gemini"))
    assert messages[3].parts == (Thinking(text="done"), Text("Yes."))


def test_the_account_that_signed_last_is_known(continuity: Continuity) -> None:
    first, second = ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")
    continuity.remember("app", Answer(parts=(SIGNED, first)), "acc-1", now_s=0)
    continuity.remember("app", Answer(parts=(replace(SIGNED, text="Then."), second)), "acc-2", now_s=0)
    continuity.remember("app", Answer(parts=(Thinking(text="unsigned"), Text("Yes."))), "acc-3", now_s=0)
    both = conversation((first,), (second,), (Text("Yes."),))
    assert continuity.account_of(both, "app", now_s=1) == "acc-2"
    assert continuity.account_of(conversation((first,)), "app", now_s=1) == "acc-1"
    assert continuity.account_of(conversation((Text("Yes."),)), "app", now_s=1) is None
    assert continuity.account_of(both, "other", now_s=1) is None


def test_arguments_that_are_no_json_are_known_as_they_are(continuity: Continuity) -> None:
    continuity.remember("app", Answer(parts=(replace(CALL, arguments="{broken"),)), "acc", now_s=0)
    assert restored(continuity, replace(BARE, arguments="{broken"))[0] != replace(BARE, arguments="{broken")


@given(ANSWERS, st.booleans())
def test_a_client_of_responses_that_drops_all_thoughts_gets_them_back(answer: Answer, tidy: bool) -> None:
    """The same parts come back as were given, whatever the client's JSON looks like."""
    continuity, caller = Continuity(MemoryContinuityStore(1 << 22)), ResponsesCaller()
    continuity.remember("app", answer, "acc", now_s=0)
    output = json.loads(caller.answer(answer, facts_of(REQUEST)))["output"]
    kept = [item for item in output if item["type"] != "reasoning"]
    for item in kept if tidy else ():
        if item["type"] == "function_call":
            item["arguments"] = json.dumps(json.loads(item["arguments"]), indent=2, sort_keys=True)
    if not kept:
        return
    body = json.dumps({"model": "m", "input": kept, "tools": TOOLS}).encode()
    asked = caller.conversation(caller.request("chat", body, max_depth=64))
    back = continuity.restore(asked, "app", now_s=1)
    thoughts = [part for part in answer.parts if isinstance(part, Thinking)]
    found = [part for message in back.messages for part in message.parts if isinstance(part, Thinking)]
    assert found == thoughts


@pytest.mark.parametrize("asked", [(CALL,), (Text("Yes."),)])
def test_what_another_release_has_kept_in_another_form_is_not_known(asked: tuple[Text | ToolCall, ...]) -> None:
    store = MemoryContinuityStore(1 << 20)
    continuity = Continuity(store)
    continuity.remember("app", Answer(parts=(SIGNED, *asked)), "acc", now_s=0)
    for _, entry_id in tuple(store._entries):
        if entry_id.startswith("turn:"):
            assert store.put("app", entry_id, b"\x91\x01", now_s=0, ttl_s=60)
    assert restored(continuity, *asked) == asked
    assert continuity.account_of(conversation(asked), "app", now_s=1) is None
