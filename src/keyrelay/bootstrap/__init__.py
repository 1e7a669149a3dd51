"""The composition root: the one place that names both the engine's classes and the adapters'.

`compose` makes an application of a configuration; `cli.serving` runs it under uvicorn.
"""

from keyrelay.bootstrap.application import compose
from keyrelay.bootstrap.engine import SystemClock, compose_gateway, compose_pool
from keyrelay.bootstrap.parts import open_log, secrets_of

__all__ = ["SystemClock", "compose", "compose_gateway", "compose_pool", "open_log", "secrets_of"]
