"""The dialect as its callers speak it: google-genai, Gemini CLI, langchain-google-genai."""

import re

import msgspec

from keyrelay.core.conversation import Answer, Audio, Conversation, Dialect, Embeddings, EmbeddingsAsked, Media
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import read_members
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts, EventWriter
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.caller_answer import GeminiEventWriter, write_answer
from keyrelay.wire.gemini.caller_request import read_conversation
from keyrelay.wire.gemini.common import said
from keyrelay.wire.gemini.embeddings import read_asked
from keyrelay.wire.gemini.embeddings import write_answer as write_vectors
from keyrelay.wire.gemini.errors import encode_error
from keyrelay.wire.gemini.names import as_written, camel_members, read
from keyrelay.wire.openai import MAX_MODEL_NAME, NOTHING, is_model_name

_PICTURE = re.compile(rb'(?<!\\)"image/')  # how a media type of data begins
_WRAPPED = "generateContentRequest"


class GeminiCaller:
    """Implements `wire.dialects.CallerCodec`. `sse`: streams are events (`alt=sse`), not one JSON array."""

    dialect: Dialect = "gemini"
    whole_type = "application/json"

    def __init__(self, *, sse: bool) -> None:
        self._sse = sse
        self.stream_type = "text/event-stream" if sse else "application/json"

    def request(
        self, operation: Operation, body: bytes, *, max_depth: int, model: str = "", stream: bool | None = None
    ) -> CallRequest:
        """Read a body just far enough to route it; `model` and `stream` are what the path says.

        The names of `fields` are in camel case. Raise CallerError (400) naming the field.
        """
        members = read_members(body, max_depth=max_depth)
        try:
            if operation == "embeddings":
                return self._embeddings_request(body, camel_members(members, shapes.EmbedBody), _model_name(model))
            found = self._request(operation, body, camel_members(members, shapes.Body), _model_name(model))
        except CallerError as error:
            raise _in_own_words(error, body) from None
        return msgspec.structs.replace(found, stream=True, wants_usage=True) if stream else found

    def count_request(self, body: bytes, *, max_depth: int, model: str) -> CallRequest:
        """Read the body of `countTokens`: turns, or a whole request of which tokens are to be counted."""
        wrapped = camel_members(read_members(body, max_depth=max_depth), _CountBody).get(_WRAPPED, shapes.ABSENT)
        return self.request("chat", bytes(wrapped) if said(wrapped) else body, max_depth=max_depth, model=model)

    def counted(self, tokens: int) -> bytes:
        """The body of the answer of `countTokens`."""
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        return msgspec.json.encode({"totalTokens": tokens, "promptTokensDetails": details})

    def conversation(self, request: CallRequest) -> Conversation:
        """The request in the canonical form. Raise CallerError (400) whose `param` points to the field."""
        try:
            return read_conversation(request)
        except CallerError as error:
            raise _in_own_words(error, request.body) from None

    def shows(self, part: Media, request: CallRequest) -> bool:
        """Pictures, sound and files, as data or by their address."""
        del request
        return bool(part.data) or (not isinstance(part, Audio) and bool(part.url))

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """The body of a whole answer."""
        return write_answer(answer, facts)

    def writer(self, facts: AnswerFacts) -> EventWriter:
        """The writer of one stream."""
        return GeminiEventWriter(facts, sse=self._sse)

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """A request for embeddings. Raise CallerError (400) whose `param` points to the field."""
        try:
            return read_asked(request)
        except CallerError as error:
            raise _in_own_words(error, request.body) from None

    def embeddings(self, embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
        """The body of their answer."""
        return write_vectors(embeddings, facts)

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error."""
        return error.status, encode_error(error, request_id)

    def error_event(self, error: CallerError, request_id: str) -> bytes:
        """The same in a stream: bare between events, as Google does it, or as the last of an array that has begun."""
        return encode_error(error, request_id) + (b"\n\n" if self._sse else b"]")

    def _request(self, operation: Operation, body: bytes, fields: dict[str, msgspec.Raw], model: str) -> CallRequest:
        if bytes(fields.get("contents", b"")) in NOTHING:
            raise _missing("contents", "a list of turns")
        config = shapes.GenerationConfig()
        if said(fields.get("generationConfig", shapes.ABSENT)):
            config = read(bytes(fields["generationConfig"]), shapes.GenerationConfig, "generationConfig")
        return CallRequest(
            operation=operation,
            model=model,
            stream=False,
            body=body,
            fields=fields,
            needs=_needs(operation, fields, config),
            max_output_tokens=_bound(config),
            dialect=self.dialect,
        )

    def _embeddings_request(self, body: bytes, fields: dict[str, msgspec.Raw], model: str) -> CallRequest:
        read(body, shapes.EmbedBody)
        if not (said(fields.get("requests", shapes.ABSENT)) or said(fields.get("content", shapes.ABSENT))):
            raise _missing("content", "a content with a text")
        return CallRequest(
            operation="embeddings",
            model=model,
            stream=False,
            body=body,
            fields=fields,
            needs=("embeddings",),
            dialect=self.dialect,
        )

    def __repr__(self) -> str:
        return f"<GeminiCaller {self.stream_type}>"


class _CountBody(shapes.Shape):
    generate_content_request: msgspec.Raw = shapes.ABSENT


def _missing(name: str, shape: str) -> CallerError:
    return CallerError(400, f"Missing required field '{name}': {shape}.", param=name, code="missing_field")


def _model_name(model: str) -> str:
    name = model.removeprefix("models/")
    if not is_model_name(name):
        message = f"Invalid model in the path: expected 1 to {MAX_MODEL_NAME} printable characters."
        raise CallerError(400, message, param="model", code="invalid_value")
    return name


def _needs(
    operation: Operation, fields: dict[str, msgspec.Raw], config: shapes.GenerationConfig
) -> tuple[Capability, ...]:
    needs: tuple[Capability, ...] = (operation,)
    if bytes(fields.get("tools", b"")) not in NOTHING:
        tools = read(bytes(fields["tools"]), list[shapes.Tool], "tools")
        if any(tool.function_declarations for tool in tools):
            needs += ("tools",)
    if _PICTURE.search(fields["contents"]):
        needs += ("vision",)
    if said(config.response_schema) or said(config.response_json_schema):
        needs += ("json_schema",)
    return needs


def _bound(config: shapes.GenerationConfig) -> int | None:
    bound = config.max_output_tokens
    if bound is not None and bound < 0:
        at = "generationConfig.maxOutputTokens"
        raise CallerError(400, f"Invalid value for '{at}': expected a positive number.", param=at, code="invalid_value")
    return bound


def _in_own_words(error: CallerError, body: bytes) -> CallerError:
    """The same error with its pointer in the case that the caller's body has."""
    param = as_written(error.param or "", body)
    if param == (error.param or ""):
        return error
    message = error.message.replace(f"'{error.param}'", f"'{param}'")
    return CallerError(error.status, message, param=param, code=error.code)
