"""Whether what every request goes through runs as C (scripts/compile) or as the Python that it is written in."""

from keyrelay.core import ids


def is_compiled() -> bool:
    """Whether this package was compiled; it does the same either way."""
    return not (ids.__file__ or "").endswith(".py")
