import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Operation, ProviderRow, QuirksRow, StreamRow
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.openai import (
    apply_quirks,
    asks_usage,
    decode_request,
    encode_request,
    left_out_by,
    read_answer,
    read_usage,
)
from keyrelay.wire.readings import AnswerReading

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]


def decode(operation: Operation = "chat", **members: Any) -> CallRequest:
    return decode_request(operation, msgspec.json.encode(members), max_depth=64)


def chat(**members: Any) -> CallRequest:
    return decode("chat", **{"model": "m", "messages": HI, **members})


def refused(operation: Operation, body: bytes) -> tuple[str | None, str | None, str]:
    """Field, code and message with which a body is refused."""
    with pytest.raises(CallerError) as caught:
        decode_request(operation, body, max_depth=64)
    assert (caught.value.status, caught.value.kind) == (400, "invalid_request_error")
    return caught.value.param, caught.value.code, caught.value.message


def row(*, usage: Any = "include_usage", **quirks: Any) -> ProviderRow:
    return ProviderRow(
        id="x",
        name="X",
        base_url="https://x",
        verified_at=dt.date(2026, 11, 21),
        priority=1,
        stream=StreamRow(usage=usage),
        quirks=QuirksRow(**quirks),
    )


class TestDecodeRequest:
    def test_a_chat_request_is_read_as_far_as_routing_needs(self) -> None:
        body = b' {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "x": 1.50} '
        request = decode_request("chat", body, max_depth=64)
        assert (request.operation, request.model, request.stream, request.body) == ("chat", "fast", False, body)
        assert (request.needs, request.wants_usage, request.max_output_tokens) == (("chat",), False, None)
        assert bytes(request.fields["x"]) == b"1.50"

    @pytest.mark.parametrize(
        ("operation", "name", "value"),
        [
            ("completions", "prompt", "Once"),
            ("completions", "prompt", ["Once", "Twice"]),
            ("embeddings", "input", "Once"),
            ("embeddings", "input", [[1, 2], [3]]),
            ("embeddings", "input", ""),
        ],
    )
    def test_the_others_too(self, operation: Operation, name: str, value: object) -> None:
        request = decode(operation, model="m", **{name: value})
        assert (request.operation, request.needs) == (operation, (operation,))

    @pytest.mark.parametrize("spaced", [b"[ {}]", b"[\n\t{}]", b"[{}]"])
    def test_spaces_before_the_first_message_do_not_matter(self, spaced: bytes) -> None:
        assert decode_request("chat", b'{"model":"m","messages":' + spaced + b"}", max_depth=64).model == "m"

    def test_of_two_models_the_last_one_counts_and_is_sent(self) -> None:
        body = b'{"model":"first","messages":[{}],"model":"last"}'
        request = decode_request("chat", body, max_depth=64)
        assert request.model == "last"
        assert json.loads(encode_request(request, row().quirks, "last", ask_usage=False))["model"] == "last"
        sent = encode_request(request, row().quirks, "other", ask_usage=False)
        assert sent == b'{"model":"other","messages":[{}]}'

    @pytest.mark.parametrize(
        ("members", "stream", "wants_usage"),
        [
            ({}, False, False),
            ({"stream": None}, False, False),
            ({"stream": False, "stream_options": {"include_usage": True}}, False, False),
            ({"stream": True}, True, False),
            ({"stream": True, "stream_options": None}, True, False),
            ({"stream": True, "stream_options": {}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": None}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": True, "x": 1}}, True, True),
        ],
    )
    def test_streams(self, members: dict[str, Any], *, stream: bool, wants_usage: bool) -> None:
        request = chat(**members)
        assert (request.stream, request.wants_usage) == (stream, wants_usage)

    def test_embeddings_are_never_streamed(self) -> None:
        assert decode("embeddings", model="m", input="x", stream=True).stream is False

    @pytest.mark.parametrize(
        ("members", "bound"),
        [
            ({}, None),
            ({"max_tokens": None}, None),
            ({"max_tokens": 5}, 5),
            ({"max_tokens": 0}, 0),
            ({"max_completion_tokens": 7}, 7),
            ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
            ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ],
    )
    def test_the_bound_of_the_answer(self, members: dict[str, Any], bound: int | None) -> None:
        assert chat(**members).max_output_tokens == bound

    @pytest.mark.parametrize(
        ("members", "needs"),
        [
            ({"tools": [{"type": "function"}]}, ("chat", "tools")),
            ({"response_format": {"type": "json_schema", "json_schema": {}}}, ("chat", "json_schema")),
            ({"response_format": {"type": "json_object"}}, ("chat",)),
            ({"response_format": {}}, ("chat",)),
            ({"response_format": None}, ("chat",)),
            ({"tools": [{}], "response_format": {"type": "json_schema"}}, ("chat", "tools", "json_schema")),
        ],
    )
    def test_what_the_model_has_to_be_able_to_do(self, members: dict[str, Any], needs: tuple[str, ...]) -> None:
        assert chat(**members).needs == needs

    @pytest.mark.parametrize("tools", [None, []])
    def test_bug_a_request_without_any_tool_needed_a_model_with_tools(self, tools: object) -> None:
        assert chat(tools=tools).needs == ("chat",)


MODEL_MISSING = "Missing required field 'model'. Name a model, a route or 'auto'."
MODEL_TYPE = "Invalid type for 'model': expected a string."
MODEL_VALUE = "Invalid value for 'model': expected 1 to 256 printable characters."
MESSAGES_MISSING = "Missing required field 'messages': a list of messages."
MESSAGES_TYPE = "Invalid type for 'messages': expected a list of messages."
MESSAGES_VALUE = "Invalid value for 'messages': expected at least one message object."


class TestRefusals:
    @pytest.mark.parametrize(
        ("member", "param", "code", "message"),
        [
            (b'"messages":[{}]', "model", "missing_field", MODEL_MISSING),
            (b'"messages":[{}],"model":null', "model", "missing_field", MODEL_MISSING),
            (b'"messages":[{}],"model":5', "model", "invalid_type", MODEL_TYPE),
            (b'"messages":[{}],"model":["m"]', "model", "invalid_type", MODEL_TYPE),
            (b'"messages":[{}],"model":""', "model", "invalid_value", MODEL_VALUE),
            (b'"messages":[{}],"model":"' + b"m" * 257 + b'"', "model", "invalid_value", MODEL_VALUE),
            (b'"messages":[{}],"model":"a\\nb"', "model", "invalid_value", MODEL_VALUE),
            (b'"messages":[{}],"model":"a\\u0000"', "model", "invalid_value", MODEL_VALUE),
            (b'"model":"m"', "messages", "missing_field", MESSAGES_MISSING),
            (b'"model":"m","messages":null', "messages", "missing_field", MESSAGES_MISSING),
            (b'"model":"m","messages":"Hi"', "messages", "invalid_type", MESSAGES_TYPE),
            (b'"model":"m","messages":{"role":"user"}', "messages", "invalid_type", MESSAGES_TYPE),
            (b'"model":"m","messages":5', "messages", "invalid_type", MESSAGES_TYPE),
            (b'"model":"m","messages":[]', "messages", "invalid_value", MESSAGES_VALUE),
            (b'"model":"m","messages":[ ]', "messages", "invalid_value", MESSAGES_VALUE),
            (b'"model":"m","messages":["Hi"]', "messages", "invalid_value", MESSAGES_VALUE),
            (b'"model":"m","messages":[null]', "messages", "invalid_value", MESSAGES_VALUE),
        ],
    )
    def test_model_and_messages(self, member: bytes, param: str, code: str, message: str) -> None:
        assert refused("chat", b"{" + member + b"}") == (param, code, message)

    def test_the_longest_name_of_a_model(self) -> None:
        assert chat(model="é" * 256).model == "é" * 256

    @pytest.mark.parametrize(
        ("member", "param", "code", "problem"),
        [
            (b'"stream":"yes"', "stream", "invalid_type", "Expected `bool | null`, got `str`"),
            (b'"stream":1', "stream", "invalid_type", "Expected `bool | null`, got `int`"),
            (
                b'"stream":true,"stream_options":5',
                "stream_options",
                "invalid_type",
                "Expected `object | null`, got `int`",
            ),
            (
                b'"stream":true,"stream_options":{"include_usage":"x"}',
                "stream_options",
                "invalid_type",
                "Expected `bool | null`, got `str` - at `$.include_usage`",
            ),
            (b'"max_tokens":"5"', "max_tokens", "invalid_type", "Expected `int | null`, got `str`"),
            (b'"max_tokens":1.5', "max_tokens", "invalid_type", "Expected `int | null`, got `float`"),
            (b'"max_tokens":true', "max_tokens", "invalid_type", "Expected `int | null`, got `bool`"),
            (b'"max_tokens":' + b"9" * 5000, "max_tokens", "invalid_type", "Integer value out of range"),
            (b'"max_tokens":-1', "max_tokens", "invalid_value", "expected a positive number"),
            (b'"max_completion_tokens":-1', "max_completion_tokens", "invalid_value", "expected a positive number"),
            (b'"response_format":"json"', "response_format", "invalid_type", "Expected `object | null`, got `str`"),
            (
                b'"response_format":{"type":5}',
                "response_format",
                "invalid_type",
                "Expected `str`, got `int` - at `$.type`",
            ),
        ],
    )
    def test_the_fields_that_routing_reads(self, member: bytes, param: str, code: str, problem: str) -> None:
        expected = (param, code, f"Invalid value for '{param}': {problem}.")
        assert refused("chat", b'{"model":"m","messages":[{}],' + member + b"}") == expected

    @pytest.mark.parametrize(
        ("operation", "member", "message"),
        [
            ("completions", b"", "Missing required field 'prompt': a string or a list."),
            ("completions", b',"prompt":5', "Invalid type for 'prompt': expected a string or a list."),
            ("embeddings", b',"input":null', "Missing required field 'input': a string or a list."),
            ("embeddings", b',"input":{}', "Invalid type for 'input': expected a string or a list."),
        ],
    )
    def test_what_the_other_operations_need(self, operation: Operation, member: bytes, message: str) -> None:
        assert refused(operation, b'{"model":"m"' + member + b"}")[2] == message

    def test_what_is_no_json_names_no_field(self) -> None:
        assert refused("chat", b"{") == (None, "invalid_json", "The body is not valid JSON: Input data was truncated.")

    def test_what_nobody_reads_is_the_providers_to_judge(self) -> None:
        body = b'{"model":"m","messages":[{}],"temperature":"hot","n":' + b"9" * 5000 + b"}"
        assert decode_request("chat", body, max_depth=64).body == body


class TestEncodeRequest:
    BODY = b'{ "model" : "m", "messages": [ {"content":"\\u00e9"} ], "temperature":0.50, "x":1e400 }'
    REQUEST = decode_request("chat", BODY, max_depth=64)

    def test_nothing_to_change_nothing_changed(self) -> None:
        assert encode_request(self.REQUEST, row().quirks, "m", ask_usage=False) is self.BODY

    def test_another_model_changes_the_model_alone(self) -> None:
        assert (
            encode_request(self.REQUEST, row().quirks, "org/é", ask_usage=False)
            == '{"model":"org/é","messages":[ {"content":"\\u00e9"} ],"temperature":0.50,"x":1e400}'.encode()
        )

    def test_quirks_that_find_nothing_to_change_change_nothing(self) -> None:
        quirky = row(rename={"seed": "random_seed"}, drop=("n",), clamp={"tier": ("a",)}, strip_tool_schema=("$id",))
        assert encode_request(self.REQUEST, quirky.quirks, "m", ask_usage=False) is self.BODY
        assert encode_request(self.REQUEST, row(drop=("x",)).quirks, "m", ask_usage=False) is not self.BODY

    @pytest.mark.parametrize(
        ("model", "sent"), [("gemini-2", "models/gemini-2"), ("models/gemini-2", "models/gemini-2")]
    )
    def test_a_prefix_is_put_before_a_name_that_lacks_it(self, model: str, sent: str) -> None:
        body = encode_request(self.REQUEST, row(model_prefix="models/").quirks, model, ask_usage=False)
        assert json.loads(body)["model"] == sent

    @pytest.mark.parametrize(
        ("usage", "members", "asks"),
        [
            ("include_usage", {"stream": True}, True),
            ("include_usage", {"stream": True, "stream_options": {"include_usage": False}}, True),
            ("include_usage", {"stream": True, "stream_options": {"include_usage": True}}, False),
            ("include_usage", {}, False),
            ("always", {"stream": True}, False),
            ("never", {"stream": True}, False),
        ],
    )
    def test_usage_is_asked_for_where_it_must_be_and_the_caller_has_not(
        self, usage: str, members: dict[str, Any], *, asks: bool
    ) -> None:
        assert asks_usage(chat(**members), row(usage=usage)) is asks

    def test_asking_for_usage_adds_the_option(self) -> None:
        body = encode_request(chat(stream=True), row().quirks, "m", ask_usage=True)
        assert json.loads(body) == {
            "model": "m",
            "messages": HI,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    @pytest.mark.parametrize(
        ("options", "sent"),
        [
            (None, {"include_usage": True}),
            ({}, {"include_usage": True}),
            ({"include_usage": False}, {"include_usage": True}),
            ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
        ],
    )
    def test_bug_asking_for_usage_lost_the_callers_other_options(self, options: object, sent: dict[str, Any]) -> None:
        request = chat(stream=True, stream_options=options)
        assert json.loads(encode_request(request, row().quirks, "m", ask_usage=True))["stream_options"] == sent


def quirked(members: dict[str, Any], operation: Operation = "chat", **quirks: Any) -> dict[str, Any]:
    """What quirks make of members; they are applied twice and must not have changed anything the first time."""
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()}
    before = dict(fields)
    rules = QuirksRow(**quirks)
    first = apply_quirks(operation, fields, rules)
    assert apply_quirks(operation, fields, rules) == first
    assert fields == before
    return {name: msgspec.json.decode(raw) for name, raw in first.items()}


class TestQuirks:
    def test_rename(self) -> None:
        assert quirked({"seed": 1, "x": 2}, rename={"seed": "random_seed"}) == {"random_seed": 1, "x": 2}

    @pytest.mark.parametrize(
        "order", [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
    )
    def test_bug_a_renamed_member_replaced_the_one_under_the_new_name(self, order: tuple[str, str]) -> None:
        values = {"max_tokens": 50, "max_completion_tokens": 100}
        members = {name: values[name] for name in order}
        assert quirked(members, rename={"max_tokens": "max_completion_tokens"}) == {"max_completion_tokens": 100}

    def test_drop_comes_after_rename(self) -> None:
        assert quirked({"a": 1, "b": 2, "c": 3}, rename={"a": "z"}, drop=("z", "b", "missing")) == {"c": 3}

    @pytest.mark.parametrize(
        ("value", "kept"),
        [("low", True), ("max", False), (None, False), (5, False), (["low"], False), ({"low": 1}, False), ("", False)],
    )
    def test_clamp_removes_what_is_not_allowed(self, value: object, *, kept: bool) -> None:
        changed = quirked({"effort": value, "x": 1}, clamp={"effort": ("low", "high"), "missing": ("a",)})
        assert changed == ({"effort": value, "x": 1} if kept else {"x": 1})

    def test_defaults_are_for_what_the_caller_left_out(self) -> None:
        defaults = {"max_tokens": 2048, "safe": True, "t": 0.5, "s": "x"}
        assert quirked({"a": 1}, defaults=defaults) == {"a": 1, **defaults}
        assert quirked({"max_tokens": 5, "safe": False, "t": 0, "s": ""}, defaults=defaults) == {
            "max_tokens": 5,
            "safe": False,
            "t": 0,
            "s": "",
        }

    def test_bug_a_member_that_was_null_kept_its_default_away(self) -> None:
        assert quirked({"max_tokens": None}, defaults={"max_tokens": 2048}) == {"max_tokens": 2048}

    def test_a_default_follows_a_rename(self) -> None:
        rules: dict[str, Any] = {"rename": {"max_completion_tokens": "max_tokens"}, "defaults": {"max_tokens": 2048}}
        assert quirked({"max_completion_tokens": 9}, **rules) == {"max_tokens": 9}

    @pytest.mark.parametrize(("operation", "expected"), [("chat", 1), ("completions", 1), ("embeddings", None)])
    def test_bug_embeddings_got_the_defaults_of_answers_in_words(
        self, operation: Operation, expected: int | None
    ) -> None:
        rules: dict[str, Any] = {"defaults": {"max_tokens": 1}, "drop": ("user",), "rename": {"a": "b"}}
        changed = quirked({"input": "x", "user": "me", "a": 2}, operation, **rules)
        assert changed.pop("max_tokens", None) == expected
        assert changed == {"input": "x", "b": 2}


def tool(parameters: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}


def stripped(parameters: object, *keywords: str) -> Any:
    changed = quirked({"tools": [tool(parameters)]}, strip_tool_schema=keywords)
    (only,) = changed["tools"]
    assert only == tool(only["function"]["parameters"])
    return only["function"]["parameters"]


class TestStripToolSchema:
    def test_keywords_go_at_every_level(self) -> None:
        schema = {
            "$schema": "x",
            "type": "object",
            "properties": {"a": {"type": "object", "additionalProperties": False, "properties": {}}},
            "anyOf": [{"$schema": "y", "type": "string"}, True],
            "items": {"$schema": "z"},
            "$defs": {"d": {"additionalProperties": False}},
            "additionalProperties": False,
        }
        assert stripped(schema, "$schema", "additionalProperties") == {
            "type": "object",
            "properties": {"a": {"type": "object", "properties": {}}},
            "anyOf": [{"type": "string"}, True],
            "items": {},
            "$defs": {"d": {}},
        }

    @pytest.mark.parametrize("holder", ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
    def test_bug_a_property_with_the_name_of_a_keyword_was_lost(self, holder: str) -> None:
        schema = {holder: {"$id": {"type": "string", "$id": "x"}, "title": {"$id": "y"}}, "$id": "z"}
        assert stripped(schema, "$id") == {holder: {"$id": {"type": "string"}, "title": {}}}

    def test_a_property_named_properties_is_a_property(self) -> None:
        schema = {"properties": {"properties": {"$id": "x", "properties": {"$id": {}}}}}
        assert stripped(schema, "$id") == {"properties": {"properties": {"properties": {"$id": {}}}}}

    @pytest.mark.parametrize("name", ["const", "default", "examples", "enum", "required"])
    def test_data_in_a_schema_is_no_schema(self, name: str) -> None:
        assert stripped({name: [{"$id": 1}], "$id": "x"}, "$id") == {name: [{"$id": 1}]}

    def test_the_tool_around_the_schema_is_left_alone(self) -> None:
        tools = [
            {"type": "function", "name": "x", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "g"}},
        ]
        assert quirked({"tools": tools}, strip_tool_schema=("name", "type")) == {"tools": tools}

    @pytest.mark.parametrize(
        "tools", [None, 5, "x", {}, [], [5], [None], [{"function": 5}], [tool(5)], [tool(None)], [tool([])]]
    )
    def test_what_are_no_tools_is_the_providers_to_refuse(self, tools: object) -> None:
        assert quirked({"tools": tools}, strip_tool_schema=("$id",)) == {"tools": tools}

    @pytest.mark.parametrize("odd", [b'{"properties":5}', b'{"maximum":' + b"9" * 5000 + b"}", b'{"maximum":1e400}'])
    def test_bug_a_number_that_python_cannot_read_broke_the_request(self, odd: bytes) -> None:
        tools = b'[{"function":{"parameters":' + odd + b"}}]"
        changed = apply_quirks("chat", {"tools": msgspec.Raw(tools)}, QuirksRow(strip_tool_schema=("$id",)))
        assert bytes(changed["tools"]) == tools

    def test_embeddings_have_no_tools(self) -> None:
        tools = [tool({"$id": "x"})]
        assert quirked({"tools": tools}, "embeddings", strip_tool_schema=("$id",)) == {"tools": tools}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers() | st.text(max_size=3), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("abcd"), max_size=2),
    st.lists(st.sampled_from("abcd"), max_size=2),
    st.dictionaries(st.sampled_from("abcd"), st.just(("x", "y")), max_size=2),
    st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=2),
)
def test_no_quirks_change_the_request(
    members: dict[str, Any],
    rename: dict[str, str],
    drop: list[str],
    clamp: dict[str, tuple[str, ...]],
    defaults: dict[str, int],
) -> None:
    changed = quirked(members, rename=rename, drop=tuple(drop), clamp=clamp, defaults=defaults)
    assert set(defaults) <= set(changed)
    assert not (set(drop) - set(defaults)) & set(changed)


class TestReadAnswer:
    def test_a_chat_answer(self) -> None:
        body = b'{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
        assert read_answer("chat", body) == AnswerReading(usage=Usage(3, 4))

    def test_embeddings_have_data_and_no_output(self) -> None:
        body = b'{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
        assert read_answer("embeddings", body) == AnswerReading(usage=Usage(3, 0))

    def test_usage_may_be_missing(self) -> None:
        assert read_answer("completions", b'{"choices":[{"text":"x"}]}') == AnswerReading()

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b'"x"',
            b'{"choices":{}}',
            b'{"data":5}',
            b'{"choices":[{"text":"\xff"}]}',
            b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        ],
    )
    def test_what_is_no_answer(self, body: bytes) -> None:
        assert read_answer("chat", body) == AnswerReading(problem="the answer is not the JSON object that was expected")

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ("chat", b"{}"),
            ("chat", b'{"choices":[]}'),
            ("chat", b'{"choices":null}'),
            ("chat", b'{"data":[{}]}'),
            ("embeddings", b'{"choices":[{}]}'),
            ("embeddings", b'{"data":[]}'),
        ],
    )
    def test_an_empty_answer(self, operation: Operation, body: bytes) -> None:
        assert read_answer(operation, body) == AnswerReading(problem="the answer is empty")

    @pytest.mark.parametrize("error", [b'"no"', b'{"code":5}', b"[5]", b"5", b"true"])
    def test_an_error_under_status_200(self, error: bytes) -> None:
        reading = read_answer("chat", b'{"choices":[{}],"error":' + error + b"}")
        assert (reading.is_error, reading.problem) == (True, "the answer holds an error although its status is 200")

    @pytest.mark.parametrize("error", [b"null", b"{}", b'""', b"[]"])
    def test_an_error_that_says_nothing_is_none(self, error: bytes) -> None:
        assert read_answer("chat", b'{"choices":[{}],"error":' + error + b"}") == AnswerReading()


class TestReadUsage:
    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, Usage(3, 4)),
            ({"prompt_tokens": 3, "total_tokens": 7}, Usage(3, 4)),
            ({"prompt_tokens": 3}, Usage(3, 0)),
            ({"completion_tokens": 4}, Usage(0, 4)),
            ({"total_tokens": 7}, Usage(0, 7)),
            ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
            ({"prompt_tokens": None, "completion_tokens": 4, "details": {"x": "y"}}, Usage(0, 4)),
            ({"prompt_tokens": 2**53 - 1, "completion_tokens": 1}, Usage(2**53 - 1, 1)),
        ],
    )
    def test_what_is_said(self, usage: dict[str, Any], expected: Usage) -> None:
        assert read_usage(msgspec.Raw(msgspec.json.encode(usage))) == expected

    @pytest.mark.parametrize(
        "usage",
        [
            b"",
            b"null",
            b"5",
            b'"many"',
            b"[1]",
            b'{"prompt_tokens":-1}',
            b'{"prompt_tokens":1,"completion_tokens":-1}',
            b'{"prompt_tokens":5,"total_tokens":3}',
            b'{"prompt_tokens":"3"}',
            b'{"prompt_tokens":1.5}',
            b'{"prompt_tokens":true}',
            b'{"prompt_tokens":[]}',
            b'{"prompt_tokens":9007199254740992}',
            b'{"completion_tokens":9223372036854775808}',
            b'{"prompt_tokens":' + b"9" * 5000 + b"}",
            b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
            b"{",
            b'{"\xff":1}',
        ],
    )
    def test_absurd_usage_counts_as_not_reported(self, usage: bytes) -> None:
        assert read_usage(msgspec.Raw(usage)) is None

    @pytest.mark.parametrize("usage", [b"{}", b'{"prompt_tokens":null}', b'{"tokens":5}'])
    def test_bug_usage_that_says_nothing_counted_as_nothing_used(self, usage: bytes) -> None:
        assert read_usage(msgspec.Raw(usage)) is None


class TestLeftOut:
    def test_what_rules_take_away_is_named_if_it_said_anything(self) -> None:
        fields = chat(seed=1, user="", top_k=None, effort="xhigh", tier="auto", stream_options={}).fields
        quirks = row(
            drop=("seed", "user", "top_k", "absent", "stream_options"),
            clamp={"effort": ("low", "high"), "tier": ("auto",), "gone": ("x",)},
        ).quirks
        assert left_out_by(quirks, fields) == ("seed", "effort")
