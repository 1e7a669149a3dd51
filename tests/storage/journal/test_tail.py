from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyrelay.storage.journal import tail
from keyrelay.storage.journal.segments import Position
from keyrelay.storage.journal.tail import Tail
from tests.storage.journal.entries import all_rows, forget, line, number_of, opened, reserved

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("serve"), st.integers(1, 60)),
        st.tuples(st.just("reserve"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.integers(1, 40)),
        st.tuples(st.just("look"), st.integers(1, 40)),
        st.tuples(st.just("forget"), st.just(0)),
        st.tuples(st.just("large"), st.sampled_from([5_000, 140_000])),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_each_row_is_read_once_and_in_order_from_memory_or_from_the_file(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(tail, "MAX_TAIL_BYTES", 20_000)
    journal = opened(tmp_path_factory.mktemp("tail"))
    number, found = 0, list[int]()
    for step, amount in steps:
        if step in {"serve", "large"}:
            for _ in range(amount if step == "serve" else 1):
                journal.reserved(reserved(number))
                journal.ended(line(number, words="x" * amount if step == "large" else ""))
                number += 1
        elif step == "reserve":
            journal.reserved(reserved(10**6 + number, amount))
        elif step == "forget":
            forget(journal)
        else:
            rows = await journal.read(amount, 10_000)
            if step == "read":
                found += [number_of(row) for row in rows]
                await journal.kept()
                assert journal.rows_waiting == number - len(found)
    found += [number_of(row) for row in await all_rows(journal)]
    assert found == list(range(number))
    assert (journal.rows_waiting, journal.bytes_waiting, journal.damaged_bytes) == (0, 0, 0)
    journal.close()


async def test_rows_that_are_in_memory_are_not_read_from_the_file(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(20):
        journal.ended(line(number))
    for path in journal._directory.glob("*.seg"):
        path.unlink()
    assert [number_of(row) for row in await all_rows(journal, max_rows=6)] == list(range(20))
    assert repr(journal._tail).startswith("<Tail of 0 rows from 1:")
    journal.close()


def test_rows_end_where_they_are_said_to() -> None:
    last = Tail(Position(3, 100))
    for number in range(1, 6):
        last.add(b"%d" % number, 100 + 10 * number)
    assert last.read(Position(3, 100), 170, 3, 1_000) == ([b"1", b"2", b"3"], 130)
    assert last.read(Position(3, 100), 170, 30, 25) == ([b"1", b"2"], 120)
    assert last.read(Position(3, 100), 170, 30, 5) == ([b"1"], 110)
    assert last.read(Position(3, 125), 170, 30, 1_000) == ([b"3", b"4", b"5"], 170)
    assert last.read(Position(3, 150), 170, 30, 1_000) == ([], 170)


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        (Position(3, 99), False),
        (Position(3, 100), True),
        (Position(3, 900), True),
        (Position(2, 900), False),
        (Position(4, 0), False),
    ],
)
def test_it_knows_what_it_does_not_know(at: Position, holds: bool) -> None:
    assert Tail(Position(3, 100)).holds(at) is holds


def test_what_is_kept_is_let_go_of() -> None:
    last = Tail(Position(1, 0))
    for number in range(1, 6):
        last.add(b"%d" % number, 10 * number)
    last.forget(Position(1, 30))
    assert repr(last) == "<Tail of 2 rows from 1:30>"
    assert last.read(Position(1, 30), 50, 9, 900) == ([b"4", b"5"], 50)
    last.forget(Position(2, 5))
    last.forget(Position(1, 20))
    assert repr(last) == "<Tail of 2 rows from 1:30>"


def test_memory_is_bounded() -> None:
    last = Tail(Position(1, 50))
    last.add(b"row", 50 + tail.MAX_TAIL_BYTES)
    assert repr(last) == "<Tail of 1 rows from 1:50>"
    last.add(b"row", 51 + tail.MAX_TAIL_BYTES)
    assert repr(last) == f"<Tail of 0 rows from 1:{51 + tail.MAX_TAIL_BYTES}>"
