"""The options that several commands share, and how they become overrides of settings.

Options of settings are plain text here: `keyrelay.configuration` checks them by the same table as the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keyrelay.configuration import Configuration
    from keyrelay.settings import Settings

HostOption = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on, by default 127.0.0.1.")
]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="Port to listen on, by default 8787; 0 takes a free one.")
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Configuration file, by default keyrelay.toml.")
]
EnvFileOption = Annotated[
    str | None, typer.Option("--env-file", metavar="FILE", help="File of environment variables, by default .env.")
]
DataDirOption = Annotated[str | None, typer.Option("--data-dir", metavar="DIRECTORY", help="Where clients are kept.")]
LogLevelOption = Annotated[
    str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
]
LogFormatOption = Annotated[
    str | None, typer.Option("--log-format", metavar="FORM", help="auto (text on a terminal, else json), json or text.")
]
NoDemoOption = Annotated[
    bool, typer.Option("--no-demo", help="Without a provider, stop instead of starting the demonstration.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

Overrides = Mapping[str, str]


def gather(ctx: typer.Context, **options: str | None) -> Overrides:
    """Overrides by setting name: the options given here over those that stood before the command."""
    outer: Overrides = ctx.obj or {}
    return {**outer, **{name: text for name, text in options.items() if text is not None}}


def configuration_of(overrides: Overrides) -> "Configuration":
    """Read the configuration from this process's environment and working directory."""
    import os

    from keyrelay.configuration import load_configuration

    return load_configuration(os.environ, directory=Path.cwd(), overrides=overrides)


def settings_of(overrides: Overrides) -> "Settings":
    """Read the settings alone."""
    import os

    from keyrelay.configuration import load_settings

    return load_settings(os.environ, directory=Path.cwd(), overrides=overrides)
