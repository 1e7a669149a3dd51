"""Taking what a caller has said out of what a provider says of it.

Providers quote: the value that is invalid, the text that a filter did not like, the line before which JSON breaks off.
What is written down of a failure is to hold no prompt, so whatever a message has in common with the request is taken
out of it, and the provider's own words stay.

Compared is what is left without white space, case and escapes, for a provider may fold, escape or wrap what it quotes,
and cut it off anywhere. The texts are looked at once, in blocks: whatever both have in common over twice the
length of a block holds one of them whole, which the message's own pieces are looked up by. So the work grows with the
length of the texts alone, however long the message is.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, count, repeat

QUOTED = "[prompt]"
"""What stands for a quotation."""

UNTOLD = "[not kept: the request is too long to tell its words from the provider's]"
"""What stands for a message where looking for quotations would take too long."""

SHORTEST_QUOTE = 16
"""So many bytes of UTF-8 in a row, white space not counted, are a quotation; fewer may be anybody's words."""

MOST_SEARCHED = 4 * 1024 * 1024
"""Characters of the texts that are looked through at the most."""

_BLOCK = SHORTEST_QUOTE // 2
_MOST_LOOKS = 20_000
_COST_OF_A_TEXT = 64
"""Looking at a text at all takes as long as looking through so many characters."""
_SHORTEST_GAP = 4
"""What lies between two quotations and is shorter belongs to them: marks that were written in another way."""

_NAME = re.compile(r"[\w.:/$-]{1,64}", re.ASCII)
_NAMES = frozenset(
    {"$ref", "call_id", "encoding_format", "enum", "file_id", "format", "id", "media_type", "mimeType", "mime_type"}
    | {"model", "name", "previous_response_id", "purpose", "required", "role", "service_tier", "tool_call_id"}
    | {"tool_name", "tool_use_id", "type", "voice"}
)
"""Members of a request whose values are no texts: an error that names them would say nothing without."""

_OWN = frozenset({"args", "arguments", "input", "metadata"})
"""Members that hold objects of the caller's own making: whatever is called like a name in there is none."""

_ESCAPE = re.compile(
    r"\\+u(d[89ab][0-9a-f]{2})\\+u(d[c-f][0-9a-f]{2})|\\+(?:u([0-9a-f]{4})|[nrt])?"
    r"|&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-f]{1,6});"
)
_LETTER = re.compile(rf"{_ESCAPE.pattern}|\s+|\S")
_LONG_DATA = 8 * 1024
_END_OF_DATA = 4 * 1024
_DATA = re.compile(r"(?:data:[\w/+.;=-]*,)?[A-Za-z0-9+/=_-]{500}")


def texts_of(value: object, name: str = "") -> Iterator[str]:
    """The texts in a decoded JSON value, which is the member `name`; what is a name for a machine is none of them."""
    waiting: list[tuple[Iterator[tuple[str, object]], bool]] = [(iter(((name, value),)), False)]
    while waiting:
        members, own = waiting[-1]
        for member, content in members:
            if isinstance(content, str):
                if own or member not in _NAMES or not _NAME.fullmatch(content):
                    yield content
            elif isinstance(content, list):
                waiting.append((zip(repeat(member), content), own))
                break
            elif isinstance(content, dict):
                waiting.append((iter(content.items()), own or member in _OWN))
                break
        else:
            waiting.pop()


def without_quotes(said: Sequence[str], texts: Iterable[str]) -> tuple[str, ...]:
    """What a provider said, piece by piece, with `[prompt]` for whatever is a quotation from the texts."""
    pieces = [_Piece(text) for text in said]
    waiting = [piece for piece in pieces if piece.long_enough]
    if not waiting:
        return tuple(said)
    searched = 0
    for text in texts:
        looked_at = _ends(text)
        searched += len(looked_at) + _COST_OF_A_TEXT
        if searched > MOST_SEARCHED:
            return tuple(UNTOLD if piece.long_enough else piece.said for piece in pieces)
        squeezed = _squeezed(looked_at)
        if len(squeezed) >= SHORTEST_QUOTE:
            for piece in waiting:
                piece.look(squeezed)
    return tuple(piece.told() for piece in pieces)


class _Piece:
    """One text of a provider, and how much of it is known to be quoted.

    `_letters` is what is compared, `_numbers` each run of a block's length in it, as the number that its bytes are.
    Where those begin is found out only once a text has one of them: most failures quote nothing.
    """

    __slots__ = ("_letters", "_looks", "_numbers", "_quoted", "_starts", "said")

    def __init__(self, said: str) -> None:
        self.said = said
        self._letters = letters = _squeezed(said)
        self._quoted = bytearray(len(letters))
        self._looks = 0
        self._numbers = {number for shift in range(_BLOCK) for number in _blocks(letters[shift:])}
        self._starts: dict[int, list[int]] = {}

    @property
    def long_enough(self) -> bool:
        """Whether a quotation may be in it."""
        return len(self._letters) >= SHORTEST_QUOTE

    def look(self, text: bytes) -> None:
        """Find what is quoted of a text."""
        numbers = _blocks(text)
        if self._numbers.isdisjoint(numbers):
            return
        if not self._starts:
            for start in range(len(self._letters) - _BLOCK + 1):
                (number,) = _blocks(self._letters[start : start + _BLOCK])
                self._starts.setdefault(number, []).append(start)
        for place in compress(count(), map(self._numbers.__contains__, numbers)):
            if self._looks > _MOST_LOOKS:
                return
            starts = self._starts[numbers[place]]
            self._looks += len(starts)
            for start in starts:
                if not self._all_quoted(start):
                    self._extend(start, text, place * _BLOCK)
            if all(map(self._all_quoted, starts)):
                self._numbers.discard(numbers[place])

    def _all_quoted(self, start: int) -> bool:
        """Whether the block that begins here is known to be quoted."""
        return all(self._quoted[start : start + _BLOCK])

    def _extend(self, start: int, text: bytes, at: int) -> None:
        """Note what the text and the piece have in common around a block, if that is long enough."""
        letters, end, at_end = self._letters, start + _BLOCK, at + _BLOCK
        while start and at and letters[start - 1] == text[at - 1]:
            start, at = start - 1, at - 1
        while end < len(letters) and at_end < len(text) and letters[end] == text[at_end]:
            end, at_end = end + 1, at_end + 1
        if end - start >= SHORTEST_QUOTE:
            self._quoted[start:end] = bytes((1,)) * (end - start)

    def told(self) -> str:
        """The text without what is quoted."""
        if self._looks > _MOST_LOOKS:
            return UNTOLD
        if not any(self._quoted):
            return self.said
        places, told, upto = list(_places(self.said)), list[str](), 0
        for start, end in _runs(self._quoted):
            told += (self.said[upto : places[start][0]], QUOTED)
            upto = places[end - 1][1]
        return "".join((*told, self.said[upto:]))

    def __repr__(self) -> str:
        return f"<Piece of {len(self.said)} characters, {sum(self._quoted)} of {len(self._quoted)} bytes quoted>"


def _runs(marks: bytearray) -> Iterator[tuple[int, int]]:
    """From where to where the marks are set, short gaps passed over."""
    start = marks.find(1)
    while start >= 0:
        end = _end_of_run(marks, start)
        following = marks.find(1, end)
        while 0 <= following < end + _SHORTEST_GAP:
            end = _end_of_run(marks, following)
            following = marks.find(1, end)
        yield start, end
        start = following


def _end_of_run(marks: bytearray, start: int) -> int:
    end = marks.find(0, start)
    return len(marks) if end < 0 else end


def _ends(text: str) -> str:
    """A text; of a picture or the like, only its ends: nobody quotes the middle."""
    if len(text) <= _LONG_DATA or " " in text or not _DATA.match(text):
        return text
    return f"{text[:_END_OF_DATA]} {text[-_END_OF_DATA:]}"


def _squeezed(text: str) -> bytes:
    """What is compared of a text."""
    folded = text.casefold()
    if "\\" in folded or "&" in folded:
        folded = _ESCAPE.sub(_unescaped, folded)
    return "".join(folded.split()).encode(errors="surrogatepass")


def _places(said: str) -> Iterator[tuple[int, int]]:
    """From where to where each byte of what is compared stands in the text."""
    folded = [(letter, place) for place, written in enumerate(said) for letter in written.casefold()]
    for found in _LETTER.finditer("".join(letter for letter, _ in folded)):
        place = folded[found.start()][1], folded[found.end() - 1][1] + 1
        yield from (place for _ in _squeezed(found[0]))


def _blocks(letters: bytes) -> memoryview:
    """What is compared, a block at a time, each as the number that its bytes are."""
    return memoryview(letters)[: len(letters) // _BLOCK * _BLOCK].cast("Q")


def _unescaped(found: re.Match[str]) -> str:
    if found[0][0] == "&":
        return html.unescape(found[0]).casefold()
    if found[1]:
        high, low = int(found[1], 16), int(found[2], 16)
        return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00).casefold()
    return chr(int(found[3], 16)).casefold() if found[3] else ""
