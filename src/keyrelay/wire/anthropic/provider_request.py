"""A conversation as a Messages request.

What it leaves out, and what it makes up, stands in `__init__`.
"""

from types import MappingProxyType

import msgspec

from keyrelay.core.conversation import Conversation, Sampling, Tool, ToolCall, ToolChoice
from keyrelay.core.providers import QuirksRow
from keyrelay.wire.anthropic.models import EffortWord, rules_for
from keyrelay.wire.anthropic.provider_messages import Turn, Turns, written_turns
from keyrelay.wire.anthropic.shapes import CacheControl, TextBlock, marked
from keyrelay.wire.anthropic.thinking import Thinking, Thought, thought_for
from keyrelay.wire.dialects import Target, UntranslatableError, Written
from keyrelay.wire.openai import apply_quirks
from keyrelay.wire.parts import json_object, lowered_tool

DEFAULT_MAX_TOKENS = 4096
"""The bound of an answer where neither the caller nor the catalogue names one: every model gives that many."""

_NO_QUIRKS = QuirksRow()
_MOST_TEMPERATURE = 1.0
_LEAST_THINKING_TOP_P = 0.95
_TIERS = MappingProxyType({"auto": "auto", "standard_only": "standard_only", "default": "standard_only"})
_UNSAYABLE = ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
_EMPTY_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')
_OBJECT = msgspec.Raw(b'"object"')
_encoder = msgspec.json.Encoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Tool(msgspec.Struct, omit_defaults=True):
    name: str
    input_schema: msgspec.Raw
    description: str = ""
    strict: bool = False
    cache_control: CacheControl | None = None


class _Choice(msgspec.Struct, omit_defaults=True):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct, tag="json_schema", tag_field="type"):
    schema: msgspec.Raw


class _OutputConfig(msgspec.Struct, omit_defaults=True):
    effort: EffortWord | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str


class _Body(msgspec.Struct, kw_only=True, omit_defaults=True):
    model: str
    max_tokens: int
    messages: list[Turn]
    system: list[TextBlock] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: Thinking | None = None
    output_config: _OutputConfig | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None
    stream: bool = False


def write_request(conversation: Conversation, target: Target) -> Written:
    """The body for a provider. Raise UntranslatableError."""
    if conversation.answers > 1:
        raise UntranslatableError("answers", "it gives one answer at a time")
    left_out: list[str] = []
    turns = written_turns(conversation, left_out)
    tools, choice = _tools(conversation, left_out)
    bound = conversation.max_output_tokens or target.max_output_tokens or DEFAULT_MAX_TOKENS
    rules = rules_for(target.model)
    thought = thought_for(
        conversation.reasoning,
        rules,
        max_tokens=min(bound, target.max_output_tokens or bound),
        most=target.max_output_tokens,
        may_grow=conversation.max_output_tokens is None,
        may_think=choice is None or choice.type in {"auto", "none"},
        may_budget=turns.thought_before_calls,
    )
    body = _body(conversation, turns, thought, left_out)
    if not rules.samples:
        _forget_sampling(body, left_out)
    body.model = prefixed(target.model, target.quirks)
    body.tools, body.tool_choice = tools or None, choice
    left_out += thought.left_out
    encoded = _encoder.encode(body)
    if target.quirks != _NO_QUIRKS:
        encoded = _quirky(encoded, target.quirks, left_out)
    return Written(body=encoded, left_out=tuple(dict.fromkeys(left_out)))


def prefixed(model: str, quirks: QuirksRow) -> str:
    """The model's name as the provider takes it."""
    return model if model.startswith(quirks.model_prefix) else quirks.model_prefix + model


def _quirky(body: bytes, quirks: QuirksRow, left_out: list[str]) -> bytes:
    fields = _members.decode(body)
    changed = apply_quirks("chat", fields, quirks)
    left_out += [name for name in fields if name not in changed and name not in quirks.rename]
    return _encoder.encode(changed)


def _body(conversation: Conversation, turns: Turns, thought: Thought, left_out: list[str]) -> _Body:
    temperature, top_p, top_k = _sampling(conversation.sampling, left_out, thinks=thought.thinks)
    config = _OutputConfig(thought.effort, _format(conversation, left_out))
    tier = _TIERS.get(conversation.tier)
    if conversation.tier and tier is None:
        left_out.append("tier")
    if conversation.cache_key:
        left_out.append("cache_key")
    return _Body(
        model="",
        max_tokens=thought.max_tokens,
        messages=turns.messages,
        system=turns.system or None,
        thinking=thought.thinking,
        output_config=config if config.effort or config.format is not None else None,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop_sequences=_stop(conversation.stop, left_out),
        metadata=_Metadata(conversation.user) if conversation.user else None,
        service_tier=tier,
        stream=conversation.stream,
    )


def _sampling(
    sampling: Sampling, left_out: list[str], *, thinks: bool
) -> tuple[float | None, float | None, int | None]:
    """Temperature, top_p and top_k, as far as they may be said together."""
    if sampling.seed is not None:
        left_out.append("seed")
    left_out += [name for name in _UNSAYABLE if getattr(sampling, name)]
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if temperature is not None and (temperature > _MOST_TEMPERATURE or (thinks and temperature != _MOST_TEMPERATURE)):
        temperature = _MOST_TEMPERATURE
        left_out.append("temperature")
    if top_p is not None and (temperature is not None or (thinks and top_p < _LEAST_THINKING_TOP_P)):
        top_p = None
        left_out.append("top_p")
    if top_k is not None and thinks:
        top_k = None
        left_out.append("top_k")
    return temperature, top_p, top_k


def _forget_sampling(body: _Body, left_out: list[str]) -> None:
    """Take out what newer models refuse; the default of a temperature they take."""
    if body.temperature != _MOST_TEMPERATURE:
        left_out += ["temperature"] if body.temperature is not None else []
        body.temperature = None
    for name in ("top_p", "top_k"):
        if getattr(body, name) is not None:
            setattr(body, name, None)
            left_out.append(name)


def _stop(stop: tuple[str, ...], left_out: list[str]) -> list[str] | None:
    said = [sequence for sequence in stop if sequence and not sequence.isspace()]
    if len(said) < len(stop):
        left_out.append("stop")
    return said or None


def _format(conversation: Conversation, left_out: list[str]) -> _Format | None:
    wanted = conversation.format
    if wanted is None:
        return None
    if not wanted.schema:
        left_out.append("format")
        return None
    if wanted.description:
        left_out.append("format.description")
    return _Format(_schema(wanted.schema, "format"))


def _tools(conversation: Conversation, left_out: list[str]) -> tuple[list[_Tool], _Choice | None]:
    """The tools that may be called, and whether they have to be."""
    choice = conversation.tool_choice or ToolChoice()
    single = choice.names[0] if choice.mode == "required" and len(choice.names) == 1 else ""
    allowed = () if single else choice.names
    tools = [_tool(tool, left_out) for tool in conversation.tools if not allowed or tool.name in allowed]
    if choice.mode == "required" and not any(not single or tool.name == single for tool in tools):
        raise UntranslatableError("tool_choice", f"there is no tool {single}" if single else "there is no tool")
    if not tools:
        tools = _called_before(conversation)
        return tools, _Choice("none") if tools else None
    return tools, _choice(conversation.tool_choice, single)


def _choice(choice: ToolChoice | None, single: str) -> _Choice | None:
    if choice is None:
        return None
    if choice.mode == "none":
        return _Choice("none")
    disabled = None if choice.parallel is None else not choice.parallel
    if choice.mode == "auto":
        return _Choice("auto", disable_parallel_tool_use=disabled)
    return _Choice("tool" if single else "any", single, disabled)


def _called_before(conversation: Conversation) -> list[_Tool]:
    """Tools for the calls in a conversation that has none now, as when it is to be summed up: they must be declared."""
    parts = (part for message in conversation.messages for part in message.parts)
    names = dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall))
    return [_Tool(name, _EMPTY_SCHEMA) for name in names]


def _tool(tool: Tool, left_out: list[str]) -> _Tool:
    description = tool.description
    if tool.grammar:
        left_out.append("tools.grammar")
        description = f"{description}\n\nThe input has this format: {tool.grammar}".lstrip()
    lowered = lowered_tool(tool)
    return _Tool(
        lowered.name,
        _schema(lowered.schema, f"tool {tool.name}"),
        description,
        bool(lowered.strict),
        marked(lowered.cache),
    )


def _schema(text: str, field: str) -> msgspec.Raw:
    """A schema of an object, whose type has to be said."""
    if not text:
        return _EMPTY_SCHEMA
    schema = json_object(text)
    if schema is None:
        raise UntranslatableError(field, "its schema is no JSON object")
    members = _members.decode(schema)
    if "type" in members:
        return schema
    return msgspec.Raw(_encoder.encode({"type": _OBJECT, **members}))
