"""What answers of OpenAI's dialect hold beyond words and calls: pictures, sound, and what nobody here can pass on.

Pictures stand in `images` beside the content (OpenRouter) or in it. Sound has a transcript, which is a text; it says
nothing of its format, so that is read from its first bytes. Sources and the like are named only.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence

import msgspec

from keyrelay.core.conversation import Audio, Image, Text, Unheld
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.shapes import NOTHING as ABSENT
from keyrelay.wire.chat.shapes import AudioShape, ChatMessage, ContentPart, Findings, ImageUrl
from keyrelay.wire.media import picture_at, sound_type
from keyrelay.wire.openai import NOTHING

_LONGEST_NAME = 64
_images = msgspec.json.Decoder(list[ContentPart])
_audio = msgspec.json.Decoder(AudioShape)


def picture(image: ImageUrl | str | None) -> Image | None:
    """A picture of an answer; None where there is no address and no data."""
    url = image.url if isinstance(image, ImageUrl) else image
    return picture_at(url) if url else None


def read_pictures(message: ChatMessage) -> Iterator[Image | Unheld]:
    """The pictures beside the content of an answer or a delta."""
    if bytes(message.images) in NOTHING:
        return
    try:
        found = [picture(shape.image_url) for shape in _images.decode(message.images)]
    except JSON_ERRORS:
        found = [None]
    yield from (Unheld("images") if image is None else image for image in found)


def read_audio(raw: msgspec.Raw) -> AudioShape | Unheld | None:
    """The sound in an answer or a delta, None where there is none."""
    if bytes(raw) in NOTHING:
        return None
    try:
        return _audio.decode(raw)
    except JSON_ERRORS:
        return Unheld("audio")


def heard(raw: msgspec.Raw) -> Iterator[Text | Audio | Unheld]:
    """The sound of a whole answer, its words first."""
    audio = read_audio(raw)
    if isinstance(audio, Unheld):
        yield audio
    elif audio is not None:
        if audio.transcript:
            yield Text(audio.transcript)
        if audio.data:
            yield Audio(media_type=sound_type(audio.data), data=audio.data)


def joined_sound(pieces: list[str]) -> Audio | Unheld:
    """The sound whose pieces came one by one, each in a base64 of its own."""
    try:
        data = base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return Unheld("audio")
    return Audio(media_type=sound_type(data), data=data)


def unheld(message: ChatMessage) -> Sequence[Unheld]:
    """What is beside the content of an answer or a delta."""
    if message.annotations is ABSENT and message.executed_tools is ABSENT:
        return ()
    return _named(message, ("annotations", "executed_tools"))


def unheld_findings(findings: Findings) -> Sequence[Unheld]:
    """What is beside the choices of an answer or a chunk."""
    if findings.citations is findings.search_results is findings.related_questions is findings.images is ABSENT:
        return ()
    return _named(findings, Findings.__struct_fields__)


def _named(shape: msgspec.Struct, names: tuple[str, ...]) -> list[Unheld]:
    held = [(name, getattr(shape, name)) for name in names]
    return [Unheld(name) for name, raw in held if raw is not ABSENT and bytes(raw) not in NOTHING]


def unheld_content(shape: ContentPart) -> Unheld:
    """A part of the content that is of a kind that nobody knows."""
    return Unheld(f"content: {shape.type[:_LONGEST_NAME]}")
