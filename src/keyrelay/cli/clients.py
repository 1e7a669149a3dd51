"""`keyrelay clients`: the applications that may call.

A running gateway is asked. Where none answers, clients are listed, made and removed in the data directory's file, as
they have to be before the first start.
"""

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of
from keyrelay.cli.unknown_names import warn_of_models

app = group(
    "Make, list, change and remove clients: the applications that may call Keyrelay.",
    "Make, list and remove the applications that may call.",
    "keyrelay clients new my-app > my-app.secret",
    "keyrelay clients list",
    "keyrelay clients edit my-app --limit '60 requests per minute'",
    "keyrelay clients rotate my-app --grace 24h",
)

_PATH = "/api/v1/clients"
_PAGE = 1_000
_OF_FILE = "clients.json"

ClientArgument = Annotated[str, typer.Argument(metavar="LABEL", help="Name of the application.")]
LimitOption = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="LIMIT", help="As '60 requests per minute' or '5 usd per month'; may be repeated."),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="It may ask for this model or route; `*` is any letters. Repeatable."),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A word about it; may be repeated.")]
PriorityOption = Annotated[
    str | None, typer.Option("--priority", metavar="CLASS", help="It waits as interactive, agent or batch.")
]
NotesOption = Annotated[str | None, typer.Option("--notes", metavar="TEXT", help="What you want to remember of it.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="When it expires: RFC 3339, or 30d from now; 'never'.")
]


@app.command()
@options.sets(*options.REMOTE)
def new(  # noqa: PLR0913 - each is an option of the command
    label: Annotated[str | None, typer.Argument(metavar="LABEL", help="Name of the application.")] = None,
    *,
    overrides: options.Overrides,
    limit: LimitOption = None,
    model: ModelOption = None,
    tag: TagOption = None,
    priority: PriorityOption = None,
    notes: NotesOption = None,
    expires: ExpiresOption = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Make a client and print its secret, once: only a digest is kept.

    Without a running gateway it is made in the data directory; limits and the like are kept by a gateway alone.

    \b
    Examples:
      keyrelay clients new my-app
      keyrelay clients new my-app > my-app.secret
      keyrelay clients new demo --limit '60 requests per minute' --limit '5 usd per month' --expires 30d
    """
    said = _said(limit, model, tag, priority=priority, notes=notes, expires=expires)
    gateway = _running(overrides, secret_file)
    if gateway is None:
        _make_in_file(overrides, label, said)
        return
    name = label or _free_label({line["label"] for line in _all(gateway)})
    document = document_of(gateway.send("POST", _PATH, {"label": name, **said}))
    _show_made(document, json=json)
    warn_of_models(gateway, model or ())


def _make_in_file(overrides: options.Overrides, label: str | None, said: dict[str, Any]) -> None:
    from keyrelay.configuration.client_file import path_in, read_stored
    from keyrelay.configuration.first_run import add_client

    if said:
        note("keyrelay: no gateway answers, and it takes one to keep limits, models, tags, notes and an expiry.")
        raise typer.Exit(Exit.UNREACHABLE)
    directory = options.settings_of(overrides).data_dir
    taken = {each.label for each in read_stored(directory)}
    if label in taken:
        note(f"keyrelay: {path_in(directory)} has a client {label!r} already.")
        raise typer.Exit(Exit.FAILED)
    name = label or _free_label(taken)
    secret = add_client(directory, name)
    typer.echo(secret.reveal())
    note(f"Client {name} is in {path_in(directory)}. Its secret is shown this once, and Keyrelay lets it in from its")
    note("next start on. Callers send it as `Authorization: Bearer <secret>`.")


def _free_label(taken: set[str]) -> str:
    return next(label for number in range(1, len(taken) + 2) if (label := f"client-{number}") not in taken)


@app.command("list", short_help="List the clients and how much of their limits they have used.")
@options.sets(*options.REMOTE)
def list_(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List the clients of a running gateway; without one those of its store, or else those in the data directory.

    \b
    Examples:
      keyrelay clients list
      keyrelay clients list --json
    """
    gateway = _running(overrides, secret_file, or_store=True)
    if gateway is None:
        _list_file(overrides, json=json)
        return
    lines = _all(gateway)
    if json:
        print_json(clients=lines)
        return
    print_table(("label", "state", "source", "tail", "models", "limits", "expires"), map(_row, lines))


def _list_file(overrides: options.Overrides, *, json: bool) -> None:
    from keyrelay.configuration.client_file import read_stored
    from keyrelay.configuration.clients import fingerprint

    stored = read_stored(options.settings_of(overrides).data_dir)
    rows = [(each.label, fingerprint(each.client), f"{each.created_at:%Y-%m-%dT%H:%M:%SZ}") for each in stored]
    if json:
        print_json(clients=[dict(zip(("label", "fingerprint", "created_at"), row, strict=True)) for row in rows])
        return
    print_table(("label", "fingerprint", "created"), rows)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    return (
        line["label"],
        line["state"],
        line["source"],
        f"…{line['tail']}" if line["tail"] else "-",
        ", ".join(line["models"]) or "all",
        "; ".join(f"{each['limit']} ({_share(each)})" for each in line["limits"]) or "-",
        line["expires_at"] or "-",
    )


def _share(limit: dict[str, Any]) -> str:
    return f"{limit['used'] / limit['amount']:.0%}" if limit["amount"] else "100%"


@app.command()
@options.sets(*options.REMOTE)
def show(
    label: ClientArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show one client, and how its limits and budgets stand.

    \b
    Examples:
      keyrelay clients show my-app
      keyrelay clients show my-app --json
    """
    _show(document_of(Gateway(overrides, secret_file).get(_place(label))), json=json)


@app.command()
@options.sets(*options.REMOTE)
def edit(  # noqa: PLR0913 - each is an option of the command
    label: ClientArgument,
    *,
    overrides: options.Overrides,
    limit: LimitOption = None,
    model: ModelOption = None,
    tag: TagOption = None,
    priority: PriorityOption = None,
    notes: NotesOption = None,
    expires: ExpiresOption = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it may call.", show_default=False)
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Change a client. What is repeatable takes the place of all that there was; an empty text takes it away.

    \b
    Examples:
      keyrelay clients edit my-app --limit '120 requests per minute' --limit '10 usd per month'
      keyrelay clients edit my-app --model fast --model 'gpt-*'
      keyrelay clients edit my-app --limit '' --expires ''
      keyrelay clients edit my-app --disable
    """
    said = _said(limit, model, tag, priority=priority, notes=notes, expires=expires)
    if enabled is not None:
        said["enabled"] = enabled
    if not said:
        note("keyrelay: say what is to be another, with --limit, --model, --tag, --notes, --expires or --disable.")
        raise typer.Exit(Exit.USAGE)
    gateway = Gateway(overrides, secret_file)
    _show(document_of(gateway.send("PATCH", _place(label), said)), json=json)
    warn_of_models(gateway, model or ())


@app.command()
@options.sets(*options.REMOTE)
def rotate(
    label: ClientArgument,
    *,
    overrides: options.Overrides,
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="So long the secret holds that it has: 0, 30m, 24h, 7d.")
    ] = "24h",
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Give a client another secret and print it, once; for a while both hold.

    \b
    Examples:
      keyrelay clients rotate my-app > my-app.secret
      keyrelay clients rotate my-app --grace 0
    """
    body = {"grace_s": _seconds(grace)}
    document = document_of(Gateway(overrides, secret_file).send("POST", f"{_place(label)}/rotate", body))
    _show_made(document, json=json)


@app.command()
@options.sets(*options.REMOTE)
def revoke(
    label: ClientArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Refuse all secrets of a client, within a second; `rotate` lets it in again, by a new one.

    \b
    Examples:
      keyrelay clients revoke my-app
    """
    _show(document_of(Gateway(overrides, secret_file).send("POST", f"{_place(label)}/revoke")), json=json)


@app.command()
@options.sets(*options.REMOTE)
def reset(
    label: ClientArgument,
    *,
    overrides: options.Overrides,
    limit: Annotated[
        str, typer.Option("--limit", metavar="LIMIT", help="This one alone, as `keyrelay clients show` writes it.")
    ] = "",
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Count a client's limits and budgets anew, or one of them.

    \b
    Examples:
      keyrelay clients reset my-app
      keyrelay clients reset my-app --limit '5 usd per month@UTC'
    """
    body = {"limit": limit}
    _show(document_of(Gateway(overrides, secret_file).send("POST", f"{_place(label)}/reset", body)), json=json)


@app.command()
@options.sets(*options.REMOTE)
def remove(
    label: ClientArgument, *, overrides: options.Overrides, yes: YesOption = False, secret_file: SecretFileOption = None
) -> None:
    """Forget a client, whose secret is then refused.

    \b
    Examples:
      keyrelay clients remove my-app
      keyrelay clients remove my-app --yes
    """
    confirm(f"Remove the client {label} for good?", yes=yes)
    gateway = _running(overrides, secret_file)
    if gateway is not None and all(line["label"] != label or line["source"] != _OF_FILE for line in _all(gateway)):
        gateway.send("DELETE", _place(label))
        note(f"Client {label} is removed.")
        return
    _remove_from_file(overrides, label)


def _remove_from_file(overrides: options.Overrides, label: str) -> None:
    from keyrelay.configuration.client_file import path_in, read_stored
    from keyrelay.configuration.first_run import remove_client

    directory = options.settings_of(overrides).data_dir
    labels = [each.label for each in read_stored(directory)]
    if label not in labels:
        there = ", ".join(labels) or "none"
        note(f"keyrelay: no client in {path_in(directory)} is called {label!r}. There are: {there}.")
        raise typer.Exit(Exit.FAILED)
    remove_client(directory, label)
    note(f"Client {label} is removed from the data directory. A Keyrelay that runs there refuses it within a second.")


def _running(overrides: options.Overrides, secret_file: Any, *, or_store: bool = False) -> Gateway | None:
    """The gateway; None when none answers (nor has a store), and with port 0, where none can be found."""
    settings = options.settings_of(overrides)
    if not settings.url and not settings.port:
        return None
    gateway = Gateway(overrides, secret_file)
    return gateway if gateway.answers() or (or_store and gateway.store.is_there()) else None


def _all(gateway: Gateway) -> list[dict[str, Any]]:
    lines = list[dict[str, Any]]()
    after: str | None = ""
    while after is not None:
        page = document_of(gateway.get(_PATH, {"limit": _PAGE, "after": after or None}))
        lines += page["items"]
        after = page["next"]
    return lines


def _said(
    limits: list[str] | None,
    models: list[str] | None,
    tags: list[str] | None,
    *,
    priority: str | None,
    notes: str | None,
    expires: str | None,
) -> dict[str, Any]:
    """What the options say; an empty text says that there is to be nothing."""
    lists = {"limits": limits, "models": models, "tags": tags}
    said: dict[str, Any] = {name: list(filter(None, values)) for name, values in lists.items() if values}
    said |= {name: value for name, value in (("priority", priority), ("notes", notes)) if value is not None}
    return said if expires is None else {**said, "expires_at": None if expires == "never" else expires or None}


def _seconds(text: str) -> float:
    """A length of time as `0`, `30m`, `24h`; leaves the command for anything else."""
    from keyrelay.core.moment_texts import moment_of

    if text == "0":
        return 0.0
    now_s = 1e11
    try:
        return now_s - moment_of(text, now_s) if text[-1:].isalpha() else float(text)
    except ValueError:
        note(f"keyrelay: {text!r} is no length of time: write 0, 30m, 24h or 7d.")
        raise typer.Exit(Exit.USAGE) from None


def _show_made(document: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(**document)
        return
    typer.echo(document["secret"])
    client = document["client"]
    until = client["previous_until"]
    also = f" The one before holds until {until}." if until else ""
    note(f"This is the secret of {client['label']}, shown this once.{also}")
    note("Callers send it as `Authorization: Bearer <secret>`.")


def _show(line: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(**line)
        return
    shown = ("source", "state", "expires_at", "previous_until", "priority", "notes")
    rows = [("label", line["label"]), *((name.replace("_", " "), line[name]) for name in shown if line[name])]
    rows += [("models", ", ".join(line["models"]) or "all"), ("tags", ", ".join(line["tags"]) or "-")]
    print_table(("client", ""), rows)
    if line["limits"]:
        typer.echo()
        print_table(("limit", "used", "left", "used %", "resets"), _limit_rows(line["limits"]))


def _limit_rows(limits: Iterable[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    from keyrelay.core.limits import Unit
    from keyrelay.quota.forecast import amount_words

    for each in limits:
        unit = Unit(each["unit"])
        used, left = (amount_words(each[name], unit) for name in ("used", "remaining"))
        yield each["limit"], used, left, _share(each), each["resets_at"] or "-"


def _place(label: str) -> str:
    return f"{_PATH}/{quote(label, safe='')}"
