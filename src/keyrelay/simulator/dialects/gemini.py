"""Gemini's generateContent: candidates of parts, whole or as a stream of such answers.

Calls of functions come whole and have no id; a thought signature stands on the first call, or after the text where
the model thought. Without `alt=sse` a stream is one JSON array.
"""

from typing import Any

import msgspec

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.answers import Answer, unit_vectors
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events
from keyrelay.simulator.dialects.gemini_prompt import check_signatures, read_contents
from keyrelay.simulator.dialects.model import SSE, Dialect, encode, figures_of
from keyrelay.simulator.dialects.openai_rules import needs_signatures
from keyrelay.simulator.http import Request
from keyrelay.simulator.signatures import seal

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


class GeminiDialect(Dialect):
    """`:generateContent` and its relatives. `sse` is whether streams are events."""

    name = "gemini"
    voice = "gemini_native"
    text_member = b'"text":"'

    def __init__(self, *, sse: bool = True) -> None:
        self.sse = sse
        self.stream_type = SSE if sse else "application/json; charset=UTF-8"
        self.ping = b": ping\n\n" if sse else b"\n"

    def read(self, operation: str, request: Request) -> Prompt:
        """Read and check a request; its model stands in the path."""
        return read_contents(operation, request)

    def refusal_of(self, prompt: Prompt, provider: str, model: ModelRow) -> None:  # noqa: ARG002 - the model decides
        """Newer models want the signatures of their calls back."""
        if needs_signatures(model.id):
            check_signatures(prompt.body)

    def thinks_unasked(self, provider: str) -> bool:  # noqa: ARG002 - all alike
        """Its models think by themselves; whether they show it is another matter."""
        return True

    def answer_id(self, operation: str, digits: str) -> str:  # noqa: ARG002 - all alike
        """Digits and nothing else."""
        return digits

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """An answer with one candidate, or none if the prompt was blocked."""
        if answer.finish == "content_filter":
            blocked = {"blockReason": "PROHIBITED_CONTENT"}
            return {"promptFeedback": blocked, **_around(answer, envelope, generated=0)}
        return self._body(answer, envelope, _parts(answer, envelope), generated=None)

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """Answers with a piece each; the last one says why it ended."""
        if answer.finish == "content_filter":
            return Events(opening=[], content=[], closing=[], done=self._last(self.whole(answer, envelope), first=True))
        pieces = _pieces(answer, envelope)
        content = [
            self._framed(encode(self._body(answer, envelope, [part], generated=at + 1, ended=False)), first=not at)
            for at, part in enumerate(pieces)
        ]
        closing = self._body(answer, envelope, _last_parts(answer, envelope), generated=None)
        return Events(opening=[], content=content, closing=[], done=self._last(closing, first=not content))

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any]:  # noqa: ARG002 - as all of them
        """Tokens counted, or embeddings."""
        if operation == "count_tokens":
            details = [{"modality": "TEXT", "tokenCount": prompt.input_tokens}]
            return {"totalTokens": prompt.input_tokens, "promptTokensDetails": details}
        vectors = [{"values": vector.tolist()} for vector in unit_vectors(prompt)]
        usage = {"usageMetadata": {"promptTokenCount": prompt.input_tokens}}
        return {"embeddings": vectors, **usage} if "requests" in prompt.body else {"embedding": vectors[0], **usage}

    def framed(self, data: bytes) -> bytes:
        """One answer of a stream."""
        return self._framed(data, first=True)

    def error_event(self, error: Any) -> bytes:
        """The bare error, printed for people, which is no event."""
        text = msgspec.json.format(encode(error), indent=2)
        return text + b"\n" if self.sse else b",\r\n" + text

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """No candidates, and no reason why."""
        return {**whole, "candidates": []}

    def _framed(self, data: bytes, *, first: bool) -> bytes:
        if self.sse:
            return b"data: %b\r\n\r\n" % data
        return (b"[" if first else b",\r\n") + data

    def _last(self, body: dict[str, Any], *, first: bool) -> bytes:
        return self._framed(encode(body), first=first) + (b"" if self.sse else b"]")

    def _body(
        self,
        answer: Answer,
        envelope: Envelope,
        parts: list[dict[str, Any]],
        *,
        generated: int | None,
        ended: bool = True,
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if ended:
            candidate["finishReason"] = _FINISH[answer.finish]
        return {"candidates": [candidate], **_around(answer, envelope, generated=generated)}


def _around(answer: Answer, envelope: Envelope, *, generated: int | None) -> dict[str, Any]:
    """What stands beside the candidates; `generated` tokens by now, None for all."""
    usage = _usage(answer, envelope, generated)
    return {"usageMetadata": usage, "modelVersion": envelope.model, "responseId": envelope.id}


def _usage(answer: Answer, envelope: Envelope, generated: int | None) -> dict[str, Any] | None:
    told = figures_of(answer, envelope)
    if told is None:
        return None
    usage: dict[str, Any] = {"promptTokenCount": told.input}
    thoughts = told.reasoning
    if isinstance(told.output, int):
        candidates = told.output - thoughts
        usage["candidatesTokenCount"] = candidates if generated is None else min(generated, max(candidates, 0))
    else:
        usage["candidatesTokenCount"] = told.output
    usage["totalTokenCount"] = told.total
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": told.input}]
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if told.cached:
        usage["cachedContentTokenCount"] = told.cached
    return usage


def _signs(answer: Answer, envelope: Envelope) -> bool:
    return bool(answer.reasoning) or needs_signatures(envelope.model)


def _calls(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    """Calls as parts; parallel ones have one signature, on the first."""
    parts: list[dict[str, Any]] = []
    for at, call in enumerate(answer.tool_calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": msgspec.Raw(call.arguments.encode())}}
        if not at and _signs(answer, envelope):
            part["thoughtSignature"] = seal("gemini", call.id)
        parts.append(part)
    return parts


def _parts(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.reasoning and envelope.shows_thoughts:
        parts.append({"text": answer.thoughts, "thought": True})
    if answer.tokens:
        signed = {"thoughtSignature": seal("gemini", answer.text)} if answer.reasoning else {}
        parts.append({"text": answer.text, **signed})
    return parts + _calls(answer, envelope)


def _pieces(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    thoughts = answer.reasoning if envelope.shows_thoughts else []
    pieces: list[dict[str, Any]] = [{"text": token, "thought": True} for token in thoughts]
    return pieces + [{"text": token} for token in answer.tokens] + _calls(answer, envelope)


def _last_parts(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    """An empty text, which bears the signature of what was thought for a text."""
    signed = answer.reasoning and answer.tokens and not answer.tool_calls
    return [{"text": "", **({"thoughtSignature": seal("gemini", envelope.id)} if signed else {})}]
