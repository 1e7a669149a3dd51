"""Pictures, sounds and files in answers: what they are called, and the words for callers whose dialect has none.

What has an address becomes a link in Markdown, with which nothing is lost. Of what came as data a note stays in the
text, so that nobody is given an empty answer, and the loss is named (`Answer.left_out`).
"""

import re
from collections.abc import Callable, Sequence

import msgspec

from keyrelay.core.conversation import (
    Answer,
    AnswerPart,
    Audio,
    Document,
    Event,
    Image,
    Media,
    MediaPiece,
    Message,
    Part,
    Text,
    TextPiece,
    Unheld,
)
from keyrelay.wire.parts import split_data_url

Shows = Callable[[Media], bool]
"""Whether a caller can be given it."""

_LINKED = ("http://", "https://", "gs://")
_PICTURES = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
"""How base64 of each kind of picture begins."""

_SOUNDS = (
    ("UklGR", "audio/wav"),
    ("SUQz", "audio/mp3"),
    ("//", "audio/mp3"),
    ("T2dnU", "audio/ogg"),
    ("ZkxhQ", "audio/flac"),
)
_UNPRINTABLE = re.compile(r"[^ -~]")
_FENCES = re.compile("`{3,}")
_NO_WORD = re.compile(r"[^a-z0-9+#-]")


def picture_type(data: str) -> str:
    """The media type of a picture in base64; `image/jpeg` where it does not say so itself."""
    return next((kind for start, kind in _PICTURES if data.startswith(start)), "image/jpeg")


def picture_at(url: str) -> Image:
    """A picture by its address, which may be a `data:` URL."""
    split = split_data_url(url)
    return Image(url=url) if split is None else Image(media_type=split[0], data=split[1])


def media_name(part: Media) -> str:
    """What it is, in a few words: `image (image/png)`."""
    kind = type(part).__name__.lower()
    return f"{kind} ({part.media_type})" if part.media_type else kind


def as_words(part: Media) -> tuple[str, str]:
    """The words that stand for it in an answer, and what is lost by that; nothing if they lead to it."""
    url = "" if isinstance(part, Audio) else part.url
    name = part.name if isinstance(part, Document) else ""
    if url.startswith(_LINKED):
        link = f"[{name or type(part).__name__.lower()}]({url})"
        return f"\n{'!' if isinstance(part, Image) else ''}{link}\n", ""
    size = f", {len(part.data) * 3 // 4:,} bytes" if part.data else ""
    return f"\n[{media_name(part)}{size}: left out]\n", media_name(part)


def shown_by_user(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with what the assistant made at the beginning of the user's turn after it.

    For dialects whose assistant has words alone. The same object when it made nothing.
    """
    if not any(
        isinstance(part, Media) for message in messages if message.role == "assistant" for part in message.parts
    ):
        return messages
    shown, made = list[Message](), tuple[Part, ...]()
    for message in messages:
        if message.role == "assistant":
            made += tuple(part for part in message.parts if isinstance(part, Media))
            words = tuple(part for part in message.parts if not isinstance(part, Media))
            shown.append(Message(role="assistant", parts=words))
        elif message.role == "user":
            shown.append(Message(role="user", parts=(*made, *message.parts)))
            made = ()
        else:
            shown.append(message)
    return (*shown, Message(role="user", parts=made)) if made else tuple(shown)


def fitted(answer: Answer, shows: Shows) -> Answer:
    """The answer for a caller who can be given what `shows` says; the same object when nothing changes."""
    parts, left_out = list[AnswerPart](), list(answer.left_out)
    changed = False
    for part in answer.parts:
        if isinstance(part, Media) and not shows(part):
            words, lost = as_words(part)
            parts.append(Text(words))
            left_out += [lost] if lost else []
            changed = True
        else:
            parts.append(part)
    return msgspec.structs.replace(answer, parts=tuple(parts), left_out=tuple(left_out)) if changed else answer


def fitted_events(event: MediaPiece, shows: Shows) -> tuple[Event, ...]:
    """The same for a piece of a stream."""
    if shows(event.part):
        return (event,)
    words, lost = as_words(event.part)
    return (TextPiece(words), Unheld(lost)) if lost else (TextPiece(words),)


def told(left_out: Sequence[str]) -> dict[str, object]:
    """What an answer's last event says of what was left out, in a member of Keyrelay's own; nothing for nothing."""
    return {"keyrelay": {"left_out": list(left_out)}} if left_out else {}


def remark(left_out: Sequence[str]) -> bytes:
    """The same as a comment of a stream of server-sent events."""
    return b": left out: %b\n\n" % _UNPRINTABLE.sub("?", ", ".join(left_out)).encode() if left_out else b""


def sound_type(data: str) -> str:
    """The media type of sound in base64; bare samples (`audio/pcm`) where it does not say so itself."""
    return next((kind for start, kind in _SOUNDS if data.startswith(start)), "audio/pcm")


def fenced(text: str, language: str = "") -> str:
    """Code, or what came of it, as a block of Markdown, whatever is in it."""
    fence = "`" * max(3, 1 + max(map(len, _FENCES.findall(text)), default=0))
    return f"\n{fence}{_NO_WORD.sub('', language.lower())}\n{text.rstrip()}\n{fence}\n"
