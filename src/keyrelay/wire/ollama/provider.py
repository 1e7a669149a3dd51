"""Ollama's dialect as its servers speak it: `/api/chat` and `/api/embed`."""

from collections.abc import Iterator, Mapping

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    Dialect,
    Document,
    Embeddings,
    EmbeddingsAsked,
    Format,
    Image,
    Message,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import Target, Unreadable, UntranslatableError, Written
from keyrelay.wire.ollama import shapes
from keyrelay.wire.ollama.lines import LineSplitter
from keyrelay.wire.ollama.reading import OllamaReader, read_answer, read_embeddings
from keyrelay.wire.parts import call_names, document_words, json_object, lowered_arguments, lowered_tool

_BETWEEN_TEXTS = "\n\n"
_NO_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')
_ANY_JSON = msgspec.Raw(b'"json"')
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
_encode = msgspec.json.Encoder().encode


class OllamaProvider:
    """Implements `ProviderCodec`; what it cannot say stands in the package's docstring."""

    dialect: Dialect = "ollama"

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body for `/api/chat`."""
        if conversation.answers > 1:
            raise UntranslatableError("answers", "Ollama gives one answer at a time")
        tools = _offered(conversation.tools, conversation.tool_choice)
        names = call_names(conversation.messages)
        body = shapes.ChatBody(
            model=model_at(target),
            messages=[
                written
                for index, message in enumerate(conversation.messages)
                for written in _messages(message, f"messages[{index}]", names)
            ],
            stream=conversation.stream,
            tools=[_tool(tool) for tool in tools] or None,
            format=_format(conversation.format),
            options=_options(conversation),
            think=_think(conversation.reasoning),
        )
        return Written(body=_encode(body), left_out=tuple(dict.fromkeys(_unsaid(conversation, tools))))

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The caller's own bytes, or its members with another model."""
        model = model_at(target)
        if model == request.model:
            return Written(body=request.body)
        return Written(body=_encode({**request.fields, "model": msgspec.Raw(_encode(model))}))

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200, of `/api/chat` or `/api/generate`."""
        return read_answer(body)

    def splitter(self, max_event_bytes: int) -> LineSplitter:
        """Its streams are lines."""
        return LineSplitter(max_event_bytes)

    def reader(self) -> OllamaReader:
        """The reader of one stream, of `/api/chat` or `/api/generate`."""
        return OllamaReader()

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """The body for `/api/embed`."""
        if asked.token_inputs:
            raise UntranslatableError("input", "Ollama takes texts, no lists of token numbers")
        body = shapes.EmbedBody(
            model=model_at(target), input=asked.inputs, dimensions=asked.dimensions, truncate=asked.truncate
        )
        return Written(body=_encode(body), left_out=("purpose",) if asked.purpose else ())

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """Read the body of a 200, of `/api/embed` or `/api/embeddings`."""
        return read_embeddings(body)

    def __repr__(self) -> str:
        return "<OllamaProvider>"


def model_at(target: Target) -> str:
    """The model's name with the prefix that the provider wants before it."""
    prefix = target.quirks.model_prefix
    return target.model if target.model.startswith(prefix) else prefix + target.model


def _offered(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[Tool, ...]:
    """The tools that may be called: those that may not are not offered at all."""
    if choice is None:
        return tools
    if choice.mode == "none":
        return ()
    return tuple(tool for tool in tools if tool.name in choice.names) if choice.names else tools


def _tool(tool: Tool) -> shapes.Tool:
    lowered = lowered_tool(tool)
    schema = msgspec.Raw(lowered.schema.encode()) if lowered.schema else _NO_SCHEMA
    function = shapes.Function(name=lowered.name, description=lowered.description or None, parameters=schema)
    return shapes.Tool(function=function, type="function")


def _format(wanted: Format | None) -> msgspec.Raw:
    if wanted is None:
        return shapes.NO_JSON
    return msgspec.Raw(wanted.schema.encode()) if wanted.schema else _ANY_JSON


def _options(conversation: Conversation) -> shapes.Options | None:
    sampling = conversation.sampling
    options = shapes.Options(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        num_predict=conversation.max_output_tokens,
        stop=list(conversation.stop) or None,
    )
    return None if options == shapes.Options() else options


def _think(reasoning: Reasoning | None) -> bool | str | None:
    if reasoning is None:
        return None
    if reasoning.effort == "none" or reasoning.budget_tokens == 0:
        return False
    if reasoning.effort is not None:
        return _LEVELS[reasoning.effort]
    return True if reasoning.budget_tokens is not None or reasoning.shown else None


def _unsaid(conversation: Conversation, tools: tuple[Tool, ...]) -> Iterator[str]:
    """What is left out, in the words of the canonical form."""
    choice, wanted = conversation.tool_choice or ToolChoice(), conversation.format or Format()
    reasoning = conversation.reasoning or Reasoning()
    parts = [part for message in conversation.messages for part in message.parts]
    said: tuple[tuple[str, object], ...] = (
        ("tool_choice", choice.mode == "required"),
        ("tool_choice.parallel", choice.parallel is False),
        ("tools.strict", any(tool.strict for tool in tools)),
        ("tools.grammar", any(tool.grammar for tool in tools)),
        ("format.description", wanted.description),
        ("reasoning.budget_tokens", (reasoning.budget_tokens or 0) > 0),
        ("logprobs", conversation.sampling != _without_logprobs(conversation.sampling)),
        ("failed", any(isinstance(part, ToolResult) and part.failed for part in parts)),
        ("detail", any(isinstance(part, Image) and part.detail for part in parts)),
        ("cache", any(getattr(holder, "cache", "") for holder in (*parts, *tools))),
        ("user", conversation.user),
        ("tier", conversation.tier),
        ("cache_key", conversation.cache_key),
    )
    return (name for name, value in said if value)


def _without_logprobs(sampling: Sampling) -> Sampling:
    return msgspec.structs.replace(sampling, logprobs=None, top_logprobs=None)


def _messages(message: Message, where: str, names: Mapping[str, str]) -> Iterator[shapes.Message]:
    """One message, or more where results of tools stand among its parts."""
    written = _Turn(message.role, where)
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield from written.done()
            yield _result(part, where, names)
            written = _Turn(message.role, where)
        else:
            written.add(part)
    yield from written.done()


class _Turn:
    """One message as it comes together."""

    __slots__ = ("_calls", "_images", "_role", "_texts", "_thoughts", "_where")

    def __init__(self, role: str, where: str) -> None:
        self._role = role
        self._where = where
        self._texts: list[str] = []
        self._images: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[shapes.Call] = []

    def add(self, part: object) -> None:
        if isinstance(part, Text | Refusal):
            self._texts.append(part.text)
        elif isinstance(part, Thinking):
            self._thoughts.append(part.text)
        elif isinstance(part, ToolCall):
            self._calls.append(self._call(part))
        elif isinstance(part, Image):
            self._images.append(_bare(part, self._where))
        elif isinstance(part, Document) and (text := document_words(part)) is not None:
            self._texts.append(text)
        else:
            kind = type(part).__name__.lower()
            raise UntranslatableError(f"{self._where}: {kind}", "Ollama takes pictures and texts alone")

    def done(self) -> Iterator[shapes.Message]:
        if self._texts or self._images or self._calls or any(self._thoughts):
            between = "" if self._role == "assistant" else _BETWEEN_TEXTS
            yield shapes.Message(
                role=self._role,
                content=between.join(self._texts),
                thinking="".join(self._thoughts) or None,
                images=self._images or None,
                tool_calls=self._calls or None,
            )

    def _call(self, call: ToolCall) -> shapes.Call:
        arguments = json_object(lowered_arguments(call))
        if arguments is None:
            raise UntranslatableError(f"{self._where}: call of {call.name}", "its arguments are no JSON object")
        place = len(self._calls)
        return shapes.Call(id=call.id, function=shapes.CalledFunction(call.name, arguments, place))


def _result(result: ToolResult, where: str, names: Mapping[str, str]) -> shapes.Message:
    written = _Turn("tool", where)
    for part in result.parts:
        written.add(part)
    message = next(written.done(), shapes.Message(role="tool", content=""))
    message.tool_name = result.name or names.get(result.call_id)
    message.tool_call_id = result.call_id
    return message


def _bare(image: Image, where: str) -> str:
    if not image.data:
        raise UntranslatableError(f"{where}: image", "Ollama takes pictures as base64, not by URL")
    return image.data
