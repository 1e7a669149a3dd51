"""`/v1/files`: what callers ask of the files that providers keep for them."""

from functools import partial
from urllib.parse import parse_qs

from starlette.types import Scope

from keyrelay.api.doors import Door
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.engine.files import Files
from keyrelay.wire.file_lists import MOST_LISTED, ListWishes
from keyrelay.wire.files import decode_upload, file_request

FILE_PATHS = ("/v1/files", "/files")

_CONTENT = "content"
_LIMIT_DIGITS = 5
_ORDERS = ("desc", "asc")


def file_door(scope: Scope) -> Door:
    """The door for an upload, or for one file; a request that is wrong in itself is refused inside."""
    name, _, ending = scope["path"].rstrip("/").partition("/files")[2].lstrip("/").partition("/")
    provider = _query(scope).get("provider", "")
    if not name:
        return Door(partial(decode_upload, provider=provider), form=True)
    return Door(partial(_one, scope["method"], name, ending, provider))


def _one(method: str, name: str, ending: str, provider: str, body: bytes, *, max_depth: int) -> CallRequest:
    """What is asked of one file. Raise CallerError."""
    del body, max_depth
    if ending not in {"", _CONTENT}:
        raise CallerError(404, f"There is no {ending[:100]!a} of a file here, only {_CONTENT}.", code="unknown_path")
    allowed = ("GET",) if ending else ("GET", "HEAD", "DELETE")
    if method not in allowed:
        allow = ", ".join(allowed)
        message = f"{method} is not possible here; use {allow}."
        raise CallerError(405, message, code="method_not_allowed", headers=(("allow", allow),))
    return file_request("GET" if method == "HEAD" else method, name, content=bool(ending), provider=provider)


async def own_files(scope: Scope, files: Files | None, client: str, now_s: float) -> bytes:
    """The body of a page of the list of a client's files. Raise CallerError (400)."""
    asked = _query(scope)
    limit, order = asked.get("limit", str(MOST_LISTED)), asked.get("order", "desc")
    if not limit.isdecimal() or len(limit) > _LIMIT_DIGITS or not 0 < int(limit) <= MOST_LISTED:
        message = f"Invalid value for 'limit': expected a whole number from 1 to {MOST_LISTED}."
        raise CallerError(400, message, param="limit", code="invalid_value")
    if order not in _ORDERS:
        raise CallerError(400, "Invalid value for 'order': expected asc or desc.", param="order", code="invalid_value")
    if files is None:
        raise CallerError(400, "Files are not handed out here.", code="unsupported_operation")
    purpose, after = asked.get("purpose", ""), asked.get("after", "")
    wishes = ListWishes(purpose=purpose, after=after, limit=int(limit), newest_first=order == "desc")
    return await files.listed(client, wishes, now_s)


def _query(scope: Scope) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
