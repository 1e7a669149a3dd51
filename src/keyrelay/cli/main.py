"""`keyrelay`: the commands, and what their ends mean to the shell."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from keyrelay import __version__
from keyrelay.cli import catalogue, clients, config, db, explain, options, quota, replay, usage
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_warnings
from keyrelay.core.errors import KeyrelayError

NO_PROVIDER = """\
No provider is configured. Add a first key, for example:
  echo 'GROQ_API_KEY=<your key>' >> .env
`keyrelay providers list` names every provider and its variable; `keyrelay demo` needs no key."""

app = typer.Typer(
    name="keyrelay",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings and variables: docs/configuration.md. Commands and exit codes: docs/cli.md.",
)
app.add_typer(config.app, name="config")
app.add_typer(catalogue.providers_app, name="providers")
app.add_typer(catalogue.models_app, name="models")
app.add_typer(clients.app, name="clients")
app.add_typer(quota.app, name="quota")
app.add_typer(db.app, name="db")
app.command(short_help="Say why a request was answered as it was.")(explain.explain)
app.command(short_help="Show what was used: requests, tokens, cost, latency.")(usage.usage)
app.command(short_help="Compare policies and keys on recorded requests.")(replay.replay)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - click calls it with the flag's value
    if wanted:
        typer.echo(f"keyrelay {__version__}")
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
    without_provider = not configuration.snapshot.providers
    if without_provider and no_demo:
        print_warnings(configuration.warnings)
        note(NO_PROVIDER)
        return Exit.USAGE
    if without_provider:
        from keyrelay.cli.simulation import run_demo

        return run_demo(configuration)
    if configuration.settings.workers > 1:
        from keyrelay.cli.supervising import supervise

        return supervise(configuration, overrides)
    from keyrelay.cli.serving import run

    return run(configuration, overrides)


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
    """Print the version."""
    typer.echo(f"keyrelay {__version__}")


def main() -> None:
    """Entry point of the `keyrelay` command: run it and exit; what is foreseen becomes a line on stderr.

    Wrong usage (2), interruption (130) and a reader that went away (1) are typer's doing.
    """
    try:
        app(prog_name="keyrelay")
    except KeyrelayError as error:
        note(f"keyrelay: {error}")
        sys.exit(Exit.USAGE)
