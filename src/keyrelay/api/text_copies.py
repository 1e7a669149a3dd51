"""Taking down what callers ask and are answered, as they sent and saw it, where texts are kept.

Nothing of it happens, and nothing is looked at, where they are not.
"""

from collections.abc import Callable, Iterable

import msgspec

from keyrelay.core.kept_texts import KeptText, KeptTexts, TextCopy
from keyrelay.core.records import RequestRecord
from keyrelay.settings import KeepTexts

HEADER = b"x-keyrelay-store"

_CONTENT_TYPE = b"content-type: "
_LINE_END = b"\r\n"
_KEEP = b"yes"
_JSON = "application/json"
_OK = 200


class TextSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests' texts are kept, and how many bytes of each body."""

    mode: KeepTexts = "off"
    max_bytes: int = 65_536


class Copies:
    """The bodies of one request. `asked` is None until the caller is known and has sent something."""

    __slots__ = ("_most_bytes", "answer", "asked", "wanted")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.asked: KeptText | None = None
        self.answer = TextCopy(most_bytes)
        self.wanted = True

    def take(self, body: bytes, content_type: str) -> None:
        """What a client that is known has sent."""
        self.asked = KeptText(content_type, len(body), body[: self._most_bytes])

    def began(self, head: bytes) -> None:
        """The head of an answer, which goes out."""
        _, found, rest = head.partition(_CONTENT_TYPE)
        if found:
            self.answer.content_type = rest.partition(_LINE_END)[0].decode("latin-1")

    def whole(self, head: bytes, body: bytes) -> None:
        """An answer that goes out in one piece."""
        self.began(head)
        self.answer.add(body)

    def refused(self, body: bytes) -> None:
        """An error that goes out in place of an answer."""
        self.answer.content_type = _JSON
        self.answer.add(body)

    def __repr__(self) -> str:
        return f"<Copies {self.asked!r} {self.answer!r}>"


class TextCopying:
    """Begins copies, and hands them to `keep` when their request has ended."""

    __slots__ = ("_keep", "_settings")

    def __init__(self, keep: Callable[[KeptTexts], None], settings: TextSettings) -> None:
        self._keep = keep
        self._settings = settings

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> Copies | None:
        """Copies for a request with this head; None for one whose caller wants none kept (`x-keyrelay-store`)."""
        if any(name == HEADER and value.strip().lower() != _KEEP for name, value in headers):
            return None
        return Copies(self._settings.max_bytes)

    def end(self, copies: Copies, record: RequestRecord) -> None:
        """The request has ended, as its record says. Nothing of strangers is kept, and of no request without a row."""
        ended_well = record.status == _OK and not record.category
        if copies.asked is None or not copies.wanted or (ended_well and self._settings.mode == "errors"):
            return
        answer = copies.answer.text() if copies.answer.size else None
        self._keep(KeptTexts(request_id=record.id, request=copies.asked, answer=answer))

    def __repr__(self) -> str:
        return f"<TextCopying {self._settings.mode}>"
