"""`keyrelay providers …` about a running gateway: adding, changing, testing, discovering models."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm
from keyrelay.cli.catalogue import providers_app
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.provider_tables import PATH, row_of
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of
from keyrelay.core.words import counted

app = providers_app
"""The same group, to which those of the catalogue belong."""

_MODELS_SHOWN = 20
_MOST_BYTES = 4096
_BAD = frozenset({"invalid", "out_of_credit"})

ProviderArgument = Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's id, as groq.")]
KeyOption = Annotated[
    str, typer.Option("--key", metavar="LABEL", help="Ask with this key; else the first that serves.")
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Its address, as the provider's own SDK takes it.")
]
DialectOption = Annotated[
    str | None, typer.Option("--dialect", metavar="NAME", help="openai, anthropic, gemini, cohere or ollama.")
]
PriorityOption = Annotated[int | None, typer.Option("--priority", metavar="NUMBER", help="The lowest is tried first.")]
TierOption = Annotated[str | None, typer.Option("--tier", metavar="NAME", help="free, paid or unknown.")]
MarginOption = Annotated[
    float | None, typer.Option("--margin", metavar="PERCENT", help="0 to 1, of its own limits that is left unused.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="May be repeated; the first is the default model."),
]
LimitOption = Annotated[
    list[str] | None, typer.Option("--limit", metavar="LIMIT", help="As '100 requests per day'; may be repeated.")
]
NotesOption = Annotated[str | None, typer.Option("--notes", metavar="TEXT", help="What you want to remember of it.")]
EnabledOption = Annotated[
    bool | None, typer.Option("--enabled/--disabled", help="On also without a key, or off; else as it would be.")
]
ConfirmOption = Annotated[
    str | None,
    typer.Option("--confirm-keys", metavar="ADDRESS", help="All of its keys may go to this address: https://host."),
]
UnsetOption = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="FIELD", help="Say nothing of this any more, as base_url; may be repeated."),
]


@app.command(short_help="Show one provider, and where its values come from.")
@options.sets(*options.REMOTE)
def show(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show one provider of a running gateway: what is in force, and where each value comes from.

    \b
    Examples:
      keyrelay providers show groq
      keyrelay providers show groq --json
    """
    _print(document_of(Gateway(overrides, secret_file).get(_place(provider))), as_json=json)


@app.command(short_help="Add a provider of any address.")
@options.sets(*options.REMOTE)
def add(  # noqa: PLR0913 - each is an option of the command
    provider: ProviderArgument,
    base_url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Its address; one of the catalogue has its own.")
    ] = None,
    *,
    overrides: options.Overrides,
    dialect: DialectOption = None,
    priority: PriorityOption = None,
    tier: TierOption = None,
    margin: MarginOption = None,
    model: ModelOption = None,
    limit: LimitOption = None,
    notes: NotesOption = None,
    enabled: EnabledOption = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Add a provider: any server that speaks OpenAI's dialect, or another one that --dialect names.

    What was administered of it before is not said any more; `edit` changes single fields. Its key comes afterwards, by
    `keyrelay keys add`; a server that needs none serves with --enabled.

    \b
    Examples:
      keyrelay providers add my_llm https://llm.example.com/v1 --model large --model small
      keyrelay providers add box http://192.168.7.20:8000/v1 --enabled
      keyrelay providers add groq --tier paid --limit '5000 requests per day'
    """
    said = {
        "base_url": base_url,
        "dialect": dialect,
        "enabled": enabled,
        "priority": priority,
        "tier": tier,
        "margin": margin,
        "models": model or None,
        "limits": limit or None,
        "notes": notes,
    }
    body = {name: value for name, value in said.items() if value is not None}
    _print(document_of(Gateway(overrides, secret_file).send("PUT", _place(provider), body)), as_json=json)


@app.command()
@options.sets(*options.REMOTE)
def edit(  # noqa: PLR0913 - each is an option of the command
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    base_url: BaseUrlOption = None,
    dialect: DialectOption = None,
    priority: PriorityOption = None,
    tier: TierOption = None,
    margin: MarginOption = None,
    model: ModelOption = None,
    limit: LimitOption = None,
    notes: NotesOption = None,
    unset: UnsetOption = None,
    confirm_keys: ConfirmOption = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Change some of what is administered of a provider.

    Keys that were entered for another address stay behind when the address changes, until each is entered again or
    --confirm-keys names the new address.

    \b
    Examples:
      keyrelay providers edit groq --priority 1
      keyrelay providers edit my_llm --base-url https://new.example.com/v1 --confirm-keys https://new.example.com
      keyrelay providers edit groq --unset limits
    """
    said: dict[str, Any] = {
        "base_url": base_url,
        "dialect": dialect,
        "priority": priority,
        "tier": tier,
        "margin": margin,
        "models": model or None,
        "limits": limit or None,
        "notes": notes,
        "confirm_keys": confirm_keys,
    }
    body = {name: value for name, value in said.items() if value is not None} | dict.fromkeys(unset or ())
    if not body:
        note("keyrelay: nothing to change: give an option.")
        raise typer.Exit(Exit.USAGE)
    _print(document_of(Gateway(overrides, secret_file).send("PATCH", _place(provider), body)), as_json=json)


@app.command()
@options.sets(*options.REMOTE)
def enable(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Switch a provider on.

    \b
    Examples:
      keyrelay providers enable ollama
    """
    _switched(document_of(Gateway(overrides, secret_file).send("POST", _place(provider, "enable"))), as_json=json)


@app.command()
@options.sets(*options.REMOTE)
def disable(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Switch a provider off: nothing new goes there.

    \b
    Examples:
      keyrelay providers disable groq
    """
    _switched(document_of(Gateway(overrides, secret_file).send("POST", _place(provider, "disable"))), as_json=json)


@app.command(short_help="Say in which order providers are tried.")
@options.sets(*options.REMOTE)
def order(
    providers: Annotated[list[str], typer.Argument(metavar="PROVIDER...", help="Ids, the first to be tried first.")],
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Say in which order providers are tried; those not named follow as they stand.

    \b
    Examples:
      keyrelay providers order groq gemini my_llm
    """
    document = document_of(Gateway(overrides, secret_file).send("PUT", f"{PATH}/order", {"order": providers}))
    if json:
        print_json(**document)
    else:
        typer.echo("\n".join(document["order"]))


@app.command("test", short_help="Ask a provider whether a key is good.")
@options.sets(*options.REMOTE)
def try_out(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    key: KeyOption = "",
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Ask a provider whether one of its keys is good, at no cost; exit code 3 when it is not.

    \b
    Examples:
      keyrelay providers test groq
      keyrelay providers test groq --key work --json
    """
    document = document_of(Gateway(overrides, secret_file).send("POST", _place(provider, "test"), {"key": key}))
    if json:
        print_json(**document)
    else:
        typer.echo(f"{provider}/{document['key']}: {document['outcome'].replace('_', ' ')}, {document['ms']:g} ms")
        note(document["message"])
    raise typer.Exit(Exit.PROBLEMS if document["outcome"] in _BAD else Exit.FINE)


@app.command(short_help="Ask a provider which models it has.")
@options.sets(*options.REMOTE)
def discover(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    key: KeyOption = "",
    apply: Annotated[bool, typer.Option("--apply", help="Have those that are new be known.")] = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Of those, with --apply; may be repeated.")
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Ask a provider which models it has, and mark those that are new here.

    \b
    Examples:
      keyrelay providers discover groq
      keyrelay providers discover my_llm --apply
      keyrelay providers discover openrouter --apply --model qwen/qwen3-coder
    """
    body = {"key": key, "apply": apply, "models": model or None}
    document = document_of(Gateway(overrides, secret_file).send("POST", _place(provider, "discover"), body))
    if json:
        print_json(**document)
        raise typer.Exit(Exit.PROBLEMS if document["problem"] else Exit.FINE)
    if document["problem"]:
        note(f"keyrelay: {document['problem']}")
        raise typer.Exit(Exit.PROBLEMS)
    added = set(document["added"])
    rows = ((each["id"], _news(each, added), "yes" if each["priced"] else "no") for each in document["models"])
    print_table(("model", "state", "priced"), rows)
    if not document["models"]:
        note(f"It lists no model; name those that it has by `keyrelay providers edit {provider} --model NAME`.")
    if document["missing"]:
        note(f"known here, and not listed there: {', '.join(document['missing'][:_MODELS_SHOWN])}")


def _news(model: dict[str, Any], added: set[str]) -> str:
    if model["id"] in added:
        return "added"
    return "known" if model["known"] else "new"


@app.command(short_help="Look at an address before it becomes a provider.")
@options.sets(*options.REMOTE)
def preview(
    base_url: Annotated[str, typer.Argument(metavar="URL", help="The address.")],
    *,
    overrides: options.Overrides,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", exists=True, dir_okay=False, readable=True, help="File with a key."),
    ] = None,
    dialect: DialectOption = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Ask an address for its list of models, and say whether it could be a provider; exit code 3 when not.

    \b
    Examples:
      keyrelay providers preview https://llm.example.com --key-file llm.key
    """
    key = "" if key_file is None else key_file.read_text(encoding="utf-8", errors="replace")[:_MOST_BYTES].strip()
    body = {"base_url": base_url, "key": key, "dialect": dialect}
    document = document_of(Gateway(overrides, secret_file).send("POST", f"{PATH}/preview", body))
    if json:
        print_json(**document)
    elif document["compatible"]:
        typer.echo(f"{document['base_url']} lists {counted(len(document['models']), 'model')}")
        typer.echo("\n".join(document["models"][:_MODELS_SHOWN]))
    else:
        note(f"keyrelay: {document['problem']}")
    raise typer.Exit(Exit.FINE if document["compatible"] else Exit.PROBLEMS)


@app.command(short_help="Forget what is administered of a provider.")
@options.sets(*options.REMOTE)
def remove(
    provider: ProviderArgument,
    *,
    overrides: options.Overrides,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Delete its keys in the store too.")] = False,
    yes: YesOption = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Forget what is administered of a provider; one of the catalogue is then as that has it.

    \b
    Examples:
      keyrelay providers remove my_llm
      keyrelay providers remove my_llm --with-keys --yes
    """
    what = f"{provider} and its keys" if with_keys else f"what is administered of {provider}"
    confirm(f"Remove {what} for good?", yes=yes)
    place = _place(provider) + ("?with_keys=true" if with_keys else "")
    document = document_of(Gateway(overrides, secret_file).send("DELETE", place))
    if json:
        print_json(**document)
        return
    note(f"Nothing is administered of {provider} any more.")


def _print(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(**line)
        return
    provider, state, priority, keys, *_ = row_of(line)
    typer.echo(f"{provider} ({line['name']}): {state.replace('_', ' ')}")
    values = {name: (value["value"], value["source"]) for name, value in line["values"].items()}
    shown = values or {"base_url": (line["base_url"], ""), "priority": (priority, "")}
    rows = [(name, *value) for name, value in shown.items()]
    rows += [(f"limit {number}", limit["text"], limit["source"]) for number, limit in enumerate(line["limits"], 1)]
    rows.append(("keys", keys, ""))
    rows.append(("models", ", ".join(model["id"] for model in line["models"][:_MODELS_SHOWN]) or "-", ""))
    print_table(("name", "value", "source"), rows)
    for warning in line["warnings"]:
        note(f"warning: {warning}")
    if line["state"] == "no_key":
        note(f"It has no key yet: `keyrelay keys add {provider}`.")


def _switched(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(**line)
    else:
        typer.echo(f"{line['id']}: {line['state'].replace('_', ' ')}")


def _place(provider: str, verb: str = "") -> str:
    place = f"{PATH}/{quote(provider, safe='')}"
    return f"{place}/{verb}" if verb else place
