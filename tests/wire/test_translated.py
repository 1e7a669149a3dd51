"""The reading of translated streams, with a dialect made for these tests: a line is an event."""

from collections.abc import Callable, Sequence

import pytest

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    Image,
    MediaPiece,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
    Unheld,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.usage import Usage
from keyrelay.wire.dialects import StreamEnded, StreamFailure, StreamHooks
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.sse import EventTooLargeError
from keyrelay.wire.stream import MAX_HELD_BYTES
from keyrelay.wire.translated import TranslatedStream

SAID: dict[bytes, Sequence[Event | StreamEnded | StreamFailure]] = {
    b"begun": [Begun(id="a")],
    b"text": [TextPiece(text="hi")],
    b"call": [CallBegun(id="c", name="f"), CallPiece(arguments="{}")],
    b"thought": [ThinkingPiece(text="hm")],
    b"no": [RefusalPiece(text="no")],
    b"counted": [Counted(tokens=Tokens(input=7, output=2))],
    b"stop": [Finished(finish="stop")],
    b"broken": [Finished(finish="error")],
    b"done": [StreamEnded()],
    b"error": [StreamFailure(problem="the stream holds an error", error=b'{"error":"no"}')],
    b"garbage": [StreamFailure(problem="what is this")],
    b"last": [TextPiece(text="!"), Finished(finish="stop"), StreamEnded()],
    b"ping": [],
    b"picture": [MediaPiece(Image())],
    b"unheld 1": [Unheld("n")],
}


class Lines:
    """Cuts at line ends, as the events of the dialect are framed."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        *whole, self._held = (self._held + chunk).split(b"\n")
        if len(self._held) > 1_000:
            raise EventTooLargeError("a line is larger than 1000 bytes")
        return [line + b"\n" for line in whole]

    def rest(self) -> bytes:
        return self._held


class Whole(Lines):
    """Every chunk is an event."""

    def feed(self, chunk: bytes) -> list[bytes]:
        return [chunk]


class Reads:
    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        name = event.strip()
        return [Unheld(name.decode())] if name.startswith(b"n") and name[1:].isdigit() else SAID[name]


class Writes:
    def write(self, event: Event) -> bytes:
        return f"<{type(event).__name__}>".encode()

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        after = f" after {took_s} s" * bool(took_s)
        return f"<end{after}{' without ' * bool(left_out)}{', '.join(left_out)}>".encode()

    def fail(self, error: CallerError) -> bytes:
        return b"<%d>" % error.status


def translated(*, ends_at_eof: bool = False, noted: list[Event] | None = None) -> TranslatedStream:
    note = None if noted is None else noted.append
    return TranslatedStream(Lines(), Reads(), Writes(), ends_at_eof=ends_at_eof, hooks=StreamHooks(note))


def passed() -> TranslatedStream:
    return TranslatedStream(Lines(), Reads(), None, ends_at_eof=False)


def test_a_whole_stream_event_by_event() -> None:
    noted: list[Event] = []
    stream = translated(noted=noted)
    assert stream.feed(b"begun\n") == b""
    assert repr(stream) == "<TranslatedStream open held back 0 events>"
    assert stream.feed(b"text\nte") == b"<Begun><TextPiece>"
    assert repr(stream) == "<TranslatedStream open committed 1 events>"
    assert stream.feed(b"xt\ncounted\n") == b"<TextPiece><Counted>"
    assert stream.feed(b"stop\n") == b"<Finished>"
    assert (stream.finished, stream.ended_whole("any"), stream.usage) == (True, False, Usage(7, 2))
    assert stream.feed(b"done\ntext\n") == b"<end>"
    assert (stream.end, stream.ended_whole("done"), stream.content_events) == (StreamEnd.DONE, True, 2)
    assert stream.feed(b"text\n") == stream.close() == b""
    assert [type(event) for event in noted] == [Begun, TextPiece, TextPiece, Counted, Finished]


@pytest.mark.parametrize("kind", [b"text", b"call", b"thought", b"no", b"stop"])
def test_content_commits(kind: bytes) -> None:
    stream = translated()
    stream.feed(kind + b"\n")
    assert stream.committed


@pytest.mark.parametrize("kind", [b"begun", b"counted", b"ping"])
def test_what_is_no_content_is_held_back(kind: bytes) -> None:
    stream = translated()
    assert stream.feed(kind + b"\n") == b""
    assert not stream.committed


def test_another_dialect_passes_as_it_came() -> None:
    stream = passed()
    assert stream.feed(b"begun\nping\n") == b""
    assert stream.feed(b"text\ncounted\n") == b"begun\nping\ntext\ncounted\n"
    assert stream.feed(b"stop\ndone\n") == b"stop\ndone\n"
    assert stream.end is StreamEnd.DONE


@pytest.mark.parametrize(
    ("kind", "end", "problem", "data"),
    [
        (b"error", StreamEnd.ERROR, "the stream holds an error", b'{"error":"no"}'),
        (b"garbage", StreamEnd.MALFORMED, "what is this", b""),
        (b"broken", StreamEnd.MALFORMED, "the model broke its answer off", b""),
    ],
)
@pytest.mark.parametrize("make", [translated, passed])
def test_a_failure_before_content_leaves_nothing(
    make: Callable[[], TranslatedStream], kind: bytes, end: StreamEnd, problem: str, data: bytes
) -> None:
    stream = make()
    assert stream.feed(b"begun\n" + kind + b"\n") == b""
    assert (stream.end, stream.problem, stream.error_data, stream.committed) == (end, problem, data, False)


def test_a_failure_in_the_same_piece_as_the_first_content_leaves_nothing_either() -> None:
    stream = translated()
    assert stream.feed(b"begun\ntext\nerror\n") == b""
    assert not stream.committed


@pytest.mark.parametrize(("make", "before"), [(translated, b"<TextPiece>"), (passed, b"text\n")])
def test_what_came_before_a_failure_goes_out_once_content_has(
    make: Callable[[], TranslatedStream], before: bytes
) -> None:
    stream = make()
    stream.feed(b"text\n")
    assert stream.feed(b"text\nerror\n") == before
    assert (stream.end, stream.committed) == (StreamEnd.ERROR, True)


def test_content_that_only_its_own_dialect_knows_passes_before_the_end() -> None:
    stream = passed()
    assert stream.feed(b"begun\nping\n") == b""
    assert stream.feed(b"ping\n") == b"begun\nping\nping\n"
    assert stream.committed


def test_a_picture_in_one_event_is_not_taken_for_silence() -> None:
    stream = TranslatedStream(Whole(), Reads(), None, ends_at_eof=True)
    picture = b"begun" + b" " * 100_000
    assert stream.feed(picture) == picture
    assert stream.end is StreamEnd.OPEN


def test_the_last_line_of_a_stream_of_lines_gets_one_line_end() -> None:
    stream = TranslatedStream(Lines(), Reads(), None, ends_at_eof=False, frame_end=b"\n")
    stream.feed(b"text\nlast")
    assert stream.close() == b"last\n"


def test_a_break_is_written_by_who_writes_the_rest() -> None:
    error = CallerError(502, "broken")
    assert (translated().fail(error), passed().fail(error)) == (b"<502>", b"")


def test_who_waits_for_the_end_is_told_once_it_is_whole() -> None:
    told: list[str] = []
    hooks = StreamHooks(ended=lambda: told.append("whole"), took_s=lambda: 1.5)
    stream = TranslatedStream(Lines(), Reads(), Writes(), ends_at_eof=True, hooks=hooks)
    stream.feed(b"text\nstop\n")
    assert told == []
    stream.close()
    assert told == ["whole"]


def test_a_body_without_its_last_line_end() -> None:
    stream = translated()
    stream.feed(b"text\nlast")
    assert stream.close() == b"<TextPiece><Finished><end>"
    assert stream.end is StreamEnd.DONE


@pytest.mark.parametrize(
    ("ends_at_eof", "rest", "end"), [(True, b"<end>", StreamEnd.DONE), (False, b"", StreamEnd.OPEN)]
)
def test_where_the_end_of_the_body_ends_the_answer(*, ends_at_eof: bool, rest: bytes, end: StreamEnd) -> None:
    stream = translated(ends_at_eof=ends_at_eof)
    stream.feed(b"text\nstop\n")
    assert stream.close() == rest
    assert stream.end is end


def test_an_answer_without_a_finish_is_not_whole_at_the_end_of_the_body() -> None:
    stream = translated(ends_at_eof=True)
    stream.feed(b"text\n")
    assert stream.close() == b""
    assert not stream.ended_whole("any")


def test_an_event_that_is_too_large() -> None:
    stream = translated()
    assert stream.feed(b"x" * 1_001) == b""
    assert (stream.end, stream.problem) == (StreamEnd.MALFORMED, "a line is larger than 1000 bytes")


def test_a_stream_that_says_nothing_is_not_held_for_ever() -> None:
    stream = translated()
    pings = b"begun\n" * 1_000
    fed = 0
    while stream.end is StreamEnd.OPEN and fed < MAX_HELD_BYTES:
        stream.feed(pings)
        fed += 1_000 * len(b"<Begun>")
    assert stream.problem == f"no content in the first {MAX_HELD_BYTES} bytes"


def test_of_what_was_left_out_so_many_names_are_kept() -> None:
    stream = translated()
    stream.feed(b"text\n")
    for number in range(60):
        stream.feed(b"n%d\n" % number)
    assert list(stream.left_out) == [f"n{number}" for number in range(50)]


def test_a_picture_for_a_writer_of_words_is_told_in_words() -> None:
    noted = list[Event]()
    stream = translated(noted=noted)
    assert stream.feed(b"picture\n") == b"<TextPiece>"
    assert (stream.committed, stream.content_events, list(stream.left_out)) == (True, 1, ["image"])
    assert [type(event) for event in noted] == [TextPiece]
    assert stream.feed(b"done\n") == b"<end without image>"
    passing = passed()
    assert passing.feed(b"unheld 1\n") == b""
    assert passing.feed(b"picture\n") == b"unheld 1\npicture\n"
    assert (passing.committed, passing.left_out) == (True, {})
