"""`keyrelay`: the commands, and what their ends mean to the shell."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyrelay import __version__
from keyrelay.cli import (
    alerts,
    catalogue,
    clients,
    config,
    db,
    doctor,
    explain,
    importing,
    keys,
    options,
    people,
    providers,
    quota,
    replay,
    routes,
    secrets,
    settings,
    status,
    usage,
)
from keyrelay.cli.exits import exit_for
from keyrelay.cli.output import note
from keyrelay.core.compiled import is_compiled
from keyrelay.core.errors import KeyrelayError

if TYPE_CHECKING:
    from keyrelay.configuration import Configuration

app = typer.Typer(
    name="keyrelay",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings and variables: docs/configuration.md. Commands and exit codes: docs/cli.md.",
)
app.add_typer(config.app, name="config")
app.add_typer(providers.app, name="providers")
app.add_typer(catalogue.models_app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(routes.app, name="routes")
app.add_typer(settings.app, name="settings")
app.add_typer(clients.app, name="clients")
app.add_typer(quota.app, name="quota")
app.add_typer(alerts.app, name="alerts")
app.add_typer(db.app, name="db")
app.add_typer(secrets.app, name="secrets")
app.add_typer(people.people_app, name="people")
app.add_typer(people.tokens_app, name="tokens")
app.command(short_help="Look for what is wrong, and say what to do.")(doctor.doctor)
app.command("import", short_help="Take over an old configuration.")(importing.import_)
app.command(short_help="Say how everything stands, and why.")(status.status)
app.command(short_help="Show what failed, and what to do about it.")(status.errors)
app.command(short_help="Say why a request was answered as it was.")(explain.explain)
app.command(short_help="Show what was used: requests, tokens, cost, latency.")(usage.usage)
app.command(short_help="Compare policies and keys on recorded requests.")(replay.replay)


def _version() -> str:
    return f"keyrelay {__version__}{' (compiled)' if is_compiled() else ''}"


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - click calls it with the flag's value
    if wanted:
        typer.echo(_version())
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
]


@app.callback(invoke_without_command=True)
@options.sets(*options.SERVER)
def root(
    ctx: typer.Context,
    *,
    overrides: options.Overrides,
    no_demo: options.NoDemoOption = False,
    version: VersionOption = False,
) -> None:
    """One endpoint in front of every AI API key that you own.

    \b
    Examples:
      keyrelay                              start with the keys of the environment and .env
      keyrelay demo                         start with simulated providers, no key needed
      keyrelay up --port 9000               listen on another port
      keyrelay config show                  every value in force and where it comes from
      keyrelay clients new my-app           a secret for an application

    Without a command, `up` is meant. Options may stand before a command or behind it.
    """
    del version
    if ctx.invoked_subcommand is None:
        raise typer.Exit(_up(overrides, no_demo=no_demo))


@app.command()
@options.sets(*options.SERVER)
def up(*, overrides: options.Overrides, no_demo: options.NoDemoOption = False) -> None:
    """Start the gateway.

    \b
    Examples:
      keyrelay up
      keyrelay up --host 0.0.0.0 --port 9000
      REDIS_URL=redis://127.0.0.1:6379/0 keyrelay up --workers 4
      GROQ_API_KEY=<your key> keyrelay up --no-demo
    """
    raise typer.Exit(_up(overrides, no_demo=no_demo))


def _up(overrides: options.Overrides, *, no_demo: bool) -> int:
    configuration = options.configuration_of(overrides)
    if not (configuration.snapshot.providers or no_demo or _is_administered(configuration)):
        from keyrelay.cli.simulation import run_demo

        return run_demo(configuration)
    if configuration.settings.workers > 1:
        from keyrelay.cli.supervising import supervise

        return supervise(configuration, overrides)
    from keyrelay.cli.serving import run

    return run(configuration, overrides)


def _is_administered(configuration: "Configuration") -> bool:
    """Whether a gateway has been started here before, or has a store elsewhere: it may know providers from there."""
    from keyrelay.configuration.local_secret import read_local_secret

    settings = configuration.settings
    return bool(settings.database_url) or bool(read_local_secret(settings.data_dir))


@app.command(short_help="Start the gateway with simulated providers.")
@options.sets("host", "port", "data_dir")
def demo(*, overrides: options.Overrides) -> None:
    """Start the gateway with simulated providers: nothing leaves this machine.

    \b
    Examples:
      keyrelay demo
      keyrelay demo --port 9000
    """
    from keyrelay.cli.simulation import run_demo

    raise typer.Exit(run_demo(options.configuration_of(overrides)))


@app.command(short_help="Start simulated providers alone.")
def simulator(
    *,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8788,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Seed of everything random.")] = 0,
    scenario: Annotated[
        Path | None,
        typer.Option(
            "--scenario",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Keys, limits, faults and latencies, as .toml or .json; see docs/simulator.md.",
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="ID", help="Provider to simulate; may be repeated. Without it, all."),
    ] = None,
) -> None:
    """Start simulated providers alone, to point another gateway or a test at.

    \b
    Examples:
      keyrelay simulator
      keyrelay simulator --provider groq --provider gemini --seed 7
      keyrelay simulator --scenario scenario.toml --port 9100
    """
    from keyrelay.cli.simulation import run_simulator

    providers = tuple(provider or ())
    raise typer.Exit(run_simulator(host=host, port=port, seed=seed, scenario_file=scenario, provider_ids=providers))


@app.command()
def version() -> None:
    """Print the version.

    \b
    Examples:
      keyrelay version
    """
    typer.echo(_version())


def main() -> None:
    """Entry point of the `keyrelay` command: run it and exit; what is foreseen becomes a line on stderr.

    Wrong usage (2), interruption (130) and a reader that went away (1) are typer's doing.
    """
    try:
        app(prog_name="keyrelay")
    except KeyrelayError as error:
        note(f"keyrelay: {error}")
        sys.exit(exit_for(error))
