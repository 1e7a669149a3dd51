"""Ids of calls: Anthropic takes letters, digits, `_` and `-` only, others make `functions.get_weather:0`.

An id that fits is kept. Any other becomes one that fits and holds it whole, so that it can be told back without
remembering anything: the provider that made it gets its own again, whoever was asked in between.
"""

import base64
import binascii
import re

PREFIX = "toolu_kr64_"
"""What is held begins with this, in base64 for URLs without padding."""

_FITS = re.compile(r"[a-zA-Z0-9_-]+")


def fitted(call_id: str) -> str:
    """The id as Anthropic takes it."""
    if not call_id.startswith(PREFIX) and _FITS.fullmatch(call_id):
        return call_id
    return PREFIX + base64.urlsafe_b64encode(call_id.encode()).decode().rstrip("=")


def original(call_id: str) -> str:
    """The id that `fitted` was given. One that it did not make is itself."""
    if not call_id.startswith(PREFIX):
        return call_id
    text = call_id.removeprefix(PREFIX)
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return call_id
    return found if fitted(found) == call_id else call_id
