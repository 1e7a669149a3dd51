"""The application for people who bring their own server: `uvicorn --factory keyrelay.asgi:create_app`."""

import os
from pathlib import Path

from keyrelay.api.app import Application
from keyrelay.bootstrap import compose
from keyrelay.configuration import load_configuration, with_clients
from keyrelay.configuration.first_run import kept_clients
from keyrelay.core.errors import ConfigurationError


def create_app() -> Application:
    """The application, configured by this process's environment and working directory.

    Raise ConfigurationError when the configuration is wrong, or when it has no client: the secret of a first run
    is only shown by `keyrelay`, so run that once, or set CLIENT_API_KEYS_MAP.
    """
    configuration = load_configuration(os.environ, directory=Path.cwd(), overrides={})
    if not configuration.snapshot.clients:
        stored = tuple(kept.client for kept in kept_clients(configuration.settings.data_dir))
        if not stored:
            raise ConfigurationError(
                "CLIENT_API_KEYS_MAP",
                "no client is configured, so nobody could call Keyrelay.",
                'Set CLIENT_API_KEYS_MAP="<secret>:<name>", or make a client with `keyrelay clients new`.',
            )
        configuration = with_clients(configuration, stored, source="data directory")
    return compose(configuration)
