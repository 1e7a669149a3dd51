"""Thoughts in the words of an answer, whole and cut anywhere."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    Counted,
    Event,
    Finished,
    Image,
    MediaPiece,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
    Unheld,
)
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.inline_thoughts import InlineReader, thinks_inline, without_inline

EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250"))
CALL = ToolCall(id="c", name="f", arguments="{}")


class Given:
    """Reads what was put there for it: an event is a number."""

    def __init__(self, *events: Event | StreamEnded | StreamFailure) -> None:
        self.events = events

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        return [self.events[int(event)]]


def read(*events: Event | StreamEnded | StreamFailure) -> list[object]:
    reader = InlineReader(Given(*events))
    return [item for number in range(len(events)) for item in reader.read(b"%d" % number)]


def told(*pieces: str) -> tuple[str, str]:
    """The thoughts and the words of a stream with these pieces."""
    items = read(*map(TextPiece, pieces), Finished("stop"))
    thoughts = "".join(item.text for item in items if isinstance(item, ThinkingPiece))
    return thoughts, "".join(item.text for item in items if isinstance(item, TextPiece))


@pytest.mark.parametrize(
    ("text", "thoughts", "words"),
    [
        ("<think>\nHm. So.\n</think>\n\nHello.", "Hm. So.", "Hello."),
        (" \n<think>Hm.</think>Hello.\n", "Hm.", "Hello.\n"),
        ("<think>\n\n</think>\n\nHello.", "", "Hello."),
        ("<think>Hm. </thin </think>a</think>", "Hm. </thin", "a</think>"),
        ("<think>Hm.", "Hm.", ""),
        ("<think>Hm. </thi", "Hm. </thi", ""),
        ("<think>", "", ""),
        ("<think></think>", "", ""),
        ("<thin", "", "<thin"),
        ("<thinking>a", "", "<thinking>a"),
        ("Hello. <think>a</think>", "", "Hello. <think>a</think>"),
        ("a</think>b", "", "a</think>b"),
        (" \n", "", " \n"),
        ("<think>\u2028é\r\n\U0001f600</think> ü", "é\r\n\U0001f600", "ü"),
    ],
)
def test_thoughts_are_told_apart_wherever_the_words_are_cut(text: str, thoughts: str, words: str) -> None:
    for first in range(len(text) + 1):
        assert told(text[:first], text[first:]) == (thoughts, words)
    assert told(*text) == (thoughts, words)
    whole = without_inline(Answer(parts=(Text(text), CALL)))
    said = [part for part in whole.parts if isinstance(part, Text)]
    thought = [part for part in whole.parts if isinstance(part, Thinking)]
    assert ("".join(part.text for part in thought), "".join(part.text for part in said)) == (thoughts, words)
    assert whole.parts[-1] == CALL


@settings(max_examples=EXAMPLES)
@given(
    pieces=st.lists(st.sampled_from(["<", "think>", "</think>", "/", " ", "\n", "a", "é", "<think>"]), max_size=12),
    begun=st.booleans(),
    cuts=st.sets(st.integers(0, 60)),
)
def test_whole_and_cut_anywhere_is_the_same(pieces: list[str], *, begun: bool, cuts: set[int]) -> None:
    text = "<think>" * begun + "".join(pieces)
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    thoughts, words = told(*(text[start:end] for start, end in pairwise(places)))
    whole = without_inline(Answer(parts=(Text(text),)))
    assert thoughts == "".join(part.text for part in whole.parts if isinstance(part, Thinking))
    assert words == "".join(part.text for part in whole.parts if isinstance(part, Text))
    assert "".join(words.split()) in "".join(text.split())


@pytest.mark.parametrize("piece", [ThinkingPiece("hm"), RefusalPiece("no"), CallBegun("c", "f"), MediaPiece(Image())])
def test_behind_anything_else_words_are_words(piece: Event) -> None:
    said = [Begun(), piece, TextPiece("<think>a</think>b"), Finished("stop")]
    assert read(*said) == said


def test_what_is_beside_the_parts_passes_at_once() -> None:
    counted, unheld = Counted(tokens=Tokens(input=1)), Unheld("a")
    assert read(Begun(), TextPiece("<thi"), counted, unheld, TextPiece("nk>a"), counted, StreamEnded()) == [
        Begun(),
        counted,
        unheld,
        ThinkingPiece("a"),
        counted,
        StreamEnded(),
    ]
    failure = StreamFailure(problem="cut")
    assert read(TextPiece("<th"), failure) == [TextPiece("<th"), failure]


@pytest.mark.parametrize(
    "parts",
    [(), (CALL,), (Text("a"),), (Thinking("hm"), Text("<think>a</think>b")), (Text(" "), CALL, Text("<think>a"))],
)
def test_an_answer_without_them_is_the_same(parts: tuple[Text | Thinking | ToolCall, ...]) -> None:
    answer = Answer(parts=parts)
    assert without_inline(answer) is answer


def test_models_are_known_by_patterns() -> None:
    assert thinks_inline(("qwen*", "deepseek-r1*"), "Qwen/Qwen3.8-27B")
    assert thinks_inline(("*",), "anything")
    assert not thinks_inline(("qwen*",), "openai/gpt-oss-120b")
    assert not thinks_inline((), "qwen")


def test_a_reader_says_how_far_it_is() -> None:
    reader = InlineReader(Given(TextPiece("<think>hm </th"), TextPiece("ink>a")))
    assert repr(reader).endswith("open 0 held>")
    reader.read(b"0")
    assert repr(reader).endswith("thinks 5 held>")
    reader.read(b"1")
    assert repr(reader).endswith("over 0 held>")


class Weighed(str):
    """A text that counts how many letters are looked at or copied; so does whatever becomes of it."""

    __slots__ = ()
    letters = 0

    def __add__(self, other: str) -> "Weighed":
        return self.counted(str.__add__(self, other))

    def __radd__(self, other: str) -> "Weighed":
        return self.counted(str.__add__(other, self))

    def __getitem__(self, place: SupportsIndex | slice) -> "Weighed":
        return self.counted(str.__getitem__(self, place))

    def lstrip(self, chars: str | None = None, /) -> "Weighed":
        return self.counted(str.lstrip(self, chars))

    def rstrip(self, chars: str | None = None, /) -> "Weighed":
        return self.counted(str.rstrip(self, chars))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        before, found, behind = str.partition(self, sep)
        return self.counted(before), found, self.counted(behind)

    def counted(self, text: str) -> "Weighed":
        Weighed.letters += len(text) + len(self)
        return Weighed(text)


@pytest.mark.parametrize("before", ["", "<think>", "<think>a", "<think>a</think>"])
def test_white_space_in_many_pieces_costs_what_it_is_long(before: str) -> None:
    letters = []
    for pieces in (2_000, 4_000):
        Weighed.letters = 0
        thoughts, words = told(before, *[Weighed(" \n")] * pieces, "b")
        letters.append(Weighed.letters)
        assert (thoughts + words).strip().endswith("b")
    assert letters[0] <= letters[1] <= letters[0] * 2.1
