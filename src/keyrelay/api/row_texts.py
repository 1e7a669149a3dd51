"""Rows as text for other programs, page by page: CSV, one JSON document, or JSON Lines.

A page is one piece of the text, so no more than a page is ever in memory.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

Pages = AsyncIterator[Sequence[msgspec.Struct]]

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
"""What makes a spreadsheet take a cell for a formula, or a cell's beginning for nothing."""

_QUOTED = re.compile(r'[",\r\n]')

_json = msgspec.json.Encoder()


class RowFormat(StrEnum):
    """The forms of text."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


MEDIA_TYPES: Mapping[RowFormat, str] = {
    RowFormat.CSV: "text/csv; charset=utf-8; header=present",
    RowFormat.JSON: "application/json",
    RowFormat.JSONL: "application/jsonl",
}


def row_texts(pages: Pages, row_format: RowFormat, name: str, columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """The text of rows; `name` is the member of the JSON document that holds them, `columns` those of CSV."""
    if row_format is RowFormat.CSV:
        return _as_csv(pages, columns)
    return _as_json(pages, name) if row_format is RowFormat.JSON else _as_lines(pages)


async def _as_csv(pages: Pages, columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """CSV by RFC 4180, with a line of column names."""
    yield _line(columns)
    async for rows in pages:
        yield b"".join(_line(_cell(getattr(row, column)) for column in columns) for row in rows)


async def _as_json(pages: Pages, name: str) -> AsyncIterator[bytes]:
    yield b'{"%b":[' % name.encode()
    separator = b"\n"
    async for rows in pages:
        yield separator + b",\n".join(map(_json.encode, rows))
        separator = b",\n"
    yield b"\n]}\n"


async def _as_lines(pages: Pages) -> AsyncIterator[bytes]:
    async for rows in pages:
        yield _json.encode_lines(rows)


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + "\r\n").encode()


def _cell(value: object) -> str:
    """A value as a cell; a text that a spreadsheet would run gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return f"{value}"
    text = f"'{value}" if _FORMULA.match(value) else value
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text
