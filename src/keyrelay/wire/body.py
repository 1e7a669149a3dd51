"""The one reader of request bodies: strict JSON, bounded depth, errors that a caller can act on.

msgspec refuses NaN, lone surrogates, control characters and trailing text while it skips over values, so the
members of a body are checked although they are never decoded. What it does not check, and this module does, is
UTF-8 inside skipped strings and the depth of nesting.
"""

import re
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from keyrelay.core.errors import CallerError

_T = TypeVar("_T")

MAX_CONTAINERS: Final = 1_000_000
"""Bounds what it costs to find the depth of a body: ten thousand tools have fewer lists and objects."""

JSON_ERRORS: Final = (ValueError, RecursionError)
"""What msgspec raises for text that is not the JSON expected: too deep, not UTF-8, or wrong in any other way."""

# Runs of strings and what is no bracket; possessive, so that it never goes back and needs no memory for it.
_STRINGS: Final = re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)++', re.DOTALL)
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ALL_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_members(body: bytes, *, max_depth: int) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, values as their bytes. Raise CallerError (400) saying what is wrong and where."""
    if not body:
        raise CallerError(400, "The request has no body. Send a JSON object.", code="invalid_json")
    problem: CallerError | None = None
    try:
        members = _members.decode(body)
        if not body.isascii():
            body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _problem(error, max_depth)
    if problem is not None:  # raised out here, it does not drag msgspec's error along
        raise problem
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
    raise CallerError(400, message, param=name, code="invalid_type")


@lru_cache
def _decoder(kind: type[_T]) -> msgspec.json.Decoder[_T | None]:
    return msgspec.json.Decoder(kind | None)


def _problem(error: Exception, max_depth: int) -> CallerError:
    """What is wrong with a body, for its caller."""
    if isinstance(error, UnicodeDecodeError):
        return CallerError(400, f"The body is not valid UTF-8 (byte {error.start}).", code="invalid_json")
    if isinstance(error, msgspec.ValidationError):
        return CallerError(400, f"The body must be a JSON object. {error}.", code="invalid_json")
    if isinstance(error, msgspec.DecodeError):
        return CallerError(400, f"The body is not valid JSON: {error}.", code="invalid_json")
    return _too_deep(max_depth)


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
