"""Items of an answer that are being written: what is said at their beginning, with each piece, and at their end.

Each of them answers three questions with events: `open`, `more`, `close`; `close` leaves the finished `item`.
"""

from typing import Protocol

import msgspec
from msgspec import UNSET

from keyrelay.core.conversation import CallBegun, CallPiece, RefusalPiece, TextPiece, ThinkingPiece
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.parts import raised_arguments
from keyrelay.wire.responses import envelopes
from keyrelay.wire.responses.events import (
    ArgumentsDone,
    CallDelta,
    InputDone,
    ItemEvent,
    PartEvent,
    RefusalDelta,
    RefusalDone,
    StreamEvent,
    SummaryDelta,
    SummaryDone,
    SummaryPart,
    TextDelta,
    TextDone,
)
from keyrelay.wire.responses.outputs import (
    CustomCallItem,
    FunctionCallItem,
    ItemStatus,
    MessageItem,
    OutputItem,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    SearchCallItem,
    SummaryText,
)
from keyrelay.wire.responses.reading import one_line
from keyrelay.wire.responses.tools import TOOL_SEARCH, Origin

_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_PART_ADDED, _PART_DONE = "response.content_part.added", "response.content_part.done"
_SUMMARY_ADDED, _SUMMARY_DONE = "response.reasoning_summary_part.added", "response.reasoning_summary_part.done"
_ARGUMENTS_DELTA = "response.function_call_arguments.delta"
_INPUT_DELTA = "response.custom_tool_call_input.delta"
_NO_ARGUMENTS = msgspec.Raw(b"{}")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


class UnderWay(Protocol):
    """An item that is being written; `written` is what the model has written of it, when it is closed."""

    written: int

    def open(self) -> list[StreamEvent]:
        """What is said as it begins."""
        ...

    def close(self, status: ItemStatus) -> tuple[list[StreamEvent], OutputItem]:
        """What is said as it ends, and the whole item."""
        ...


class MessageUnderWay:
    """A message: words and refusals, a content part for each."""

    __slots__ = ("_contents", "_id", "_index", "_pieces", "_refuses", "written")

    def __init__(self, item_id: str, index: int) -> None:
        self._id = item_id
        self._index = index
        self._contents: list[OutputText | OutputRefusal] = []
        self._pieces: list[str] = []
        self._refuses: bool | None = None
        self.written = 0

    def open(self) -> list[StreamEvent]:
        """The empty message."""
        return [ItemEvent(type=_ADDED, output_index=self._index, item=MessageItem(id=self._id, status="in_progress"))]

    def more(self, piece: TextPiece | RefusalPiece) -> list[StreamEvent]:
        """A piece; a content part ends where one of the other kind begins."""
        refuses = isinstance(piece, RefusalPiece)
        events = list[StreamEvent]()
        if self._refuses is not refuses:
            events = self._close_part()
            self._refuses = refuses
            empty = OutputRefusal(refusal="") if refuses else OutputText(text="")
            events.append(self._part_event(_PART_ADDED, empty))
        self._pieces.append(piece.text)
        kind = RefusalDelta if refuses else TextDelta
        place = len(self._contents)
        events.append(kind(item_id=self._id, output_index=self._index, content_index=place, delta=piece.text))
        return events

    def close(self, status: ItemStatus) -> tuple[list[StreamEvent], OutputItem]:
        """The whole message."""
        events = self._close_part()
        item = MessageItem(id=self._id, status=status, content=tuple(self._contents))
        events.append(ItemEvent(type=_DONE, output_index=self._index, item=item))
        return events, item

    def _close_part(self) -> list[StreamEvent]:
        if self._refuses is None:
            return []
        text, place = "".join(self._pieces), len(self._contents)
        self._pieces.clear()
        self.written += len(text)
        done: StreamEvent
        part: OutputText | OutputRefusal
        if self._refuses:
            part = OutputRefusal(refusal=text)
            done = RefusalDone(item_id=self._id, output_index=self._index, content_index=place, refusal=text)
        else:
            part = OutputText(text=text)
            done = TextDone(item_id=self._id, output_index=self._index, content_index=place, text=text)
        events = [done, self._part_event(_PART_DONE, part)]
        self._contents.append(part)
        return events

    def _part_event(self, name: str, part: OutputText | OutputRefusal) -> StreamEvent:
        place = len(self._contents)
        return PartEvent(type=name, item_id=self._id, output_index=self._index, content_index=place, part=part)

    def __repr__(self) -> str:
        return f"<MessageUnderWay {self._id} {len(self._contents)} parts, {len(self._pieces)} pieces>"


class ThoughtUnderWay:
    """A thought; `complete` once it has its signature."""

    __slots__ = ("_id", "_index", "_pieces", "_redacted", "_signature", "_signed_by", "complete", "written")

    def __init__(self, item_id: str, index: int) -> None:
        self._id = item_id
        self._index = index
        self._pieces: list[str] = []
        self._signature = self._redacted = self._signed_by = ""
        self.complete = False
        self.written = 0

    def open(self) -> list[StreamEvent]:
        """The empty thought."""
        return [ItemEvent(type=_ADDED, output_index=self._index, item=ReasoningItem(id=self._id))]

    def more(self, piece: ThinkingPiece) -> list[StreamEvent]:
        """A piece; there is no summary until there are words."""
        if piece.signature or piece.redacted:
            self._signature, self._redacted, self._signed_by = piece.signature, piece.redacted, piece.signed_by
            self.complete = True
        if not piece.text:
            return []
        events = [] if self._pieces else [self._summary_event(_SUMMARY_ADDED, "")]
        self._pieces.append(piece.text)
        events.append(SummaryDelta(item_id=self._id, output_index=self._index, delta=piece.text))
        return events

    def close(self, status: ItemStatus) -> tuple[list[StreamEvent], OutputItem]:
        """The whole thought."""
        del status
        events, summary = list[StreamEvent](), tuple[SummaryText, ...]()
        if self._pieces:
            text = "".join(self._pieces)
            self.written = len(text)
            events = [
                SummaryDone(item_id=self._id, output_index=self._index, text=text),
                self._summary_event(_SUMMARY_DONE, text),
            ]
            summary = (SummaryText(text=text),)
        sealed = envelopes.seal(self._signature, self._redacted, self._signed_by)
        item = ReasoningItem(id=self._id, summary=summary, encrypted_content=UNSET if sealed is None else sealed)
        events.append(ItemEvent(type=_DONE, output_index=self._index, item=item))
        return events, item

    def _summary_event(self, name: str, text: str) -> StreamEvent:
        return SummaryPart(type=name, item_id=self._id, output_index=self._index, part=SummaryText(text=text))

    def __repr__(self) -> str:
        return f"<ThoughtUnderWay {self._id} {len(self._pieces)} pieces>"


class CallUnderWay:
    """A call of a tool.

    What a provider calls as a function although it is a custom tool is held back until it is whole, since the text has
    to be taken out of the arguments first. A search for tools has no pieces in this dialect.
    """

    __slots__ = ("_begun", "_id", "_index", "_origin", "_pieces", "written")

    def __init__(self, item_id: str, index: int, begun: CallBegun, origin: Origin) -> None:
        self._id = item_id
        self._index = index
        self._begun = begun
        self._origin = origin
        self._pieces: list[str] = []
        self.written = 0

    def open(self) -> list[StreamEvent]:
        """The call without arguments."""
        return [ItemEvent(type=_ADDED, output_index=self._index, item=self._item("", "in_progress"))]

    def more(self, piece: CallPiece) -> list[StreamEvent]:
        """A piece of the arguments."""
        self._pieces.append(piece.arguments)
        if self._origin.kind == "function":
            return [self._delta(_ARGUMENTS_DELTA, piece.arguments)]
        return [self._delta(_INPUT_DELTA, piece.arguments)] if self._begun.custom else []

    def close(self, status: ItemStatus) -> tuple[list[StreamEvent], OutputItem]:
        """The whole call."""
        text = "".join(self._pieces)
        self.written = len(text)
        events = list[StreamEvent]()
        if self._origin.kind == "function":
            name = self._origin.name
            events.append(ArgumentsDone(item_id=self._id, output_index=self._index, arguments=text, name=name))
        elif self._origin.kind == "custom":
            if not self._begun.custom:
                text = raised_arguments(text)
                events.append(self._delta(_INPUT_DELTA, text))
            events.append(InputDone(item_id=self._id, output_index=self._index, input=text))
        item = self._item(text, status)
        events.append(ItemEvent(type=_DONE, output_index=self._index, item=item))
        return events, item

    def _delta(self, name: str, text: str) -> StreamEvent:
        return CallDelta(type=name, item_id=self._id, output_index=self._index, delta=text)

    def _item(self, text: str, status: ItemStatus) -> OutputItem:
        origin, call_id = self._origin, self._begun.id
        if origin.kind == TOOL_SEARCH:
            return SearchCallItem(id=self._id, status=status, arguments=_arguments(text), call_id=call_id)
        namespace = origin.namespace or UNSET
        if origin.kind == "custom":
            return CustomCallItem(
                id=self._id, status=status, call_id=call_id, input=text, name=origin.name, namespace=namespace
            )
        return FunctionCallItem(
            id=self._id, status=status, arguments=text, call_id=call_id, name=origin.name, namespace=namespace
        )

    def __repr__(self) -> str:
        return f"<CallUnderWay {self._id} {self._origin.kind} {self._begun.name} {len(self._pieces)} pieces>"


def _arguments(text: str) -> msgspec.Raw:
    """Arguments as the object that they are; text that is none stays text."""
    if not text:
        return _NO_ARGUMENTS
    try:
        _members.decode(text)
    except JSON_ERRORS:
        return msgspec.Raw(_encoder.encode(text))
    return one_line(text.encode())
