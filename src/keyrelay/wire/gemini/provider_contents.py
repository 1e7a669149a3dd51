"""The messages of a conversation, written as turns for a Gemini model."""

from collections.abc import Iterator

import msgspec

from keyrelay.core.conversation import (
    Audio,
    Conversation,
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
from keyrelay.wire.dialects import UntranslatableError
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.common import DIALECT, arguments_of, media_type_of, members_of
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE, ModelRules
from keyrelay.wire.parts import call_names

_FETCHED = ("https://", "gs://")
_Sayable = Text | Image | Audio | Document | Refusal | ToolCall | ToolResult
_WRAPPERS = frozenset({"output", "result", "error"})


def system_instruction(conversation: Conversation) -> list[shapes.Part]:
    """The words of all system messages, wherever they stand: Gemini has one place for them."""
    parts = []
    for number, message in enumerate(conversation.messages):
        for place, part in enumerate(message.parts if message.role == "system" else ()):
            if not isinstance(part, Text):
                raise _untranslatable(number, place, part, "Gemini takes only words in its system instruction")
            if part.text:
                parts.append(shapes.Part(text=part.text))
    return parts


def contents(conversation: Conversation, rules: ModelRules, left_out: list[str]) -> list[shapes.Content]:
    """The turns. Raise UntranslatableError for what a Gemini model cannot be given."""
    writer = _ContentsWriter(conversation, rules, left_out)
    turns: list[shapes.Content] = []
    for number, message in enumerate(conversation.messages):
        if message.role == "system":
            continue
        parts = writer.parts(message, number)
        role = "model" if message.role == "assistant" else "user"
        if turns and turns[-1].role == role:
            _parts(turns[-1]).extend(parts)
        elif parts:
            turns.append(shapes.Content(role=role, parts=list(parts)))
    for turn in turns:
        _finish(turn, rules)
    return turns


def result_object(text: str, *, failed: bool) -> msgspec.Raw:
    """The object for a result: its own if it is one, else with the text as `output` or `error`.

    An object of one member that has such a name itself goes as a text, so that it is not taken for what it holds.
    """
    members = members_of(text) if text == text.strip() else None
    own = members is not None and (failed or len(members) != 1 or not _WRAPPERS & members.keys())
    value = msgspec.Raw(text.encode() if own else msgspec.json.encode(text))
    if failed:
        return msgspec.Raw(msgspec.json.encode({"error": value}))
    return value if own else msgspec.Raw(msgspec.json.encode({"output": value}))


class _ContentsWriter:
    """Writes the parts of messages; what a preference loses is added to `left_out`."""

    def __init__(self, conversation: Conversation, rules: ModelRules, left_out: list[str]) -> None:
        self._rules = rules
        self._left_out = left_out
        self._names = call_names(conversation.messages)

    def parts(self, message: Message, number: int) -> list[shapes.Part]:
        written: list[shapes.Part] = []
        for place, part in enumerate(message.parts):
            if isinstance(part, Thinking):
                _add_thinking(written, part)
            else:
                written += self._part(part, number, place)
        return written

    def _part(self, part: _Sayable, number: int, place: int) -> Iterator[shapes.Part]:
        if isinstance(part, Text | ToolResult) and part.cache:
            self._left_out.append("cache")
        if isinstance(part, Text | Refusal):
            if part.text:
                yield shapes.Part(text=part.text)
        elif isinstance(part, ToolCall):
            yield _call(part, number, place)
        elif isinstance(part, ToolResult):
            yield from self._result(part, number, place)
        else:
            yield self._media(part, number, place)

    def _media(self, part: Image | Audio | Document, number: int, place: int) -> shapes.Part:
        if not isinstance(part, Audio) and part.cache:
            self._left_out.append("cache")
        if isinstance(part, Image) and part.detail not in {"", "auto"}:
            self._left_out.append("detail")
        if part.data:
            return shapes.Part(inline_data=shapes.Blob(mime_type=part.media_type or None, data=part.data))
        url = "" if isinstance(part, Audio) else part.url
        if url.startswith(_FETCHED):
            kind = part.media_type or media_type_of(url)
            return shapes.Part(file_data=shapes.FileData(mime_type=kind or None, file_uri=url))
        reason = "Google fetches https: and gs: only" if url else "Gemini takes data or an address"
        raise _untranslatable(number, place, part, reason)

    def _result(self, part: ToolResult, number: int, place: int) -> Iterator[shapes.Part]:
        """The result, and behind it the pictures that the model cannot take inside of it."""
        name = part.name or self._names.get(part.call_id, "")
        if not name:
            raise _untranslatable(number, place, part, f"no call has the identifier '{part.call_id}'")
        text = "\n".join(inner.text for inner in part.parts if isinstance(inner, Text))
        media = [self._media(inner, number, place) for inner in part.parts if not isinstance(inner, Text)]
        within = [item for item in media if self._rules.pictures_in_results and item.inline_data is not None]
        response = shapes.FunctionResponse(
            id=part.call_id or None, name=name, response=result_object(text, failed=part.failed)
        )
        if within:
            response.parts = [shapes.ResponsePart(inline_data=item.inline_data) for item in within]
        yield shapes.Part(function_response=response)
        yield from (item for item in media if item not in within)


def _parts(turn: shapes.Content) -> list[shapes.Part]:
    return turn.parts if isinstance(turn.parts, list) else []


def _finish(turn: shapes.Content, rules: ModelRules) -> None:
    """Results stand first in a turn, and the first call of a turn has a signature where the model insists."""
    parts = _parts(turn)
    if turn.role == "user":
        parts.sort(key=lambda part: part.function_response is None)
    elif rules.signs:
        first = next((part for part in parts if part.function_call is not None), None)
        if first is not None and first.thought_signature is None:
            first.thought_signature = PLACEHOLDER_SIGNATURE


def _add_thinking(written: list[shapes.Part], part: Thinking) -> None:
    """Thoughts of Gemini's own with their signature; without words it is the signature of the text before it."""
    if part.signed_by != DIALECT or not part.signature:
        return
    before = written[-1] if written else None
    if part.text:
        written.append(shapes.Part(text=part.text, thought=True, thought_signature=part.signature))
    elif before is not None and _may_be_signed(before):
        before.thought_signature = part.signature
    else:
        written.append(shapes.Part(text="", thought_signature=part.signature))


def _may_be_signed(part: shapes.Part) -> bool:
    said = bool(part.text) and not part.thought
    return (said or part.inline_data is not None) and part.thought_signature is None


def _call(part: ToolCall, number: int, place: int) -> shapes.Part:
    arguments = arguments_of(part.arguments, custom=part.custom)
    if arguments is None:
        raise _untranslatable(number, place, part, "its arguments are no JSON object")
    own = part.signed_by == DIALECT and part.signature
    return shapes.Part(
        function_call=shapes.FunctionCall(id=part.id or None, name=part.name, args=arguments),
        thought_signature=part.signature if own else None,
    )


def _untranslatable(number: int, place: int, part: Part, reason: str) -> UntranslatableError:
    return UntranslatableError(f"messages[{number}].parts[{place}]: {type(part).__name__.lower()}", reason)
