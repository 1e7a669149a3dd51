"""What a gateway's refusals say, in the words of commands.

The API speaks of its routes and of the fields of its bodies, for that is what its callers write. Whoever has written a
command is told of commands and options.
"""

import re
from collections.abc import Mapping
from typing import Any

_OPTIONS_OF: Mapping[str, str] = {
    "base_url": "--base-url",
    "days": "--days",
    "dialect": "--dialect",
    "drain_s": "--drain",
    "expires_at": "--expires",
    "group_by": "--by",
    "limits": "--limit",
    "margin": "--margin",
    "models": "--model",
    "notes": "--notes",
    "policy": "--policy",
    "priority": "--priority",
    "role": "--role",
    "scopes": "--scope",
    "step": "--step",
    "tags": "--tag",
    "tier": "--tier",
    "weight": "--weight",
}
"""The options that say what the fields and parameters of the API say, by the names of those."""

_SWITCHES: Mapping[str, str] = {"save_unknown": "--save-unknown", "with_keys": "--with-keys"}
_COMMANDS: Mapping[str, str] = {
    "alerts/channels": "keyrelay alerts channels list",
    "clients": "keyrelay clients list",
    "keys": "keyrelay keys list",
    "providers": "keyrelay providers list --running",
    "quota": "keyrelay quota",
    "routes": "keyrelay routes list",
    "settings": "keyrelay settings list",
}
_SENDS = re.compile(rf"\bSend ({'|'.join(_SWITCHES)})(?:=true)?\b")
_LISTS = re.compile(rf"\bGET /api/v1/({'|'.join(_COMMANDS)})\b(?![/{{?])")


def error_of(body: bytes) -> dict[str, Any]:
    """The error that a body holds; nothing when it is of another shape."""
    import msgspec

    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def message_of(body: bytes) -> str:
    """What an error says, in the words of commands; its body's beginning when it is of another shape."""
    error = error_of(body)
    if "message" in error:
        return in_words_of_commands(str(error["message"]), str(error.get("param") or ""))
    return body[:200].decode(errors="replace").strip() or "nothing"


def in_words_of_commands(message: str, param: str = "") -> str:
    """What the gateway says of its API's routes and fields, said of commands and their options."""
    if param in _OPTIONS_OF and message.startswith(f"{param}: "):
        message = f"{_OPTIONS_OF[param]}{message.removeprefix(param)}"
    message = _SENDS.sub(lambda found: f"Give {_SWITCHES.get(found[1], found[1])}", message)
    return _LISTS.sub(lambda found: f"`{_COMMANDS[found[1]]}`", message)
