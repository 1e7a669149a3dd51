"""Bodies of requests to the control plane: read whole, bounded, decoded into a struct of what may stand there."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
from fastapi import Request

from keyrelay.api.views import JSON
from keyrelay.core.errors import CallerError

MAX_BODY_BYTES = 1024 * 1024

_Body = TypeVar("_Body")
_WORD = re.compile(r"Invalid enum value (?P<word>.+)", re.DOTALL)
_LONGEST_WORD = 64
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`")


async def read_body(request: Request, kind: type[_Body]) -> _Body:
    """The body as a struct of this type. Raise CallerError (400, 413, 415) that names the field."""
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media_type != JSON:
        raise CallerError(415, f"Send the body as {JSON}.", code="unsupported_media_type")
    return decode_body(await read_bytes(request), kind)


async def read_bytes(request: Request) -> bytes:
    """The body as it is. Raise CallerError (413)."""
    pieces, size = list[bytes](), 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise CallerError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", code="body_too_large")
        pieces.append(piece)
    return b"".join(pieces)


def decode_body(body: bytes, kind: type[_Body]) -> _Body:
    """A body in JSON as a struct. Raise CallerError (400)."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _PLACE.search(text)
        place = found["place"] if found else ""
        missing = re.search(r"required field `([^`]*)`|unknown field `([^`]*)`", text)
        if missing:
            place = ".".join(filter(None, (place, missing[1] or missing[2])))
        problem = _not_allowed(text, place, kind) or _PLACE.sub("", text)
        message = f"{place}: {problem}." if place else f"{problem}."
        raise CallerError(400, message, param=place or None, code="invalid_parameter") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CallerError(400, "The body is not JSON.", code="invalid_json") from None


def _not_allowed(text: str, place: str, kind: type[object]) -> str:
    """Of a word that is none of those allowed, which ones are; empty for another problem."""
    found = _WORD.match(_PLACE.sub("", text))
    allowed = ", ".join(_words(msgspec.inspect.type_info(kind), place)) if found else ""
    return f"{found['word'][:_LONGEST_WORD]} is not one of {allowed}" if found and allowed else ""


def _words(kind: msgspec.inspect.Type, place: str) -> Iterator[str]:
    """The words that may stand at a place (`a.b[0]`) in a value of a type."""
    name, _, rest = place.partition(".")
    if isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _words(each, place)
    elif isinstance(kind, msgspec.inspect.StructType):
        field = next((each for each in kind.fields if each.encode_name == name.partition("[")[0]), None)
        if field is not None:
            yield from _words(field.type, rest)
    elif isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        yield from _words(kind.item_type, place)
    elif isinstance(kind, msgspec.inspect.EnumType):
        yield from (str(each.value) for each in kind.cls)
    elif isinstance(kind, msgspec.inspect.LiteralType):
        yield from map(str, kind.values)


def body_of(kind: type, example: object) -> dict[str, Any]:
    """A body for OpenAPI (`openapi_extra`); the schema's name has to be among those of the view."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    content = {JSON: {"schema": schema, "example": msgspec.to_builtins(example)}}
    return {"requestBody": {"required": True, "content": content}}
