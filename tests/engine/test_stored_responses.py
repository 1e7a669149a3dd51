import json
from typing import Any

import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from keyrelay.core.conversation import Answer, Message, Text, Thinking, ToolCall, ToolResult
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.engine.continuity_store import MemoryContinuityStore
from keyrelay.engine.stored_responses import MOST_TURNS, StoredResponses
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.responses.caller import ResponsesCaller

CALLER = ResponsesCaller()
TOOLS = [{"type": "namespace", "name": "ns", "description": "", "tools": [{"type": "custom", "name": "exec"}]}]
DAY_S = 86_400.0


@pytest.fixture
def responses() -> StoredResponses:
    return StoredResponses(MemoryContinuityStore(1 << 24))


def asked(**members: Any) -> CallRequest:
    return CALLER.request("chat", json.dumps({"model": "m", **members}).encode(), max_depth=64)


def answered(responses: StoredResponses, request: CallRequest, number: int, *parts: Any, client: str = "app") -> str:
    """Answer a request as the gateway does; the answer's id."""
    expanded = responses.expand(request, client, now_s=0)
    facts = AnswerFacts(
        id=f"{number:032x}",
        model="m",
        created_s=1,
        input_tokens=1,
        request=expanded,
        conversation=CALLER.conversation(expanded),
    )
    body = CALLER.answer(Answer(parts=parts), facts)
    responses.keep(expanded, body, client, now_s=0)
    response_id: str = json.loads(body)["id"]
    assert json.loads(body)["previous_response_id"] == json.loads(request.body).get("previous_response_id")
    return response_id


def test_a_conversation_goes_on_from_the_answers_before(responses: StoredResponses) -> None:
    thought = Thinking(text="Hm.", signature="c2ln", signed_by="anthropic")
    call = ToolCall("c1", "ns__exec", "text(1)", custom=True)
    first = answered(responses, asked(input="Run it.", instructions="Be brief.", tools=TOOLS), 1, thought, call)
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"}
    second = answered(responses, asked(input=[output], previous_response_id=first, tools=TOOLS), 2, Text("One."))
    third = asked(input="Thanks", previous_response_id=second, instructions="Be kind.")
    expanded = responses.expand(third, "app", now_s=1)
    assert CALLER.conversation(expanded).messages == (
        Message(role="system", parts=(Text("Be kind."),)),
        Message(role="user", parts=(Text("Run it."),)),
        Message(role="assistant", parts=(thought, call)),
        Message(role="user", parts=(ToolResult(call_id="c1", parts=(Text("1"),), custom=True),)),
        Message(role="assistant", parts=(Text("One."),)),
        Message(role="user", parts=(Text("Thanks"),)),
    )
    assert expanded.body is third.body


def test_one_may_go_on_without_a_word_and_twice_from_the_same_answer(responses: StoredResponses) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"))
    for more in ({}, {"input": None}, {"input": "a"}, {"input": "b"}):
        expanded = responses.expand(asked(previous_response_id=first, **more), "app", now_s=1)
        said = [part for message in CALLER.conversation(expanded).messages for part in message.parts]
        assert said == [Text("Hi"), Text("Hello"), *map(Text, filter(None, [more.get("input")]))]


def test_a_request_that_stands_alone_is_the_same_object(responses: StoredResponses) -> None:
    request = asked(input="Hi", previous_response_id=None)
    assert responses.expand(request, "app", now_s=0) is request


@pytest.mark.parametrize(("client", "now_s"), [("other", 1.0), ("app", DAY_S)])
def test_an_answer_is_for_its_client_and_for_a_day(responses: StoredResponses, client: str, now_s: float) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"))
    with pytest.raises(CallerError) as caught:
        responses.expand(asked(input="a", previous_response_id=first), client, now_s=now_s)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, "previous_response_id", "previous_response_not_found")
    assert error.message == f"Previous response with id '{first}' not found."
    for ask in (responses.retrieve, responses.delete, responses.input_items):
        with pytest.raises(CallerError) as caught:
            ask(first, client, now_s=now_s)
        assert (caught.value.status, caught.value.message) == (404, f"Response with id '{first}' not found.")


def test_what_is_asked_for_again_is_what_was_answered(responses: StoredResponses) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"))
    response = json.loads(responses.retrieve(first, "app", now_s=1))
    assert (response["id"], response["output"][0]["content"][0]["text"]) == (first, "Hello")


def test_a_deleted_answer_is_gone_with_what_goes_on_from_it(responses: StoredResponses) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"))
    second = answered(responses, asked(input="More", previous_response_id=first), 2, Text("Well"))
    said = json.loads(responses.delete(first, "app", now_s=1))
    assert said == {"id": first, "object": "response", "deleted": True}
    with pytest.raises(CallerError, match="not found"):
        responses.retrieve(first, "app", now_s=1)
    assert json.loads(responses.retrieve(second, "app", now_s=1))["id"] == second
    with pytest.raises(CallerError) as caught:
        responses.expand(asked(input="a", previous_response_id=second), "app", now_s=1)
    assert caught.value.code == "previous_response_not_found"


def test_what_is_not_to_be_kept_is_not() -> None:
    store = MemoryContinuityStore(1 << 20)
    answered(StoredResponses(store), asked(input="Hi", store=False), 1, Text("Hello"))
    answered(StoredResponses(store, keep_s=0), asked(input="Hi"), 2, Text("Hello"))
    assert store.size() == (0, 0)
    assert repr(StoredResponses(store)).startswith("<StoredResponses over <MemoryContinuityStore")


def test_a_conversation_has_a_longest_length(responses: StoredResponses) -> None:
    last = answered(responses, asked(input="0"), 0)
    for number in range(1, MOST_TURNS):
        request = asked(input=str(number), previous_response_id=last)
        responses.keep(request, b'{"id":"resp_%d","output":[]}' % number, "app", now_s=0)
        last = f"resp_{number}"
    expanded = responses.expand(asked(input="x", previous_response_id=last), "app", now_s=0)
    items = json.loads(bytes(expanded.fields["input"]))
    assert len(items) == MOST_TURNS + 1
    responses.keep(asked(input="y", previous_response_id=last), b'{"id":"resp_last"}', "app", now_s=0)
    with pytest.raises(CallerError, match="not found"):
        responses.expand(asked(input="z", previous_response_id="resp_last"), "app", now_s=0)


def test_an_item_that_is_referred_to_is_put_in_place(responses: StoredResponses) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"), ToolCall("c1", "f", '{"a":1}'))
    _, item = json.loads(responses.retrieve(first, "app", now_s=1))["output"]
    reference = {"type": "item_reference", "id": item["id"]}
    output = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    request = asked(input=[{"role": "user", "content": "Hi"}, reference, output])
    conversation = CALLER.conversation(responses.expand(request, "app", now_s=1))
    assert conversation.messages[1].parts == (ToolCall("c1", "f", '{"a":1}'),)
    second = answered(responses, request, 2, Text("Well"))
    listed = json.loads(responses.input_items(second, "app", now_s=1, newest_first=False))["data"]
    assert listed[1] == item


@pytest.mark.parametrize("item_id", ["", "msg_1", f"fc_{1:032x}0009", f"fc_{2:032x}0000"])
def test_an_item_that_is_not_there_is_named(responses: StoredResponses, item_id: str) -> None:
    answered(responses, asked(input="Hi"), 1, Text("Hello"))
    request = asked(input=[{"role": "user", "content": "a"}, {"type": "item_reference", "id": item_id}])
    with pytest.raises(CallerError) as caught:
        responses.expand(request, "app", now_s=1)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "input[1].id", "item_not_found")
    assert not responses.keep(request, b'{"id":"resp_2"}', "app", now_s=1)


def test_what_is_no_item_is_left_to_its_reader(responses: StoredResponses) -> None:
    answered(responses, asked(input="Hi"), 1, Text("Hello"))
    request = asked(input=[5, {"type": "item_reference", "id": f"msg_{1:032x}0000"}])
    expanded = responses.expand(request, "app", now_s=1)
    with pytest.raises(CallerError) as caught:
        CALLER.conversation(expanded)
    assert caught.value.param == "input[0]"


ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "Look"},
    {"role": "user", "content": [{"type": "input_text", "text": "here"}]},
    {"type": "message", "role": "assistant", "id": "msg_own", "status": "completed", "content": "I see"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "reasoning", "summary": []},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
]


def test_input_items_are_listed_page_by_page(responses: StoredResponses) -> None:
    first = answered(responses, asked(input=ITEMS), 1, Text("Hello"))
    page = json.loads(responses.input_items(first, "app", now_s=1, limit=2))
    assert [item["type"] for item in page["data"]] == ["function_call_output", "reasoning"]
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == tuple(item["id"] for item in page["data"])
    rest = json.loads(responses.input_items(first, "app", now_s=1, after=page["last_id"]))
    assert [item["id"] for item in rest["data"]] == [
        f"in_{1:032x}0003",
        "msg_own",
        f"in_{1:032x}0001",
        f"in_{1:032x}0000",
    ]
    assert not rest["has_more"]
    over = json.loads(responses.input_items(first, "app", now_s=1, after=rest["last_id"]))
    assert over == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_what_another_release_has_kept_in_another_form_is_not_there() -> None:
    store = MemoryContinuityStore(1 << 20)
    assert store.put("app", "response:resp_1", b"\x91\x01", now_s=0, ttl_s=60)
    with pytest.raises(CallerError) as caught:
        StoredResponses(store).expand(asked(input="Hi", previous_response_id="resp_1"), "app", now_s=1)
    assert caught.value.code == "previous_response_not_found"


def test_an_item_whose_id_is_null_has_the_id_that_pages_go_on_from(responses: StoredResponses) -> None:
    first = answered(responses, asked(input=[{"role": "user", "content": "Hi", "id": None}]), 1, Text("Hello"))
    page = json.loads(responses.input_items(first, "app", now_s=1))
    assert page["data"][0]["id"] == page["first_id"] == f"in_{1:032x}0000"


def test_listed_items_are_what_openais_own_types_take(responses: StoredResponses) -> None:
    first = answered(responses, asked(input=ITEMS), 1, Text("Hello"))
    page = json.loads(responses.input_items(first, "app", now_s=1, newest_first=False))
    for item in page["data"]:
        TypeAdapter(ResponseItem).validate_python(item)
    assert page["data"][0]["content"] == [{"type": "input_text", "text": "Look"}]
    assert page["data"][2]["content"][0]["type"] == "output_text"


@pytest.mark.parametrize(
    ("wrong", "param"), [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"after": "msg_none"}, "after")]
)
def test_a_page_that_cannot_be_is_refused(responses: StoredResponses, wrong: dict[str, Any], param: str) -> None:
    first = answered(responses, asked(input="Hi"), 1, Text("Hello"))
    with pytest.raises(CallerError) as caught:
        responses.input_items(first, "app", now_s=1, **wrong)
    assert (caught.value.status, caught.value.param) == (400, param)
