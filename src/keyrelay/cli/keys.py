"""`keyrelay keys`: the keys of a running gateway. Secrets come from a file, from stdin or from a prompt."""

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm, read_secret, read_text
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of
from keyrelay.cli.unknown_names import warn_of_provider
from keyrelay.cli.words import in_words_of_commands

app = group(
    "Add, test, rotate and remove the keys of a running gateway.",
    "Manage the keys of the providers.",
    "keyrelay keys add groq --label work",
    "keyrelay keys list",
    "keyrelay keys test --failed",
    "keyrelay keys rotate groq/work",
)

_PATH = "/api/v1/keys"
_TASKS = "/api/v1/tasks"
_LOOK_EVERY_S = 0.2
_MOST_KEYS = 10_000
_BAD = frozenset({"invalid", "out_of_credit"})

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key as provider/label.")]
FromFileOption = Annotated[
    Path | None,
    typer.Option(
        "--from-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with the secret; else it comes from stdin, or is asked for.",
    ),
]
NoValidateOption = Annotated[bool, typer.Option("--no-validate", help="Do not ask the provider first.")]
SaveUnknownOption = Annotated[
    bool, typer.Option("--save-unknown", help="Save it also when the provider could not be asked.")
]


@app.command("list", short_help="List the keys and their states.")
@options.sets(*options.REMOTE)
def list_(
    *,
    overrides: options.Overrides,
    provider: Annotated[str | None, typer.Option("--provider", metavar="ID", help="Of this provider only.")] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="In this state only.")] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the keys of the store and of the environment, with their states.

    \b
    Examples:
      keyrelay keys list
      keyrelay keys list --state invalid --json
    """
    wanted = {"provider": provider, "state": state, "limit": _MOST_KEYS}
    gateway = Gateway(overrides, secret_file)
    document = document_of(gateway.get(_PATH, wanted))
    if not document["items"]:
        warn_of_provider(gateway, provider)
    if json:
        print_json(**document)
        return
    headers = ("key", "tail", "state", "until", "backup", "priority", "24 h", "failed", "last answer", "source")
    print_table(headers, map(_row, document["items"]))
    for key in document["items"]:
        if key["message"] and key["state"] not in {"ready", "unknown"}:
            note(f"{key['id']}: {key['message']} {key['way_back']}".rstrip())
        for suggestion in key["suggestions"]:
            note(f"{key['id']}: {suggestion['message']}")


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    usage = key["usage"] or {"requests": "?", "failed": "?"}
    return (
        key["id"],
        f"…{key['tail']}",
        key["state"].replace("_", " "),
        key["until"] or "-",
        "yes" if key["backup"] else "no",
        str(key["priority"]),
        str(usage["requests"]),
        str(usage["failed"]),
        key["last_success_at"] or "-",
        key["source"],
    )


@app.command()
@options.sets(*options.REMOTE)
def add(  # noqa: PLR0913 - each is an option of the command
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's id, as groq.")],
    *,
    overrides: options.Overrides,
    label: Annotated[str, typer.Option("--label", metavar="LABEL", help="A name for the key.")] = "",
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="Keys of one account share its quota.")
    ] = "",
    priority: Annotated[int, typer.Option("--priority", metavar="NUMBER", help="The lowest is taken first.")] = 0,
    weight: Annotated[float | None, typer.Option("--weight", metavar="NUMBER", help="Its share of requests.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="LIMIT", help="As '100 requests per 60s'; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="When it expires: RFC 3339, or 30d from now.")
    ] = None,
    notes: Annotated[str, typer.Option("--notes", metavar="TEXT", help="What you want to remember of it.")] = "",
    backup: Annotated[bool, typer.Option("--backup", help="It serves only when no other can.")] = False,
    from_file: FromFileOption = None,
    no_validate: NoValidateOption = False,
    save_unknown: SaveUnknownOption = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Add a key. Its secret comes from a file, from stdin, or is asked for; its provider is asked what it is worth.

    \b
    Examples:
      keyrelay keys add groq --label work
      keyrelay keys add groq --label work --from-file groq.key
      pass show groq | keyrelay keys add groq --backup
    """
    body = {
        "provider": provider,
        "secret": read_secret(from_file, f"Key for {provider}"),
        "label": label,
        "account": account,
        "priority": priority,
        "weight": weight,
        "limits": limit or [],
        "expires_at": expires,
        "notes": notes,
        "backup": backup,
        "validate": not no_validate,
        "save_unknown": save_unknown,
    }
    document = document_of(Gateway(overrides, secret_file).send("POST", _PATH, body))
    if json:
        print_json(**document)
        return
    said = document["validation"]
    typer.echo(document["key"]["id"])
    note(said["message"] if said else "It was not tested.")


@app.command("import", short_help="Add many keys at once.")
@options.sets(*options.REMOTE)
def import_(  # noqa: PLR0913 - each is an option of the command
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Without it, stdin is read."),
    ] = None,
    *,
    overrides: options.Overrides,
    provider: Annotated[
        str, typer.Option("--provider", metavar="ID", help="Of all keys for which the text names none.")
    ] = "",
    environment: Annotated[
        bool, typer.Option("--environment", help="Copy the keys of the gateway's environment into its store instead.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be added.")] = False,
    no_validate: NoValidateOption = False,
    save_unknown: SaveUnknownOption = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Add all keys of a text, or none: a `.env`, a table, JSON, or one key per line. What is there already is left out.

    \b
    Examples:
      keyrelay keys import old.env --dry-run
      keyrelay keys import --provider mistral < keys.txt
      keyrelay keys import --environment
    """
    gateway = Gateway(overrides, secret_file)
    if environment:
        document = document_of(gateway.send("POST", f"{_PATH}/import", {"all": True}))
        if json:
            print_json(**document)
        else:
            typer.echo("\n".join(document["imported"]))
        return
    body = {
        "text": read_text(file),
        "provider": provider,
        "dry_run": dry_run,
        "validate": not no_validate,
        "save_unknown": save_unknown,
    }
    document = document_of(gateway.send("POST", f"{_PATH}/bulk", body, details=partial(_show_lines, json=json)))
    _show_lines(document, json=json)
    lines = document["lines"]
    if any(line["outcome"] == "problem" for line in lines):
        note("Nothing would be added as long as there is a problem.")
        raise typer.Exit(Exit.PROBLEMS)
    would = sum(line["outcome"] == "new" for line in lines)
    note(f"{would} would be added; nothing was written: --dry-run." if dry_run else f"{document['added']} added.")


def _show_lines(document: dict[str, Any], *, json: bool) -> None:
    """What became of each of many keys."""
    if json:
        print_json(**document)
        return
    rows = (
        (
            str(line["line"]),
            line["outcome"],
            line["provider"],
            line["label"],
            f"…{line['tail']}",
            in_words_of_commands(line["message"]),
        )
        for line in document["lines"]
    )
    print_table(("line", "outcome", "provider", "label", "tail", "message"), rows)


@app.command()
@options.sets(*options.REMOTE)
def edit(  # noqa: PLR0913 - each is an option of the command
    key: KeyArgument,
    *,
    overrides: options.Overrides,
    label: Annotated[str | None, typer.Option("--label", metavar="LABEL", help="Another name.")] = None,
    account: Annotated[str | None, typer.Option("--account", metavar="NAME", help="Whose quota it uses.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="NUMBER", help="The lowest is taken first.")
    ] = None,
    weight: Annotated[float | None, typer.Option("--weight", metavar="NUMBER", help="Its share of requests.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="LIMIT", help="May be repeated; '' takes all away.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="When it expires: RFC 3339, or 30d from now; 'never'."),
    ] = None,
    notes: Annotated[str | None, typer.Option("--notes", metavar="TEXT", help="What you want to remember.")] = None,
    backup: Annotated[
        bool | None, typer.Option("--backup/--no-backup", help="Whether it serves only when no other can.")
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Change what is said of a key; what is not named stays as it is.

    \b
    Examples:
      keyrelay keys edit groq/work --priority 1 --backup
      keyrelay keys edit groq/work --limit '100 requests per 60s' --expires 2027-01-01
    """
    said = {
        "label": label,
        "account": account,
        "priority": priority,
        "weight": weight,
        "limits": None if limit is None else [each for each in limit if each],
        "notes": notes,
        "backup": backup,
    }
    body: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    if expires is not None:
        body["expires_at"] = None if expires in {"", "never"} else expires
    if not body:
        note("keyrelay: nothing is to be changed; name something.")
        raise typer.Exit(Exit.USAGE)
    _show(document_of(Gateway(overrides, secret_file).send("PATCH", _place(key), body)), json=json)


@app.command()
@options.sets(*options.REMOTE)
def enable(
    key: KeyArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Let a key take requests.

    \b
    Examples:
      keyrelay keys enable groq/work
    """
    _show(document_of(Gateway(overrides, secret_file).send("POST", f"{_place(key)}/enable")), json=json)


@app.command()
@options.sets(*options.REMOTE)
def disable(
    key: KeyArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Let a key take no more requests; those under way end with it.

    \b
    Examples:
      keyrelay keys disable groq/work
    """
    _show(document_of(Gateway(overrides, secret_file).send("POST", f"{_place(key)}/disable")), json=json)


@app.command()
@options.sets(*options.REMOTE)
def wake(
    key: KeyArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """End the rest of a key: it is tried again with the next request.

    \b
    Examples:
      keyrelay keys wake groq/work
    """
    _show(document_of(Gateway(overrides, secret_file).send("POST", f"{_place(key)}/wake")), json=json)


@app.command("test", short_help="Ask the providers what keys are worth.")
@options.sets(*options.REMOTE)
def prove(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="The keys as provider/label; without any, all.")
    ] = None,
    *,
    overrides: options.Overrides,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed when last used or tested.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Those not proven for a day.")] = False,
    provider: Annotated[str, typer.Option("--provider", metavar="ID", help="Of this provider only.")] = "",
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Ask the providers what keys are worth, at no cost. Exit code 3 when one is not accepted.

    \b
    Examples:
      keyrelay keys test
      keyrelay keys test groq/work
      keyrelay keys test --failed --json
    """
    if failed and stale:
        note("keyrelay: --failed and --stale exclude each other.")
        raise typer.Exit(Exit.USAGE)
    which = "failed" if failed else "stale" if stale else "all"
    for key in keys or ():
        _place(key, instead=f", or --provider {key} for all keys of a provider")
    gateway = Gateway(overrides, secret_file)
    body = {"which": which, "provider": provider, "keys": keys or []}
    task = _followed(gateway, document_of(gateway.send("POST", f"{_PATH}/test", body)))
    if not task["results"]:
        warn_of_provider(gateway, provider)
    if json:
        print_json(**task)
    else:
        rows = ((each["subject"], each["outcome"].replace("_", " "), each["message"]) for each in task["results"])
        print_table(("key", "outcome", "message"), sorted(rows))
    if task["state"] != "done":
        note(f"keyrelay: {task['state']}: {task['message']}")
        raise typer.Exit(Exit.FAILED)
    if any(each["outcome"] in _BAD for each in task["results"]):
        raise typer.Exit(Exit.PROBLEMS)


def _followed(gateway: Gateway, task: dict[str, Any]) -> dict[str, Any]:
    """The task once it has ended, with a bar until then; interrupted, it is cancelled."""
    try:
        for each in _looks(gateway, task):
            task = each
    except KeyboardInterrupt:
        gateway.send("DELETE", f"{_TASKS}/{task['id']}")
        note(f"Cancelled after {task['done']} of {task['total']}; what was found stays.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    return task


def _looks(gateway: Gateway, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    shown = sys.stderr.isatty() and task["total"] > 0
    with typer.progressbar(length=max(1, task["total"]), label="testing", file=sys.stderr, hidden=not shown) as bar:
        done = 0
        while True:
            bar.update(task["done"] - done)
            done = task["done"]
            yield task
            if task["state"] != "running":
                return
            time.sleep(_LOOK_EVERY_S)
            task = document_of(gateway.get(f"{_TASKS}/{task['id']}"))


@app.command()
@options.sets(*options.REMOTE)
def rotate(  # noqa: PLR0913 - each is an option of the command
    key: KeyArgument,
    *,
    overrides: options.Overrides,
    step: Annotated[
        str, typer.Option("--step", metavar="STEP", help="all, add, test, switch, retire or abort.")
    ] = "all",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the new key that is there already.")] = False,
    drain: Annotated[
        float, typer.Option("--drain", metavar="SECONDS", help="How long the old key is kept, out of use.")
    ] = 60.0,
    from_file: FromFileOption = None,
    no_validate: NoValidateOption = False,
    save_unknown: SaveUnknownOption = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Exchange the secret of a key: the new one is tested, takes over, and the old one is retired after a while.

    \b
    Examples:
      keyrelay keys rotate groq/work
      keyrelay keys rotate groq/work --from-file new.key --drain 600
      keyrelay keys rotate groq/work --resume
      keyrelay keys rotate groq/work --step abort
    """
    wanted = step in {"all", "add"} and not resume
    body = {
        "secret": read_secret(from_file, f"New key for {key}") if wanted else "",
        "step": step,
        "drain_s": drain,
        "validate": not no_validate,
        "save_unknown": save_unknown,
    }
    document = document_of(Gateway(overrides, secret_file).send("POST", f"{_place(key)}/rotate", body))
    if json:
        print_json(**document)
        return
    typer.echo(f"{key}: {document['reached']}")
    if document["validation"]:
        note(document["validation"]["message"])


@app.command()
@options.sets(*options.REMOTE)
def remove(
    key: KeyArgument, *, overrides: options.Overrides, yes: YesOption = False, secret_file: SecretFileOption = None
) -> None:
    """Remove a key from the store.

    \b
    Examples:
      keyrelay keys remove groq/work
      keyrelay keys remove groq/work --yes
    """
    place = _place(key)
    confirm(f"Remove {key} for good?", yes=yes)
    Gateway(overrides, secret_file).send("DELETE", place)
    note(f"{key} is removed.")


def _show(key: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(**key)
    else:
        typer.echo(f"{key['id']}: {key['state'].replace('_', ' ')}")


def _place(key: str, instead: str = "") -> str:
    """Where a key is; leaves the command for a name that is none, and says what could be written `instead`."""
    provider, sign, label = key.partition("/")
    if not (provider and sign and label):
        note(f"keyrelay: {key!r} is not the name of a key: write provider/label{instead}.")
        raise typer.Exit(Exit.USAGE)
    return f"{_PATH}/{quote(provider, safe='')}/{quote(label, safe='')}"
