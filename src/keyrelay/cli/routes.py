"""`keyrelay routes`: the routes of a running gateway, and where a request would go."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of

app = group(
    "List, make and remove routes, and ask where a request would go.",
    "Manage routes; ask where a request would go.",
    "keyrelay routes set fast groq gemini --policy priority",
    "keyrelay routes list",
    "keyrelay routes explain fast",
)

_PATH = "/api/v1/routes"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The route's name.")]


@app.command("list", short_help="List the routes.")
@options.sets(*options.REMOTE)
def list_(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List the routes: `auto`, those of keyrelay.toml, those of the store.

    \b
    Examples:
      keyrelay routes list
      keyrelay routes list --json
    """
    document = document_of(Gateway(overrides, secret_file).get(_PATH))
    if json:
        print_json(**document)
        return
    rows = (
        (
            route["name"],
            ", ".join(route["targets"]) or "-",
            route["policy"],
            ", ".join(route["fallback"]) or "-",
            route["cache"] or "-",
            route["source"],
        )
        for route in document["items"]
    )
    print_table(("route", "targets", "policy", "fallback", "cache", "source"), rows)


@app.command("set")
@options.sets(*options.REMOTE)
def set_(  # noqa: PLR0913 - each is an option of the command
    name: NameArgument,
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="provider/model, or a provider for its default model.")
    ],
    *,
    overrides: options.Overrides,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="NAME", help="priority, round_robin, weighted or least_used."),
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option("--fallback", metavar="TARGET", help="When no target can serve; may be repeated."),
    ] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="MODE", help="off, deterministic or all; else as set.")
    ] = None,
    notes: Annotated[str, typer.Option("--notes", metavar="TEXT", help="What you want to remember of it.")] = "",
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Make a route, or say one anew.

    \b
    Examples:
      keyrelay routes set fast groq/openai/gpt-oss-20b gemini --policy priority
      keyrelay routes set safe anthropic --fallback openai --cache off
    """
    body: dict[str, Any] = {"targets": targets, "fallback": fallback or [], "notes": notes}
    body |= {name: value for name, value in (("policy", policy), ("cache", cache)) if value is not None}
    document = document_of(Gateway(overrides, secret_file).send("PUT", _place(name), body))
    if json:
        print_json(**document)
    else:
        after = f"; then {', '.join(document['fallback'])}" if document["fallback"] else ""
        note(f"Route {name}: {', '.join(document['targets'])}, {document['policy']}{after}.")
        for warning in document["warnings"]:
            note(f"warning: {warning}")


@app.command(short_help="Forget a route of the store.")
@options.sets(*options.REMOTE)
def remove(
    name: NameArgument, *, overrides: options.Overrides, yes: YesOption = False, secret_file: SecretFileOption = None
) -> None:
    """Forget a route of the store; one of the same name in keyrelay.toml is back then.

    \b
    Examples:
      keyrelay routes remove fast
      keyrelay routes remove fast --yes
    """
    place = _place(name)
    confirm(f"Remove the route {name} for good?", yes=yes)
    Gateway(overrides, secret_file).send("DELETE", place)
    note(f"Route {name} is removed.")


@app.command(short_help="Say where a request would go now.")
@options.sets(*options.REMOTE)
def explain(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(metavar="MODEL", help="What a caller would send as `model`.")],
    *,
    overrides: options.Overrides,
    client: Annotated[str, typer.Option("--client", metavar="LABEL", help="As if this client asked.")] = "",
    operation: Annotated[
        str, typer.Option("--operation", metavar="NAME", help="chat, completions, embeddings, images and so on.")
    ] = "chat",
    dialect: Annotated[
        str, typer.Option("--dialect", metavar="NAME", help="openai, responses, anthropic, gemini or ollama.")
    ] = "openai",
    tokens: Annotated[int | None, typer.Option("--tokens", metavar="NUMBER", help="Tokens of the prompt.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="NUMBER", help="The caller's bound on the answer.")
    ] = None,
    prefer: Annotated[str, typer.Option("--prefer", metavar="ID", help="The provider that is to be tried first.")] = "",
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="KEY", help="What if this key (groq/work) or provider failed? Repeatable."),
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Say where a request would go now, and why; nothing is sent.

    \b
    Examples:
      keyrelay routes explain auto
      keyrelay routes explain openai/gpt-oss-120b --tokens 20000 --without groq
    """
    body = {
        "model": model,
        "client": client,
        "operation": operation,
        "dialect": dialect,
        "tokens": tokens,
        "max_tokens": max_tokens,
        "prefer": prefer,
        "without": without or [],
    }
    gateway = Gateway(overrides, secret_file)
    if json:
        print_json(**document_of(gateway.send("POST", "/api/v1/explain", body)))
    else:
        typer.echo(gateway.send("POST", "/api/v1/explain", body, accept="text/plain").decode(), nl=False)


def _place(name: str) -> str:
    """Where a route is; leaves the command for a name that no route can have."""
    from keyrelay.configuration.toml_file import ROUTE_NAME

    if not ROUTE_NAME.fullmatch(name):
        note(f"keyrelay: {name!r} cannot be a route's name: write 1 to 64 letters, digits, `.`, `_` and `-`.")
        raise typer.Exit(Exit.USAGE)
    return f"{_PATH}/{quote(name, safe='')}"
