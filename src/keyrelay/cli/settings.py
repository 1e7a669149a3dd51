"""`keyrelay settings`: the settings of a running gateway."""

from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of

app = group(
    "List and change the settings of a running gateway.",
    "List and change the settings of a running gateway.",
    "keyrelay settings list --changed",
    "keyrelay settings set max_wait_s=30",
    "keyrelay settings unset max_wait_s",
)

_PATH = "/api/v1/settings"


@app.command("list", short_help="List the settings in force.")
@options.sets(*options.REMOTE)
def list_(
    *,
    overrides: options.Overrides,
    changed: Annotated[bool, typer.Option("--changed", help="Those alone that are not as by default.")] = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the settings in force, where each comes from, and which can be changed here.

    \b
    Examples:
      keyrelay settings list --changed
      keyrelay settings list --json
    """
    document = document_of(Gateway(overrides, secret_file).get(_PATH))
    items = [each for each in document["items"] if not (changed and each["source"] == "default")]
    if json:
        print_json(items=items)
        return
    rows = ((each["name"], each["value"], each["source"], _how(each)) for each in items)
    print_table(("setting", "value", "source", "to change"), rows)


def _how(item: dict[str, Any]) -> str:
    if not item["editable"]:
        return str(item["fixed_by"])
    return "here, from the next start on" if item["needs_restart"] else "here"


@app.command("set")
@options.sets(*options.REMOTE)
def set_(
    settings: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="All of them are set, or none.")],
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Change settings.

    \b
    Examples:
      keyrelay settings set max_wait_s=30
      keyrelay settings set policy=least_used fallback=openai,anthropic
    """
    wanted = dict(text.partition("=")[::2] for text in settings)
    if not all("=" in text for text in settings):
        note("keyrelay: write NAME=VALUE; `keyrelay settings unset NAME` takes one back.")
        raise typer.Exit(Exit.USAGE)
    _change(Gateway(overrides, secret_file), wanted, as_json=json)


@app.command()
@options.sets(*options.REMOTE)
def unset(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As keyrelay.toml or the default says, then.")],
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Take back what was set here.

    \b
    Examples:
      keyrelay settings unset max_wait_s policy
    """
    _change(Gateway(overrides, secret_file), dict.fromkeys(names), as_json=json)


def _change(gateway: Gateway, wanted: dict[str, Any], *, as_json: bool) -> None:
    document = document_of(gateway.send("PATCH", _PATH, {"settings": wanted}))
    changed = [each for each in document["items"] if each["name"] in wanted]
    if as_json:
        print_json(items=changed)
    else:
        for each in changed:
            later = ", from the next start on" if each["needs_restart"] else ""
            typer.echo(f"{each['name']} = {each['value']} ({each['source']}){later}")
