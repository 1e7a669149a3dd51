"""`keyrelay clients`: applications that may call Keyrelay, kept in the data directory."""

from typing import Annotated

import typer

from keyrelay.cli import options
from keyrelay.cli.output import note, print_json, print_table

app = typer.Typer(
    help="Make, list and remove clients: the applications that may call Keyrelay.",
    short_help="Make, list and remove the applications that may call.",
    no_args_is_help=True,
)


@app.command()
@options.sets("data_dir")
def new(
    label: Annotated[str | None, typer.Argument(metavar="LABEL", help="Name of the application.")] = None,
    *,
    overrides: options.Overrides,
) -> None:
    """Make a client and print its secret, once: only a digest is kept.

    \b
    Examples:
      keyrelay clients new my-app
      keyrelay clients new my-app > my-app.secret
    """
    from keyrelay.configuration.client_file import path_in, read_stored
    from keyrelay.configuration.first_run import add_client

    directory = options.settings_of(overrides).data_dir
    name = label or _free_label({each.label for each in read_stored(directory)})
    secret = add_client(directory, name)
    typer.echo(secret.reveal())
    note(f"Client {name} is in {path_in(directory)}. Its secret is shown this once; a running Keyrelay has to be")
    note("restarted to know it. Callers send it as `Authorization: Bearer <secret>`.")


def _free_label(taken: set[str]) -> str:
    return next(label for number in range(1, len(taken) + 2) if (label := f"client-{number}") not in taken)


@app.command("list", short_help="List the clients in the data directory.")
@options.sets("data_dir")
def list_(*, overrides: options.Overrides, json: options.JsonOption = False) -> None:
    """List the clients in the data directory; those of CLIENT_API_KEYS_MAP stand in `keyrelay config show`.

    \b
    Examples:
      keyrelay clients list
      keyrelay clients list --json
    """
    from keyrelay.configuration.client_file import read_stored
    from keyrelay.configuration.clients import fingerprint

    stored = read_stored(options.settings_of(overrides).data_dir)
    rows = [(each.label, fingerprint(each.client), f"{each.created_at:%Y-%m-%dT%H:%M:%SZ}") for each in stored]
    if json:
        print_json(clients=[dict(zip(("label", "fingerprint", "created_at"), row, strict=True)) for row in rows])
        return
    print_table(("label", "fingerprint", "created"), rows)


@app.command()
@options.sets("data_dir")
def remove(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Name of the application.")],
    *,
    overrides: options.Overrides,
) -> None:
    """Forget a client, whose secret is then refused.

    \b
    Examples:
      keyrelay clients remove my-app
    """
    from keyrelay.configuration.first_run import remove_client

    remove_client(options.settings_of(overrides).data_dir, label)
    note(f"Client {label} is removed. A running Keyrelay has to be restarted to refuse it.")
