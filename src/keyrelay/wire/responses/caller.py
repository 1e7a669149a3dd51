"""The Responses dialect, as a caller's: implements `dialects.CallerCodec`."""

from collections.abc import Mapping

import msgspec

from keyrelay.core.conversation import Answer, Conversation, Dialect, Embeddings, EmbeddingsAsked, Image, Media
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import field, read_members
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts
from keyrelay.wire.errors import encode_error
from keyrelay.wire.openai import NOTHING, model_name
from keyrelay.wire.responses.answers import encode_answer, encode_failure
from keyrelay.wire.responses.asking import read_conversation, read_text
from keyrelay.wire.responses.reading import ABSENT, missing, wrong
from keyrelay.wire.responses.shapes import RESOLVED
from keyrelay.wire.responses.writer import ResponsesWriter

_GLANCE = 64
_PICTURES = (b'"input_image"', b'"image_generation_call"')
_SHAPE = "a string or a list of items"


def is_responses_shaped(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a body that came to chat completions is a Responses request, as Cursor sends them."""
    return bytes(fields.get("messages", b"")) in ABSENT and bytes(fields.get("input", b""))[:1] in {b'"', b"["}


class ResponsesCaller:
    """Implements `CallerCodec`; keeps nothing."""

    __slots__ = ()

    dialect: Dialect = "responses"
    whole_type = "application/json"
    stream_type = "text/event-stream; charset=utf-8"

    def request(
        self, operation: Operation, body: bytes, *, max_depth: int, model: str = "", stream: bool | None = None
    ) -> CallRequest:
        """Read a body just far enough to route it. Raise CallerError (400) naming the field."""
        fields = read_members(body, max_depth=max_depth)
        _check_input(fields)
        streamed = bool(field(fields, "stream", bool)) if stream is None else stream
        return CallRequest(
            operation=operation,
            model=model or model_name(fields),
            stream=streamed,
            body=body,
            fields=fields,
            needs=_needs(operation, fields),
            wants_usage=streamed,
            max_output_tokens=_output_bound(fields),
            dialect=self.dialect,
        )

    def conversation(self, request: CallRequest) -> Conversation:
        """The request in the canonical form. Raise CallerError (400) whose `param` points to the field."""
        return read_conversation(request)

    def shows(self, part: Media, request: CallRequest) -> bool:
        """Pictures, if they are there and not elsewhere."""
        del request
        return isinstance(part, Image) and bool(part.data)

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """The `response` object. What a stream ends with is the same for the same parts."""
        return encode_answer(answer, facts)

    def writer(self, facts: AnswerFacts) -> ResponsesWriter:
        """The writer of one streamed answer."""
        return ResponsesWriter(facts)

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """The dialect has none: raise CallerError."""
        del request
        raise _no_embeddings()

    def embeddings(self, embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
        """The dialect has none: raise CallerError."""
        del embeddings, facts
        raise _no_embeddings()

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error."""
        del request_id
        return error.status, encode_error(error)

    def error_event(self, error: CallerError, request_id: str) -> bytes:
        """`response.failed` of an answer of which nothing is known; `ResponsesWriter.fail` knows more."""
        return encode_failure(error, request_id)

    def __repr__(self) -> str:
        return "<ResponsesCaller>"


def _no_embeddings() -> CallerError:
    return CallerError(400, "The Responses dialect has no embeddings.", code="unsupported_value")


def _check_input(fields: dict[str, msgspec.Raw]) -> None:
    held = bytes(fields.get("input", b""))
    if held[:1] == b'"' or (held[:1] == b"[" and held[1:_GLANCE].lstrip()[:1] != b"]"):
        return
    if held not in ABSENT:
        raise wrong("input", f"expected {_SHAPE}", code="invalid_value" if held[:1] == b"[" else "invalid_type")
    if not {"prompt", "previous_response_id", RESOLVED} & fields.keys():  # which are refused, or resolved, later
        raise missing("input", _SHAPE)


def _needs(operation: Operation, fields: dict[str, msgspec.Raw]) -> tuple[Capability, ...]:
    needs: tuple[Capability, ...] = (operation,)
    if bytes(fields.get("tools", b"")) not in NOTHING or b'"additional_tools"' in bytes(fields.get("input", b"")):
        needs += ("tools",)
    if any(mark in bytes(fields.get("input", b"")) for mark in _PICTURES):
        needs += ("vision",)
    wanted = read_text(fields).format
    if wanted is not None and wanted.type == "json_schema":
        needs += ("json_schema",)
    return needs


def _output_bound(fields: dict[str, msgspec.Raw]) -> int | None:
    bound = field(fields, "max_output_tokens", int)
    if bound is not None and bound < 0:
        raise wrong("max_output_tokens", "expected a positive number")
    return bound
