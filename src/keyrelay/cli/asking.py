"""What a person says beside the arguments: a yes before something is removed for good, and secrets."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note

_MOST_BYTES = 1024 * 1024

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask back.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless `yes`; leave the command where nobody is there to answer, or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        note("keyrelay: this cannot be undone; give --yes.")
        raise typer.Exit(Exit.USAGE)
    typer.confirm(question, abort=True, err=True)


def read_secret(file: Path | None, prompt: str) -> str:
    """A secret from a file, from stdin, or as it is typed; never from an argument."""
    if file is None and sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, err=True)).strip()
    return read_text(file).strip()


def read_text(file: Path | None) -> str:
    """The text of a file, or of stdin; leaves the command when it is too long."""
    if file is None:
        if sys.stdin.isatty():
            note("Paste the keys, then end with Ctrl-D.")
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        note(f"keyrelay: that is more than {_MOST_BYTES} bytes.")
        raise typer.Exit(Exit.USAGE)
    return data.decode("utf-8-sig", "replace")
