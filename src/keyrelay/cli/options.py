"""The options that several commands share, and how they become overrides of settings.

Options of settings are plain text here: `keyrelay.configuration` checks them by the same table as the environment.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from keyrelay.configuration import Configuration
    from keyrelay.core.administered import Administered
    from keyrelay.settings import Settings

Overrides = Mapping[str, str]
"""Texts of settings by name, as the command line gave them."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
NoDemoOption = Annotated[
    bool, typer.Option("--no-demo", help="Without a provider, wait for one instead of starting the demonstration.")
]


def _option(flag: str, metavar: str, text: str) -> Any:
    return Annotated[str | None, typer.Option(flag, metavar=metavar, help=text)]


_OPTIONS: Mapping[str, Any] = {
    "host": _option("--host", "ADDRESS", "Address to listen on, by default 127.0.0.1."),
    "port": _option("--port", "PORT", "Port to listen on, by default 8787; 0 takes a free one."),
    "workers": _option("--workers", "NUMBER", "Processes that serve on the port; more than one needs Redis."),
    "config_file": _option("--config", "FILE", "Configuration file, by default keyrelay.toml."),
    "env_file": _option("--env-file", "FILE", "File of environment variables, by default .env."),
    "data_dir": _option("--data-dir", "DIRECTORY", "Where clients are kept."),
    "log_level": _option("--log-level", "LEVEL", "debug, info, warning or error."),
    "log_format": _option("--log-format", "FORM", "auto (text on a terminal, else json), json or text."),
    "url": _option("--url", "ADDRESS", "Address of the running gateway, by default this machine and the port set."),
}
"""The options that set settings, by the setting's name."""

FILES = ("config_file", "env_file", "data_dir")
"""Settings that say where the configuration is."""

SERVER = ("host", "port", "workers", *FILES, "log_level", "log_format")
"""Settings of a gateway that is to be started."""

REMOTE = ("url", *FILES)
"""Settings of a command that asks a running gateway."""


def sets(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these settings.

    What they say, over what stood before the command, is its keyword argument `overrides`, and is kept for the
    commands below it. A command that wants its context takes it first, as `ctx`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command).parameters

        @wraps(command)
        def run(ctx: typer.Context, **given: Any) -> None:
            outer: Overrides = ctx.obj or {}
            chosen = {name: text for name in names if (text := given.pop(name)) is not None}
            ctx.obj = {**outer, **chosen}
            if "ctx" in parameters:
                given["ctx"] = ctx
            command(overrides=ctx.obj, **given)

        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        own = [each for name, each in parameters.items() if name not in {"ctx", "overrides"}]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_OPTIONS[name])
            for name in names
        ]
        positional = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        rest = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
        run.__signature__ = inspect.Signature([context, *positional, *shared, *rest])  # type: ignore[attr-defined]
        return run

    return decorate


def configuration_of(overrides: Overrides, administered: "Administered | None" = None) -> "Configuration":
    """Read the configuration from this process's environment and working directory, with what the store holds."""
    import os

    from keyrelay.configuration import load_configuration
    from keyrelay.core.administered import NOTHING

    return load_configuration(
        os.environ, directory=Path.cwd(), overrides=overrides, administered=administered or NOTHING
    )


def settings_of(overrides: Overrides) -> "Settings":
    """Read the settings alone."""
    import os

    from keyrelay.configuration import load_settings

    return load_settings(os.environ, directory=Path.cwd(), overrides=overrides)
