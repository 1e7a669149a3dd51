"""Ollama's dialect as callers speak it."""

import re

import msgspec

from keyrelay.core.conversation import Answer, Conversation, Dialect, Embeddings, EmbeddingsAsked, Media
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import field, read_members
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts
from keyrelay.wire.ollama.answering import OllamaWriter, embeddings_body, error_body, loaded_body, whole_answer
from keyrelay.wire.ollama.asking import chat_conversation, embeddings_asked, generate_conversation
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.openai import model_name as body_model
from keyrelay.wire.parts import decode_caller

_PICTURES = b'"images"'
_ABSENT = msgspec.Raw(b"null")
_NO_TIME = re.compile(rb'"?0+(?:\.0+)?(?:ns|us|ms|s|m|h)?"?')
"""A `keep_alive` that lets go of a model at once."""


class _Bound(msgspec.Struct):
    num_predict: int | float | None = None


_bound = msgspec.json.Decoder(_Bound | None)
_text = msgspec.json.Decoder(str)


class OllamaCaller:
    """Implements `CallerCodec` for `/api/chat`, or for `/api/generate`; each of both also for embeddings.

    `/api/embed` and the older `/api/embeddings` are told apart by their bodies.
    """

    dialect: Dialect = "ollama"
    whole_type = "application/json"
    stream_type = "application/x-ndjson"

    def __init__(self, *, generate: bool = False) -> None:
        self._generate = generate

    def request(
        self, operation: Operation, body: bytes, *, max_depth: int, model: str = "", stream: bool | None = None
    ) -> CallRequest:
        """Read a body just far enough to route it; without messages it is one that `loads` knows."""
        fields = read_members(body, max_depth=max_depth)
        if stream is None:
            stream = operation != "embeddings" and field(fields, "stream", bool) is not False
        options = decode_caller(_bound, fields["options"], "options") if "options" in fields else None
        bound = options.num_predict if options is not None else None
        return CallRequest(
            operation=operation,
            model=model or model_name(fields),
            stream=stream,
            body=body,
            fields=fields,
            needs=_needs(operation, fields),
            wants_usage=stream,
            max_output_tokens=int(bound) if bound is not None and bound > 0 else None,
            dialect=self.dialect,
        )

    def loads(self, request: CallRequest) -> bool:
        """Whether a request asks for nothing but that a model be loaded, or let go of: it has nothing to answer."""
        if request.operation == "embeddings":
            return False
        if not self._generate:
            return _said_nothing(request, "messages")
        return all(_said_nothing(request, name) for name in ("prompt", "images", "suffix"))

    def loaded(self, request: CallRequest, created_s: float) -> bytes:
        """The answer to such a request, one object even where a stream was asked for. `created_s`: now (epoch)."""
        lets_go = _NO_TIME.fullmatch(bytes(request.fields.get("keep_alive", b"")))
        reason = "unload" if lets_go else "load"
        return loaded_body(request.model, created_s, reason, generate=self._generate)

    def conversation(self, request: CallRequest) -> Conversation:
        """The request in the canonical form."""
        return generate_conversation(request) if self._generate else chat_conversation(request)

    def shows(self, part: Media, request: CallRequest) -> bool:
        """Ollama knows pictures in answers, but its own clients do not take them."""
        del part, request
        return False

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """The body of a whole answer."""
        return whole_answer(answer, facts, generate=self._generate)

    def writer(self, facts: AnswerFacts) -> OllamaWriter:
        """The writer of one streamed answer."""
        return OllamaWriter(facts, generate=self._generate)

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """A request for embeddings."""
        return embeddings_asked(request)

    def embeddings(self, embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
        """The body of their answer."""
        return embeddings_body(embeddings, facts)

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error; the request's id goes in a header alone."""
        del request_id
        return error.status, error_body(error)

    def error_event(self, error: CallerError, request_id: str) -> bytes:
        """The same as the last line of a stream that has begun."""
        del request_id
        return error_body(error) + b"\n"

    def __repr__(self) -> str:
        return f"<OllamaCaller /api/{'generate' if self._generate else 'chat'}>"


def model_name(fields: dict[str, msgspec.Raw]) -> str:
    """The model that a body names; raise CallerError. `name` is what requests of `/api/show` called it once."""
    return body_model({"model": fields.get("model", fields.get("name", _ABSENT))})


def _needs(operation: Operation, fields: dict[str, msgspec.Raw]) -> tuple[Capability, ...]:
    needs: tuple[Capability, ...] = (operation,)
    if bytes(fields.get("tools", b"")) not in NOTHING:
        needs += ("tools",)
    if _PICTURES in bytes(fields.get("messages", b"")) or bytes(fields.get("images", b"")) not in NOTHING:
        needs += ("vision",)
    if bytes(fields.get("format", b"")).startswith(b"{"):
        needs += ("json_schema",)
    return needs


def _said_nothing(request: CallRequest, name: str) -> bool:
    return bytes(request.fields.get(name, b"")) in NOTHING
