from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import CallBegun, CallPiece, Event, TextPiece
from keyrelay.wire.chat.order import CallPieces, PartOrder
from keyrelay.wire.chat.shapes import CallShape
from keyrelay.wire.parts import tool_id


def piece(arguments: object = "", /, **members: Any) -> CallShape:
    name = members.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return msgspec.json.decode(msgspec.json.encode({**members, "function": function}), type=CallShape)


def gathered(*pieces: CallShape) -> list[tuple[int, Event]]:
    calls = CallPieces()
    found = [(number, event) for one in pieces for number, events in [calls.read(one, "c1")] for event in events]
    return found + [(number, event) for number, events in calls.nameless("c1") for event in events]


def begun(number: int, call_id: str, name: str = "f") -> tuple[int, Event]:
    return number, CallBegun(id=call_id, name=name)


def more(number: int, arguments: str) -> tuple[int, Event]:
    return number, CallPiece(arguments=arguments)


@pytest.mark.parametrize(
    ("pieces", "events"),
    [
        ((piece(index=0, id="a", name="f"), piece("{}", index=0)), [begun(0, "a"), more(0, "{}")]),
        (
            (piece(index=0, id="a", name="f"), piece("{}", index=0, id="a", name="f")),
            [begun(0, "a"), more(0, "{}")],
        ),
        (
            (piece(index=0, id="a", name="f"), piece(index=1, id="b", name="f"), piece("{1}", index=0)),
            [begun(0, "a"), begun(1, "b"), more(0, "{1}")],
        ),
        (
            (piece("{}", index=0, id="a", name="f"), piece("{1}", index=0, id="b", name="f"), piece("2", index=0)),
            [begun(0, "a"), more(0, "{}"), begun(1, "b"), more(1, "{1}"), more(1, "2")],
        ),
        (
            (piece(id="a", name="f"), piece(id="b", name="f"), piece("{}", id="a"), piece("2")),
            [begun(0, "a"), begun(1, "b"), more(0, "{}"), more(1, "2")],
        ),
        (
            (piece(name="f"), piece("{}"), piece(name="f")),
            [begun(0, tool_id("c1", 0, "f")), more(0, "{}"), begun(1, tool_id("c1", 1, "f"))],
        ),
        ((piece("{", index=0), piece("}", index=0, id="a", name="f")), [begun(0, "a"), more(0, "{}")]),
        ((piece("{}", index=0, id="a"),), [begun(0, "a", ""), more(0, "{}")]),
        ((piece("{}"),), [begun(0, tool_id("c1", 0, ""), ""), more(0, "{}")]),
        (
            (piece(index=0, name="f"), piece("{}", index=0, id="late", name="f")),
            [begun(0, tool_id("c1", 0, "f")), more(0, "{}")],
        ),
    ],
)
def test_a_piece_belongs_to_a_call_by_index_by_id_or_by_when_it_comes(
    pieces: tuple[CallShape, ...], events: list[tuple[int, Event]]
) -> None:
    assert gathered(*pieces) == events


def test_custom_calls_and_signatures() -> None:
    shape = {"index": 0, "id": "a", "custom": {"name": "sh"}, "extra_content": {"google": {"thought_signature": "s"}}}
    first = msgspec.convert(shape, CallShape)
    second = msgspec.convert({"index": 0, "custom": {"input": "ls"}}, CallShape)
    assert gathered(first, second) == [
        (0, CallBegun(id="a", name="sh", custom=True, signature="s", signed_by="gemini")),
        more(0, "ls"),
    ]


WORDS = "words"


def ordered(*said: tuple[int | str, str]) -> tuple[list[str], list[str]]:
    """What goes out, in short, as pieces of calls (by number) and words come; and what comes at the end."""
    order = PartOrder()
    known: set[int] = set()
    out: list[Event] = []
    for key, text in said:
        if isinstance(key, str):
            out += order.words(TextPiece(text=text))
            continue
        events: list[Event] = [CallPiece(arguments=text)] if text else []
        if key not in known:
            events.insert(0, CallBegun(id=str(key), name="f", custom=text.startswith("!")))
            known.add(key)
        out += order.call(key, events)
    assert order.calls == len(known)
    return [_short(event) for event in out], [_short(event) for event in order.rest()]


def _short(event: Event) -> str:
    if isinstance(event, CallBegun):
        return "call " + event.id
    assert isinstance(event, CallPiece | TextPiece)
    return event.arguments if isinstance(event, CallPiece) else event.text


@pytest.mark.parametrize(
    ("said", "out", "rest"),
    [
        ([(WORDS, "a"), (0, "{"), (0, "}"), (1, "{}")], ["a", "call 0", "{", "}", "call 1", "{}"], []),
        (
            [(0, ""), (1, ""), (0, "{"), (1, '{"x'), (0, "}"), (1, '":1}')],
            ["call 0", "{", "}", "call 1", '{"x', '":1}'],
            [],
        ),
        ([(0, "{"), (WORDS, "a"), (WORDS, "b"), (0, "}")], ["call 0", "{", "}", "a", "b"], []),
        ([(0, "{}"), (WORDS, "a"), (1, "{}"), (WORDS, "b")], ["call 0", "{}", "a", "call 1", "{}", "b"], []),
        (
            [(0, '{"a":"}'), (1, "{}"), (2, "{}"), (0, '"}')],
            ["call 0", '{"a":"}', '"}', "call 1", "{}", "call 2", "{}"],
            [],
        ),
        ([(0, '{"a":"}'), (1, "{}"), (1, " "), (0, "x")], ["call 0", '{"a":"}', "x"], ["call 1", "{}", " "]),
        ([(0, "!ls {}"), (1, "{}")], ["call 0", "!ls {}"], ["call 1", "{}"]),
        ([(0, "{}"), (1, "{}"), (0, "\n"), (1, "\n")], ["call 0", "{}", "call 1", "{}", "\n"], []),
        ([(0, ""), (1, "{}"), (WORDS, "a")], ["call 0"], ["call 1", "{}", "a"]),
        ([(0, "{"), (1, "{}"), (WORDS, "a"), (2, "{"), (0, "}"), (2, "}")],
         ["call 0", "{", "}", "call 1", "{}", "a", "call 2", "{", "}"], []),
        ([(0, "{}"), (0, "")], ["call 0", "{}"], []),
    ],
)  # fmt: skip
def test_parts_come_one_after_the_other(said: list[tuple[int | str, str]], out: list[str], rest: list[str]) -> None:
    assert ordered(*said) == (out, rest)


def test_both_say_how_they_stand() -> None:
    calls = CallPieces()
    calls.read(piece(index=0, id="a", name="f"), "c1")
    assert repr(calls) == "<CallPieces [<_Call 0 a f>]>"
    assert repr(PartOrder()) == "<PartOrder 0 calls, 0 parts wait>"
