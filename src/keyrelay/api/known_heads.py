"""Heads of requests that a connection has seen before.

Who asks again over the same connection asks in the same words: the same line, the same fields, another length of the
body. Taking such a head apart anew, and finding out anew whose secret it holds, would cost as much as all of the
quota engine. So the last head of each connection is remembered as it was sent, without the digits of its length, and
one that is the same byte for byte is not parsed.

Nothing can be smuggled past the parser this way: it has taken these very bytes for a whole head already, and a number
of up to nine digits in the one place that differs means the same to everybody.
"""

import re
from typing import Final, Self

from keyrelay.api.app import Place
from keyrelay.api.callers import Introduced

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 9
_HEAD_END: Final = b"\r\n\r\n"

Fields = list[tuple[bytes, bytes]]


class KnownHead:
    """A head that has been parsed once, and where it led.

    `before` are its bytes up to the digits of the length; `fields` its headers, as the parser gave them, and `length`
    the bytes of the body behind it, as of the last request. `introduced` says who calls, once that has been found out.
    """

    __slots__ = ("_behind", "_digits", "_length_at", "before", "fields", "introduced", "length", "place")

    def __init__(self, before: bytes, digits: bytes, behind: bytes, fields: Fields, place: Place) -> None:
        self.before = before
        self.place = place
        self.fields = fields
        self.length = int(digits)
        self.introduced: Introduced | None = None
        self._behind = behind
        self._digits = digits
        self._length_at = next(at for at, (name, _) in enumerate(fields) if name == b"content-length")

    @classmethod
    def learned(cls, data: bytes, fields: Fields, place: Place) -> Self | None:
        """Remember the head that `data` begins with, in which the parser has found these `fields`.

        None for one that does not say how long its body is, or not in the usual way.
        """
        head = data[: data.find(_HEAD_END) + len(_HEAD_END)]
        length = _LENGTH.search(head)
        if length is None:
            return None
        return cls(head[: length.start(1)], length[1], head[length.end(1) :], fields, place)

    def ends_in(self, data: bytes) -> int:
        """Where this head ends in data that begins with `before`, -1 if it is another; `length` is of this request."""
        begin = len(self.before)
        end = data.find(b"\r", begin, begin + _MOST_DIGITS + 1)
        if end < 0 or not data.startswith(self._behind, end):
            return -1
        digits = data[begin:end]
        if digits != self._digits:
            if not digits.isdigit():
                return -1
            self._measure(digits)
        return end + len(self._behind)

    def _measure(self, digits: bytes) -> None:
        """The same head with another length: what has been read of the last one stays as it was."""
        self._digits, self.length = digits, int(digits)
        self.fields = self.fields.copy()
        self.fields[self._length_at] = (b"content-length", digits)
        if self.introduced is not None:
            self.introduced = self.introduced.with_fields(self.fields)

    def __repr__(self) -> str:
        return f"<KnownHead of {self.place.method} {self.place.path} {self.length} bytes>"
