"""Calls of tools out of the pieces of a stream, one after the other however the pieces alternate.

A piece says by index, by id, or not at all, to which call it belongs; a few servers give every call the index 0, and
some send the name late. A call that is open goes out piece by piece; what belongs to another part waits until the
arguments of the open one are a whole JSON object, or the answer ends.
"""

from collections.abc import Iterator

from keyrelay.core.conversation import CallBegun, CallPiece, Event, MediaPiece, RefusalPiece, TextPiece, ThinkingPiece
from keyrelay.wire.chat.shapes import CallShape, FunctionCall
from keyrelay.wire.chat.turns import argument_text
from keyrelay.wire.parts import json_object, tool_id

_WORDS = -1


class _Call:
    """What is known of a call by now; `held` are arguments that came before the name."""

    __slots__ = ("begun", "held", "id", "key", "name")

    def __init__(self, key: int, call_id: str) -> None:
        self.key = key
        self.id = call_id
        self.name = ""
        self.begun = False
        self.held = ""

    def __repr__(self) -> str:
        return f"<_Call {self.key} {self.id} {self.name}>"


class CallPieces:
    """Finds out to which call a piece belongs; calls are numbered as they come."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._calls: list[_Call] = []

    def read(self, piece: CallShape, answer_id: str) -> tuple[int, list[Event]]:
        """The call's number and what the piece says."""
        custom = piece.custom
        if custom is not None:
            name, arguments = custom.name or "", custom.input or ""
        else:
            function = piece.function or FunctionCall()
            name, arguments = function.name or "", argument_text(function)
        call = self._found(piece, name)
        if call.begun:
            return call.key, [CallPiece(arguments=arguments)] if arguments else []
        call.held += arguments
        if not name:
            return call.key, []
        call.name = name
        return call.key, _begun(call, piece, answer_id)

    def nameless(self, answer_id: str) -> Iterator[tuple[int, list[Event]]]:
        """The calls whose name never came."""
        for call in self._calls:
            if not call.begun:
                yield call.key, _begun(call, CallShape(), answer_id)

    def _found(self, piece: CallShape, name: str) -> _Call:
        call_id = piece.id or ""
        if piece.index is not None:
            call = self._by_index.get(piece.index)
            if call is not None and name and call_id and call.id and call.id != call_id:
                call = None  # another call under the same index
        elif call_id:
            call = self._by_id.get(call_id)
        else:
            call = self._calls[-1] if self._calls and not name else None
        if call is None:
            call = _Call(len(self._calls), call_id)
            self._calls.append(call)
        if piece.index is not None:
            self._by_index[piece.index] = call
        if call_id:
            call.id = call.id or call_id
            self._by_id[call_id] = call
        return call

    def __repr__(self) -> str:
        return f"<CallPieces {self._calls}>"


def _begun(call: _Call, piece: CallShape, answer_id: str) -> list[Event]:
    call.begun = True
    signature = piece.signature
    begun = CallBegun(
        id=call.id or tool_id(answer_id, call.key, call.name),
        name=call.name,
        custom=piece.custom is not None,
        signature=signature,
        signed_by="gemini" if signature else "",
    )
    return [begun, CallPiece(arguments=call.held)] if call.held else [begun]


class PartOrder:
    """Puts events into the order of the parts that they belong to; `calls` is how many calls there were."""

    __slots__ = ("_arguments", "_checked", "_closed", "_custom", "_open", "_waiting", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._open = _WORDS
        self._custom = False
        self._arguments: list[str] = []
        self._checked = 0
        self._closed: set[int] = set()
        self._waiting: dict[int, list[Event]] = {}

    def words(self, event: TextPiece | ThinkingPiece | RefusalPiece | MediaPiece) -> list[Event]:
        """What goes out when words come, or a picture."""
        return [event] if self._open == _WORDS else self._add(_WORDS, [event])

    def call(self, number: int, events: list[Event]) -> list[Event]:
        """What goes out when a piece of a call comes."""
        return self._add(number, events)

    def rest(self) -> list[Event]:
        """What still waits when the answer ends."""
        events = [event for held in self._waiting.values() for event in held]
        self._waiting.clear()
        return events

    def _add(self, key: int, events: list[Event]) -> list[Event]:
        if not events or key in self._closed:
            return []  # nothing can follow a whole JSON object
        self.calls += isinstance(events[0], CallBegun)
        if key == self._open:
            self._note(events)
            return events + self._advance()
        if not self._waiting and self._complete():
            self._begin(key, events)
            return events
        self._waiting.setdefault(key, []).extend(events)
        return []

    def _advance(self) -> list[Event]:
        """What waited for the open call, as far as that is complete now."""
        events: list[Event] = []
        while self._waiting and self._complete():
            key = next(iter(self._waiting))
            waited = self._waiting.pop(key)
            self._begin(key, waited)
            events += waited
        return events

    def _begin(self, key: int, events: list[Event]) -> None:
        if self._open != _WORDS:
            self._closed.add(self._open)
        self._open = key
        self._arguments = []
        self._checked = 0
        self._note(events)

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CallBegun):
                self._custom = event.custom
            elif isinstance(event, CallPiece):
                self._arguments.append(event.arguments)

    def _complete(self) -> bool:
        """Whether no more can come of the open part."""
        if self._open == _WORDS:
            return True
        arguments = self._arguments
        if self._custom or len(arguments) == self._checked or not arguments[-1].rstrip().endswith("}"):
            return False
        self._checked = len(arguments)
        return json_object("".join(arguments)) is not None

    def __repr__(self) -> str:
        return f"<PartOrder {self.calls} calls, {len(self._waiting)} parts wait>"
