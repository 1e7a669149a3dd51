"""Which requests may be answered with an answer that was given before, and the key under which that is kept.

Two requests share an answer only if everything agrees that could have made it another one: operation, form of the
answer, every member of the body but the few named here, the provider that the caller prefers, the targets that the
model's name stands for, and the scope, which is who may get the answer.

A body counts by what it says, not by how it is written: neither the order of members nor white space nor escapes in
strings matter. Numbers do: 1, 1.0 and "1" are three values. A body that gives a member twice has no one meaning, and
only a body of the same bytes is the same.
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from keyrelay.core.configuration import CacheMode
from keyrelay.core.requests import CallRequest
from keyrelay.wire.openai import NOTHING

MAX_CACHED_BODY_BYTES = 1024 * 1024
"""Requests beyond this are never looked up: to bring one into its canonical form would hold up all others."""

PERSONS = ("user", "safety_identifier")
"""Members that name a person behind the client: they count unless answers are shared among all clients anyway."""

LABELS = ("metadata", "prompt_cache_key", "prompt_cache_retention")
"""Members that say nothing to the model."""

LIVE = ("web_search_options", "search_parameters", "plugins")
"""Members that have something looked up for the answer: it depends on when it is given, whatever the temperature."""

SHARED = "shared"
"""The scope of answers that every client may get."""

_CLIENT = "client:"
_NULL_TEXT = b"null"
_NULL = msgspec.Raw(_NULL_TEXT)
_ONE = msgspec.Raw(b"1")
_SINGLE = frozenset({b"1", b"null"})
_ZERO = re.compile(rb"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?")
_VERSION = b"keyrelay-cache-1"
_ASIDE = {True: frozenset((*LABELS, *PERSONS)), False: frozenset(LABELS)}
_decoder = msgspec.json.Decoder(dict[str, object])
_encoder = msgspec.json.Encoder()
_canonical_encoder = msgspec.json.Encoder(order="deterministic")


def may_answer(request: CallRequest, mode: CacheMode) -> bool:
    """Whether the cache has a say in this request. Hardly costs anything where it has none.

    `deterministic` means temperature 0 or a seed, one answer, and nothing looked up for it; embeddings always are.
    """
    if mode == "off" or request.opaque:
        return False
    fields = request.fields
    if mode == "deterministic" and "temperature" not in fields and "seed" not in fields:
        return request.operation == "embeddings" and len(request.body) <= MAX_CACHED_BODY_BYTES
    if len(request.body) > MAX_CACHED_BODY_BYTES:
        return False
    return mode == "all" or request.operation == "embeddings" or _is_deterministic(fields)


def _is_deterministic(fields: dict[str, msgspec.Raw]) -> bool:
    if bytes(fields.get("seed", _NULL)) in NOTHING and not _ZERO.fullmatch(bytes(fields.get("temperature", _NULL))):
        return False
    if bytes(fields.get("n", _ONE)) not in _SINGLE:
        return False
    return all(bytes(fields.get(name, _NULL)) == _NULL_TEXT for name in LIVE)


def scope_of(client: str, *, shared: bool) -> str:
    """Who may get what is kept: the client with this label, or every one. No label can name another's scope."""
    return SHARED if shared else _CLIENT + client


def cache_key(request: CallRequest, *, scope: str, form: str, prefer: str, targets: Iterable[str]) -> bytes:
    """The key, 32 bytes, of the answer to a request.

    `form` names another shape that the answer is brought into, `targets` are the models in their order that the name
    asked for stands for by now.
    """
    about = [scope, request.operation, form, request.stream, request.model, prefer, *targets]
    said = canonical(request.body, without=_ASIDE[scope == SHARED])
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
