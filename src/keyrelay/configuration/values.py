"""What reading the configuration gives: the values in force and where each one comes from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from keyrelay.core.administered import Administered
from keyrelay.core.configuration import Snapshot
from keyrelay.settings import Settings

DEFAULT = "default"
CATALOGUE = "catalogue"
ENVIRONMENT = "environment"
COMMAND_LINE = "command line"


class EffectiveValue(msgspec.Struct, frozen=True):
    """One value in force, as it may be shown.

    `name` is dotted: `settings.port`, `providers.groq.tier`, `routes.auto.targets`, `clients.App1`. `value` is
    text with secrets masked. `source` is `default`, `catalogue`, `command line`, the name of a file
    (`keyrelay.toml`), or a layer with the variable that held it (`environment GROQ_API_KEYS`,
    `.env PORT`, `environment GEMINI_API_KEY_FILE`).
    """

    name: str
    value: str
    source: str


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration as one value.

    `warnings` are sentences about what was put up with. `files` are all that was read or looked for, so that a
    change of any of them calls for another look. `variables` are the names of those that win over what is administered,
    each with the place that holds it (`environment`, `.env`). `again` reads it with something else administered and
    with what the files held then, and raises ConfigurationError; None where that cannot be done.
    """

    settings: Settings
    snapshot: Snapshot
    values: tuple[EffectiveValue, ...]
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    variables: Mapping[str, str] = MappingProxyType({})
    again: Callable[[Administered], "Configuration"] | None = None
