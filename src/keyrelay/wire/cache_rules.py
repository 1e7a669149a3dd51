"""What makes a request one whose answer may be given again, in each dialect.

Deterministic means temperature 0 or a seed, one answer, and nothing looked up or run for it by a provider: what a
search finds depends on when it is made, whatever the temperature. What a request only refers to is not in it, so that
two of the same words may ask for different things.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from keyrelay.core.conversation import Dialect
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.openai import NOTHING

Fields = Mapping[str, msgspec.Raw]

LIVE = ("web_search_options", "search_parameters", "plugins")
"""Members of OpenAI's dialect that have something looked up."""

STATE: Mapping[Dialect, tuple[str, ...]] = MappingProxyType(
    {
        "responses": ("previous_response_id", "conversation", "prompt"),
        "anthropic": ("container",),
        "gemini": ("cachedContent", "continuationToken"),
    }
)
"""Members that refer to what is kept elsewhere, and may be gone by tomorrow."""

NESTED: Mapping[Dialect, str] = MappingProxyType({"gemini": "generationConfig", "ollama": "options"})
"""Where temperature and seed stand, in dialects that have them one level down."""

_NULL_TEXT = b"null"
_NULL = msgspec.Raw(_NULL_TEXT)
_ABSENT = frozenset({b"", _NULL_TEXT})
_SINGLE = frozenset({b"", b"1", _NULL_TEXT})
_ZERO = re.compile(rb"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?")
_REFERENCE = b'"item_reference"'
_OWN_TYPES = frozenset({"", "custom", "function"})
"""Types of tools that a client runs."""

_GEMINIS_OWN = frozenset({"functionDeclarations", "function_declarations"})


class _Settings(msgspec.Struct, gc=False):
    """Settings that stand one level down; one of them in either case."""

    temperature: msgspec.Raw = _NULL
    seed: msgspec.Raw = _NULL
    camel: msgspec.Raw = msgspec.field(name="candidateCount", default=_NULL)
    snake: msgspec.Raw = msgspec.field(name="candidate_count", default=_NULL)


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None


_UNSAID = _Settings()
_settings = msgspec.json.Decoder(_Settings | None)
_tools = msgspec.json.Decoder(list[_Tool] | None)
_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)


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
    if not _is_settled(fields.get("temperature", _NULL), fields.get("seed", _NULL)):
        return False
    if bytes(fields.get("n", _NULL)) not in _SINGLE:
        return False
    return all(bytes(fields.get(name, _NULL)) == _NULL_TEXT for name in LIVE)


def _responses(fields: Fields) -> bool:
    return _is_settled(fields.get("temperature", _NULL)) and _has_own_tools(fields)


def _anthropic(fields: Fields) -> bool:
    if not _is_settled(fields.get("temperature", _NULL)):
        return False
    return bytes(fields.get("mcp_servers", _NULL)) in NOTHING and _has_own_tools(fields)


def _gemini(fields: Fields) -> bool:
    config = _settings_in(fields, NESTED["gemini"])
    if not _is_settled(config.temperature, config.seed):
        return False
    try:
        tools = _members.decode(fields.get("tools", _NULL)) or ()
    except JSON_ERRORS:
        return False
    return all(_GEMINIS_OWN.issuperset(tool) for tool in tools)


def _ollama(fields: Fields) -> bool:
    options = _settings_in(fields, NESTED["ollama"])
    return _is_settled(options.temperature, options.seed)


_RULES: Mapping[Dialect, Callable[[Fields], bool]] = MappingProxyType(
    {
        "openai": _openai,
        "responses": _responses,
        "anthropic": _anthropic,
        "gemini": _gemini,
        "ollama": _ollama,
    }
)


def _is_settled(temperature: msgspec.Raw, seed: msgspec.Raw = _NULL) -> bool:
    return bytes(seed) not in NOTHING or _ZERO.fullmatch(bytes(temperature)) is not None


def _settings_in(fields: Fields, name: str) -> _Settings:
    """The settings in a member; whoever has to read it will say what is wrong with it."""
    try:
        return _settings.decode(fields.get(name, _NULL)) or _UNSAID
    except JSON_ERRORS:
        return _UNSAID


def _has_own_tools(fields: Fields) -> bool:
    """Whether all tools are the client's to run."""
    try:
        tools = _tools.decode(fields.get("tools", _NULL)) or ()
    except JSON_ERRORS:
        return False
    return all((tool.type or "") in _OWN_TYPES for tool in tools)
