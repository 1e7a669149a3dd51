import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.generate import GenerateStream, decode_request_generate, encode_answer_generate

MAX_DEPTH = 64


def decode(**members: Any) -> CallRequest:
    return decode_request_generate(msgspec.json.encode(members), max_depth=MAX_DEPTH)


def refused(body: bytes) -> tuple[str | None, str | None, str]:
    with pytest.raises(CallerError) as caught:
        decode_request_generate(body, max_depth=MAX_DEPTH)
    assert caught.value.status == 400
    return caught.value.param, caught.value.code, caught.value.message


class TestDecodeRequestGenerate:
    def test_a_prompt_is_enough(self) -> None:
        request = decode(prompt="Hi é")
        assert (request.operation, request.model, request.stream) == ("chat", "auto", False)
        assert json.loads(request.body) == {"model": "auto", "messages": [{"role": "user", "content": "Hi é"}]}

    def test_everything_that_it_takes(self) -> None:
        request = decode_request_generate(
            b'{"prompt":"Hi","model":"fast","system":"Be brief.","temperature":0.20,"max_tokens":200,"top_p":1,'
            b'"stop":["x"],"seed":5,"stream":true,"tools":[{}],"n":2}',
            max_depth=MAX_DEPTH,
        )
        assert (request.model, request.stream, request.wants_usage, request.max_output_tokens) == (
            "fast",
            True,
            True,
            200,
        )
        assert request.needs == ("chat",)
        assert b'"temperature":0.20' in request.body
        assert json.loads(request.body) == {
            "model": "fast",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "temperature": 0.2,
            "max_tokens": 200,
            "top_p": 1,
            "stop": ["x"],
            "seed": 5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    @pytest.mark.parametrize("empty", [None, ""])
    def test_an_empty_model_is_auto_and_an_empty_system_is_none(self, empty: str | None) -> None:
        request = decode(prompt="Hi", model=empty, system=empty)
        assert request.model == "auto"
        assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Hi"}]

    @pytest.mark.parametrize("stream", [None, False])
    def test_without_a_stream_there_are_no_stream_options(self, *, stream: bool | None) -> None:
        request = decode(prompt="Hi", stream=stream)
        assert (request.stream, "stream_options" in request.fields) == (False, False)

    @pytest.mark.parametrize("body", [b"{}", b'{"prompt":null}', b'{"prompt":""}'])
    def test_there_is_no_answer_to_nothing(self, body: bytes) -> None:
        assert refused(body) == ("prompt", "missing_field", "Missing required field 'prompt': the text to answer.")

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            (b"", None, "invalid_json"),
            (b"[]", None, "invalid_json"),
            (b'{"prompt":5}', "prompt", "invalid_type"),
            (b'{"prompt":["Hi"]}', "prompt", "invalid_type"),
            (b'{"prompt":"Hi","system":5}', "system", "invalid_type"),
            (b'{"prompt":"Hi","model":5}', "model", "invalid_type"),
            (b'{"prompt":"Hi","model":"\\n"}', "model", "invalid_value"),
            (b'{"prompt":"Hi","temperature":"hot"}', "temperature", "invalid_type"),
            (b'{"prompt":"Hi","max_tokens":"5"}', "max_tokens", "invalid_type"),
            (b'{"prompt":"Hi","max_tokens":-1}', "max_tokens", "invalid_value"),
            (b'{"prompt":"Hi","stream":"yes"}', "stream", "invalid_type"),
            (b'{"prompt":"Hi","stop":' + b"[" * 64 + b"]" * 64 + b"}", None, "invalid_json"),
        ],
    )
    def test_a_wrong_field_is_named(self, body: bytes, param: str | None, code: str) -> None:
        assert refused(body)[:2] == (param, code)


def answer(body: object, usage: Usage | None = None) -> Any:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return msgspec.json.decode(encode_answer_generate(raw, provider="groq", model="llama", usage=usage))


def chat(content: object, finish_reason: object = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}]}


class TestEncodeAnswerGenerate:
    def test_a_chat_completion_becomes_the_short_answer(self) -> None:
        assert answer(chat("Hé"), Usage(3, 4)) == {
            "text": "Hé",
            "provider": "groq",
            "model": "llama",
            "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
            "finish_reason": "stop",
        }

    def test_usage_that_nobody_knows_is_nought(self) -> None:
        assert answer(chat("Hi"))["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"nonsense",
            {},
            {"choices": []},
            {"choices": [{}]},
            {"choices": 5},
            {"choices": [{"message": None}]},
        ],
    )
    def test_without_a_message_there_is_no_text(self, body: object) -> None:
        assert (answer(body)["text"], answer(body)["finish_reason"]) == ("", None)

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (None, ""),
            ("", ""),
            ([], ""),
            ([{"type": "text", "text": "Hé"}, {"type": "text", "text": "llo"}], "Héllo"),
            (
                [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hi"}],
                "Hi",
            ),
            (5, ""),
            ({"a": 1}, ""),
            (["x"], ""),
        ],
    )
    def test_bug_mistrals_content_in_parts_lost_text_and_reason(self, content: object, text: str) -> None:
        assert (answer(chat(content))["text"], answer(chat(content))["finish_reason"]) == (text, "stop")


def event(**members: Any) -> bytes:
    return b"data: " + msgspec.json.encode(members) + b"\n\n"


def delta(content: object, finish_reason: str | None = None) -> bytes:
    return event(choices=[{"delta": {"content": content}, "finish_reason": finish_reason}])


STREAM = b"".join(
    (
        delta(""),
        delta("Hé"),
        b": still here\n\n",
        delta([{"type": "text", "text": "llo"}]),
        delta(None, "length"),
        event(choices=[]),
        event(choices=[{"delta": None}]),
        b"data: nonsense\n\n",
        b"data: [DONE]\n\n",
    )
)
SHORT_STREAM = b"".join(
    (
        event(text="Hé"),
        b": still here\n\n",
        event(text="llo"),
        event(
            done=True,
            provider="groq",
            model="llama",
            usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
            finish_reason="length",
        ),
        b"data: [DONE]\n\n",
    )
)


class TestGenerateStream:
    @given(st.lists(st.integers(0, len(STREAM)), max_size=5))
    def test_a_chat_stream_becomes_the_short_one_however_it_is_cut(self, cuts: list[int]) -> None:
        stream = GenerateStream(1000)
        at = [0, *sorted(cuts), len(STREAM)]
        pieces = [STREAM[start:end] for start, end in itertools.pairwise(at)]
        short = [stream.feed(piece, provider="groq", model="llama", usage=Usage(3, 4)) for piece in pieces]
        assert b"".join(short) == SHORT_STREAM
        assert repr(stream) == "<GenerateStream finish_reason=length>"

    def test_a_stream_may_end_without_a_reason(self) -> None:
        short = GenerateStream(1000).feed(b"data: [DONE]\n\n", provider="groq", model="llama", usage=None)
        last, done, _ = short.split(b"\n\n")
        assert msgspec.json.decode(last.removeprefix(b"data: "))["finish_reason"] is None
        assert done == b"data: [DONE]"

    def test_bug_a_whole_answer_without_done_had_no_last_event(self) -> None:
        stream = GenerateStream(1000)
        stream.feed(
            b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n',
            provider="vllm",
            model="llama",
            usage=None,
        )
        last, done, _ = stream.end(provider="vllm", model="llama", usage=Usage(3, 4)).split(b"\n\n")
        assert msgspec.json.decode(last.removeprefix(b"data: "))["usage"]["output_tokens"] == 4
        assert done == b"data: [DONE]"
        assert stream.end(provider="vllm", model="llama", usage=None) == b""
