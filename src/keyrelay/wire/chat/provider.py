"""OpenAI's dialect as providers speak it, each with its quirks and habits."""

from collections.abc import Mapping

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    Dialect,
    Embeddings,
    EmbeddingsAsked,
    Tool,
    ToolChoice,
)
from keyrelay.core.providers import HabitsRow, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.chat.choices import read_answer
from keyrelay.wire.chat.chunks import ChunkReader
from keyrelay.wire.chat.history import History
from keyrelay.wire.chat.passing import adapted_messages
from keyrelay.wire.chat.vectors import embeddings_members, read_embeddings
from keyrelay.wire.dialects import EventReader, Splitter, Target, Unreadable, UntranslatableError, Written
from keyrelay.wire.openai import apply_quirks, encode_request, prefixed
from keyrelay.wire.parts import effort_of, lowered_tool
from keyrelay.wire.sse import EventSplitter

_USAGE_ASKED = msgspec.Raw(b'{"include_usage":true}')
_CANONICAL = {
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning",
    "service_tier": "tier",
    "prompt_cache_key": "cache_key",
    "response_format": "format",
    "parallel_tool_calls": "tool_choice.parallel",
}
"""Members of a body whose name in the canonical form is another one."""

_CONTENT = frozenset({"messages", "tools", "response_format", "input"})
"""Members without which the answer would be one to another question."""

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_encoder = msgspec.json.Encoder()


def without_echoes(request: CallRequest, habits: HabitsRow) -> CallRequest:
    """A chat whose earlier answers stand as the provider takes them: thoughts, signatures and ids are its own affair.

    The same object when nothing changes.
    """
    fields = adapted_messages(request.fields, habits)
    if fields is request.fields:
        return request
    return msgspec.structs.replace(request, fields=fields, body=_encoder.encode(fields))


class OpenAIProvider:
    """The codec; see `wire.dialects.ProviderCodec`."""

    dialect: Dialect = "openai"

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body for `/chat/completions`. Raise UntranslatableError for content that it cannot say."""
        habits = target.habits
        left_out: dict[str, None] = {}
        model = prefixed(target.model, target.quirks.model_prefix)
        members: dict[str, object] = {
            "model": model,
            "messages": History(habits, model, left_out).messages(conversation.messages),
            **_tools(conversation, habits, left_out),
            **_wishes(conversation, habits, left_out),
        }
        return _written("chat", members, target, left_out)

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The caller's own bytes wherever nothing has to change; thoughts and ids go as the provider takes them."""
        quirks = target.quirks
        if request.operation == "chat":
            request = without_echoes(request, target.habits)
        ask_usage = request.stream and not request.wants_usage and "stream_options" not in quirks.drop
        return Written(body=encode_request(request, quirks, target.model, ask_usage=ask_usage))

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200. Never raises."""
        return read_answer(body)

    def splitter(self, max_event_bytes: int) -> Splitter:
        """Streams are server-sent events."""
        return EventSplitter(max_event_bytes)

    def reader(self) -> EventReader:
        """The reader of one stream."""
        return ChunkReader()

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """The body for `/embeddings`."""
        members, left_out = embeddings_members(asked)
        members = {"model": prefixed(target.model, target.quirks.model_prefix), **members}
        return _written("embeddings", members, target, dict.fromkeys(left_out))

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """Read the body of a 200. Never raises."""
        return read_embeddings(body)


def _written(operation: Operation, members: Mapping[str, object], target: Target, left_out: dict[str, None]) -> Written:
    """The body after the quirks; what they take away is named, and content is not theirs to take."""
    fields = {name: msgspec.Raw(_encoder.encode(value)) for name, value in members.items()}
    quirks = target.quirks
    changed = apply_quirks(operation, fields, quirks)
    for name in fields:
        if name in changed or quirks.rename.get(name, name) in changed or name == "stream_options":
            continue
        if name in _CONTENT:
            raise UntranslatableError(_CANONICAL.get(name, name), f"{target.provider_id} does not take it")
        left_out[_CANONICAL.get(name, name)] = None
    return Written(body=_encoder.encode(changed), left_out=tuple(left_out))


def _tools(conversation: Conversation, habits: HabitsRow, left_out: dict[str, None]) -> dict[str, object]:
    tools = conversation.tools
    if not tools:
        return {}
    choice = conversation.tool_choice
    members: dict[str, object] = {}
    if choice is not None:
        customs = frozenset(tool.name for tool in tools if tool.custom and habits.own)
        narrowed = len(choice.names) > 1 or (bool(choice.names) and choice.mode != "required")
        if narrowed and not habits.own:
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        members["tool_choice"] = _choice(choice, customs, named=habits.own or not narrowed)
        if choice.parallel is not None:
            members["parallel_tool_calls"] = choice.parallel
    return {"tools": [_tool(tool, habits, left_out) for tool in tools], **members}


def _choice(choice: ToolChoice, customs: frozenset[str], *, named: bool) -> object:
    """A choice of tools; without `named`, the names have been taken care of otherwise."""
    if not choice.names or not named or choice.mode == "none":
        return choice.mode
    shaped = [_named(name, custom=name in customs) for name in choice.names]
    if choice.mode == "required" and len(shaped) == 1:
        return shaped[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": shaped}}


def _named(name: str, *, custom: bool) -> dict[str, object]:
    kind = "custom" if custom else "function"
    return {"type": kind, kind: {"name": name}}


def _tool(tool: Tool, habits: HabitsRow, left_out: dict[str, None]) -> dict[str, object]:
    if tool.cache and not habits.takes_cache_marks:
        left_out["cache"] = None
    shaped: dict[str, object] = {"name": tool.name}
    if tool.description:
        shaped["description"] = tool.description
    if tool.custom and habits.own:
        if tool.grammar:
            shaped["format"] = msgspec.Raw(tool.grammar.encode())
        return {"type": "custom", "custom": shaped}
    if tool.grammar:
        left_out["tools.grammar"] = None
    lowered = lowered_tool(tool)
    if lowered.schema:
        shaped["parameters"] = msgspec.Raw(lowered.schema.encode())
    if lowered.strict is not None:
        shaped["strict"] = lowered.strict
    written: dict[str, object] = {"type": "function", "function": shaped}
    if tool.cache and habits.takes_cache_marks:
        written["cache_control"] = {"type": "ephemeral"} if tool.cache == "5m" else {"type": "ephemeral", "ttl": "1h"}
    return written


def _wishes(conversation: Conversation, habits: HabitsRow, left_out: dict[str, None]) -> dict[str, object]:
    """How to answer; None is not written."""
    if conversation.answers != 1:
        raise UntranslatableError("answers", "one answer at a time is translated")
    sampling = conversation.sampling
    if sampling.logprobs:
        left_out["logprobs"] = None  # an answer in the canonical form has no place for them
    if sampling.top_k is not None and not habits.takes_top_k:
        left_out["top_k"] = None
    tier = conversation.tier if conversation.tier in _TIERS else ""
    if conversation.tier and not tier:
        left_out["tier"] = None
    reasoning = conversation.reasoning
    if reasoning is not None and reasoning.budget_tokens is not None and reasoning.effort is None:
        left_out["reasoning.budget_tokens"] = None  # an effort stands for it
    members: dict[str, object] = {
        "response_format": _format(conversation),
        "reasoning_effort": effort_of(reasoning) if reasoning is not None else None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k if habits.takes_top_k else None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "max_tokens": conversation.max_output_tokens,
        "stop": conversation.stop or None,
        "user": conversation.user or None,
        "service_tier": tier or None,
        "prompt_cache_key": conversation.cache_key or None,
        "stream": conversation.stream or None,
        "stream_options": _USAGE_ASKED if conversation.stream else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _format(conversation: Conversation) -> dict[str, object] | None:
    form = conversation.format
    if form is None:
        return None
    if not form.schema:
        return {"type": "json_object"}
    schema: dict[str, object] = {"name": form.name or "answer"}
    if form.description:
        schema["description"] = form.description
    schema["schema"] = msgspec.Raw(form.schema.encode())
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}
