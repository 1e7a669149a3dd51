"""The output of an answer, grown event by event; streams and whole answers are made by the same steps."""

from collections.abc import Iterator

from keyrelay.core.conversation import (
    AnswerPart,
    CallBegun,
    CallPiece,
    Event,
    Finish,
    Image,
    Media,
    MediaPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
)
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.responses.events import StreamEvent
from keyrelay.wire.responses.outputs import ItemStatus, OutputItem
from keyrelay.wire.responses.parts_under_way import CallUnderWay, MessageUnderWay, ThoughtUnderWay
from keyrelay.wire.responses.pictures import whole_picture
from keyrelay.wire.responses.tools import Origin, names_of

_PREFIXES = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}


class OutputBuilder:
    """The items of one answer: `items` are those that are whole, `written` how many characters they took."""

    __slots__ = ("_id", "_names", "_under_way", "items", "written")

    def __init__(self, facts: AnswerFacts) -> None:
        self._id = facts.id
        self._names = names_of(facts.request)
        self._under_way: MessageUnderWay | ThoughtUnderWay | CallUnderWay | None = None
        self.items: list[OutputItem] = []
        self.written = 0

    def add(self, event: Event) -> list[StreamEvent]:
        """What a piece of content makes the stream say; nothing for events without content."""
        if isinstance(event, TextPiece | RefusalPiece):
            return self._say(event)
        if isinstance(event, ThinkingPiece):
            return self._think(event)
        if isinstance(event, CallBegun):
            return self._call(event)
        if isinstance(event, CallPiece) and isinstance(self._under_way, CallUnderWay):
            return self._under_way.more(event)
        if isinstance(event, MediaPiece) and isinstance(event.part, Image):
            return self._show(event.part)
        return []

    def close(self, status: ItemStatus) -> list[StreamEvent]:
        """What ends the item that is being written."""
        under_way = self._under_way
        if under_way is None:
            return []
        events, item = under_way.close(status)
        self.items.append(item)
        self.written += under_way.written
        self._under_way = None
        return events

    def _say(self, piece: TextPiece | RefusalPiece) -> list[StreamEvent]:
        under_way = self._under_way
        if isinstance(under_way, MessageUnderWay):
            return under_way.more(piece)
        events = self.close("completed")
        self._under_way = message = MessageUnderWay(self._item_id("msg"), len(self.items))
        return events + message.open() + message.more(piece)

    def _think(self, piece: ThinkingPiece) -> list[StreamEvent]:
        under_way = self._under_way
        if isinstance(under_way, ThoughtUnderWay):
            events = under_way.more(piece)
        else:
            events = self.close("completed")
            self._under_way = under_way = ThoughtUnderWay(self._item_id("rs"), len(self.items))
            events += under_way.open() + under_way.more(piece)
        return events + self.close("completed") if under_way.complete else events

    def _call(self, begun: CallBegun) -> list[StreamEvent]:
        events = self.close("completed")
        origin = self._origin(begun)
        self._under_way = call = CallUnderWay(self._item_id(_PREFIXES[origin.kind]), len(self.items), begun, origin)
        return events + call.open()

    def _show(self, picture: Image) -> list[StreamEvent]:
        """A picture comes whole, and so does all that is said of it."""
        events = self.close("completed")
        picture_events, item = whole_picture(picture, self._item_id("ig"), len(self.items))
        self.items.append(item)
        return events + picture_events

    def _origin(self, begun: CallBegun) -> Origin:
        """The tool that a call means: what the request says of its name, else what the provider makes of it."""
        origin = self._names.origin(begun.name)
        return Origin(origin.name, kind="custom") if begun.custom and begun.name not in self._names else origin

    def _item_id(self, prefix: str) -> str:
        """Ids follow from the answer's own and the place, so that a reference to one finds its answer."""
        return f"{prefix}_{self._id}{len(self.items):04x}"

    def __repr__(self) -> str:
        return f"<OutputBuilder {len(self.items)} items, {self._under_way!r}>"


def events_of(parts: tuple[AnswerPart, ...]) -> Iterator[Event]:
    """The events in which parts would have come."""
    for part in parts:
        if isinstance(part, Text):
            yield TextPiece(part.text)
        elif isinstance(part, Refusal):
            yield RefusalPiece(part.text)
        elif isinstance(part, Thinking):
            yield ThinkingPiece(part.text, part.signature, part.redacted, part.signed_by)
        elif isinstance(part, Media):
            yield MediaPiece(part)
        else:
            yield CallBegun(part.id, part.name, part.custom, part.signature, part.signed_by)
            yield CallPiece(part.arguments)


def last_status(finish: Finish) -> ItemStatus:
    """How the last item of an answer stands that ended for this reason."""
    return "incomplete" if finish in {"length", "content_filter", "error"} else "completed"
