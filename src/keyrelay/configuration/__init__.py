"""Reads the configuration: catalogue, `keyrelay.toml`, environment and `.env`, command line; later wins.

Every module here turns text into values and says what is wrong with it; nothing is done with the values. All
problems of a configuration are collected and reported together, and no message ever holds a secret.
"""

from keyrelay.configuration.findings import InvalidConfiguration
from keyrelay.configuration.first_run import make_first_client, with_clients
from keyrelay.configuration.loading import load_configuration, load_settings
from keyrelay.configuration.values import Configuration, EffectiveValue

__all__ = [
    "Configuration",
    "EffectiveValue",
    "InvalidConfiguration",
    "load_configuration",
    "load_settings",
    "make_first_client",
    "with_clients",
]
