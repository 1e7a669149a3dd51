import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    AnswerPart,
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Document,
    Event,
    Finished,
    Image,
    Message,
    Reasoning,
    Text,
    TextPiece,
    Tokens,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire import parts


class _Part(msgspec.Struct):
    text: str


class _Body(msgspec.Struct):
    parts: list[_Part] = []
    number: int = 0


DECODER = msgspec.json.Decoder(_Body)


@pytest.mark.parametrize(
    ("body", "within", "param", "code", "message"),
    [
        (b'{"number":"a"}', "", "number", "invalid_type", "Invalid value for 'number': Expected `int`, got `str`."),
        (b'{"parts":[{"text":1}]}', "", "parts[0].text", "invalid_type", "Expected `str`, got `int`."),
        (b'{"parts":[{}]}', "", "parts[0].text", "missing_field", "Missing required field 'parts[0].text'."),
        (b'{"parts":[{}]}', "a[1]", "a[1].parts[0].text", "missing_field", "'a[1].parts[0].text'"),
        (b"[]", "", None, "invalid_type", "Invalid value for the body: Expected `object`, got `array`."),
        (b"[]", "a[1]", "a[1]", "invalid_type", "Invalid value for 'a[1]'"),
        (b"{", "", None, "invalid_type", "Invalid value for the body: Input data was truncated."),
    ],
)
def test_what_is_wrong_in_a_callers_json_is_pointed_to(
    body: bytes, within: str, param: str | None, code: str, message: str
) -> None:
    with pytest.raises(CallerError) as caught:
        parts.decode_caller(DECODER, body, within)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert message in caught.value.message


def test_a_list_is_pointed_into_without_a_dot() -> None:
    decoder = msgspec.json.Decoder(list[_Part])
    assert parts.decode_caller(decoder, msgspec.Raw(b'[{"text":"a"}]')) == [_Part("a")]
    with pytest.raises(CallerError) as caught:
        parts.decode_caller(decoder, b'[{"text":1}]', "content")
    assert caught.value.param == "content[0].text"


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("data:image/png;base64,aWNvbg==", ("image/png", "aWNvbg==")),
        ("DATA:Image/PNG;charset=x; BASE64,aWNvbg==", ("image/png", "aWNvbg==")),
        ("data:,Hi%20there", ("text/plain", "SGkgdGhlcmU=")),
        ("data:;base64,", ("text/plain", "")),
        ("data:image/png;base64", None),
        ("https://example.test/data:a,b", None),
        ("", None),
    ],
)
def test_a_data_url_is_split(url: str, split: tuple[str, str] | None) -> None:
    assert parts.split_data_url(url) == split


@given(st.from_regex(r"[a-z]{1,8}/[a-z0-9.+-]{1,8}", fullmatch=True), st.binary())
def test_a_data_url_survives(media_type: str, data: bytes) -> None:
    encoded = msgspec.json.decode(msgspec.json.encode(data))
    assert parts.split_data_url(parts.data_url(media_type, encoded)) == (media_type, encoded)


@pytest.mark.parametrize(
    ("data", "text"), [("SGk=", "Hi"), ("", ""), ("/w==", None), ("SGk", None), ("S!Gk=", None), ("é", None)]
)
def test_words_in_base64(data: str, text: str | None) -> None:
    assert parts.data_text(data) == text


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("", b"{}"),
        (" \n", b"{}"),
        ('{"a": 1}', b'{"a": 1}'),
        ("[1]", None),
        ("{", None),
        ('{"a":1} x', None),
        ("ls", None),
        ('{"a":' * 5000, None),
        ("\ud800", None),
    ],
)
def test_arguments_as_an_object(text: str, raw: bytes | None) -> None:
    found = parts.json_object(text)
    assert (None if found is None else bytes(found)) == raw


@pytest.mark.parametrize(
    ("raw", "text"), [(msgspec.Raw(), ""), (msgspec.Raw(b"null"), ""), (msgspec.Raw(b'{"a":"\xc3\xa9"}'), '{"a":"é"}')]
)
def test_json_as_text(raw: msgspec.Raw, text: str) -> None:
    assert parts.raw_text(raw) == text
    assert parts.encoded_text({"a": "é"}) == '{"a":"é"}'


def test_an_id_is_made_of_what_is_known_and_of_nothing_else() -> None:
    made = parts.tool_id("c1", 0, "f")
    assert re.fullmatch(r"call_[0-9a-f]{24}", made)
    assert made == parts.tool_id("c1", 0, "f")
    others = {parts.tool_id("c1", 1, "f"), parts.tool_id("c10", "f"), parts.tool_id("c1", "0f"), parts.tool_id()}
    assert len(others | {made}) == 5


def test_an_id_that_does_not_fit_always_becomes_the_same_one() -> None:
    nine = re.compile("[A-Za-z0-9]{9}")
    assert parts.fitting_id("Ab1Cd2Ef3", nine, 9) == "Ab1Cd2Ef3"
    made = parts.fitting_id("call_1", nine, 9)
    assert nine.fullmatch(made)
    assert made == parts.fitting_id("call_1", nine, 9) == parts.fitting_id(made, nine, 9)
    assert parts.fitting_id("call_2", nine, 9) != made
    assert parts.fitting_id("a b", re.compile(r"\w+"), 4, "toolu_").startswith("toolu_")


A, B, C = Text(text="a"), Text(text="b"), Text(text="c")


def message(role: Any, *held: Any) -> Message:
    return Message(role=role, parts=held)


def test_calls_have_names() -> None:
    call = ToolCall(id="x", name="f", arguments="{}")
    assert parts.call_names([message("user", A), message("assistant", A, call)]) == {"x": "f"}


def test_system_messages_at_the_beginning_are_split_off() -> None:
    user, late = message("user", A), message("system", C)
    split = parts.split_system(
        [message("system", A, ToolCall(id="x", name="f", arguments="")), message("system", B), user, late]
    )
    assert split == ((A, B), (user, late))
    assert parts.split_system([user]) == ((), (user,))
    assert parts.split_system([late]) == ((C,), ())


def test_neighbours_of_one_role_become_one() -> None:
    messages = (message("user", A), message("user", B), message("assistant", C), message("user"), message("user", A))
    before = tuple(messages)
    assert parts.merged(messages) == (message("user", A, B), message("assistant", C), message("user", A))
    assert messages == before
    assert parts.merged([]) == ()


@pytest.mark.parametrize(("characters", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_tokens_are_about_four_characters(characters: int, tokens: int) -> None:
    assert parts.estimated_tokens(characters) == tokens


@pytest.mark.parametrize(
    ("reasoning", "effort", "budget"),
    [
        (Reasoning(), None, None),
        (Reasoning(effort="low"), "low", 1024),
        (Reasoning(effort="max", budget_tokens=5), "max", 5),
        (Reasoning(budget_tokens=0), "none", 0),
        (Reasoning(budget_tokens=-1), None, -1),
        (Reasoning(budget_tokens=1025), "medium", 1025),
        (Reasoning(budget_tokens=24576), "high", 24576),
        (Reasoning(budget_tokens=10**9), "max", 10**9),
    ],
)
def test_effort_and_budget_stand_for_each_other(reasoning: Reasoning, effort: str | None, budget: int | None) -> None:
    assert (parts.effort_of(reasoning), parts.budget_of(reasoning)) == (effort, budget)


SH = Tool(name="sh", description="d", custom=True, grammar='{"type":"text"}', cache="5m")


def test_a_custom_tool_is_lowered_to_a_function_with_one_string() -> None:
    assert parts.lowered_tool(SH) == Tool(name="sh", description="d", schema=parts.CUSTOM_SCHEMA, cache="5m")
    plain = Tool(name="f", schema="{}")
    assert parts.lowered_tool(plain) is plain
    assert parts.lowered_arguments(ToolCall(id="a", name="sh", arguments="ls", custom=True)) == '{"input":"ls"}'
    assert parts.lowered_arguments(ToolCall(id="a", name="f", arguments="{}")) == "{}"


CUSTOMS = parts.custom_names([SH, Tool(name="f")])


@pytest.mark.parametrize(
    ("call", "raised"),
    [
        (
            ToolCall(id="a", name="sh", arguments='{"input":"ls"}'),
            ToolCall(id="a", name="sh", arguments="ls", custom=True),
        ),
        (ToolCall(id="a", name="sh", arguments="ls"), ToolCall(id="a", name="sh", arguments="ls", custom=True)),
        (
            ToolCall(id="a", name="sh", arguments='{"input":"ls"}', custom=True),
            ToolCall(id="a", name="sh", arguments='{"input":"ls"}', custom=True),
        ),
        (
            ToolCall(id="a", name="f", arguments='{"input":"ls"}'),
            ToolCall(id="a", name="f", arguments='{"input":"ls"}'),
        ),
    ],
)
def test_a_call_of_a_lowered_tool_is_raised_again(call: ToolCall, raised: ToolCall) -> None:
    assert frozenset({"sh"}) == CUSTOMS
    assert parts.raised_call(call, CUSTOMS) == raised


@given(st.text())
def test_free_text_survives_being_lowered(text: str) -> None:
    call = ToolCall(id="a", name="sh", arguments=text, custom=True)
    lowered = ToolCall(id="a", name="sh", arguments=parts.lowered_arguments(call))
    assert parts.raised_call(lowered, CUSTOMS) == call


def test_the_arguments_of_a_lowered_tool_are_held_until_they_are_whole() -> None:
    raised = parts.RaisedCalls(CUSTOMS)
    counted = Counted(tokens=Tokens())
    said: list[Event] = [
        Begun(),
        TextPiece(text="a"),
        CallBegun(id="1", name="sh"),
        CallPiece(arguments='{"input"'),
        counted,
        CallPiece(arguments=':"ls"}'),
        CallBegun(id="2", name="sh"),
        CallPiece(arguments='{"input":""}'),
        CallBegun(id="3", name="f"),
        CallPiece(arguments='{"input":"x"}'),
        CallBegun(id="4", name="sh", custom=True),
        CallPiece(arguments="pwd"),
        Finished(finish="tool_calls"),
    ]
    assert [event for one in said for event in raised.passed(one)] == [
        Begun(),
        TextPiece(text="a"),
        CallBegun(id="1", name="sh", custom=True),
        counted,
        CallPiece(arguments="ls"),
        CallBegun(id="2", name="sh", custom=True),
        CallBegun(id="3", name="f"),
        CallPiece(arguments='{"input":"x"}'),
        CallBegun(id="4", name="sh", custom=True),
        CallPiece(arguments="pwd"),
        Finished(finish="tool_calls"),
    ]


def test_what_is_held_is_said() -> None:
    raised = parts.RaisedCalls(CUSTOMS)
    assert repr(raised) == "<RaisedCalls nothing held>"
    raised.passed(CallBegun(id="1", name="sh"))
    raised.passed(CallPiece(arguments="{"))
    assert repr(raised) == "<RaisedCalls 1 pieces held>"


def test_calls_of_custom_tools_are_found_among_those_of_functions() -> None:
    call = ToolCall(id="c", name="patch", arguments="*** Begin")
    messages = (
        Message(role="assistant", parts=(call, ToolCall(id="d", name="read", arguments="{}"))),
        Message(role="user", parts=(ToolResult(call_id="c", parts=()), ToolResult(call_id="d", parts=()))),
    )
    plain = Conversation(messages=messages, tools=(Tool(name="patch"),))
    assert parts.with_custom_calls(plain) is plain
    said, results = parts.with_custom_calls(
        Conversation(messages=messages, tools=(Tool(name="patch", custom=True),))
    ).messages
    assert said.parts[0] == msgspec.structs.replace(call, custom=True)
    assert said.parts[1] is messages[0].parts[1]
    assert results.parts == (ToolResult(call_id="c", parts=(), custom=True), ToolResult(call_id="d", parts=()))


def test_the_words_of_a_text_document_stand_below_its_name() -> None:
    assert parts.document_words(Document(media_type="text/plain", data="SGk=")) == "Hi"
    assert parts.document_words(Document(media_type="text/plain", data="SGk=", name="a.txt")) == "a.txt\n\nHi"
    assert parts.document_words(Document(media_type="application/pdf", data="SGk=")) is None
    assert parts.document_words(Document(media_type="text/plain", url="https://a.example")) is None
    assert parts.document_words(Document(media_type="text/plain", data="/w==")) is None


def test_characters_are_those_of_words_and_calls() -> None:
    said: tuple[AnswerPart, ...] = (Text("four"), ToolCall(id="c", name="f", arguments="{}"), Image(data="AAAA"))
    assert list(map(parts.characters_of, said)) == [4, 3, 0]
