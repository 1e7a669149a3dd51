"""The reading of a stream that is not passed on as OpenAI's: translated, or another dialect passed on as it is.

What `stream.StreamReader` is for OpenAI's dialect on both sides, `TranslatedStream` is for all others: it gets chunks
and says, chunk by chunk, which bytes go on to the caller, and holds everything back until the first content.
"""

from collections.abc import Callable
from typing import Protocol

from keyrelay.core.conversation import (
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.usage import Usage
from keyrelay.wire.dialects import EventReader, EventWriter, Splitter, StreamEnded, StreamFailure
from keyrelay.wire.stream import MAX_HELD_BYTES, FramedStream, StreamEnd

_PASSED_EVENTS, _PASSED_BYTES = 3, 64 * 1024
"""What passes as it is may hold content that only its own dialect knows (pictures, sound): after so many events, or so
many bytes, it is taken for that."""

_CONTENT = (TextPiece, ThinkingPiece, RefusalPiece, CallBegun, CallPiece)


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

    `writer` writes the caller's events; None passes the provider's on as they came. `ends_at_eof`: the provider has no
    mark of its own for the end of an answer. `note` is told each event, `ended` is called once it is whole. `frame_end`
    is what ends an event of the provider's.
    """

    __slots__ = ("_ended", "_ends_at_eof", "_events", "_held", "_held_bytes", "_note", "_reader", "_writer")

    def __init__(
        self,
        splitter: Splitter,
        reader: EventReader,
        writer: EventWriter | None,
        *,
        ends_at_eof: bool,
        note: Callable[[Event], None] | None = None,
        ended: Callable[[], None] | None = None,
        frame_end: bytes = b"\n\n",
    ) -> None:
        super().__init__(splitter, frame_end=frame_end)
        self._reader = reader
        self._writer = writer
        self._ends_at_eof = ends_at_eof
        self._note = note
        self._ended = ended
        self._events = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

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
        data = b"".join(passed)
        if self.committed:
            if self._held:
                data = b"".join((*self._held, data))
                self._held = []
            return data
        return self._hold(data)

    def _hold(self, data: bytes) -> bytes:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._writer is None and (self._events >= _PASSED_EVENTS or self._held_bytes > _PASSED_BYTES):
            self.committed = True
            held, self._held = b"".join(self._held), []
            return held
        if self._held_bytes > MAX_HELD_BYTES:
            self._stop(StreamEnd.MALFORMED, f"no content in the first {MAX_HELD_BYTES} bytes")
        return b""

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
            content = self._take(item) or content
            if self._writer is not None:
                pieces.append(self._writer.write(item))
        if content:
            self.content_events += 1
        failed = self.end in {StreamEnd.ERROR, StreamEnd.MALFORMED}
        return b"".join(pieces) if self._writer is not None else b"" if failed else framed

    def _take(self, event: Event) -> bool:
        """Take note of an event; whether it is content."""
        if self._note is not None:
            self._note(event)
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
        data = self._writer.end() if self._writer is not None else b""
        if self._ended is not None:
            self._ended()
        return data

    def __repr__(self) -> str:
        state = "committed" if self.committed else "held back"
        return f"<TranslatedStream {self.end} {state} {self.content_events} events>"
