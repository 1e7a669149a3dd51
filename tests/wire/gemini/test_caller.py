import json

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.wire.gemini.caller import GeminiCaller
from tests.wire.gemini.shared import ARRAY, EVENTS, HELLO, asked

USER = {"role": "user", "parts": [{"text": "Hello"}]}


def test_what_routing_has_to_know() -> None:
    body = {
        "contents": [USER],
        "tools": [{"functionDeclarations": [{"name": "look"}]}],
        "generation_config": {"max_output_tokens": 9, "response_schema": {"type": "STRING"}},
    }
    request = asked(body, stream=True)
    assert (request.operation, request.model, request.dialect) == ("chat", "gemini-3.8-flash", "gemini")
    assert (request.stream, request.wants_usage, request.max_output_tokens) == (True, True, 9)
    assert request.needs == ("chat", "tools", "json_schema")
    assert sorted(request.fields) == ["contents", "generationConfig", "tools"]
    assert json.loads(request.body) == body


def test_tools_of_googles_own_need_no_tools() -> None:
    request = asked({"contents": [USER], "tools": [{"googleSearch": {}}], "generationConfig": None})
    assert (request.needs, request.max_output_tokens, request.stream) == (("chat",), None, False)


@pytest.mark.parametrize("model", ["", "m" * 257, "a\nb"])
def test_a_path_without_a_model_is_refused(model: str) -> None:
    with pytest.raises(CallerError, match="model") as error:
        EVENTS.request("chat", b'{"contents":"Hello"}', max_depth=9, model=model)
    assert error.value.param == "model"


def test_the_model_may_have_its_collection() -> None:
    assert EVENTS.request("chat", b'{"contents":"Hello"}', max_depth=9, model="models/a").model == "a"


def test_tokens_are_counted_of_turns_or_of_a_whole_request() -> None:
    plain = EVENTS.count_request(b'{"contents":"Hello"}', max_depth=9, model="m")
    assert EVENTS.conversation(plain) == HELLO
    for name in ("generateContentRequest", "generate_content_request"):
        body = {name: {"model": "models/m", "contents": "Hello", "systemInstruction": "Be kind."}}
        whole = EVENTS.count_request(json.dumps(body).encode(), max_depth=9, model="m")
        assert len(EVENTS.conversation(whole).messages) == 2
    counted = json.loads(EVENTS.counted(12))
    assert counted == {"totalTokens": 12, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}]}


@pytest.mark.parametrize(("caller", "stream_type"), [(EVENTS, "text/event-stream"), (ARRAY, "application/json")])
def test_streams_are_events_or_an_array(caller: GeminiCaller, stream_type: str) -> None:
    assert (caller.dialect, caller.whole_type, caller.stream_type) == ("gemini", "application/json", stream_type)
    assert repr(caller) == f"<GeminiCaller {stream_type}>"
