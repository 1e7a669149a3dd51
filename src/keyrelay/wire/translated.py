"""The reading of a stream that is not passed on as OpenAI's: translated, or another dialect passed on as it is.

What `stream.StreamReader` is for OpenAI's dialect on both sides, `TranslatedStream` is for all others: it gets chunks
and says, chunk by chunk, which bytes go on to the caller, and holds everything back until the first content.
"""

from typing import Final, Protocol

from keyrelay.core.conversation import (
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    Media,
    MediaPiece,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Unheld,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.records import MOST_LEFT_OUT
from keyrelay.core.usage import Usage
from keyrelay.wire.dialects import EventReader, EventWriter, Splitter, StreamEnded, StreamFailure, StreamHooks
from keyrelay.wire.media import Shows, fitted_events
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.stream import FramedStream

_PASSED_EVENTS, _PASSED_BYTES = 3, 64 * 1024
"""What passes as it is may hold content that only its own dialect knows (pictures, sound): after so many events, or so
many bytes, it is taken for that."""

_CONTENT: Final = (TextPiece, ThinkingPiece, RefusalPiece, CallBegun, CallPiece, MediaPiece)


def _shows_nothing(part: Media) -> bool:
    """For writers that have only words."""
    del part
    return False


_NO_HOOKS: Final = StreamHooks()


class AnswerStream(Protocol):
    """A stream as it is relayed; see `stream.StreamReader` for what the members mean."""

    committed: bool
    content_events: int
    end: StreamEnd
    finished: bool
    usage: Usage | None
    error_data: bytes
    problem: str

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the caller now."""
        ...

    def close(self) -> bytes:
        """What a body that has ended left over."""
        ...

    def ended_whole(self, terminator: str) -> bool:
        """Whether a cleanly ended body was a whole answer."""
        ...


class TranslatedStream(FramedStream):
    """Implements `AnswerStream`.

    `writer` writes the caller's events; None passes the provider's on as they came. `shows` says which pictures, sounds
    and files it can write. `ends_at_eof`: the provider has no mark of its own for the end of an answer. `frame_end` is
    what ends an event of the provider's. `left_out` names what the provider has said by now and the caller could not be
    told; nothing where bytes pass.
    """

    __slots__ = (
        "_ends_at_eof",
        "_events",
        "_hooks",
        "_reader",
        "_shows",
        "_writer",
        "left_out",
    )

    def __init__(
        self,
        splitter: Splitter,
        reader: EventReader,
        writer: EventWriter | None,
        *,
        ends_at_eof: bool,
        shows: Shows = _shows_nothing,
        hooks: StreamHooks = _NO_HOOKS,
        frame_end: bytes = b"\n\n",
    ) -> None:
        super().__init__(splitter, frame_end=frame_end)
        self._reader = reader
        self._writer = writer
        self._shows = shows
        self._ends_at_eof = ends_at_eof
        self._hooks = hooks
        self._events = 0
        self.left_out: dict[str, None] = {}

    def close(self) -> bytes:
        """What a body without its last line end left over; call once, when the body has ended."""
        data = super().close()
        if self.end is StreamEnd.OPEN and self.finished and self._ends_at_eof:
            data += self._complete()
        return data

    def fail(self, error: CallerError) -> bytes:
        """What ends the stream in the caller's dialect when it cannot go on; empty when nobody here knows that."""
        return self._writer.fail(error) if self._writer is not None else b""

    def ended_whole(self, terminator: str) -> bool:
        """Whether a cleanly ended body was a whole answer: its own end mark says so."""
        del terminator
        return self.end is StreamEnd.DONE

    def _pass_on(self, events: list[bytes]) -> bytes:
        committed, passed = self.committed, list[bytes]()
        for event in events:
            passed.append(self._read(event))
            if self.end is not StreamEnd.OPEN:
                break
        if not committed and self.end in {StreamEnd.ERROR, StreamEnd.MALFORMED}:
            self.committed = False  # another candidate may still take over
            return b""
        if not self.committed and self._writer is None:
            size = self._held_bytes + sum(map(len, passed))
            self.committed = self._events >= _PASSED_EVENTS or size > _PASSED_BYTES
        return self._let_go(passed) if self.committed else self._hold(passed)

    def _read(self, framed: bytes) -> bytes:
        """Take note of what one event says; the bytes that the caller gets for it."""
        pieces = list[bytes]()
        content = False
        self._events += 1
        for item in self._reader.read(framed):
            if isinstance(item, StreamFailure):
                self._stop(StreamEnd.ERROR if item.error else StreamEnd.MALFORMED, item.problem, item.error)
                break
            if isinstance(item, StreamEnded):
                pieces.append(self._complete())
                break
            if isinstance(item, Finished) and item.finish == "error":
                self._stop(StreamEnd.MALFORMED, "the model broke its answer off")
                break
            if type(item) is Unheld or type(item) is MediaPiece:
                content = self._take_rest(item, pieces) or content
                continue
            content = self._take(item) or content
            if self._writer is not None:
                pieces.append(self._writer.write(item))
        if content:
            self.content_events += 1
        failed = self.end in {StreamEnd.ERROR, StreamEnd.MALFORMED}
        return b"".join(pieces) if self._writer is not None else b"" if failed else framed

    def _take_rest(self, event: Unheld | MediaPiece, pieces: list[bytes]) -> bool:
        """Take note of what not every caller can be told, in the form in which this one can; whether it is content."""
        if self._writer is None:
            return isinstance(event, MediaPiece) and self._take(event)
        content = False
        for item in fitted_events(event, self._shows) if isinstance(event, MediaPiece) else (event,):
            if isinstance(item, Unheld):
                if len(self.left_out) < MOST_LEFT_OUT:
                    self.left_out[item.name] = None
            else:
                content = self._take(item)
                pieces.append(self._writer.write(item))
        return content

    def _take(self, event: Event) -> bool:
        """Take note of an event; whether it is content."""
        if self._hooks.note is not None:
            self._hooks.note(event)
        if isinstance(event, Counted):
            self.usage = event.tokens.usage
        elif isinstance(event, Finished):
            self.finished = self.committed = True
        elif isinstance(event, _CONTENT):
            self.committed = True
            return True
        return False

    def _complete(self) -> bytes:
        self.end = StreamEnd.DONE
        data = b""
        if self._writer is not None:
            data = self._writer.end(tuple(self.left_out), self._hooks.took_s())
        if self._hooks.ended is not None:
            self._hooks.ended()
        return data

    def __repr__(self) -> str:
        state = "committed" if self.committed else "held back"
        return f"<TranslatedStream {self.end} {state} {self.content_events} events>"
