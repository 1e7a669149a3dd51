"""A conversation as Cohere takes it: results of tools as messages of their own, the plan beside the calls."""

from collections.abc import Iterator
from typing import Literal

from keyrelay.core.conversation import Document, Image, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from keyrelay.wire.cohere import shapes
from keyrelay.wire.cohere.names import fitting_name
from keyrelay.wire.dialects import UntranslatableError
from keyrelay.wire.media import shown_by_user
from keyrelay.wire.parts import data_url, document_words, lowered_arguments

_NO_ARGUMENTS = "{}"


def written_messages(messages: tuple[Message, ...]) -> list[shapes.Message]:
    """All messages; raise UntranslatableError."""
    return [
        written
        for index, message in enumerate(shown_by_user(messages))
        for written in (_assistant if message.role == "assistant" else _other)(message, f"messages[{index}]")
    ]


def _assistant(message: Message, where: str) -> Iterator[shapes.Message]:
    texts, thoughts, calls = list[str](), list[str](), list[shapes.Call]()
    for part in message.parts:
        if isinstance(part, ToolCall):
            calls.append(_call(part))
        elif isinstance(part, Text | Refusal):
            texts.append(part.text)
        elif isinstance(part, Thinking):
            thoughts.append(part.text)
        else:
            raise _refused(part, where)
    text = "".join(texts)
    if calls:
        plan = text or "".join(thoughts)
        yield shapes.Message(role="assistant", tool_plan=plan or None, tool_calls=calls)
    elif text:
        yield shapes.Message(role="assistant", content=text)


def _other(message: Message, where: str) -> Iterator[shapes.Message]:
    """A message of the user's or the system's, or more where results of tools stand among its parts."""
    role: Literal["system", "user"] = "system" if message.role == "system" else "user"
    items: list[shapes.Item] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield from _turn(role, items)
            items = []
            yield _result(part, where)
        else:
            items.append(_item(part, where, pictures=role == "user"))
    yield from _turn(role, items)


def _turn(role: str, items: list[shapes.Item]) -> Iterator[shapes.Message]:
    if items:
        yield shapes.Message(role=role, content=_plain(items))


def _plain(items: list[shapes.Item]) -> list[shapes.Item] | str:
    """One text alone stands by itself."""
    text = items[0].text
    return items if len(items) > 1 or text is None else text


def _result(result: ToolResult, where: str) -> shapes.Message:
    items = [_item(part, where, pictures=False) for part in result.parts]
    return shapes.Message(role="tool", content=_plain(items) if items else "", tool_call_id=result.call_id)


def _item(part: Part, where: str, *, pictures: bool) -> shapes.Item:
    if isinstance(part, Text | Refusal):
        return shapes.Item(type="text", text=part.text)
    if isinstance(part, Image) and pictures:
        url = part.url or data_url(part.media_type, part.data)
        return shapes.Item(type="image_url", image_url=shapes.ImageUrl(url=url, detail=part.detail or None))
    text = document_words(part) if isinstance(part, Document) else None
    if text is None:
        raise _refused(part, where)
    return shapes.Item(type="text", text=text)


def _call(call: ToolCall) -> shapes.Call:
    arguments = lowered_arguments(call)
    called = shapes.Called(name=fitting_name(call.name), arguments=arguments.strip() or _NO_ARGUMENTS)
    return shapes.Call(id=call.id, function=called)


def _refused(part: Part, where: str) -> UntranslatableError:
    kind = type(part).__name__.lower()
    return UntranslatableError(
        f"{where}: {kind}", "Cohere takes text, also in documents, and pictures in the user's messages"
    )
