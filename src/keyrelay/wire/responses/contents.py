"""Parts of messages and of outputs: words, pictures, files, sounds."""

from keyrelay.core.conversation import Audio, Document, Image, Part, Refusal, Text
from keyrelay.wire.parts import split_data_url
from keyrelay.wire.responses.reading import missing, unsupported, wrong
from keyrelay.wire.responses.shapes import Content

_WORDS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_KNOWN = "input_text, input_image, input_file, input_audio, output_text, refusal"
_LONG_KEPT = frozenset({"30m", "12h"})


def read_parts(content: str | list[Content] | None, place: str) -> tuple[Part, ...]:
    """The parts of a message. Raise CallerError (400)."""
    if content is None:
        raise missing(place, "a string or a list of parts")
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(part, f"{place}[{index}]") for index, part in enumerate(content))


def read_output(content: str | list[Content], place: str) -> tuple[Text | Image | Document, ...]:
    """The parts of a tool's output. Raise CallerError (400)."""
    parts = []
    for index, part in enumerate(read_parts(content, place)):
        if not isinstance(part, Text | Image | Document):
            raise unsupported(f"{place}[{index}]", "an output holds text, pictures and files")
        parts.append(part)
    return tuple(parts)


def _part(part: Content, place: str) -> Part:
    if part.type in _WORDS:
        if part.text is None:
            raise missing(f"{place}.text", "a string")
        return Text(part.text, cache=_cache(part))
    if part.type == "input_image":
        return _image(part, place)
    if part.type == "input_file":
        return _document(part, place)
    if part.type == "refusal":
        return Refusal(part.refusal or "")
    if part.type == "input_audio":
        if part.input_audio is None:
            raise missing(f"{place}.input_audio", "an object with data and format")
        return Audio(media_type=f"audio/{part.input_audio.format}", data=part.input_audio.data)
    raise wrong(f"{place}.type", f"expected one of {_KNOWN}, got '{part.type}'")


def _image(part: Content, place: str) -> Image:
    detail, cache = part.detail or "", _cache(part)
    if part.image_url is None:
        if part.file_id is not None:
            raise unsupported(f"{place}.file_id", "files are not kept here; send the picture as image_url")
        raise missing(f"{place}.image_url", "an address or a data URL")
    held = split_data_url(part.image_url)
    if held is None:
        return Image(url=part.image_url, detail=detail, cache=cache)
    media_type, data = held
    return Image(media_type=media_type, data=data, detail=detail, cache=cache)


def _document(part: Content, place: str) -> Document:
    name, cache = part.filename or "", _cache(part)
    if part.file_data is not None:
        media_type, data = split_data_url(part.file_data) or ("", part.file_data)
        return Document(media_type=media_type, data=data, name=name, cache=cache)
    if part.file_url is not None:
        return Document(url=part.file_url, name=name, cache=cache)
    if part.file_id is not None:
        return Document(file_id=part.file_id, name=name, cache=cache)
    raise missing(f"{place}.file_data", "file_data, file_url or file_id")


def _cache(part: Content) -> str:
    """How long the prompt up to here is to be kept, in the nearest of the terms that there are: `5m` or `1h`."""
    mark = part.prompt_cache_breakpoint
    if mark is None:
        return ""
    return "1h" if mark.ttl in _LONG_KEPT else "5m"
