"""Reading an OpenAI stream while it passes through: when it begins, what it used, how it ended.

`StreamReader` gets chunks and says, chunk by chunk, which bytes go on to the caller. It knows nothing of sockets
and clocks. Until the first event with content everything is held back, because until then another candidate
may still take over; from then on bytes pass as they come.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import msgspec

from keyrelay.core.usage import Usage
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import Splitter
from keyrelay.wire.openai import NOTHING, read_usage
from keyrelay.wire.readings import StreamChunk, StreamDelta, StreamEnd
from keyrelay.wire.sse import EventSplitter, EventTooLargeError, event_data

_DONE: Final = b"[DONE]"
MAX_HELD_BYTES: Final = 1024 * 1024
_ERROR_EVENT: Final = re.compile(rb"(?:^|[\r\n])event: ?error[\r\n]")  # whatever its data is, it is no chunk
_BROKEN: Final = "error"  # a finish reason: OpenRouter and Mistral end a broken answer with it


_FAILED: Final = frozenset({StreamEnd.ERROR, StreamEnd.MALFORMED})


_chunk: Final = msgspec.json.Decoder(StreamChunk)
_delta: Final = msgspec.json.Decoder(StreamDelta)


class FramedStream(ABC):
    """What every reading of a stream has: where it stands, and events cut out of chunks for `_pass_on`.

    After each `feed`, `committed` says whether content has gone out, `content_events` how many events with content
    came, `end` how the stream stands, `finished` whether a finish reason was seen, `error_data` what an error event
    held, `problem` what was malformed. `frame_end` is what ends an event.
    """

    __slots__ = (
        "_frame_end",
        "_held",
        "_held_bytes",
        "_splitter",
        "committed",
        "content_events",
        "end",
        "error_data",
        "finished",
        "problem",
        "usage",
    )

    def __init__(self, splitter: Splitter, *, frame_end: bytes = b"\n\n") -> None:
        self._splitter = splitter
        self._frame_end = frame_end
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.committed = False
        self.content_events = 0
        self.end = StreamEnd.OPEN
        self.finished = False
        self.usage: Usage | None = None
        self.error_data = b""
        self.problem = ""

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the caller now. After `end` has left OPEN nothing more is read or passed on."""
        if self.end is not StreamEnd.OPEN:
            return b""
        try:
            events = self._splitter.feed(chunk)
        except EventTooLargeError as error:
            return self._stop(StreamEnd.MALFORMED, str(error))
        return self._pass_on(events)

    def close(self) -> bytes:
        """What a body without its last line end left over; call once, when the body has ended."""
        rest = self._splitter.rest()
        return self._pass_on([rest + self._frame_end]) if rest and self.end is StreamEnd.OPEN else b""

    @abstractmethod
    def _pass_on(self, events: list[bytes]) -> bytes:
        """What of these events goes on to the caller."""

    def _hold(self, pieces: list[bytes]) -> bytes:
        """Keep what the caller may not have yet; a stream that goes on like that for too long is none."""
        self._held += pieces
        self._held_bytes += sum(map(len, pieces))
        if self._held_bytes > MAX_HELD_BYTES:
            return self._stop(StreamEnd.MALFORMED, f"no content in the first {MAX_HELD_BYTES} bytes")
        return b""

    def _let_go(self, pieces: list[bytes]) -> bytes:
        """What was held back, and these behind it."""
        if self._held:
            pieces = self._held + pieces
            self._held = []
        return b"".join(pieces)

    def _stop(self, end: StreamEnd, problem: str, data: bytes = b"") -> bytes:
        self.end = end
        self.problem = problem
        self.error_data = data
        return b""


class StreamReader(FramedStream):
    """The reading of one stream of OpenAI's dialect.

    `hide_usage` drops the usage-only chunk that the caller did not ask for.
    """

    __slots__ = ("_hide_usage",)

    def __init__(self, *, hide_usage: bool, max_event_bytes: int) -> None:
        super().__init__(EventSplitter(max_event_bytes))
        self._hide_usage = hide_usage

    def ended_whole(self, terminator: str) -> bool:
        """Whether a cleanly ended body was a whole answer, for a provider with this `stream.terminator`."""
        return self.end is StreamEnd.DONE or (terminator == "any" and self.finished)

    def _pass_on(self, events: list[bytes]) -> bytes:
        committed = self.committed
        if len(events) == 1 and committed:
            event = events[0]
            return event if self._read(event) else b""
        passed = []
        for event in events:
            if self.end is not StreamEnd.OPEN:
                break
            if self._read(event):
                passed.append(event)
        if not committed and self.end in _FAILED:
            self.committed = False  # another candidate may still take over
            return b""
        return self._let_go(passed) if self.committed else self._hold(passed)

    def _read(self, event: bytes) -> bool:
        """Take note of one event; whether it goes on to the caller."""
        data = event_data(event)
        if data is None:
            return self._read_without_data(event)
        if data == _DONE:
            self.end = StreamEnd.DONE
            return True
        try:
            chunk = _chunk.decode(data)
            if not data.isascii():
                data.decode()  # values that are skipped over are not looked into
        except JSON_ERRORS:
            self._stop(StreamEnd.MALFORMED, "an event is not the JSON that was expected", data)
            return False
        if not chunk.choices and _ERROR_EVENT.search(event):
            return self._fail(data)
        return self._note(chunk, data)

    def _note(self, chunk: StreamChunk, data: bytes) -> bool:
        if bytes(chunk.error) not in NOTHING:
            return self._fail(data)
        usage = read_usage(chunk.usage)
        if usage is not None:
            self.usage = usage
        if not chunk.choices:
            return not self._hide_usage or bytes(chunk.usage) in NOTHING
        for choice in chunk.choices:
            if choice.finish_reason:
                if choice.finish_reason == _BROKEN:
                    return self._fail(data)
                self.finished = self.committed = True
            if not self.committed:
                self.committed = bool(choice.text) or _has_content(choice.delta)
        if self.committed:
            self.content_events += 1
        return True

    def _read_without_data(self, event: bytes) -> bool:
        text = event.strip()
        if text[:1] in (b"{", b"["):  # Gemini writes a bare error object into the stream
            return self._fail(text)
        return self.committed  # comments keep a caller's connection alive only once it has one

    def _fail(self, data: bytes) -> bool:
        self._stop(StreamEnd.ERROR, "the stream holds an error", data)
        return False

    def __repr__(self) -> str:
        state = "committed" if self.committed else "held back"
        return f"<StreamReader {self.end} {state} {self.content_events} events>"


def _has_content(raw: msgspec.Raw) -> bool:
    """Whether a delta says anything beyond the role."""
    if bytes(raw) in NOTHING:
        return False
    try:
        delta = _delta.decode(raw)
    except JSON_ERRORS:
        return True
    return any(bytes(getattr(delta, name)) not in NOTHING for name in StreamDelta.__struct_fields__)
