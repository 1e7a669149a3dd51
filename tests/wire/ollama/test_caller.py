import json

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Operation
from keyrelay.wire.ollama.caller import OllamaCaller
from tests.wire.ollama.samples import CHAT, CREATED, CREATED_S, GENERATE, asked

BODY = {"model": "llama3", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_request_is_read_far_enough_to_route_it() -> None:
    body = {
        **BODY,
        "tools": [{"function": {"name": "f"}}],
        "format": {"type": "object"},
        "options": {"num_predict": 50, "temperature": "of no interest yet"},
    }
    request = asked(body)
    assert (request.operation, request.model, request.stream, request.dialect) == ("chat", "llama3", True, "ollama")
    assert request.needs == ("chat", "tools", "json_schema")
    assert request.max_output_tokens == 50
    assert json.loads(request.body) == body
    assert set(request.fields) == set(body)


@pytest.mark.parametrize(
    ("members", "given", "stream"),
    [
        ({}, None, True),
        ({"stream": None}, None, True),
        ({"stream": True}, None, True),
        ({"stream": False}, None, False),
        ({}, False, False),
        ({"stream": False}, True, True),
    ],
)
def test_an_answer_streams_unless_it_is_said_otherwise(
    members: dict[str, object], given: bool | None, stream: bool
) -> None:
    request = asked({**BODY, **members}, stream=given)
    assert request.stream is stream
    assert request.wants_usage is stream


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({"tools": []}, ("chat",)),
        ({"tools": None, "format": None}, ("chat",)),
        ({"format": "json"}, ("chat",)),
        ({"format": ""}, ("chat",)),
    ],
)
def test_what_says_nothing_needs_nothing(members: dict[str, object], needs: tuple[str, ...]) -> None:
    assert asked({**BODY, **members}).needs == needs


@pytest.mark.parametrize("options", [None, {}, {"num_predict": None}, {"num_predict": -1}, {"num_predict": 0}])
def test_no_bound_is_none(options: object) -> None:
    assert asked({**BODY, "options": options}).max_output_tokens is None


def test_embeddings_never_stream() -> None:
    request = asked({"model": "m", "input": "a"}, operation="embeddings")
    assert (request.stream, request.needs, request.model) == (False, ("embeddings",), "m")


def test_the_model_may_be_given() -> None:
    assert CHAT.request("chat", b"{}", max_depth=64, model="given").model == "given"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        (b"[]", None, "invalid_json"),
        (b'{"model":"\xff"}', None, "invalid_json"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", None, "invalid_json"),
        (b"{}", "model", "missing_field"),
        (b'{"model":7}', "model", "invalid_type"),
        (b'{"model":""}', "model", "invalid_value"),
        (b'{"model":"a\\nb"}', "model", "invalid_value"),
        (b'{"model":"m","stream":"yes"}', "stream", "invalid_type"),
        (b'{"model":"m","options":{"num_predict":"all"}}', "options.num_predict", "invalid_type"),
        (b'{"model":"m","options":[]}', "options", "invalid_type"),
    ],
)
def test_bad_requests_are_refused(body: bytes, param: str | None, code: str) -> None:
    with pytest.raises(CallerError) as raised:
        asked(body)
    assert (raised.value.status, raised.value.param, raised.value.code) == (400, param, code)


@pytest.mark.parametrize(
    ("caller", "operation", "members", "loads"),
    [
        (CHAT, "chat", {}, True),
        (CHAT, "chat", {"messages": []}, True),
        (CHAT, "chat", {"messages": None}, True),
        (CHAT, "chat", {"messages": [{}]}, False),
        (GENERATE, "chat", {}, True),
        (GENERATE, "chat", {"prompt": ""}, True),
        (GENERATE, "chat", {"prompt": "Hi"}, False),
        (GENERATE, "chat", {"images": ["AAAA"]}, False),
        (CHAT, "embeddings", {}, False),
    ],
)
def test_a_request_may_only_load_a_model(
    caller: OllamaCaller, operation: Operation, members: dict[str, object], loads: bool
) -> None:
    request = asked({"model": "m", **members}, caller=caller, operation=operation)
    assert caller.loads(request) is loads


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(None, "load"), ("5m", "load"), (-1, "load"), (300, "load"), (0, "unload"), ("0", "unload"), ("0s", "unload")],
)
def test_the_answer_to_it_comes_at_once(keep_alive: object, reason: str) -> None:
    request = asked({"model": "m", "keep_alive": keep_alive})
    head = {"model": "m", "created_at": CREATED, "done": True, "done_reason": reason}
    assert json.loads(CHAT.loaded(request, CREATED_S)) == {**head, "message": {"role": "assistant", "content": ""}}
    assert json.loads(GENERATE.loaded(request, CREATED_S)) == {**head, "response": ""}
    assert json.loads(CHAT.loaded(asked({"model": "m"}), CREATED_S))["done_reason"] == "load"


def test_errors_are_text() -> None:
    error = CallerError(429, "Nothing is left.", code="exhausted", param="model")
    assert CHAT.error(error, "req_1") == (429, b'{"error":"Nothing is left."}')
    assert CHAT.error_event(error, "req_1") == b'{"error":"Nothing is left."}\n'


def test_what_keyrelay_says_beyond_stands_beside_it() -> None:
    error = CallerError(503, "Nobody can.", detail={"candidates": []})
    assert json.loads(CHAT.error(error, "req_1")[1]) == {"error": "Nobody can.", "keyrelay": {"candidates": []}}


def test_it_says_what_it_is() -> None:
    assert [repr(CHAT), repr(GENERATE)] == ["<OllamaCaller /api/chat>", "<OllamaCaller /api/generate>"]
    assert (CHAT.dialect, CHAT.whole_type, CHAT.stream_type) == ("ollama", "application/json", "application/x-ndjson")
