"""Cohere's second version: chat with typed events, embeddings, ranking."""

from base64 import b64encode
from typing import Any

from keyrelay.simulator.answers import Answer, unit_vectors
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events
from keyrelay.simulator.dialects.cohere_prompt import read_request
from keyrelay.simulator.dialects.model import Dialect, encode, figures_of
from keyrelay.simulator.dialects.passing_through import ranking
from keyrelay.simulator.http import Request

_FRAGMENT_CHARACTERS = 12
_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR"}
_BYTE = 127


class CohereDialect(Dialect):
    """`/v2/chat`, `/v2/embed` and `/v2/rerank`."""

    name = "cohere"
    voice = "cohere"
    text_member = b'"text":"'

    def read(self, operation: str, request: Request) -> Prompt:
        """Read and check a request."""
        return read_request(operation, request)

    def answer_id(self, operation: str, digits: str) -> str:  # noqa: ARG002 - all alike
        """In the form of a UUID."""
        digits = digits.ljust(32, "0")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """A message with its plan, its calls and its content."""
        message: dict[str, Any] = {"role": "assistant"}
        content = _content(answer, envelope)
        if content:
            message["content"] = content
        if answer.tool_calls:
            message |= {"tool_plan": _plan(answer), "tool_calls": _calls(answer)}
        return {
            "id": envelope.id,
            "finish_reason": _finish(answer),
            "message": message,
            "usage": _usage(answer, envelope),
        }

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """Events of the message's parts; the first of a part carries its beginning and the end of the one before."""
        begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        content: list[bytes] = []
        before = b""
        for index, (kind, tokens) in enumerate(_texts(answer, envelope)):
            opening = before + _event("content-start", index, content={"type": kind, kind: ""})
            for token in tokens:
                content.append(opening + _event("content-delta", index, content={kind: token}))
                opening = b""
            before = opening + _event("content-end", index)
        for token in _plan(answer).split(" ") if answer.tool_calls else ():
            content.append(before + _event("tool-plan-delta", None, tool_plan=f"{token} "))
            before = b""
        for index, call in enumerate(_calls(answer)):
            text = call["function"]["arguments"]
            start = {**call, "function": {**call["function"], "arguments": ""}}
            opening = before + _event("tool-call-start", index, tool_calls=start)
            for at in range(0, len(text), _FRAGMENT_CHARACTERS):
                piece = {"function": {"arguments": text[at : at + _FRAGMENT_CHARACTERS]}}
                content.append(opening + _event("tool-call-delta", index, tool_calls=piece))
                opening = b""
            before = opening + _event("tool-call-end", index)
        ended = {"finish_reason": _finish(answer), "usage": _usage(answer, envelope)}
        return Events(
            opening=[self.framed(encode({"id": envelope.id, "type": "message-start", "delta": {"message": begun}}))],
            content=content,
            closing=[before] if before else [],
            done=_framed("message-end", {"type": "message-end", "delta": ended}),
        )

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any]:
        """Embeddings, or a ranking."""
        answer_id = self.answer_id(operation, f"{number:08x}")
        if operation == "rerank":
            units = {"search_units": 1}
            return {
                "id": answer_id,
                "results": ranking(prompt.body),
                "meta": {"api_version": {"version": "2"}, "billed_units": units},
            }
        units = {"input_tokens": prompt.input_tokens}
        return {
            "id": answer_id,
            "embeddings": {kind: _vectors(prompt, kind) for kind in prompt.body.get("embedding_types") or ["float"]},
            "texts": [item for item in prompt.inputs if isinstance(item, str)],
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": units},
        }

    def framed(self, data: bytes) -> bytes:
        """An event whose name is not looked at."""
        return b"event: message-start\ndata: %b\n\n" % data

    def error_event(self, error: Any) -> bytes:
        """The end of the message, with what went wrong."""
        delta = {"finish_reason": "ERROR", "error": error.get("message"), "usage": None}
        return _framed("message-end", {"type": "message-end", "delta": delta})

    def text_event(self, text: str, envelope: Envelope) -> bytes:  # noqa: ARG002 - the first content is the text's
        """More text of the first content."""
        return _event("content-delta", 0, content={"text": text})

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """No content."""
        return {**whole, "message": {"role": "assistant", "content": []}}


def _framed(kind: str, event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(event))


def _event(kind: str, index: int | None, **message: Any) -> bytes:
    event: dict[str, Any] = {"type": kind}
    if index is not None:
        event["index"] = index
    if message:
        event["delta"] = {"message": message}
    return _framed(kind, event)


def _finish(answer: Answer) -> str:
    return "STOP_SEQUENCE" if answer.stop_sequence else _FINISH[answer.finish]


def _plan(answer: Answer) -> str:
    return f"I will call {', '.join(call.name for call in answer.tool_calls)}."


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{call.name}_{call.id[:12]}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.tool_calls
    ]


def _texts(answer: Answer, envelope: Envelope) -> list[tuple[str, list[str]]]:
    texts = [("thinking", answer.reasoning)] if answer.reasoning and envelope.shows_thoughts else []
    return [*texts, ("text", answer.tokens)] if answer.tokens else texts


def _content(answer: Answer, envelope: Envelope) -> list[dict[str, str]]:
    return [{"type": kind, kind: "".join(tokens)} for kind, tokens in _texts(answer, envelope)]


def _usage(answer: Answer, envelope: Envelope) -> dict[str, Any] | None:
    told = figures_of(answer, envelope)
    if told is None:
        return None
    numbers = {"input_tokens": _number(told.input), "output_tokens": _number(told.output)}
    return {"billed_units": numbers, "tokens": numbers, "cached_tokens": _number(told.cached)}


def _number(value: Any) -> Any:
    """Cohere's numbers are floats."""
    return float(value) if isinstance(value, int) else value


def _vectors(prompt: Prompt, kind: str) -> list[Any]:
    vectors = unit_vectors(prompt)
    if kind == "base64":
        return [b64encode(vector.tobytes()).decode() for vector in vectors]
    if kind == "float":
        return [vector.tolist() for vector in vectors]
    low = 0 if kind == "uint8" else -_BYTE
    return [[max(round(number * _BYTE), low) for number in vector] for vector in vectors]
