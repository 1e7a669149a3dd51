"""What makes a request one whose answer may be given again, in each dialect.

Deterministic means temperature 0 or a seed, one answer, and nothing looked up or run for it by a provider: what a
search finds depends on when it is made, whatever the temperature. What a request only refers to is not in it, so that
two of the same words may ask for different things.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from keyrelay.core.conversation import Dialect
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.readings import NULL, NestedSettings, ToolType

Fields = Mapping[str, msgspec.Raw]

LIVE: Final = ("web_search_options", "search_parameters", "plugins")
"""Members of OpenAI's dialect that have something looked up."""

STATE: Final[Mapping[Dialect, tuple[str, ...]]] = MappingProxyType(
    {
        "responses": ("previous_response_id", "conversation", "prompt"),
        "anthropic": ("container",),
        "gemini": ("cachedContent", "continuationToken"),
    }
)
"""Members that refer to what is kept elsewhere, and may be gone by tomorrow."""

NESTED: Final[Mapping[Dialect, str]] = MappingProxyType({"gemini": "generationConfig", "ollama": "options"})
"""Where temperature and seed stand, in dialects that have them one level down."""

_NULL_TEXT: Final = b"null"
_ABSENT: Final = frozenset({b"", _NULL_TEXT})
_SINGLE: Final = frozenset({b"", b"1", _NULL_TEXT})
_ZERO: Final = re.compile(rb"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?")
_REFERENCE: Final = b'"item_reference"'
_OWN_TYPES: Final = frozenset({"", "custom", "function"})
"""Types of tools that a client runs."""

_GEMINIS_OWN: Final = frozenset({"functionDeclarations", "function_declarations"})


_UNSAID: Final = NestedSettings()
_settings: Final = msgspec.json.Decoder(NestedSettings | None)
_tools: Final = msgspec.json.Decoder(list[ToolType] | None)
_members: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)


def is_self_contained(request: CallRequest) -> bool:
    """Whether a chat says all that it asks, and asks for what can be read whole: one answer, of Gemini's."""
    fields, dialect = request.fields, _written_in(request)
    if any(bytes(fields.get(name, b"")) not in _ABSENT for name in STATE.get(dialect, ())):
        return False
    if dialect == "responses":
        return _REFERENCE not in bytes(fields.get("input", b""))
    if dialect == "gemini":
        config = _settings_in(fields, NESTED["gemini"])
        return bytes(config.camel) in _SINGLE and bytes(config.snake) in _SINGLE
    return True


def is_deterministic(request: CallRequest) -> bool:
    """Whether the same model may be expected to say the same again."""
    return _RULES[_written_in(request)](request.fields)


def _written_in(request: CallRequest) -> Dialect:
    return "responses" if request.reshaped else request.dialect


def _openai(fields: Fields) -> bool:
    if not _is_settled(fields.get("temperature", NULL), fields.get("seed", NULL)):
        return False
    if bytes(fields.get("n", NULL)) not in _SINGLE:
        return False
    return all(bytes(fields.get(name, NULL)) == _NULL_TEXT for name in LIVE)


def _responses(fields: Fields) -> bool:
    return _is_settled(fields.get("temperature", NULL)) and _has_own_tools(fields)


def _anthropic(fields: Fields) -> bool:
    if not _is_settled(fields.get("temperature", NULL)):
        return False
    return bytes(fields.get("mcp_servers", NULL)) in NOTHING and _has_own_tools(fields)


def _gemini(fields: Fields) -> bool:
    config = _settings_in(fields, NESTED["gemini"])
    if not _is_settled(config.temperature, config.seed):
        return False
    try:
        tools = _members.decode(fields.get("tools", NULL)) or ()
    except JSON_ERRORS:
        return False
    return all(_GEMINIS_OWN.issuperset(tool) for tool in tools)


def _ollama(fields: Fields) -> bool:
    options = _settings_in(fields, NESTED["ollama"])
    return _is_settled(options.temperature, options.seed)


_RULES: Final[Mapping[Dialect, Callable[[Fields], bool]]] = MappingProxyType(
    {
        "openai": _openai,
        "responses": _responses,
        "anthropic": _anthropic,
        "gemini": _gemini,
        "ollama": _ollama,
    }
)


def _is_settled(temperature: msgspec.Raw, seed: msgspec.Raw = NULL) -> bool:
    return bytes(seed) not in NOTHING or _ZERO.fullmatch(bytes(temperature)) is not None


def _settings_in(fields: Fields, name: str) -> NestedSettings:
    """The settings in a member; whoever has to read it will say what is wrong with it."""
    try:
        return _settings.decode(fields.get(name, NULL)) or _UNSAID
    except JSON_ERRORS:
        return _UNSAID


def _has_own_tools(fields: Fields) -> bool:
    """Whether all tools are the client's to run."""
    try:
        tools = _tools.decode(fields.get("tools", NULL)) or ()
    except JSON_ERRORS:
        return False
    return all((tool.type or "") in _OWN_TYPES for tool in tools)
