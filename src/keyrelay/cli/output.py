"""How commands print: tables for people, one document for programs, notes beside both."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

SCHEMA_VERSION = 1


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows to stdout: with lines and colour on a terminal, else in aligned columns."""
    cells = [tuple(row) for row in rows]
    if sys.stdout.isatty():
        _print_rich(headers, cells)
    else:
        _print_plain([tuple(header.upper() for header in headers), *cells])


def _print_rich(headers: Sequence[str], rows: list[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(header, overflow="fold") for header in headers)
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _print_plain(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def print_json(**document: Any) -> None:
    """Print one JSON document to stdout; `schema_version` says how it is to be read."""
    import msgspec

    data = msgspec.json.encode({"schema_version": SCHEMA_VERSION, **document})
    typer.echo(msgspec.json.format(data, indent=2))


def note(text: str) -> None:
    """Print a line for the person to stderr."""
    typer.echo(text, err=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print what was put up with, to stderr."""
    for warning in warnings:
        note(f"warning: {warning}")
