"""`keyrelay status` and `keyrelay errors`: how everything stands, and what fails, asked of a running gateway."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption
from keyrelay.cli.unknown_names import warn_of_kind, warn_of_provider

_STATUS, _ERRORS = "/api/v1/status", "/api/v1/errors"
_GOOD = frozenset({"operational"})
_NAMED = 3
_LONGEST = 80


@options.sets(*options.REMOTE)
def status(
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Say how everything stands: operational, degraded, at risk or down, and why. Ends with 3 unless it is operational.

    Where no gateway runs, it says how everything stood as far as its store tells, and ends with 5.

    \b
    Examples:
      keyrelay status
      keyrelay status --json
      keyrelay status --url https://keyrelay.example.com --secret-file secret.txt || page-somebody
    """
    import msgspec

    gateway = Gateway(overrides, secret_file)
    document = msgspec.json.decode(gateway.get(_STATUS))
    as_of = gateway.store.as_of
    if as_of is not None:
        _print_last_known(document, as_of, json=json)
        raise typer.Exit(Exit.UNREACHABLE)
    if json:
        print_json(**document)
    else:
        print_status(document)
    if document["status"] not in _GOOD:
        raise typer.Exit(Exit.PROBLEMS)


def _print_last_known(document: dict[str, Any], as_of: str, *, json: bool) -> None:
    """Print what the store of a gateway says that does not run, so that nobody takes it for one that does."""
    if json:
        print_json(**document, running=False, as_of=as_of)
        return
    typer.echo(f"not running; as of {as_of}:")
    print_status(document)


def print_status(document: dict[str, Any]) -> None:
    """Print the word, its reasons, and how routes and models stand; a client is told the word alone."""
    typer.echo(_words(document["status"]))
    if "reasons" not in document:
        note("why is told to operators; ask with --secret-file")
        return
    for reason in document["reasons"]:
        until = f" Until {reason['until']}." if reason["until"] else ""
        typer.echo(f"  {_words(reason['level'])}: {reason['text']}{until}")
    if document["services"]:
        typer.echo()
        print_table(("name", "kind", "status", "keys"), _services(document["services"]))
    for hint in document["hints"]:
        note(f"hint: {hint}")


def _services(services: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for each in services:
        yield each["name"], each["kind"], _words(each["status"]), f"{each['serving']} of {each['keys']}"


def _words(level: str) -> str:
    return level.replace("_", " ")


@options.sets(*options.REMOTE)
def errors(
    *,
    overrides: options.Overrides,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this time on: 24h, 7d, 2026-11-21 or RFC 3339.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time, by default now.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="ID", help="Of this provider only.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Of this kind only, such as auth.")] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show what failed in the last 24 hours, or another time, and what to do about it, the most frequent first.

    \b
    Examples:
      keyrelay errors
      keyrelay errors --from 7d --provider groq
      keyrelay errors --kind auth --json
    """
    import msgspec

    asked = {"from": start, "to": end, "provider": provider, "category": kind}
    gateway = Gateway(overrides, secret_file)
    document = msgspec.json.decode(gateway.get(_ERRORS, asked))
    if not document["groups"]:
        warn_of_provider(gateway, provider)
        warn_of_kind(kind)
    if json:
        print_json(**document)
        return
    print_errors(document)


def print_errors(document: dict[str, Any]) -> None:
    """Print the groups as a table, and below it what to do about each kind."""
    groups = document["groups"]
    if not groups:
        typer.echo("Nothing failed.")
    else:
        print_table(("count", "recovered", "kind", "message", "keys", "last seen"), map(_error_row, groups))
        typer.echo()
        for kind, group in {group["kind"]: group for group in reversed(groups)}.items():
            action = group["action"]
            typer.echo(f"{kind}: {group['advice']} ({action['method']} {action['path']})")
    note(f"from {document['from']} to {document['to']}")
    rest = document["groups_total"] - len(groups)
    if rest > 0:
        note(f"{rest} more groups; choose with --provider or --kind, or a shorter time")
    if document["complete_since"]:
        note(f"there are more failures than are looked at: whole since {document['complete_since']} alone")


def _error_row(group: dict[str, Any]) -> tuple[str, ...]:
    message = group["message"]
    return (
        f"{group['count']:,}",
        f"{group['share_recovered']:.0%}",
        group["kind"],
        message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…",
        _few(group["keys"]),
        group["last_seen"][:19] + "Z",
    )


def _few(affected: dict[str, Any]) -> str:
    names = affected["names"][:_NAMED]
    rest = affected["total"] - len(names)
    return (", ".join(names) + (f" +{rest}" if rest > 0 else "")) or "-"
