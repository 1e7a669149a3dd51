import msgspec
import pytest

from keyrelay.core.conversation import Embeddings, EmbeddingsAsked
from keyrelay.core.errors import CallerError
from keyrelay.wire.anthropic.caller import FORWARDED_HEADERS, count_answer, count_tokens_request
from keyrelay.wire.dialects import EmbeddingFacts
from tests.wire.anthropic.examples import CALLER, MODEL, QUESTION, asked, body_of


def test_a_request_is_read_as_far_as_routing_needs_it() -> None:
    request = asked(stream=True, max_tokens=32_000)
    assert (request.operation, request.model, request.dialect) == ("chat", MODEL, "anthropic")
    assert (request.stream, request.wants_usage, request.max_output_tokens) == (True, True, 32_000)
    assert request.body == body_of(stream=True, max_tokens=32_000)
    assert request.needs == ("chat",)


def test_a_path_may_say_model_and_stream() -> None:
    request = CALLER.request("chat", body_of(stream=True), max_depth=10, model="other", stream=False)
    assert (request.model, request.stream, request.wants_usage) == ("other", False, False)


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({"tools": []}, ("chat",)),
        ({"tools": [{"name": "a", "input_schema": {}}]}, ("chat", "tools")),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, ("chat", "json_schema")),
        ({"output_config": {"effort": "low", "format": None}}, ("chat",)),
        ({"output_config": None}, ("chat",)),
        ({"output_format": {"type": "json_schema", "schema": {}}}, ("chat", "json_schema")),
    ],
)
def test_what_a_model_must_be_able_to_do(members: dict[str, object], needs: tuple[str, ...]) -> None:
    assert asked(**members).needs == needs


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"model": None}, "model", "missing_field"),
        ({"model": 5}, "model", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": "a\nb"}, "model", "invalid_value"),
        ({"model": "a" * 257}, "model", "invalid_value"),
        ({"messages": None}, "messages", "missing_field"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": ["a"]}, "messages", "invalid_value"),
        ({"max_tokens": None}, "max_tokens", "missing_field"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"output_config": 5}, "output_config", "invalid_type"),
    ],
)
def test_bad_input_is_refused_by_name(members: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        asked(**members)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert param in caught.value.message


def test_a_missing_model_is_named() -> None:
    with pytest.raises(CallerError, match="'model'"):
        CALLER.request("chat", msgspec.json.encode({"messages": [QUESTION], "max_tokens": 5}), max_depth=10)


def test_max_tokens_of_nothing_only_warms_the_cache() -> None:
    assert asked(max_tokens=0).max_output_tokens == 0


def test_counting_asks_for_no_bound() -> None:
    request = count_tokens_request(msgspec.json.encode({"model": "m", "messages": [QUESTION]}), max_depth=10)
    assert (request.model, request.stream, request.max_output_tokens) == ("m", False, None)
    assert CALLER.conversation(request).max_output_tokens is None
    assert count_answer(2095) == b'{"input_tokens":2095}'


@pytest.mark.parametrize("operation", ["completions", "embeddings"])
def test_there_are_no_other_operations(operation: str) -> None:
    with pytest.raises(CallerError, match=f"no {operation}"):
        CALLER.request(operation, body_of(), max_depth=10)  # type: ignore[arg-type]


def test_there_are_no_embeddings() -> None:
    with pytest.raises(CallerError):
        CALLER.embeddings_asked(asked())
    with pytest.raises(CallerError, match="no embeddings"):
        CALLER.embeddings(Embeddings(vectors=()), EmbeddingFacts(model="m", input_tokens=0, asked=EmbeddingsAsked()))


def test_errors_are_in_its_own_shape() -> None:
    error = CallerError(404, "There is no such model.")
    status, body = CALLER.error(error, "req_1")
    assert (status, msgspec.json.decode(body)["error"]["type"]) == (404, "not_found_error")
    assert CALLER.error_event(error, "req_1") == b"event: error\ndata: " + body + b"\n\n"


def test_what_it_is() -> None:
    assert (CALLER.dialect, CALLER.whole_type) == ("anthropic", "application/json")
    assert CALLER.stream_type == "text/event-stream; charset=utf-8"
    assert set(FORWARDED_HEADERS) == {"anthropic-beta", "anthropic-version"}
    assert repr(CALLER) == "<AnthropicCaller>"
