"""What both sides of the dialect share: JSON as text, media, signatures of texts."""

import msgspec

from keyrelay.core.conversation import Audio, Dialect, Document, Image, Text, Thinking
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.gemini.shapes import Blob, FileData
from keyrelay.wire.parts import json_object

DIALECT: Dialect = "gemini"
EMPTY = frozenset({b"", b"null"})
"""A member that is not there."""

_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".gif": "image/gif",
}
_FILES = {**_PICTURES, ".pdf": "application/pdf", ".txt": "text/plain", ".html": "text/html", ".csv": "text/csv"}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def said(raw: msgspec.Raw) -> bool:
    """Whether a member is there and not null."""
    return bytes(raw) not in EMPTY


def one_line(raw: msgspec.Raw | bytes) -> str:
    """The text of JSON without line ends: providers indent theirs, and a line end would cut an event in two."""
    data = bytes(raw)
    if b"\n" in data or b"\r" in data:
        data = msgspec.json.format(data, indent=-1)
    return data.decode()


def members_of(text: str) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object, None if the text is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return _object.decode(text)
    except JSON_ERRORS:
        return None


def arguments_of(text: str, *, custom: bool) -> msgspec.Raw | None:
    """The arguments of a call as an object; None if they are none, and the tool does not take free text."""
    if custom:
        return msgspec.Raw(msgspec.json.encode({"input": text}))
    return json_object(text)


def words_of(text: str, signature: str, *, thought: bool) -> list[Text | Thinking]:
    """What a part in words says: thoughts, or a text; a text's signature is a thought without words behind it."""
    signed_by = DIALECT if signature else ""
    if thought:
        return [Thinking(text=text, signature=signature, signed_by=signed_by)] if text or signature else []
    words: list[Text | Thinking] = [Text(text=text)] if text else []
    return [*words, Thinking(signature=signature, signed_by=signed_by)] if signature else words


def media_from_blob(blob: Blob) -> Image | Audio | Document:
    """What the data of a message is, by its media type."""
    kind = blob.mime_type or ""
    data = _standard(blob.data or "")
    if kind.startswith("image/"):
        return Image(media_type=kind, data=data)
    if kind.startswith("audio/"):
        return Audio(media_type=kind, data=data)
    return Document(media_type=kind, data=data, name=blob.display_name or "")


def media_from_file(file: FileData) -> Image | Document:
    """What a file elsewhere is, by its media type or the end of its address."""
    url = file.file_uri or ""
    kind = file.mime_type or ""
    if kind.startswith("image/") or (not kind and media_type_of(url) in _PICTURES.values()):
        return Image(media_type=kind, url=url)
    return Document(media_type=kind, url=url, name=file.display_name or "")


def media_type_of(url: str) -> str:
    """The media type that the end of an address tells; empty if it tells none."""
    path = url.partition("?")[0].partition("#")[0]
    return _FILES.get(path[path.rfind(".") :].lower(), "") if "." in path else ""


def _standard(data: str) -> str:
    """Base64 in the alphabet that every other dialect wants; the official clients send the one for addresses."""
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD_ALPHABET)
    return data + "=" * (-len(data) % 4)
