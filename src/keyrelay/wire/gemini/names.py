"""Members in camel case and in snake case: Google's servers take both, mixed in one body, and so does Keyrelay.

A body without snake case, which is nearly every one, costs one search. Else its members are renamed along the structs
of `shapes`, so that what belongs to the caller (arguments, results, schemas) keeps its names.
"""

import re
import typing
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.gemini import shapes

_T = TypeVar("_T")

_Fields = dict[str, tuple[str, type[shapes.Shape] | None]]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_WORD = re.compile(r"[A-Za-z]+")
_HUMP = re.compile(r"(?<!^)([A-Z])")


def read(raw: bytes, kind: type[_T], at: str = "") -> _T:
    """Decode a body, or the member `at` of one. Raise CallerError (400) that points to what is wrong, in camel case."""
    in_snake = _SNAKE.search(raw) is not None
    try:
        decoder = _decoder(kind)  # type: ignore[arg-type]  # types can be hashed
        decoded: _T = decoder.decode(in_camel_case(raw, _kind_in(kind)) if in_snake else raw)
    except msgspec.DecodeError as error:
        problem, _, path = str(error).partition(" - at `$")
    else:
        return decoded
    param = f"{at}{path.rstrip('`')}".lstrip(".")
    place = f"'{param}'" if param else "the body"
    raise CallerError(400, f"Invalid value for {place}: {problem}.", param=param or None, code="invalid_type")


def in_camel_case(raw: bytes, kind: type[shapes.Shape] | None) -> bytes:
    """The JSON of a `kind` with its members, and those of all kinds inside of it, in camel case."""
    if kind is None:
        return raw
    try:
        if raw[:1] == b"[":
            return msgspec.json.encode([msgspec.Raw(in_camel_case(bytes(item), kind)) for item in _items.decode(raw)])
        members = _members.decode(raw)
    except JSON_ERRORS:
        return raw
    fields = _fields(kind)
    renamed: dict[str, msgspec.Raw] = {}
    for name, value in members.items():
        camel, inner = fields.get(name, (name, None))
        if name == camel or camel not in members:
            renamed[camel] = msgspec.Raw(in_camel_case(bytes(value), inner))
    return msgspec.json.encode(renamed)


def camel_members(members: dict[str, msgspec.Raw], kind: type[shapes.Shape]) -> dict[str, msgspec.Raw]:
    """The members of an object of a `kind` under their names in camel case, values untouched."""
    fields = _fields(kind)
    return {fields.get(name, (name, None))[0]: value for name, value in members.items()}


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@cache
def _fields(kind: type[shapes.Shape]) -> _Fields:
    """Each name of a member, in both cases, to its name in camel case and the kind that it holds."""
    known: _Fields = {}
    for field in msgspec.structs.fields(kind):
        entry = (field.encode_name, _kind_in(field.type))
        known[field.name] = known[field.encode_name] = entry
    return known


def _kind_in(annotation: object) -> type[shapes.Shape] | None:
    if isinstance(annotation, type) and issubclass(annotation, shapes.Shape):
        return annotation
    return next((kind for inner in typing.get_args(annotation) if (kind := _kind_in(inner)) is not None), None)


def as_written(param: str, raw: bytes) -> str:
    """A pointer in the caller's own words: snake case where the body has it."""
    return _WORD.sub(lambda word: _own_word(word.group(), raw), param)


def _own_word(camel: str, raw: bytes) -> str:
    snake = _HUMP.sub(r"_\1", camel).lower()
    return snake if f'"{snake}"'.encode() in raw and f'"{camel}"'.encode() not in raw else camel


def _snake_names(kind: type[shapes.Shape]) -> set[str]:
    names = {name for name in _fields(kind) if "_" in name}
    return names.union(*(_snake_names(inner) for _, inner in _fields(kind).values() if inner is not None))


_SNAKE = re.compile(f'"(?:{"|".join(sorted(_snake_names(shapes.Body) | _snake_names(shapes.EmbedBody)))})"'.encode())
