"""`keyrelay config`: what is in force, whether it is in order, and where it is read from."""

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table, print_warnings

app = group(
    "Show and check the configuration.",
    "Show and check the configuration.",
    "keyrelay config show",
    "keyrelay config check",
    "keyrelay config path",
)


@app.command()
@options.sets(*options.FILES)
def show(
    *,
    overrides: options.Overrides,
    json: options.JsonOption = False,
) -> None:
    """Print every value in force with its source; secrets are masked.

    \b
    Examples:
      keyrelay config show
      keyrelay config show --json
      keyrelay --port 9000 config show     what --port 9000 would give
    """
    configuration = options.configuration_of(overrides)
    if json:
        print_json(values=configuration.values, warnings=configuration.warnings)
        return
    print_table(
        ("name", "value", "source"), ((value.name, value.value, value.source) for value in configuration.values)
    )
    print_warnings(configuration.warnings)


@app.command(short_help="Read the configuration and report every problem.")
@options.sets(*options.FILES)
def check(
    *,
    overrides: options.Overrides,
    json: options.JsonOption = False,
) -> None:
    """Read the configuration and report every problem; exit code 3 when there is one.

    \b
    Examples:
      keyrelay config check
      keyrelay config check --env-file production.env --json
    """
    from keyrelay.cli.supervising import refuse_alone
    from keyrelay.configuration import InvalidConfiguration
    from keyrelay.core.errors import ConfigurationError

    found: tuple[ConfigurationError, ...] = ()
    warnings: tuple[str, ...] = ()
    try:
        configuration = options.configuration_of(overrides)
        warnings = configuration.warnings
        refuse_alone(configuration)
    except InvalidConfiguration as error:
        found = error.problems
    except ConfigurationError as error:
        found = (error,)
    problems = [{"where": each.where, "problem": each.problem, "fix": each.fix} for each in found]
    if json:
        print_json(ok=not problems, problems=problems, warnings=warnings)
    else:
        for problem in problems:
            typer.echo(f"{problem['where']}: {problem['problem']} {problem['fix']}".rstrip())
        print_warnings(warnings)
        note(_verdict(len(problems), len(warnings)))
    raise typer.Exit(Exit.PROBLEMS if problems else Exit.FINE)


def _verdict(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "The configuration is in order."
    return f"problems: {problems}, warnings: {warnings}"


@app.command()
@options.sets(*options.FILES)
def path(
    *,
    overrides: options.Overrides,
    json: options.JsonOption = False,
) -> None:
    """Print where the configuration is read from and where data is kept.

    \b
    Examples:
      keyrelay config path
      keyrelay config path --json
    """
    settings = options.settings_of(overrides)
    places = {"config_file": settings.config_file, "env_file": settings.env_file, "data_dir": settings.data_dir}
    if json:
        print_json(paths={name: {"path": str(place), "exists": place.exists()} for name, place in places.items()})
        return
    rows = ((name, str(place), "" if place.exists() else "not there") for name, place in places.items())
    print_table(("name", "path", "state"), rows)
