"""The messages of a conversation as Anthropic's: instructions apart, turns that alternate, results before all else."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from keyrelay.core.conversation import (
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
from keyrelay.wire.anthropic.ids import fitted
from keyrelay.wire.anthropic.shapes import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolUseBlock,
    UrlSource,
    WrittenBlock,
    WrittenResultBlock,
    marked,
)
from keyrelay.wire.dialects import UntranslatableError
from keyrelay.wire.media import shown_by_user
from keyrelay.wire.parts import data_text, json_object, lowered_arguments, merged

JSON_ONLY = "Answer with one JSON object and nothing else."
"""What is asked of the model where it has to answer with JSON of no schema."""

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TEXTS = re.compile(r"text/.*|application/(?:json|xml|x-yaml|yaml|javascript|x-sh|sql|toml)")


class Turn(msgspec.Struct, frozen=True):
    """One turn on the wire."""

    role: str
    content: list[WrittenBlock]


class Turns(msgspec.Struct, frozen=True):
    """All of them, and the instructions before them."""

    system: list[TextBlock]
    messages: list[Turn]

    @property
    def thought_before_calls(self) -> bool:
        """Whether the calls whose results came last were made after signed thoughts, or none were made.

        A model that is given a budget for thoughts wants to see those that led to its calls.
        """
        last = next((turn for turn in reversed(self.messages) if turn.role == "assistant"), None)
        if last is None or not any(isinstance(block, ToolUseBlock) for block in last.content):
            return True
        return isinstance(last.content[0], ThinkingBlock | RedactedThinkingBlock)


def written_turns(conversation: Conversation, left_out: list[str]) -> Turns:
    """The turns. Raise UntranslatableError; preferences that cannot be said go to `left_out`."""
    system = [
        block for message in conversation.messages if message.role == "system" for block in _instructions(message)
    ]
    turns = []
    messages = shown_by_user(conversation.messages)
    for message in merged(message for message in messages if message.role != "system"):
        content = list(_user(message.parts, left_out) if message.role == "user" else _assistant(message.parts))
        if content:
            turns.append(Turn(message.role, content))
    if not turns:
        if not system:
            raise UntranslatableError("messages", "they say nothing")
        system, turns = [], [Turn("user", list(system))]
    if conversation.format is not None and not conversation.format.schema:
        system.append(TextBlock(text=JSON_ONLY))
    _trim_beginning(turns[-1])
    return Turns(system, turns)


def _trim_beginning(turn: Turn) -> None:
    """The beginning of an answer that the model is to continue must not end with white space."""
    last = turn.content[-1]
    if turn.role == "assistant" and isinstance(last, TextBlock):
        turn.content[-1] = msgspec.structs.replace(last, text=last.text.rstrip())


def _instructions(message: Message) -> Iterator[TextBlock]:
    for part in message.parts:
        if not isinstance(part, Text):
            raise UntranslatableError(_kind(part), "instructions are text")
        yield from _text(part)


def _text(part: Text) -> Iterator[TextBlock]:
    if part.text and not part.text.isspace():
        yield TextBlock(text=part.text, cache_control=marked(part.cache))


def _user(parts: Iterable[Part], left_out: list[str]) -> Iterator[WrittenBlock]:
    """The user's turn: what came of calls, then whatever else it says."""
    others: list[WrittenBlock] = []
    for part in parts:
        if isinstance(part, ToolResult):
            yield _result(part, left_out)
        else:
            others += _shown(part, left_out)
    yield from others


def _result(result: ToolResult, left_out: list[str]) -> WrittenResultBlock:
    return WrittenResultBlock(
        tool_use_id=fitted(result.call_id),
        content=[block for part in result.parts for block in _shown(part, left_out)],
        is_error=result.failed,
        cache_control=marked(result.cache),
    )


def _shown(part: Part, left_out: list[str]) -> Iterator[TextBlock | ImageBlock | DocumentBlock]:
    """What a user, or a tool, shows to the model."""
    if isinstance(part, Text):
        yield from _text(part)
    elif isinstance(part, Image):
        if part.detail and part.detail != "auto":
            left_out.append("detail")
        yield _image(part)
    elif isinstance(part, Document):
        yield _document(part)
    else:
        raise UntranslatableError(_kind(part), "it cannot stand in a user's turn")


def _image(image: Image) -> ImageBlock:
    if image.url:
        return ImageBlock(source=UrlSource(url=image.url), cache_control=marked(image.cache))
    media_type = "image/jpeg" if image.media_type == "image/jpg" else image.media_type
    if media_type not in _IMAGES:
        raise UntranslatableError("image", f"{media_type or 'its type, which is not said,'} is not taken")
    source = Base64Source(media_type=media_type, data=image.data)
    return ImageBlock(source=source, cache_control=marked(image.cache))


def _document(document: Document) -> DocumentBlock | ImageBlock:
    mark = marked(document.cache)
    if document.file_id and document.media_type.startswith("image/"):
        return ImageBlock(source=FileSource(file_id=document.file_id), cache_control=mark)
    return DocumentBlock(source=_source(document), title=document.name or None, cache_control=mark)


def _source(document: Document) -> Base64Source | UrlSource | FileSource | TextSource:
    if document.file_id:
        return FileSource(file_id=document.file_id)
    if document.url:
        return UrlSource(url=document.url)
    if document.media_type == "application/pdf":
        return Base64Source(media_type=document.media_type, data=document.data)
    text = data_text(document.data) if _TEXTS.fullmatch(document.media_type) else None
    if text is None:
        raise UntranslatableError("document", f"{document.media_type or 'its type'} is neither PDF nor text")
    return TextSource(data=text, media_type="text/plain")


def _assistant(parts: Iterable[Part]) -> Iterator[WrittenBlock]:
    for part in parts:
        if isinstance(part, Text):
            yield from _text(part)
        elif isinstance(part, ToolCall):
            yield _call(part)
        elif isinstance(part, Thinking):
            yield from _thoughts(part)
        elif isinstance(part, Refusal):
            yield from _text(Text(part.text))
        else:
            raise UntranslatableError(_kind(part), "it cannot stand in an assistant's turn")


def _thoughts(part: Thinking) -> Iterator[WrittenBlock]:
    """Thoughts that this dialect signed; it refuses all others."""
    if part.signed_by != "anthropic":
        return
    if part.redacted:
        yield RedactedThinkingBlock(data=part.redacted)
    elif part.signature:
        yield ThinkingBlock(thinking=part.text, signature=part.signature)


def _call(call: ToolCall) -> ToolUseBlock:
    arguments = json_object(lowered_arguments(call))
    if arguments is None:
        raise UntranslatableError(f"call of {call.name}", "its arguments are no JSON object")
    return ToolUseBlock(id=fitted(call.id), name=call.name, input=arguments)


def _kind(part: Part) -> str:
    return type(part).__name__.lower()
