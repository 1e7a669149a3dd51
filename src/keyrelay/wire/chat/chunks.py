"""Streams of providers of OpenAI's dialect.

A chunk may hold pieces of several calls, in turns; they come out one call after the other (see `order`).
"""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Begun,
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
    Unheld,
)
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.beyond import joined_sound, read_audio, read_pictures, unheld, unheld_findings
from keyrelay.wire.chat.choices import BROKEN, content_parts, read_finish
from keyrelay.wire.chat.counts import read_tokens
from keyrelay.wire.chat.order import CallPieces, PartOrder
from keyrelay.wire.chat.shapes import NOTHING as NOTHING_SAID
from keyrelay.wire.chat.shapes import CallShape, ChatMessage, Chunk, ChunkChoice
from keyrelay.wire.chat.thoughts import read_thought_pieces
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.sse import event_data

Read = Event | StreamEnded | StreamFailure

_DONE = b"[DONE]"
_NOTHING_READ: Sequence[Read] = ()
_LEGACY = CallShape(index=0)
_chunk = msgspec.json.Decoder(Chunk)


class ChunkReader:
    """The reading of one stream; see `wire.dialects.EventReader`."""

    __slots__ = ("_begun", "_calls", "_finished", "_id", "_order", "_plain", "_sound", "_tokens")

    def __init__(self) -> None:
        self._begun = False
        self._finished = False
        self._id = ""
        self._calls = CallPieces()
        self._order = PartOrder()
        self._plain = False
        self._sound: list[str] = []
        self._tokens: Tokens | None = None

    def read(self, event: bytes) -> Sequence[Read]:
        """What an event says. Never raises."""
        data = event_data(event)
        if data is None:
            text = event.strip()
            return [_held_error(text)] if text[:1] in {b"{", b"["} else _NOTHING_READ  # Gemini's bare error
        if data == _DONE:
            return [*self._finish("stop", None), StreamEnded()]
        try:
            chunk = _chunk.decode(data)
            return self._read(chunk, data)
        except JSON_ERRORS:
            return [StreamFailure(problem="an event is not the JSON that was expected")]

    def _read(self, chunk: Chunk, data: bytes) -> Sequence[Read]:
        if bytes(chunk.error) not in NOTHING:
            return [_held_error(data)]
        read: list[Read] = []
        if not self._begun:
            self._begun = True
            self._id = "" if chunk.id is None else str(chunk.id)
            read.append(Begun(id=self._id, model=chunk.model or ""))
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer is read
            if choice.finish_reason == BROKEN or bytes(choice.error) not in NOTHING:
                return [_held_error(data)]
            self._read_choice(choice, read)
            if choice.delta is not None:
                read += unheld(choice.delta)
        read += unheld_findings(chunk)
        self._count(chunk, read)
        return read

    def _read_choice(self, choice: ChunkChoice, read: list[Read]) -> None:
        delta = choice.delta
        if delta is not None and not self._finished:
            read += self._pieces(delta)
        if choice.finish_reason:
            read += self._finish(choice.finish_reason, choice.stop_reason)

    def _pieces(self, delta: ChatMessage) -> list[Event]:
        order = self._order
        events: list[Event] = []
        self._plain = self._plain or bool(delta.reasoning_content or delta.reasoning)
        for thought in read_thought_pieces(delta, plain=self._plain):
            events += order.words(_thinking(thought))
        for part in content_parts(delta):
            if isinstance(part, Text):
                events += order.words(TextPiece(text=part.text))
            elif isinstance(part, Unheld):
                events.append(part)
            elif isinstance(part, Image):
                events += order.words(MediaPiece(part))
            else:
                events += order.words(_thinking(part) if isinstance(part, Thinking) else RefusalPiece(text=part.text))
        if delta.audio is not NOTHING_SAID or delta.images is not NOTHING_SAID:
            events += self._media(delta)
        if delta.refusal:
            events += order.words(RefusalPiece(text=delta.refusal))
        for call in delta.tool_calls or ():
            events += self._call(call)
        if delta.function_call is not None:
            events += self._call(msgspec.structs.replace(_LEGACY, function=delta.function_call))
        return events

    def _media(self, delta: ChatMessage) -> list[Event]:
        """Pictures, and the words of a sound, whose pieces wait for the end."""
        events: list[Event] = []
        audio = read_audio(delta.audio)
        if isinstance(audio, Unheld):
            events.append(audio)
        elif audio is not None:
            events += self._order.words(TextPiece(text=audio.transcript)) if audio.transcript else []
            self._sound += [audio.data] if audio.data else []
        for image in read_pictures(delta):
            events += [image] if isinstance(image, Unheld) else self._order.words(MediaPiece(image))
        return events

    def _call(self, call: CallShape) -> list[Event]:
        return self._order.call(*self._calls.read(call, self._id))

    def _finish(self, reason: str, stop_reason: str | int | None) -> list[Event]:
        """What was held back, and the end of the answer; nothing when it has ended, or never begun."""
        if self._finished or not self._begun:
            return []
        self._finished = True
        events: list[Event] = []
        for number, held in self._calls.nameless(self._id):
            events += self._order.call(number, held)
        if self._sound:
            sound = joined_sound(self._sound)
            events += [sound] if isinstance(sound, Unheld) else self._order.words(MediaPiece(sound))
        events += self._order.rest()
        finish, stop_sequence = read_finish(reason, stop_reason, calls=self._order.calls > 0)
        return [*events, Finished(finish=finish, stop_sequence=stop_sequence)]

    def _count(self, chunk: Chunk, read: list[Read]) -> None:
        """Usage, when it says something new."""
        raw = chunk.usage
        if bytes(raw) in NOTHING and chunk.x_groq is not None:
            raw = chunk.x_groq.usage
        tokens = read_tokens(raw)
        if tokens is not None and tokens != self._tokens:
            self._tokens = tokens
            read.append(Counted(tokens=tokens))

    def __repr__(self) -> str:
        state = "finished" if self._finished else "begun" if self._begun else "not begun"
        return f"<ChunkReader {state} {self._order!r}>"


def _thinking(thought: Thinking) -> ThinkingPiece:
    return ThinkingPiece(
        text=thought.text, signature=thought.signature, redacted=thought.redacted, signed_by=thought.signed_by
    )


def _held_error(data: bytes) -> StreamFailure:
    return StreamFailure(problem="the stream holds an error", error=data)
