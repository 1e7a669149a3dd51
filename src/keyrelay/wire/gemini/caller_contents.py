"""The turns of a caller's request, read into messages."""

import msgspec

from keyrelay.core.conversation import Audio, Document, Image, Message, Part, Role, Text, ToolCall, ToolResult
from keyrelay.core.errors import CallerError
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.common import (
    DIALECT,
    media_from_blob,
    media_from_file,
    members_of,
    said,
    words_of,
)
from keyrelay.wire.parts import raw_text, tool_id

_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "tool": "user"}
_NOT_HELD = ("executable_code", "code_execution_result", "tool_call", "tool_response")
_REMARKS = ("media_resolution", "video_metadata")
_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(shapes.Part)}


def refuse(at: str, problem: str, code: str = "invalid_value") -> CallerError:
    """The error for a field of the caller's."""
    return CallerError(400, f"Invalid value for '{at}': {problem}.", param=at, code=code)


class ContentsReader:
    """Reads turns one after the other; `left_out` names what could not be held.

    A result without the identifier of a call belongs to the first call of its name that has no result yet.
    """

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._open: list[tuple[str, str]] = []

    def system(self, instruction: shapes.Content | str | None) -> tuple[Message, ...]:
        """The system instruction as a message, if there is one; its role says nothing."""
        if isinstance(instruction, str):
            instruction = shapes.Content(parts=[shapes.Part(text=instruction)])
        if instruction is None:
            return ()
        at = "systemInstruction"
        parts = tuple(part for part in self._parts(instruction, at) if self._is_text(part, at))
        return (Message(role="system", parts=parts),) if parts else ()

    def messages(self, contents: list[shapes.Content]) -> tuple[Message, ...]:
        """The turns that say anything."""
        read = []
        for number, content in enumerate(contents):
            at = f"contents[{number}]"
            parts = tuple(self._parts(content, at))
            if parts:
                read.append(Message(role=_role(content.role, parts, at), parts=parts))
        return tuple(read)

    def _is_text(self, part: Part, at: str) -> bool:
        if not isinstance(part, Text):
            self.left_out.append(f"{at}.parts: {type(part).__name__.lower()}")
        return isinstance(part, Text)

    def _parts(self, content: shapes.Content, at: str) -> list[Part]:
        given = content.parts or []
        if isinstance(given, shapes.Part):
            return self._part(given, f"{at}.parts")
        return [part for number, item in enumerate(given) for part in self._part(item, f"{at}.parts[{number}]")]

    def _part(self, part: shapes.Part, at: str) -> list[Part]:
        self.left_out += [f"{at}.{_NAMES[name]}" for name in _REMARKS if said(getattr(part, name))]
        signature = part.thought_signature or ""
        if part.function_call is not None:
            return [self._call(part.function_call, at, signature)]
        if part.function_response is not None:
            return [self._result(part.function_response, f"{at}.functionResponse")]
        if part.inline_data is not None:
            return [_data(part.inline_data, f"{at}.inlineData")]
        if part.file_data is not None:
            return [_file(part.file_data, f"{at}.fileData")]
        kind = next((name for name in _NOT_HELD if said(getattr(part, name))), None)
        if kind is not None:
            self.left_out.append(f"{at}: {_NAMES[kind]}")
            return []
        if part.text is None and not signature and part.thought is None:
            raise refuse(at, "expected a text, a call, a result or data")
        return [*words_of(part.text or "", signature, thought=bool(part.thought))]

    def _call(self, call: shapes.FunctionCall, at: str, signature: str) -> ToolCall:
        at = f"{at}.functionCall"
        if not call.name:
            raise refuse(f"{at}.name", "expected the name of a function", "missing_field")
        arguments = raw_text(call.args) or "{}"
        if not arguments.startswith("{"):
            raise refuse(f"{at}.args", "expected an object", "invalid_type")
        identifier = call.id or tool_id(at, call.name)
        self._open.append((identifier, call.name))
        return ToolCall(
            id=identifier,
            name=call.name,
            arguments=arguments,
            signature=signature,
            signed_by=DIALECT if signature else "",
        )

    def _result(self, result: shapes.FunctionResponse, at: str) -> ToolResult:
        if not result.name:
            raise refuse(f"{at}.name", "expected the name of a function", "missing_field")
        text, failed = _result_text(result.response, f"{at}.response")
        parts: list[Text | Image | Document] = [Text(text=text)] if text else []
        for number, part in enumerate(result.parts or ()):
            media = _result_media(part, f"{at}.parts[{number}]")
            parts.append(media)
        return ToolResult(call_id=self._answered(result, at), name=result.name, parts=tuple(parts), failed=failed)

    def _answered(self, result: shapes.FunctionResponse, at: str) -> str:
        """The identifier of the call that a result belongs to."""
        by_id = [entry for entry in self._open if entry[0] == result.id]
        candidates = by_id or [entry for entry in self._open if entry[1] == result.name]
        if not candidates:
            return result.id or tool_id(at, result.name or "")
        self._open.remove(candidates[0])
        return candidates[0][0]


def _role(role: str | None, parts: tuple[Part, ...], at: str) -> Role:
    """The role of a turn; one that names none is the user's unless it holds calls."""
    calls = any(isinstance(part, ToolCall) for part in parts)
    if not role:
        return "assistant" if calls else "user"
    found = _ROLES.get(role)
    if found is None:
        raise refuse(f"{at}.role", "expected 'user' or 'model'")
    if calls and found == "user":
        raise refuse(f"{at}.role", "calls stand in a turn of the model's")
    if found == "assistant" and any(isinstance(part, ToolResult) for part in parts):
        raise refuse(f"{at}.role", "results stand in a turn of the user's")
    return found


def _data(blob: shapes.Blob, at: str) -> Image | Audio | Document:
    for name, value in (("mimeType", blob.mime_type), ("data", blob.data)):
        if not value:
            raise refuse(f"{at}.{name}", "expected a string", "missing_field")
    return media_from_blob(blob)


def _file(file: shapes.FileData, at: str) -> Image | Document:
    if not file.file_uri:
        raise refuse(f"{at}.fileUri", "expected an address", "missing_field")
    return media_from_file(file)


def _result_media(part: shapes.ResponsePart, at: str) -> Image | Document:
    if part.file_data is not None:
        return _file(part.file_data, f"{at}.fileData")
    if part.inline_data is None:
        raise refuse(at, "expected data")
    media = _data(part.inline_data, f"{at}.inlineData")
    return Document(media_type=media.media_type, data=media.data) if isinstance(media, Audio) else media


def _result_text(response: msgspec.Raw, at: str) -> tuple[str, bool]:
    """The words of a result, and whether the call failed; see `provider_contents.result_object`."""
    text = raw_text(response)
    if not text:
        return "", False
    members = members_of(text)
    if members is None:
        raise refuse(at, "expected an object", "invalid_type")
    name = next(iter(members), "") if len(members) == 1 else ""
    if name not in {"output", "result", "error"}:
        return text, False
    value = bytes(members[name]).decode()
    if value.startswith('"'):
        value = msgspec.json.decode(value)
    return value, name == "error"
