"""Thoughts that stand in the words of an answer, between `<think>` and `</think>`, taken out of them.

Open models write them so, and some servers do not tell them apart. They are looked for at the beginning of an answer
only, before which there may be white space and nothing else, and not where the server has told thoughts apart itself.
White space around the thoughts, and before the words after them, is not kept. An end that never comes leaves all of it
thoughts. In a stream the marks may be cut anywhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec

from keyrelay.core.conversation import (
    Answer,
    AnswerPart,
    Begun,
    Counted,
    Event,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Unheld,
)
from keyrelay.wire.dialects import EventReader, StreamEnded, StreamFailure

_BEGIN, _END = "<think>", "</think>"
_BESIDE = (Begun, Counted, Unheld)


def thinks_inline(patterns: Iterable[str], model: str) -> bool:
    """Whether a model is one of those: names, or patterns with `*` in them, in lower case."""
    name = model.lower()
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def without_inline(answer: Answer) -> Answer:
    """The answer with such thoughts as parts of their own; the same object when there are none."""
    first = next((part for part in answer.parts if not isinstance(part, Text) or part.text.strip()), None)
    if not isinstance(first, Text) or not first.text.lstrip().startswith(_BEGIN):
        return answer
    place = answer.parts.index(first)
    split = _Split()
    events = (*split.more(first.text), *split.rest())
    parts: list[AnswerPart] = []
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingPiece))
    words = "".join(event.text for event in events if isinstance(event, TextPiece))
    parts += [Thinking(text=thoughts)] if thoughts else []
    parts += [Text(text=words)] if words else []
    return msgspec.structs.replace(answer, parts=(*parts, *answer.parts[place + 1 :]))


class InlineReader:
    """Implements `EventReader`: what another reads, with such thoughts told apart."""

    __slots__ = ("_over", "_reader", "_split")

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._split = _Split()
        self._over = False

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        """What an event says; words wait while they may be the beginning of a mark. Never raises."""
        items = self._reader.read(event)
        if self._over:
            return items
        return [item for given in items for item in self._passed(given)]

    def _passed(self, item: Event | StreamEnded | StreamFailure) -> Iterator[Event | StreamEnded | StreamFailure]:
        if isinstance(item, _BESIDE) or self._over:
            yield item
        elif isinstance(item, TextPiece):
            yield from self._split.more(item.text)
            self._over = self._split.over
        else:
            self._over = True
            yield from self._split.rest()
            yield item

    def __repr__(self) -> str:
        return f"<InlineReader of {self._reader!r} {self._split!r}>"


class _Split:
    """Words cut into thoughts and the rest; `over` once nothing but words can come.

    Held back is white space, of which nobody knows yet whether it is kept, and behind it what may begin a mark. White
    space stays in the pieces that it came in: to put them together each time would cost their number squared.
    """

    __slots__ = ("_mark", "_said", "_spaces", "_thinks", "_thought", "over")

    def __init__(self) -> None:
        self.over = False
        self._said = False
        self._thinks = False
        self._thought = False
        self._spaces: list[str] = []
        self._mark = ""

    def more(self, text: str) -> Iterator[TextPiece | ThinkingPiece]:
        """What can be told of the words by now."""
        held = self._mark + text
        self._mark = ""
        if not self._thinks and not self._thought:
            begun = held.lstrip()
            if begun != _BEGIN and _BEGIN.startswith(begun):  # or nothing but white space
                self._spaces.append(held[: len(held) - len(begun)])
                self._mark = begun
                return
            if not begun.startswith(_BEGIN):
                yield from self._words(self._take_spaces() + held)
                return
            self._thinks = True
            self._take_spaces()
            held = begun.removeprefix(_BEGIN)
        if self._thinks:
            thoughts, ended, held = held.partition(_END)
            yield from self._thoughts(thoughts, ended=bool(ended))
            if not ended:
                return
            self._thinks, self._thought = False, True
        held = held.lstrip()
        if held:
            yield from self._words(held)

    def rest(self) -> Iterator[TextPiece | ThinkingPiece]:
        """What was held back, now that nothing more comes."""
        mark, self._mark = self._mark, ""
        if self._thinks:
            yield from self._thoughts(mark, ended=True)
        else:
            held = self._take_spaces() + mark
            if held:
                yield TextPiece(held)

    def _words(self, text: str) -> Iterator[TextPiece]:
        self.over = True
        yield TextPiece(text)

    def _thoughts(self, text: str, *, ended: bool) -> Iterator[ThinkingPiece]:
        """Thoughts, as far as no mark and no white space at their end may be in them."""
        before = text if ended else _before_mark(text)
        told = before.rstrip()
        if told:
            spaces = self._take_spaces()
            yield ThinkingPiece(spaces + told if self._said else told.lstrip())
            self._said = True
        self._spaces.append(before[len(told) :])
        self._mark = text[len(before) :]
        if ended or not self._said:
            self._take_spaces()

    def _take_spaces(self) -> str:
        """The white space held back, which no longer is."""
        spaces = "".join(self._spaces)
        self._spaces.clear()
        return spaces

    def __repr__(self) -> str:
        state = "thinks" if self._thinks else "over" if self.over else "open"
        return f"{state} {sum(map(len, self._spaces)) + len(self._mark)} held"


def _before_mark(text: str) -> str:
    """The text without what may be the beginning of the mark at its end."""
    for length in range(min(len(_END) - 1, len(text)), 0, -1):
        if text.endswith(_END[:length]):
            return text[:-length]
    return text
