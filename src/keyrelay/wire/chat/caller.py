"""OpenAI's dialect as callers speak it: chat completions, legacy completions, embeddings."""

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Audio,
    Conversation,
    Dialect,
    Embeddings,
    EmbeddingsAsked,
    Image,
    Media,
    Sampling,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import read_members
from keyrelay.wire.chat.answers import encode_chat, encode_completion
from keyrelay.wire.chat.completions import prompt_messages
from keyrelay.wire.chat.events import ChatWriter, CompletionWriter
from keyrelay.wire.chat.options import (
    read_format,
    read_reasoning,
    read_tool_choice,
    read_tools,
)
from keyrelay.wire.chat.shapes import ChatBody, CompletionsBody, SamplingBody
from keyrelay.wire.chat.turns import read_messages
from keyrelay.wire.chat.vectors import encode_embeddings, read_embeddings_asked
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts, EventWriter
from keyrelay.wire.errors import encode_error, encode_error_event
from keyrelay.wire.openai import NOTHING, asks_for_usage, decode_request
from keyrelay.wire.parts import decode_caller, with_custom_calls
from keyrelay.wire.responses.asking import read_conversation as read_responses
from keyrelay.wire.responses.caller import ResponsesCaller, is_responses_shaped

_chat = msgspec.json.Decoder(ChatBody)
_completions = msgspec.json.Decoder(CompletionsBody)

_RESPONSES = ResponsesCaller()
_CHANGES_NOTHING = frozenset({"model", "stream", "stream_options", "store", "metadata"})
_HELD_IN_CHAT = _CHANGES_NOTHING | set(ChatBody.__struct_fields__)
_HELD_IN_COMPLETIONS = _CHANGES_NOTHING | set(CompletionsBody.__struct_fields__)


class OpenAICaller:
    """The codec; see `wire.dialects.CallerCodec`."""

    dialect: Dialect = "openai"
    whole_type = "application/json"
    stream_type = "text/event-stream; charset=utf-8"

    def request(
        self,
        operation: Operation,
        body: bytes,
        *,
        max_depth: int,
        model: str = "",  # noqa: ARG002 (other dialects say it in the path)
        stream: bool | None = None,  # noqa: ARG002 (other dialects say it in the path)
    ) -> CallRequest:
        """Read a body just far enough to route it; this dialect says model and stream in the body.

        Cursor sends requests of the Responses dialect to chat completions, and understands chat's answers only.
        """
        try:
            return decode_request(operation, body, max_depth=max_depth)
        except CallerError as error:
            if operation != "chat" or error.param != "messages":
                raise
            return _reshaped(body, error, max_depth)

    def conversation(self, request: CallRequest) -> Conversation:
        """A chat, or a prompt to complete, in the canonical form. Raise CallerError (400) that points to the field."""
        if request.operation == "completions":
            return _completion(request)
        if request.reshaped:
            return with_custom_calls(read_responses(request))
        return _conversation(request)

    def shows(self, part: Media, request: CallRequest) -> bool:
        """Pictures and sound have a place in a chat; a file, and a text completion, have none."""
        return request.operation == "chat" and (
            isinstance(part, Image) or (isinstance(part, Audio) and bool(part.data))
        )

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """A `chat.completion`, or a `text_completion` for a prompt."""
        if facts.request.operation == "completions":
            return encode_completion(answer, facts)
        return encode_chat(answer, facts)

    def writer(self, facts: AnswerFacts) -> EventWriter:
        """The writer of the chunks of either."""
        return CompletionWriter(facts) if facts.request.operation == "completions" else ChatWriter(facts)

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """A request for embeddings. Raise CallerError (400) that points to the field."""
        return read_embeddings_asked(request)

    def embeddings(self, embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
        """The vectors, as numbers or as base64, as was asked."""
        return encode_embeddings(embeddings, facts)

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:  # noqa: ARG002 (other dialects name it)
        """Status and body of an error."""
        return error.status, encode_error(error)

    def error_event(self, error: CallerError, request_id: str) -> bytes:  # noqa: ARG002 (other dialects name it)
        """An error in a stream that has begun."""
        return encode_error_event(error)


def _reshaped(body: bytes, error: CallerError, max_depth: int) -> CallRequest:
    """A request of the Responses dialect; raise the error that the body met as a chat's if it is none."""
    fields = read_members(body, max_depth=max_depth)
    if not is_responses_shaped(fields):
        raise error
    found = _RESPONSES.request("chat", body, max_depth=max_depth)
    wants_usage = found.stream and asks_for_usage(fields)
    return msgspec.structs.replace(found, dialect="openai", reshaped=True, wants_usage=wants_usage)


def _conversation(request: CallRequest) -> Conversation:
    body = decode_caller(_chat, request.body)
    left_out = _left_out(request, _HELD_IN_CHAT)
    return Conversation(
        messages=read_messages(body.messages, left_out),
        tools=read_tools(body, left_out),
        tool_choice=read_tool_choice(body, left_out),
        format=read_format(body, left_out),
        reasoning=read_reasoning(body),
        sampling=_sampling(body, logprobs=body.logprobs, top_logprobs=body.top_logprobs),
        max_output_tokens=request.max_output_tokens,
        stop=_stop(body),
        answers=_answers(body),
        stream=request.stream,
        user=body.user or body.safety_identifier or "",
        tier=body.service_tier or "",
        cache_key=body.prompt_cache_key or "",
        left_out=tuple(left_out),
    )


def _completion(request: CallRequest) -> Conversation:
    body = decode_caller(_completions, request.body)
    left_out = _left_out(request, _HELD_IN_COMPLETIONS)
    return Conversation(
        messages=prompt_messages(body),
        sampling=_sampling(body, logprobs=True if body.logprobs else None, top_logprobs=body.logprobs or None),
        max_output_tokens=request.max_output_tokens,
        stop=_stop(body),
        answers=_answers(body),
        stream=request.stream,
        user=body.user or "",
        left_out=tuple(left_out),
    )


def _left_out(request: CallRequest, held: frozenset[str] | set[str]) -> dict[str, None]:
    """The members that say something and that the canonical form has no place for; a dict, since it keeps order."""
    return {name: None for name, raw in request.fields.items() if name not in held and bytes(raw) not in NOTHING}


def _sampling(body: SamplingBody, *, logprobs: bool | None, top_logprobs: int | None) -> Sampling:
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
    )


def _stop(body: SamplingBody) -> tuple[str, ...]:
    if not body.stop:
        return ()
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)


def _answers(body: SamplingBody) -> int:
    if body.n is None:
        return 1
    if body.n < 1:
        raise CallerError(400, "Invalid value for 'n': expected 1 or more.", param="n", code="invalid_value")
    return body.n
