import csv
import io
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.api.row_texts import RowFormat, row_texts


class Row(msgspec.Struct, frozen=True):
    name: str
    count: int | None
    share: float
    right: bool


async def pages(rows: Sequence[Row], size: int = 2) -> AsyncIterator[Sequence[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


async def text_of(rows: Sequence[Row], row_format: RowFormat) -> str:
    texts = row_texts(pages(rows), row_format, "rows", Row.__struct_fields__)
    return b"".join([text async for text in texts]).decode()


ROWS = [Row("a", 1, 0.5, True), Row("b", None, 2.0, False), Row("c", -3, 1e-9, True)]


async def test_csv_has_a_head_and_a_line_for_each() -> None:
    text = await text_of(ROWS, RowFormat.CSV)
    assert text == "name,count,share,right\r\na,1,0.5,true\r\nb,,2.0,false\r\nc,-3,1e-09,true\r\n"


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_json_and_its_lines_hold_the_rows(count: int) -> None:
    document = msgspec.json.decode(await text_of(ROWS[:count], RowFormat.JSON))
    assert msgspec.convert(document, dict[str, list[Row]]) == {"rows": ROWS[:count]}
    lines = (await text_of(ROWS[:count], RowFormat.JSONL)).splitlines()
    assert [msgspec.json.decode(line, type=Row) for line in lines] == ROWS[:count]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://a")'])
async def test_a_formula_is_defused(name: str) -> None:
    text = await text_of([Row(name, -1, -0.5, True)], RowFormat.CSV)
    _, cells = csv.reader(io.StringIO(text, newline=""))
    assert cells == [f"'{name}", "-1", "-0.5", "true"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
async def test_every_text_comes_back_from_csv(names: list[str]) -> None:
    text = await text_of([Row(name, 0, 0.0, False) for name in names], RowFormat.CSV)
    _, *lines = csv.reader(io.StringIO(text, newline=""))
    assert [cells[0].removeprefix("'") for cells in lines] == [name.removeprefix("'") for name in names]
    assert not any(cells[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cells in lines)
