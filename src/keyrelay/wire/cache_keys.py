"""Which requests may be answered with an answer that was given before, and the key under which that is kept.

Two requests share an answer only if everything agrees that could have made it another one: dialect, operation, form of
the answer, every member of the body but the few named here, the headers that go on to a provider, the provider that the
caller prefers, the targets that the model's name stands for, and the scope, which is who may get the answer.

A body counts by what it says, not by how it is written: neither the order of members nor white space nor escapes in
strings matter. Numbers do: 1, 1.0 and "1" are three values. A body that gives a member twice has no one meaning, and
only a body of the same bytes is the same.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from keyrelay.core.configuration import CacheMode
from keyrelay.core.conversation import Dialect
from keyrelay.core.requests import CallRequest
from keyrelay.wire.cache_rules import NESTED, is_deterministic, is_self_contained

MAX_CACHED_BODY_BYTES: Final = 1024 * 1024
"""Requests beyond this are never looked up: to bring one into its canonical form would hold up all others."""

PERSONS: Final[Mapping[Dialect, tuple[str, ...]]] = MappingProxyType(
    {"openai": ("user", "safety_identifier"), "anthropic": ("metadata",)}
)
"""Members that name a person behind the client: they count unless answers are shared among all clients anyway."""

LABELS: Final[Mapping[Dialect, tuple[str, ...]]] = MappingProxyType(
    {"openai": ("metadata", "prompt_cache_key", "prompt_cache_retention")}
)
"""Members that say nothing to the model, and that no answer gives back, as those of the Responses dialect do."""

SHARED: Final = "shared"
"""The scope of answers that every client may get."""

_CLIENT: Final = "client:"
_VERSION: Final = b"keyrelay-cache-2"
_DEEPER: Final = frozenset(NESTED)
_NULL: Final = msgspec.Raw(b"null")
_ZERO_BEGINS: Final = frozenset({b"0", b"-"})
_NOTHING_ASIDE: Final[frozenset[str]] = frozenset()
_ASIDE: Final = {
    (dialect, shared): frozenset((*LABELS.get(dialect, ()), *(PERSONS[dialect] if shared else ())))
    for dialect in PERSONS
    for shared in (False, True)
}
_decoder: Final = msgspec.json.Decoder(dict[str, object])
_encoder: Final = msgspec.json.Encoder()
_canonical_encoder: Final = msgspec.json.Encoder(order="deterministic")


def may_answer(request: CallRequest, mode: CacheMode) -> bool:
    """Whether the cache has a say in this request. Hardly costs anything where it has none.

    See `cache_rules` for what is deterministic; embeddings always are.
    """
    if mode == "off" or request.opaque:
        return False
    fields = request.fields
    if (
        mode == "deterministic"
        and "seed" not in fields
        and bytes(fields.get("temperature", _NULL))[:1] not in _ZERO_BEGINS
        and request.dialect not in _DEEPER
    ):
        return request.operation == "embeddings" and len(request.body) <= MAX_CACHED_BODY_BYTES
    if len(request.body) > MAX_CACHED_BODY_BYTES:
        return False
    if request.operation == "embeddings":
        return True
    return (mode == "all" or is_deterministic(request)) and is_self_contained(request)


def scope_of(client: str, *, shared: bool) -> str:
    """Who may get what is kept: the client with this label, or every one. No label can name another's scope."""
    return SHARED if shared else _CLIENT + client


def cache_key(request: CallRequest, *, scope: str, form: str, prefer: str, targets: Iterable[str]) -> bytes:
    """The key, 32 bytes, of the answer to a request.

    `form` names the shape that the answer is brought into, where the dialect has several, `targets` are the models in
    their order that the name asked for stands for by now.
    """
    dialect = request.dialect
    about = (
        (scope, dialect, request.operation, form, request.stream, request.model, prefer),
        request.headers,
        tuple(targets),
    )
    said = canonical(request.body, without=_ASIDE.get((dialect, scope == SHARED), _NOTHING_ASIDE))
    text = b"%b\n%b" % (msgspec.json.encode(about), said)  # JSON holds no line end, so that nothing runs together
    return hashlib.blake2b(text, digest_size=32, person=_VERSION).digest()


def canonical(body: bytes, *, without: frozenset[str] = frozenset()) -> bytes:
    """A JSON object in the one form that stands for all ways to write it, some members left out.

    It stays as it is where no such form exists: with a member given twice, or a number too large for anybody.
    """
    try:
        members = _decoder.decode(body)
    except msgspec.DecodeError:
        return body
    text = _encoder.encode(members)
    if text != body and _count_members(text) != _count_members(body):
        return body
    if not without.isdisjoint(members):
        members = {name: value for name, value in members.items() if name not in without}
    return _canonical_encoder.encode(members)


def _count_members(text: bytes) -> int:
    """Members of all objects in a JSON text: outside of strings each has its colon."""
    if text.find(b"\\") >= 0:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # so that every quotation mark begins or ends a string
    return b"".join(text.split(b'"')[::2]).count(b":")
