"""A caller's Messages request in the canonical form.

Fields of a request are read by type, its blocks one by one (see `shapes`). What is left out on the way is told by name
and place, as `__init__` says.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import get_args

import msgspec

from keyrelay.core.conversation import (
    Conversation,
    Document,
    Effort,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.anthropic import shapes
from keyrelay.wire.anthropic.ids import original
from keyrelay.wire.anthropic.shapes import CacheControl, TextBlock, mark_of
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import decode_caller, raw_text

_ABSENT = msgspec.Raw()
_EFFORTS: MappingProxyType[str, Effort] = MappingProxyType({effort: effort for effort in get_args(Effort)})
_ROLES: MappingProxyType[str, Role] = MappingProxyType({role: role for role in get_args(Role)})
_CHOICES = frozenset({"auto", "any", "tool", "none"})
_FUNCTION_TYPES = frozenset({"", "custom"})


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw]


class _Tool(msgspec.Struct):
    type: str | None = None
    name: str = ""
    description: str | None = None
    input_schema: msgspec.Raw = _ABSENT
    strict: bool | None = None
    cache_control: CacheControl | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(msgspec.Struct):
    type: str
    schema: msgspec.Raw = _ABSENT


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Asked(msgspec.Struct):
    messages: list[_Message]
    model: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT
    max_tokens: int | None = None
    system: str | list[TextBlock] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_asked = msgspec.json.Decoder(_Asked)
_KNOWN = frozenset(_Asked.__struct_fields__)


def read_conversation(request: CallRequest) -> Conversation:
    """The request in the canonical form. Raise CallerError (400) whose `param` points to what is wrong."""
    asked = decode_caller(_asked, request.body)
    left_out = [name for name, value in request.fields.items() if name not in _KNOWN and bytes(value) not in NOTHING]
    return Conversation(
        messages=(*_system(asked.system), *_messages(asked.messages, left_out)),
        tools=tuple(_tools(asked.tools or (), left_out)),
        tool_choice=_tool_choice(asked.tool_choice),
        format=_format(asked),
        reasoning=_reasoning(asked, left_out),
        sampling=Sampling(temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k),
        max_output_tokens=_bound(asked.max_tokens),
        stop=tuple(asked.stop_sequences or ()),
        stream=request.stream,
        user=(asked.metadata.user_id if asked.metadata is not None else "") or "",
        tier=asked.service_tier or "",
        left_out=tuple(left_out),
    )


def _invalid(param: str, problem: str) -> CallerError:
    return CallerError(400, f"Invalid value for '{param}': {problem}.", param=param, code="invalid_value")


def _bound(max_tokens: int | None) -> int | None:
    if max_tokens == 0:
        raise _invalid("max_tokens", "0 only warms Anthropic's cache; no other provider can do that")
    return max_tokens


def _system(system: str | list[TextBlock] | None) -> tuple[Message, ...]:
    if not system:
        return ()
    return (Message(role="system", parts=(Text(system),) if isinstance(system, str) else tuple(map(_text, system))),)


def _text(block: TextBlock) -> Text:
    return Text(block.text, mark_of(block.cache_control))


def _messages(messages: list[_Message], left_out: list[str]) -> Iterator[Message]:
    for index, message in enumerate(messages):
        role = _ROLES.get(message.role)
        if role is None:
            raise _invalid(f"messages[{index}].role", f"expected one of {', '.join(_ROLES)}, got '{message.role}'")
        content = message.content
        if isinstance(content, str):
            yield Message(role=role, parts=(Text(content),))
        else:
            yield Message(role=role, parts=tuple(_parts(content, f"messages[{index}].content", left_out)))


def _parts(content: Sequence[msgspec.Raw], at: str, left_out: list[str]) -> Iterator[Part]:
    """The parts of a list of blocks that stands at `at`."""
    for index, raw in enumerate(content):
        try:
            block = shapes.blocks.decode(raw)
        except ValueError:
            unknown = shapes.unknown_type(raw)
            if not unknown:
                decode_caller(shapes.blocks, raw, f"{at}[{index}]")
            left_out.append(f"{at}[{index}]: {unknown}")
            continue
        yield from _read(block, f"{at}[{index}]", left_out)


def _read(block: shapes.Block, at: str, left_out: list[str]) -> Iterable[Part]:
    match block:
        case shapes.TextBlock():
            return (_text(block),)
        case shapes.ToolUseBlock():
            return (_call(block, at, left_out),)
        case shapes.ToolResultBlock():
            return (_result(block, at, left_out),)
        case shapes.ImageBlock():
            return (_image(block),)
        case shapes.DocumentBlock():
            return _document(block, at, left_out)
        case _:
            return _said(block)


def _said(
    block: shapes.ThinkingBlock
    | shapes.RedactedThinkingBlock
    | shapes.SearchResultBlock
    | shapes.ToolReferenceBlock
    | shapes.CompactionBlock,
) -> Iterable[Part]:
    match block:
        case shapes.ThinkingBlock(thinking, signature):
            return (Thinking(text=thinking, signature=signature, signed_by="anthropic" if signature else ""),)
        case shapes.RedactedThinkingBlock(data):
            return (Thinking(redacted=data, signed_by="anthropic"),)
        case shapes.SearchResultBlock():
            found = "\n".join([f"{block.title} ({block.source})", *(text.text for text in block.content)])
            return (Text(found, mark_of(block.cache_control)),)
        case shapes.ToolReferenceBlock(tool_name):
            return (Text(tool_name),)
        case _:
            return (Text(block.content),) if block.content else ()


def _call(block: shapes.ToolUseBlock, at: str, left_out: list[str]) -> ToolCall:
    arguments = raw_text(block.input)
    if arguments[:1] != "{":
        raise _invalid(f"{at}.input", "expected an object")
    if block.cache_control is not None:
        left_out.append(f"{at}.cache_control")
    return ToolCall(id=original(block.id), name=block.name, arguments=arguments)


def _result(block: shapes.ToolResultBlock, at: str, left_out: list[str]) -> ToolResult:
    return ToolResult(
        call_id=original(block.tool_use_id),
        parts=tuple(_inner(block.content, f"{at}.content", left_out)),
        failed=bool(block.is_error),
        cache=mark_of(block.cache_control),
    )


def _inner(content: str | list[msgspec.Raw] | None, at: str, left_out: list[str]) -> Iterator[Text | Image | Document]:
    """What stands inside of a result or a document."""
    if isinstance(content, str):
        yield Text(content)
        return
    for part in _parts(content or (), at, left_out):
        if isinstance(part, Text | Image | Document):
            yield part
        else:
            raise _invalid(at, "expected text, images or documents")


def _image(block: shapes.ImageBlock) -> Image | Document:
    cache = mark_of(block.cache_control)
    match block.source:
        case shapes.Base64Source():
            return Image(media_type=block.source.media_type, data=block.source.data, cache=cache)
        case shapes.UrlSource(url):
            return Image(url=url, cache=cache)
        case _:
            return Document(media_type="image/*", file_id=block.source.file_id, cache=cache)


def _document(block: shapes.DocumentBlock, at: str, left_out: list[str]) -> Iterable[Text | Image | Document]:
    if block.citations is not None and block.citations.enabled:
        left_out.append(f"{at}.citations")
    if block.context:
        left_out.append(f"{at}.context")
    cache, name = mark_of(block.cache_control), block.title or ""
    match block.source:
        case shapes.Base64Source():
            media_type, data = block.source.media_type, block.source.data
            return (Document(media_type=media_type, data=data, name=name, cache=cache),)
        case shapes.UrlSource(url):
            return (Document(url=url, name=name, cache=cache),)
        case shapes.FileSource(file_id):
            return (Document(file_id=file_id, name=name, cache=cache),)
        case shapes.TextSource(words):
            encoded = base64.b64encode(words.encode()).decode()
            return (Document(media_type="text/plain", data=encoded, name=name, cache=cache),)
        case _:
            return _inner(block.source.content, f"{at}.source.content", left_out)


def _tools(tools: Sequence[_Tool], left_out: list[str]) -> Iterator[Tool]:
    for index, tool in enumerate(tools):
        if (tool.type or "") not in _FUNCTION_TYPES:
            left_out.append(f"tools[{index}]: {tool.type}")
            continue
        for name, value in (("name", tool.name), ("input_schema", raw_text(tool.input_schema))):
            if not value:
                param = f"tools[{index}].{name}"
                raise CallerError(400, f"Missing required field '{param}'.", param=param, code="missing_field")
        yield Tool(
            name=tool.name,
            description=tool.description or "",
            schema=raw_text(tool.input_schema),
            strict=tool.strict,
            cache=mark_of(tool.cache_control),
        )


def _tool_choice(choice: _Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    if choice.type not in _CHOICES:
        raise _invalid("tool_choice.type", f"expected one of auto, any, tool, none, got '{choice.type}'")
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if choice.type in {"auto", "none"}:
        return ToolChoice(mode="auto" if choice.type == "auto" else "none", parallel=parallel)
    if choice.type == "any":
        return ToolChoice(mode="required", parallel=parallel)
    if not choice.name:
        message = "Missing required field 'tool_choice.name'."
        raise CallerError(400, message, param="tool_choice.name", code="missing_field")
    return ToolChoice(mode="required", names=(choice.name,), parallel=parallel)


def _format(asked: _Asked) -> Format | None:
    """What the answer has to be; `output_format` is the name of the time when it was a beta."""
    at, found = "output_format", asked.output_format
    if asked.output_config is not None and asked.output_config.format is not None:
        at, found = "output_config.format", asked.output_config.format
    if found is None:
        return None
    if found.type != "json_schema":
        raise _invalid(f"{at}.type", f"expected json_schema, got '{found.type}'")
    schema = raw_text(found.schema)
    if schema[:1] != "{":
        raise _invalid(f"{at}.schema", "expected a JSON schema")
    return Format(schema=schema)


def _reasoning(asked: _Asked, left_out: list[str]) -> Reasoning | None:
    said = asked.output_config.effort if asked.output_config is not None else None
    effort = _EFFORTS.get(said) if said else None
    if said and effort is None:
        left_out.append(f"output_config.effort: {said}")
    thinking = asked.thinking
    if thinking is None:
        return None if effort is None else Reasoning(effort=effort)
    shown = {"summarized": True, "omitted": False}.get(thinking.display or "")
    match thinking.type:
        case "disabled":
            budget = 0
        case "adaptive" | "between_tools":
            budget = -1
        case "enabled":
            budget = _positive(thinking.budget_tokens)
        case _:
            left_out.append(f"thinking: {thinking.type}")
            return None if effort is None else Reasoning(effort=effort)
    return Reasoning(effort=effort, budget_tokens=budget, shown=shown)


def _positive(budget_tokens: int | None) -> int:
    if budget_tokens is None:
        message = "Missing required field 'thinking.budget_tokens'."
        raise CallerError(400, message, param="thinking.budget_tokens", code="missing_field")
    if budget_tokens <= 0:
        raise _invalid("thinking.budget_tokens", "expected a positive number")
    return budget_tokens
