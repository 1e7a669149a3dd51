"""`keyrelay people` and `keyrelay tokens`: who may administer a running gateway."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of, quoted

people_app = group(
    "Add, change and remove the people who may sign in.",
    "Manage the people who may sign in.",
    "keyrelay people add alice --role administrator",
    "keyrelay people list",
    "keyrelay people edit bob --disable",
)
tokens_app = group(
    "Make, list and revoke the tokens with which programs administer.",
    "Manage the tokens with which programs administer.",
    "keyrelay tokens new ci --role operator --scope key > ci.token",
    "keyrelay tokens list",
    "keyrelay tokens revoke ci",
)

_PEOPLE = "/api/v1/people"
_TOKENS = "/api/v1/tokens"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name that the person signs in with.")]
RoleOption = Annotated[str | None, typer.Option("--role", metavar="ROLE", help="viewer, operator or administrator.")]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with the password on its first line; else it is asked for.",
    ),
]


@people_app.command("list")
@options.sets(*options.REMOTE)
def list_people(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List the people who may sign in.

    \b
    Examples:
      keyrelay people list
    """
    document = document_of(Gateway(overrides, secret_file).get(_PEOPLE))
    if json:
        print_json(**document)
        return
    rows = ((each["name"], each["role"], "yes" if each["enabled"] else "no") for each in document["items"])
    print_table(("name", "role", "enabled"), rows)


@people_app.command()
@options.sets(*options.REMOTE)
def add(
    name: NameArgument,
    *,
    overrides: options.Overrides,
    role: RoleOption = "viewer",
    password_file: PasswordFileOption = None,
    secret_file: SecretFileOption = None,
) -> None:
    """Add a person; the password is asked for.

    \b
    Examples:
      keyrelay people add alice --role administrator
      keyrelay people add bob --password-file bob.password
    """
    gateway = Gateway(overrides, secret_file)
    gateway.send("POST", _PEOPLE, {"name": name, "role": role, "password": _password(password_file)})
    note(f"{name} may sign in as {role}.")


@people_app.command()
@options.sets(*options.REMOTE)
def edit(
    name: NameArgument,
    *,
    overrides: options.Overrides,
    role: RoleOption = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether the person may sign in at all.")
    ] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for another password.")] = False,
    password_file: PasswordFileOption = None,
    secret_file: SecretFileOption = None,
) -> None:
    """Change a person's role or password, or switch them off; they have to sign in again.

    \b
    Examples:
      keyrelay people edit bob --role operator
      keyrelay people edit bob --disable
      keyrelay people edit alice --password
    """
    change: dict[str, Any] = {}
    if role is not None:
        change["role"] = role
    if enabled is not None:
        change["enabled"] = enabled
    if password or password_file is not None:
        change["password"] = _password(password_file)
    if not change:
        note("keyrelay: nothing to change: give --role, --enable, --disable or --password.")
        raise typer.Exit(Exit.USAGE)
    Gateway(overrides, secret_file).send("PATCH", f"{_PEOPLE}/{quoted(name)}", change)
    note(f"{name} is changed, and has to sign in again.")


@people_app.command()
@options.sets(*options.REMOTE)
def remove(
    name: NameArgument, *, overrides: options.Overrides, yes: YesOption = False, secret_file: SecretFileOption = None
) -> None:
    """Remove a person and their tokens.

    \b
    Examples:
      keyrelay people remove bob
      keyrelay people remove bob --yes
    """
    confirm(f"Remove {name} and their tokens for good?", yes=yes)
    Gateway(overrides, secret_file).send("DELETE", f"{_PEOPLE}/{quoted(name)}")
    note(f"{name} is removed.")


@tokens_app.command("list")
@options.sets(*options.REMOTE)
def list_tokens(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List tokens, without their secrets.

    \b
    Examples:
      keyrelay tokens list --json
    """
    document = document_of(Gateway(overrides, secret_file).get(_TOKENS))
    if json:
        print_json(**document)
        return
    rows = (
        (
            each["name"],
            each["role"],
            ", ".join(each["scopes"]) or "all",
            each["owner"] or "none",
            f"…{each['tail']}",
            each["expires"] or "never",
        )
        for each in document["items"]
    )
    print_table(("name", "role", "for", "owner", "ends with", "expires"), rows)


@tokens_app.command()
@options.sets(*options.REMOTE)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the token is called.")],
    *,
    overrides: options.Overrides,
    role: RoleOption = "viewer",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", metavar="KIND", help="Only for keys, say (`key`); may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option("--days", metavar="NUMBER", help="After so many days it expires.")] = 90,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Make a token and print its secret, once: only a digest is kept.

    \b
    Examples:
      keyrelay tokens new ci --role operator --scope key > ci.token
      keyrelay tokens new ci --json
    """
    body = {"name": name, "role": role, "scopes": scope or [], "days": days}
    made = document_of(Gateway(overrides, secret_file).send("POST", _TOKENS, body))
    if json:
        print_json(**made)
        return
    typer.echo(made["secret"])
    note(f"Token {name} holds until {made['token']['expires']}. Its secret is shown this once.")


@tokens_app.command()
@options.sets(*options.REMOTE)
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the token is called.")],
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
) -> None:
    """Revoke a token: within a second nobody can use it any more.

    \b
    Examples:
      keyrelay tokens revoke ci
    """
    Gateway(overrides, secret_file).send("DELETE", f"{_TOKENS}/{quoted(name)}")
    note(f"Token {name} is revoked.")


def _password(file: Path | None) -> str:
    """The password in the file, or as it is typed, twice. It never stands in an argument, where others see it."""
    if file is not None:
        with file.open(encoding="utf-8") as opened:
            return opened.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        note("keyrelay: nobody can be asked for a password here: give --password-file.")
        raise typer.Exit(Exit.USAGE)
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed
