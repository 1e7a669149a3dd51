"""`keyrelay import`: take over what another system was configured with."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption

if TYPE_CHECKING:
    from keyrelay.administration.importing.service import Importer
    from keyrelay.configuration import Configuration
    from keyrelay.core.administered import Administered

_PATH = "/api/v1/import"
_MAX_BYTES = 1_000_000
_LOOK_S = 2.0
_REFERENCE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]{0,127})")
_KINDS: Mapping[str, str] = {".json": "usage", ".yaml": "litellm", ".yml": "litellm"}
_DOES = frozenset({"new", "copied", "changed"})

FilesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="FILE…", exists=True, dir_okay=False, readable=True, help="Files to take over."),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="env, usage or litellm; else each file's ending says it."),
]


@options.sets(*options.REMOTE)
def import_(
    files: FilesArgument,
    *,
    overrides: options.Overrides,
    form: FormatOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Take over an old .env, the api_usage.json of the free-tier router, or a LiteLLM config.yaml.

    Shows what it will do, with secrets masked, and what stays behind and why; asks; and does all of it or nothing.
    Without a running gateway the data directory is written to, if --url is not given. `os.environ/NAME` in a LiteLLM
    configuration is looked up in the environment of this command and in the .env files that are imported with it.
    Ends with 3, and imports nothing, when one of the files cannot be read at all.

    \b
    Examples:
      keyrelay import .env
      keyrelay import .env api_usage.json --dry-run
      keyrelay import config.yaml --yes
    """
    body = _body(files, form)
    ask = _way_to(overrides, secret_file)
    shown = ask({**body, "dry_run": True})
    unreadable = [each for each in shown["lines"] if each["outcome"] == "unreadable"]
    if json and (dry_run or unreadable):
        print_json(**shown)
    if not json:
        _show(shown)
    if unreadable:
        _refuse(unreadable)
    if json and dry_run:
        return
    count = shown["imported"]
    if dry_run or not count:
        note(f"{count} to import." if count else "There is nothing to import.")
        return
    if not yes and not _agreed(count):
        note("Nothing was changed.")
        raise typer.Exit(Exit.FAILED)
    done = ask({**body, "revision": shown["revision"]})
    if json:
        print_json(**done)
    note(f"{done['imported']} imported. Keep the files until you have seen that it works, then delete them.")
    if done["uncounted"]:
        note(f"warning: {done['uncounted']}")


def _refuse(unreadable: list[dict[str, Any]]) -> NoReturn:
    for each in unreadable:
        note(f"keyrelay: {each['file']} cannot be read: {each['message']}")
    note("Nothing was imported. Mend the file or leave it out; --format says what it is if its ending does not.")
    raise typer.Exit(Exit.PROBLEMS)


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        note("keyrelay: nobody can be asked here: give --yes, or --dry-run to look only.")
        raise typer.Exit(Exit.USAGE)
    return typer.confirm(f"Import {count}?", err=True)


def _body(files: list[Path], form: str | None) -> dict[str, Any]:
    if form not in {None, "env", "usage", "litellm"}:
        note("keyrelay: --format is one of env, usage, litellm.")
        raise typer.Exit(Exit.USAGE)
    listed, variables, size = list[dict[str, str]](), dict[str, str](), 0
    wanted = set[str]()
    for path in files:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        size += len(data)
        text = data.decode("utf-8", "replace")
        kind = form or _KINDS.get(path.suffix.lower(), "env")
        listed.append({"kind": kind, "text": text, "name": path.name})
        if kind == "env":
            variables |= _variables(text)
        elif kind == "litellm":
            wanted |= set(_REFERENCE.findall(text))
    if size > _MAX_BYTES:
        note(f"keyrelay: the files are larger than {_MAX_BYTES} bytes together: import them one by one.")
        raise typer.Exit(Exit.USAGE)
    known = {**variables, **os.environ}
    return {"files": listed, "variables": {name: known[name] for name in sorted(wanted) if known.get(name)}}


def _variables(text: str) -> dict[str, str]:
    from keyrelay.configuration.environment import parse_env

    return parse_env(text)[0]


class _Ask:
    """Asks a gateway, or the data directory where none runs."""

    def __init__(self, gateway: Gateway | None, overrides: options.Overrides) -> None:
        self._gateway = gateway
        self._overrides = overrides

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        import msgspec

        document: dict[str, Any] = msgspec.json.decode(
            self._import(body) if self._gateway is None else self._gateway.send("POST", _PATH, body)
        )
        return document

    def _import(self, body: dict[str, Any]) -> bytes:
        import asyncio

        import msgspec

        from keyrelay.administration.importing.service import Wanted
        from keyrelay.administration.service import Author
        from keyrelay.bootstrap.offline import import_offline
        from keyrelay.core.errors import CallerError, StoreError

        dry_run = body.get("dry_run", False)
        wanted = msgspec.convert({name: value for name, value in body.items() if name != "dry_run"}, Wanted)
        author = Author("local")

        async def work(importer: "Importer") -> bytes:
            done = await (importer.look if dry_run else importer.do)(wanted, author)
            count = sum(line.outcome in _DOES for line in done.lines)
            return msgspec.json.encode({**msgspec.structs.asdict(done), "imported": count, "dry_run": dry_run})

        def load(administered: "Administered") -> "Configuration":
            return options.configuration_of(self._overrides, administered)

        try:
            return asyncio.run(import_offline(options.configuration_of(self._overrides), load, work))
        except (CallerError, StoreError) as error:
            note(f"keyrelay: {error}")
            raise typer.Exit(Exit.FAILED) from None


def _way_to(overrides: options.Overrides, secret_file: Path | None) -> _Ask:
    """The running gateway; where none runs, the data directory, which every gateway on it follows."""
    settings = options.settings_of(overrides)
    if not settings.url and not settings.port:
        return _Ask(None, overrides)
    gateway = Gateway(overrides, secret_file)
    if settings.url or _listens(gateway.url):
        return _Ask(gateway, overrides)
    note(f"No gateway runs at {gateway.url}: working on {settings.data_dir}.")
    return _Ask(None, overrides)


def _listens(url: str) -> bool:
    """Whether somebody takes connections there; who does not answer at all may be there."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), _LOOK_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True  # asking says why
    return True


def _show(shown: dict[str, Any]) -> None:
    rows = [
        (
            each["outcome"],
            each["kind"] or "-",
            f"{each['id']}{' …' + each['tail'] if each['tail'] else ''}" or "-",
            f"{each['file']}: {each['source']}",
            each["message"],
        )
        for each in sorted(shown["lines"], key=lambda each: each["outcome"] == "left")
    ]
    if rows:
        print_table(("what", "kind", "name", "from", "note"), rows)
