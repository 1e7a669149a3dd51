"""The composition root: the one place that names both the engine's classes and the adapters'.

`compose` makes an application of a configuration; `cli.serving` runs it under uvicorn.
"""

from keyrelay.bootstrap.application import compose
from keyrelay.bootstrap.engine import SystemClock, compose_gateway, compose_pool
from keyrelay.bootstrap.parts import logs_json, open_log, secrets_of

__all__ = ["SystemClock", "compose", "compose_gateway", "compose_pool", "logs_json", "open_log", "secrets_of"]
