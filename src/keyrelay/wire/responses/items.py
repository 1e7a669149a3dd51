"""The items of `input` as turns of a conversation."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from keyrelay.core.conversation import Image, Message, Part, Role, Text, ToolCall, ToolResult
from keyrelay.wire.media import picture_type
from keyrelay.wire.parts import decode_caller, raw_text
from keyrelay.wire.responses.contents import read_output, read_parts
from keyrelay.wire.responses.envelopes import unseal
from keyrelay.wire.responses.reading import ABSENT, missing, unsupported, wrong
from keyrelay.wire.responses.shapes import FAILED_OUTPUT, OUTPUT, STRING, Content, Item
from keyrelay.wire.responses.tools import TOOL_SEARCH, ToolNames

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}

LEFT_OUT = frozenset({
    "code_interpreter_call",
    "configuration_update",
    "file_search_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "web_search_call",
})  # fmt: skip
"""What tools at OpenAI did, which the words after it have made use of."""

_UNREAD = {
    "compaction": "only OpenAI can read what it holds",
    "compaction_trigger": "conversations are not compacted here",
    "item_reference": "items are known only by the answers that were kept; send the item itself",
}

_Turn = tuple[Role, tuple[Part, ...]]


def read_items(items: Sequence[Item], names: ToolNames) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The turns, and the items that cannot be had here. Raise CallerError (400).

    The assistant's items are one turn until somebody else has a word, and so are results of tools.
    """
    messages: list[Message] = []
    left_out: list[str] = []
    joined = ""
    for index, item in enumerate(items):
        place, kind = f"input[{index}]", item.kind
        if kind in LEFT_OUT or (kind == "image_generation_call" and not item.result):
            left_out.append(f"{place}: {kind}")
            continue
        for role, parts in _turns(item, place, names):
            joins = role if role == "assistant" else "results" if isinstance(parts[0], ToolResult) else ""
            if joins and joins == joined:
                messages[-1] = Message(role=role, parts=messages[-1].parts + parts)
            else:
                messages.append(Message(role=role, parts=parts))
            joined = joins
    return tuple(messages), tuple(left_out)


def _turns(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    reader = _READERS.get(item.kind)
    if reader is None:
        if not item.kind:
            raise missing(f"{place}.type", "the item's type, or a role")
        raise unsupported(place, _UNREAD.get(item.kind, f"items of type '{item.kind}' are not understood here"))
    return reader(item, place, names)


def _message(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    del names
    role = ROLES.get(item.role or "")
    if role is None:
        raise wrong(f"{place}.role", f"expected one of {', '.join(ROLES)}, got '{item.role}'")
    parts = read_parts(item.content, f"{place}.content")
    if parts:
        yield role, parts


def _reasoning(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    del place, names
    told = item.summary or (item.content if isinstance(item.content, list) else None) or ()
    text = "\n\n".join(part.text for part in told if part.text)
    thought = unseal(text, item.encrypted_content or "")
    if thought.text or thought.signature or thought.redacted:
        yield "assistant", (thought,)


def _function_call(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    if not item.name:
        raise missing(f"{place}.name", "the tool's name")
    name = names.flat(item.name, item.namespace)
    yield "assistant", (ToolCall(id=_call_id(item, place), name=name, arguments=_arguments(item, place)),)


def _custom_call(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    if not item.name:
        raise missing(f"{place}.name", "the tool's name")
    name = names.flat(item.name, item.namespace)
    call = ToolCall(id=_call_id(item, place), name=name, arguments=item.input or "", custom=True)
    yield "assistant", (call,)


def _search_call(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    del names
    yield "assistant", (ToolCall(id=_call_id(item, place), name=TOOL_SEARCH, arguments=_arguments(item, place)),)


def _function_output(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    yield "user", (_result(item, place, names, custom=False),)


def _custom_output(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    yield "user", (_result(item, place, names, custom=True),)


def _search_output(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    """What a search has found is declared by now; the model is told how it is called."""
    found = []
    for tool in item.tools or ():
        if tool.type == "namespace":
            found += [names.flat(inner.name or "", tool.name) for inner in tool.tools or ()]
        else:
            found.append(names.flat(tool.name or "", None))
    text = f"Tools found: {', '.join(found)}" if found else "No tools found."
    yield "user", (ToolResult(call_id=_call_id(item, place), parts=(Text(text),), name=TOOL_SEARCH),)


def _picture(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    """A picture that the model made; one that is kept at OpenAI is for nobody else."""
    del place, names
    data = item.result or ""
    yield "assistant", (Image(media_type=picture_type(data), data=data),)


def _nothing(item: Item, place: str, names: ToolNames) -> Iterator[_Turn]:
    """Tools are read elsewhere."""
    del item, place, names
    return iter(())


_Reader = Callable[[Item, str, ToolNames], Iterator[_Turn]]

_READERS: Mapping[str, _Reader] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function_call,
    "function_call_output": _function_output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _custom_output,
    "tool_search_call": _search_call,
    "tool_search_output": _search_output,
    "additional_tools": _nothing,
    "image_generation_call": _picture,
}


def _call_id(item: Item, place: str) -> str:
    if not item.call_id:
        raise missing(f"{place}.call_id", "the id of the call")
    return item.call_id


def _arguments(item: Item, place: str) -> str:
    """Arguments as text, whether they came as text or as an object."""
    raw = bytes(item.arguments)
    text = decode_caller(STRING, item.arguments, f"{place}.arguments") if raw[:1] == b'"' else raw_text(item.arguments)
    return text or "{}"


def _result(item: Item, place: str, names: ToolNames, *, custom: bool) -> ToolResult:
    call_id, output_place = _call_id(item, place), f"{place}.output"
    if bytes(item.output) in ABSENT:
        raise missing(output_place, "a string or a list of parts")
    output: str | list[Content]
    failed = False
    if bytes(item.output)[:1] == b"{":
        said = decode_caller(FAILED_OUTPUT, item.output, output_place)
        output, failed = said.content, said.success is False
    else:
        output = decode_caller(OUTPUT, item.output, output_place)
    return ToolResult(
        call_id=call_id,
        parts=read_output(output, output_place),
        name=names.flat(item.name, item.namespace) if item.name else "",
        failed=failed,
        custom=custom,
    )
