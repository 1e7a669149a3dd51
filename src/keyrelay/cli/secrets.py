"""`keyrelay secrets`: the master key and the key ring, on the host that has them."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.core.words import counted

if TYPE_CHECKING:
    from keyrelay.bootstrap.secret_keeping import Progress, Resealed, Rotated, SecretKeeping, SecretsStanding
    from keyrelay.core.secrets import Secret

app = group(
    "Look at the master key and the key ring, and put others in their place, while gateways run.",
    "Look at and rotate what seals stored keys.",
    "keyrelay secrets status",
    "keyrelay secrets rotate-master-key --generate",
    "keyrelay secrets rotate-term",
)

_MAX_KEY_BYTES = 4_096
_Result = TypeVar("_Result")


@app.command()
@options.sets(*options.FILES)
def status(*, overrides: options.Overrides, json: options.JsonOption = False) -> None:
    """Show which master key wraps the key ring, its terms, and how many values are sealed under each.

    Marks tell keys apart and give nothing of them away. Exit code 3 when the ring cannot be opened.

    \b
    Examples:
      keyrelay secrets status
    """
    import msgspec

    standing = _run(overrides, lambda keeping: keeping.standing())
    if json:
        print_json(**msgspec.to_builtins(standing))
    else:
        _show(standing)
    raise typer.Exit(Exit.PROBLEMS if standing.problem else Exit.FINE)


@app.command("rotate-master-key")
@options.sets(*options.FILES)
def rotate_master_key(
    *,
    overrides: options.Overrides,
    new_key_file: Annotated[
        Path | None,
        typer.Option("--new-key-file", metavar="FILE", exists=True, dir_okay=False, help="File with the new key."),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the new key from standard input.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make the new key.")] = False,
) -> None:
    """Put another master key in the place of the present one; gateways that run go on, and the next start uses it.

    The file of the master key holds both until it is done, a keyring has an entry for each. Killed in the middle,
    nothing is lost: the same command ends it, for a file without a new key. The old key stays beside the new one: it
    opens the backups made before.

    \b
    Examples:
      keyrelay secrets rotate-master-key --generate
      head -c 32 /dev/urandom | base64 | keyrelay secrets rotate-master-key --stdin
    """
    if (new_key_file is not None) + stdin + generate > 1:
        note("keyrelay: give one of --new-key-file, --stdin and --generate.")
        raise typer.Exit(Exit.USAGE)
    given = _given(new_key_file, stdin=stdin)

    async def rotate(keeping: "SecretKeeping") -> "Rotated":
        if given is None and not generate:
            _check_begun(await keeping.standing())
        return await keeping.rotate_master_key(given, generate=generate)

    done = _run(overrides, rotate)
    if done.before == done.after:
        note(f"The key ring is wrapped by {done.after} already.")
        return
    note(f"The key ring is wrapped by {done.after} now, no longer by {done.before}.")
    if done.aside:
        note(f"The new key is in {done.place}: back it up. Other hosts need it there before their next start.")
        note(f"The old one is in {done.aside}: it opens backups made before. Delete it when those are gone.")
    else:
        note("Set KEYRELAY_MASTER_KEY to the new key alone at the next start, and keep the old one for old backups.")


@app.command("rotate-term")
@options.sets(*options.FILES)
def rotate_term(*, overrides: options.Overrides) -> None:
    """Make a new data key and seal everything under it, a little at a time, while gateways run.

    Killed in the middle, the same command goes on where it ended. The old data key can be retired 15 minutes later, by
    `keyrelay secrets reseal`.

    \b
    Examples:
      keyrelay secrets rotate-term
    """
    with _progress("sealing anew") as progress:
        done = _run(overrides, lambda keeping: keeping.rotate_term(progress))
    _tell(done)


@app.command()
@options.sets(*options.FILES)
def reseal(*, overrides: options.Overrides) -> None:
    """Seal what is sealed under older terms under the current one, and retire those that are done with.

    \b
    Examples:
      keyrelay secrets reseal
    """
    with _progress("sealing anew") as progress:
        done = _run(overrides, lambda keeping: keeping.reseal(progress))
    _tell(done)


def _given(file: Path | None, *, stdin: bool) -> "Secret | None":
    from keyrelay.core.secrets import Secret

    if file is not None:
        with file.open("rb") as opened:
            return Secret(opened.read(_MAX_KEY_BYTES).decode("utf-8", "replace"))
    return Secret(sys.stdin.read(_MAX_KEY_BYTES)) if stdin else None


def _check_begun(standing: "SecretsStanding") -> None:
    """Leave the command where there is neither a new key nor a change to end."""
    if standing.ring and not standing.problem and len(standing.known) == 1:
        note("keyrelay: say where the new key comes from: --generate, --new-key-file FILE or --stdin.")
        raise typer.Exit(Exit.USAGE)


def _show(standing: "SecretsStanding") -> None:
    from keyrelay.core.moments import rfc3339

    if not standing.ring:
        note("Nothing has been sealed yet: there is no key ring.")
        if standing.problem:
            note(f"keyrelay: {standing.problem}.")
        return
    rows = [("master key", f"{standing.place}, {', '.join(standing.known) or 'not there'}")]
    rows.append(("key ring", f"{standing.ring}, wrapped by {standing.master}"))
    for term in standing.terms:
        until = "current" if term.superseded_s is None else f"until {rfc3339(term.superseded_s)}"
        rows.append((f"term {term.number}", f"{rfc3339(term.made_s)}, {until}: {counted(term.values, 'value')}"))
    print_table(("what", "value"), rows)
    if standing.problem:
        note(f"keyrelay: {standing.problem}.")
    if len(standing.known) > 1:
        note("A change of the master key was begun: `keyrelay secrets rotate-master-key` ends it.")
    if any(term.values for term in standing.terms if not term.current):
        note("Values are sealed under an older term: `keyrelay secrets reseal` seals them anew.")


def _tell(done: "Resealed") -> None:
    from keyrelay.core.moments import rfc3339

    note(
        f"{counted(done.values, 'value')} {'was' if done.values == 1 else 'were'} sealed anew, under term {done.term}."
    )
    if done.retired:
        note(f"Retired: {', '.join(map(str, done.retired))}.")
    if done.waiting:
        terms = ", ".join(map(str, done.waiting))
        note(f"Still there: {terms}. `keyrelay secrets reseal` retires it after {rfc3339(done.retire_at_s)}.")


def _silent(done: int, total: int) -> None:
    """Nobody looks."""
    del done, total


@contextmanager
def _progress(what: str) -> "Iterator[Progress]":
    """A bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _run(overrides: options.Overrides, work: "Callable[[SecretKeeping], Awaitable[_Result]]") -> _Result:
    """Run to the end; what the store or the vault refuses ends the command with a line that says why."""
    import asyncio

    from keyrelay.bootstrap.secret_keeping import secrets_of_store
    from keyrelay.core.errors import StoreError, VaultError

    settings = options.settings_of(overrides)

    async def run() -> _Result:
        async with secrets_of_store(settings) as keeping:
            return await work(keeping)

    try:
        return asyncio.run(run())
    except (StoreError, VaultError) as error:
        note(f"keyrelay: {error}.")
        raise typer.Exit(Exit.FAILED) from None
