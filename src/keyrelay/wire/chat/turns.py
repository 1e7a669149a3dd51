"""Messages of a caller in the canonical form.

Results of tools, which OpenAI has as messages of their own, become parts of the user's turn that they stand in.
"""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.chat.beyond import read_pictures
from keyrelay.wire.chat.shapes import CallShape, ChatMessage, Content, ContentPart, FunctionCall, ImageUrl
from keyrelay.wire.chat.thoughts import read_thoughts, thought_text
from keyrelay.wire.parts import raw_text, split_data_url, tool_id

_text = msgspec.json.Decoder(str)


def read_messages(messages: Sequence[ChatMessage], left_out: dict[str, None]) -> tuple[Message, ...]:
    """The turns; what cannot be held is added to `left_out`. Raise CallerError (400) pointing to the part."""
    return _Turns(left_out).read(messages)


class _Turns:
    """The reading of one list of messages."""

    def __init__(self, left_out: dict[str, None]) -> None:
        self._left_out = left_out
        self._customs: set[str] = set()
        self._functions: dict[str, str] = {}  # a function's name → the id made for its last legacy call

    def read(self, messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
        turns: list[Message] = []
        results: list[Part] = []
        for index, message in enumerate(messages):
            where = f"messages[{index}]"
            role = message.role
            if message.name and role != "function":
                self._left_out["messages[].name"] = None
            if role in {"tool", "function"}:
                results.append(self._result(message, where))
                continue
            parts = self._parts(message, index, where)
            if role == "user":
                turns.append(Message(role="user", parts=(*results, *parts)))
            else:
                if results:
                    turns.append(Message(role="user", parts=tuple(results)))
                turns.append(Message(role="assistant" if role == "assistant" else "system", parts=tuple(parts)))
            results = []
        if results:
            turns.append(Message(role="user", parts=tuple(results)))
        return tuple(turns)

    def _parts(self, message: ChatMessage, index: int, where: str) -> list[Part]:
        match message.role:
            case "user":
                return _content(message.content, where, _USERS)
            case "assistant":
                return self._assistants(message, index, where)
            case "system" | "developer":
                return _content(message.content, where, _SYSTEMS)
            case None:
                raise CallerError(
                    400, f"Missing required field '{where}.role'.", param=f"{where}.role", code="missing_field"
                )
            case _:
                problem = "expected one of 'developer', 'system', 'user', 'assistant', 'tool'"
                raise _invalid(f"{where}.role", problem)

    def _assistants(self, message: ChatMessage, index: int, where: str) -> list[Part]:
        parts: list[Part] = [*read_thoughts(message), *_content(message.content, where, _ASSISTANTS)]
        if message.refusal:
            parts.append(Refusal(text=message.refusal))
        if message.audio and bytes(message.audio) != b"null":
            self._left_out["messages[].audio"] = None
        for image in read_pictures(message):
            if isinstance(image, Image):
                parts.append(image)
            else:
                self._left_out["messages[].images"] = None
        for position, call in enumerate(message.tool_calls or ()):
            parts.append(self._call(call, f"{where}.tool_calls[{position}]"))
        function = message.function_call
        if function is not None:
            name = _required(function.name, f"{where}.function_call.name")
            self._functions[name] = made = tool_id(index, name)
            parts.append(ToolCall(id=made, name=name, arguments=argument_text(function)))
        return parts

    def _call(self, call: CallShape, where: str) -> ToolCall:
        call_id = _required(call.id, f"{where}.id")
        signature = call.signature
        signed_by = "gemini" if signature else ""
        if call.custom is not None:
            self._customs.add(call_id)
            name = _required(call.custom.name, f"{where}.custom.name")
            text = call.custom.input or ""
            return ToolCall(
                id=call_id, name=name, arguments=text, custom=True, signature=signature, signed_by=signed_by
            )
        function = call.function or FunctionCall()
        name = _required(function.name, f"{where}.function.name")
        return ToolCall(
            id=call_id, name=name, arguments=argument_text(function), signature=signature, signed_by=signed_by
        )

    def _result(self, message: ChatMessage, where: str) -> ToolResult:
        if message.role == "function":
            name = _required(message.name, f"{where}.name")
            call_id = self._functions.get(name, "")
            if not call_id:
                raise _invalid(f"{where}.name", "no function of this name was called before")
        else:
            name = ""
            call_id = _required(message.tool_call_id, f"{where}.tool_call_id")
        parts = tuple(
            part for part in _content(message.content, where, _TOOLS) if isinstance(part, Text | Image | Document)
        )
        return ToolResult(call_id=call_id, parts=parts, name=name, custom=call_id in self._customs)

    def __repr__(self) -> str:
        return f"<_Turns {len(self._customs)} custom calls>"


_SYSTEMS: tuple[type[Part], ...] = (Text,)
_USERS: tuple[type[Part], ...] = (Text, Image, Audio, Document)
_ASSISTANTS: tuple[type[Part], ...] = (Text, Refusal, Thinking)
_TOOLS: tuple[type[Part], ...] = (Text, Image, Document)


def _content(content: Content, where: str, allowed: tuple[type[Part], ...]) -> list[Part]:
    """The parts of a message's content: a string, or a list of parts of the kinds that its role may have."""
    if not content:
        return []
    if isinstance(content, str):
        return [Text(text=content)]
    parts = []
    for index, shape in enumerate(content):
        place = f"{where}.content[{index}]"
        part = _part(shape, place)
        if not isinstance(part, allowed):
            raise _unsupported(place, shape.type)
        parts.append(part)
    return parts


def _part(shape: ContentPart, where: str) -> Part:
    cache = shape.cache_control.word if shape.cache_control is not None else ""
    match shape.type:
        case "text" | "input_text" | "output_text":
            if shape.text is None:
                raise _missing(f"{where}.text")
            return Text(text=shape.text, cache=cache)
        case "image_url":
            return _image(shape.image_url, where, cache)
        case "input_audio":
            if shape.input_audio is None:
                raise _missing(f"{where}.input_audio")
            return Audio(media_type="audio/" + shape.input_audio.format, data=shape.input_audio.data)
        case "file":
            return _document(shape, where, cache)
        case "refusal":
            return Refusal(text=shape.refusal or "")
        case "thinking":
            return Thinking(text=thought_text(shape))
        case _:
            raise _unsupported(where, shape.type)


def _image(image: ImageUrl | str | None, where: str, cache: str) -> Image:
    if image is None:
        raise _missing(f"{where}.image_url")
    url, detail = (image, "") if isinstance(image, str) else (image.url, image.detail or "")
    media_type, data = _data(url, f"{where}.image_url.url")
    if data is None:
        return Image(url=url, detail=detail, cache=cache)
    return Image(media_type=media_type, data=data, detail=detail, cache=cache)


def _document(shape: ContentPart, where: str, cache: str) -> Document:
    file = shape.file
    if file is None or not (file.file_data or file.file_id):
        raise _missing(f"{where}.file")
    name = file.filename or ""
    if not file.file_data:
        return Document(file_id=file.file_id or "", name=name, cache=cache)
    media_type, data = _data(file.file_data, f"{where}.file.file_data")
    if data is not None:
        return Document(media_type=media_type, data=data, name=name, cache=cache)
    if file.file_data[:4].lower() == "http":
        return Document(url=file.file_data, name=name, cache=cache)
    return Document(media_type="application/pdf", data=file.file_data, name=name, cache=cache)


def _data(url: str, where: str) -> tuple[str, str | None]:
    """Media type and data of a `data:` URL; no data for any other URL."""
    split = split_data_url(url)
    if split is not None:
        return split
    if url[:5].lower() == "data:":
        raise _invalid(where, "a data: URL needs a comma before its data")
    return "", None


def argument_text(function: FunctionCall) -> str:
    """A call's arguments as text: a string's content, or the JSON of an object that stands in its place."""
    raw = function.arguments
    return _text.decode(raw) if bytes(raw).startswith(b'"') else raw_text(raw)


def _required(value: str | None, where: str) -> str:
    if not value:
        raise _missing(where)
    return value


def _missing(where: str) -> CallerError:
    return CallerError(400, f"Missing required field '{where}'.", param=where, code="missing_field")


def _invalid(where: str, problem: str) -> CallerError:
    return CallerError(400, f"Invalid value for '{where}': {problem}.", param=where, code="invalid_value")


def _unsupported(where: str, kind: str) -> CallerError:
    message = f"Parts of type '{kind}' are not supported here by the models that can answer now."
    return CallerError(400, message, param=f"{where}.type", code="unsupported_content")
