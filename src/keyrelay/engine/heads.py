"""The lines of answers' heads, each `name: value` with its line end."""

from collections.abc import Iterable, Mapping
from typing import Final

from keyrelay.wire.opaque import answer_type

_LONGEST_LIST: Final = 1_000


def whole_head(content_type: str) -> str:
    """What the head of an answer in one piece ends with."""
    return f"content-type: {content_type}\r\n"


def stream_head(content_type: str) -> str:
    """What the head of a stream ends with: nobody on the way is to keep it or hold it back."""
    return f"content-type: {content_type}\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"


def file_head(headers: Mapping[str, str]) -> str:
    """What the head of a file's content ends with, by the provider's head: a file is to be kept and not to be shown.

    Whoever sent it has chosen its type; a browser that shows it as a page would do so in Keyrelay's name.
    """
    name = headers.get("content-disposition", "")
    attached = name if name.lower().startswith("attachment") and answer_type(name) == name else "attachment"
    kept = f"content-disposition: {attached}\r\nx-content-type-options: nosniff\r\n"
    return stream_head(answer_type(headers.get("content-type", ""))) + kept


STREAM_HEAD: Final = stream_head("text/event-stream; charset=utf-8")
WHOLE_HEAD: Final = whole_head("application/json")
ESTIMATED: Final = "x-keyrelay-usage: estimated\r\n"
"""For answers whose provider did not say what they used: whatever they say of it themselves is a guess."""


def left_out(names: Iterable[str]) -> str:
    """The line that names what of the request the provider could not be told."""
    listed = ", ".join(dict.fromkeys(_printable(name) for name in names))
    return f"x-keyrelay-left-out: {listed[:_LONGEST_LIST]}\r\n"


def _printable(name: str) -> str:
    """A name without whatever may not stand in a head."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in name)


def served_by(provider: str, model: str, key: str) -> str:
    """The lines that say who answered; none of the values can hold a line end."""
    said = map(_printable, (provider, model, key))
    return "x-keyrelay-provider: {}\r\nx-keyrelay-model: {}\r\nx-keyrelay-key: {}\r\n".format(*said)
