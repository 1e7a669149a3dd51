"""The one reader of request bodies: strict JSON, bounded depth, errors that a caller can act on.

msgspec refuses NaN, lone surrogates, control characters and trailing text while it skips over values, so the
members of a body are checked although they are never decoded. What it does not check, and this module does, is
UTF-8 inside skipped strings and the depth of nesting.
"""

import re
from functools import lru_cache
from typing import TypeVar

import msgspec

from keyrelay.core.errors import CallerError

_T = TypeVar("_T")

MAX_CONTAINERS = 1_000_000
"""Bounds what it costs to find the depth of a body: ten thousand tools have fewer lists and objects."""

JSON_ERRORS = (ValueError, RecursionError)
"""What msgspec raises for text that is not the JSON expected: too deep, not UTF-8, or wrong in any other way."""

# Runs of strings and what is no bracket; possessive, so that it never goes back and needs no memory for it.
_STRINGS = re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)++', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ALL_SQUARE = bytes.maketrans(b"{}", b"[]")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_members(body: bytes, *, max_depth: int) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, values as their bytes. Raise CallerError (400) saying what is wrong and where."""
    if not body:
        raise CallerError(400, "The request has no body. Send a JSON object.", code="invalid_json")
    try:
        members = _members.decode(body)
        if not body.isascii():
            body.decode()
    except msgspec.ValidationError as error:
        raise CallerError(400, f"The body must be a JSON object. {error}.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        raise CallerError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except UnicodeDecodeError as error:
        message = f"The body is not valid UTF-8 (byte {error.start})."
        raise CallerError(400, message, code="invalid_json") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    if _count(b"{", body, max_depth) + _count(b"[", body, max_depth) > max_depth:
        _check_nesting(body, max_depth)
    return members


def _count(bracket: bytes, body: bytes, max_depth: int) -> int:
    """How many of these there are, as far as it matters: `bytes.replace` finds them many times faster than `count`."""
    return len(body) - len(body.replace(bracket, b"", max_depth + 1))


def field(members: dict[str, msgspec.Raw], name: str, kind: type[_T]) -> _T | None:
    """Decode one member; None when it is absent or null. Raise CallerError (400) naming the field."""
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return _decoder(kind).decode(raw)  # type: ignore[arg-type]  # types can be hashed
    except msgspec.DecodeError as error:
        message = f"Invalid value for '{name}': {error}."
        raise CallerError(400, message, param=name, code="invalid_type") from None


@lru_cache
def _decoder(kind: type[_T]) -> msgspec.json.Decoder[_T | None]:
    return msgspec.json.Decoder(kind | None)


def _too_deep(max_depth: int) -> CallerError:
    return CallerError(400, f"The body nests deeper than {max_depth} levels.", code="invalid_json")


def _check_nesting(body: bytes, max_depth: int) -> None:
    """Refuse brackets that nest too deep: each round removes the innermost level, at the speed of C."""
    outside, runs = _STRINGS.subn(b"", body, MAX_CONTAINERS)
    brackets = outside.translate(_ALL_SQUARE, _NOT_BRACKETS)
    if runs == MAX_CONTAINERS or len(brackets) > 2 * MAX_CONTAINERS:
        raise CallerError(400, f"The body holds more than {MAX_CONTAINERS} lists and objects.", code="invalid_json")
    for _ in range(max_depth):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise _too_deep(max_depth)
