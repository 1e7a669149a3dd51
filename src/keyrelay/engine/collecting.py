"""A streamed answer as the answer that it is when it is whole."""

from keyrelay.core.conversation import (
    Answer,
    AnswerPart,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    MediaPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)


class AnswerCollector:
    """Collects events; `answer` is what they come to by now. Without `Finished` its `finish` is `error`."""

    __slots__ = ("_begun", "_finished", "_first", "_parts", "_pieces", "_tokens")

    def __init__(self) -> None:
        self._begun = Begun()
        self._parts: list[AnswerPart] = []
        self._first: TextPiece | RefusalPiece | ThinkingPiece | CallBegun | None = None
        self._pieces: list[str] = []
        self._finished: Finished | None = None
        self._tokens: Tokens | None = None

    def feed(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, TextPiece | RefusalPiece | ThinkingPiece):
            if type(event) is not type(self._first):
                self._begin(event)
            self._pieces.append(event.text)
            if isinstance(event, ThinkingPiece) and (event.signature or event.redacted):
                self._first = event
                self._close()
        elif isinstance(event, CallPiece):
            self._pieces.append(event.arguments)
        elif isinstance(event, CallBegun):
            self._begin(event)
        elif isinstance(event, Counted):
            self._tokens = event.tokens
        elif isinstance(event, Begun):
            self._begun = event
        elif isinstance(event, MediaPiece):
            self._close()
            self._parts.append(event.part)
        elif isinstance(event, Finished):
            self._finished = event

    def answer(self) -> Answer:
        """The answer."""
        part = self._part()
        finished = self._finished
        return Answer(
            parts=tuple(self._parts) if part is None else (*self._parts, part),
            finish="error" if finished is None else finished.finish,
            tokens=self._tokens,
            stop_sequence="" if finished is None else finished.stop_sequence,
            id=self._begun.id,
            model=self._begun.model,
        )

    def _begin(self, first: TextPiece | RefusalPiece | ThinkingPiece | CallBegun) -> None:
        self._close()
        self._first = first

    def _close(self) -> None:
        part = self._part()
        if part is not None:
            self._parts.append(part)
        self._first = None
        self._pieces.clear()

    def _part(self) -> AnswerPart | None:
        """The part that is under way."""
        text = "".join(self._pieces)
        match self._first:
            case TextPiece():
                return Text(text)
            case RefusalPiece():
                return Refusal(text)
            case ThinkingPiece(_, signature, redacted, signed_by):
                return Thinking(text=text, signature=signature, redacted=redacted, signed_by=signed_by)
            case CallBegun(call_id, name, custom, signature, signed_by):
                return ToolCall(
                    id=call_id, name=name, arguments=text, custom=custom, signature=signature, signed_by=signed_by
                )
            case _:
                return None

    def __repr__(self) -> str:
        return f"<AnswerCollector {len(self._parts)} parts, {len(self._pieces)} pieces>"
