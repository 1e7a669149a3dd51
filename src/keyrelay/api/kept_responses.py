"""`/v1/responses/{id}`: answers that were kept, shown and forgotten."""

from urllib.parse import parse_qs

from starlette.types import Scope

from keyrelay.core.errors import CallerError
from keyrelay.engine.recall import kept
from keyrelay.engine.stored_responses import StoredResponses

_READ = frozenset({"GET", "HEAD"})
_ITEMS = "input_items"
_LIMIT = 20
_LIMIT_DIGITS = 4


async def kept_response(scope: Scope, responses: StoredResponses, client: str, now_s: float) -> bytes:
    """The body of the answer to a request about a kept answer of this client's. Raise CallerError."""
    method = scope["method"]
    response_id, _, rest = scope["path"].rstrip("/").partition("/responses/")[2].partition("/")
    if responses.waits:
        await responses.fetch_one(response_id, client, now_s=now_s)
    if rest == _ITEMS and method in _READ:
        return _items(scope, responses, response_id, client=client, now_s=now_s)
    if rest:
        raise CallerError(404, f"There is no {rest!a} of a response here, only {_ITEMS}.", code="unknown_path")
    if method in _READ:
        if b"stream=true" in scope["query_string"].split(b"&"):
            raise CallerError(400, "A kept response is given whole, not as a stream.", param="stream")
        return responses.retrieve(response_id, client, now_s=now_s)
    if method == "DELETE":
        deleted = responses.delete(response_id, client, now_s=now_s)
        keeping = responses.unwritten(client)
        if keeping is not None:
            await kept(keeping)
        return deleted
    allowed = (("allow", "GET, HEAD, DELETE"),)
    raise CallerError(405, f"{method} is not possible here.", code="method_not_allowed", headers=allowed)


def _items(scope: Scope, responses: StoredResponses, response_id: str, *, client: str, now_s: float) -> bytes:
    asked = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    limit = asked.get("limit", str(_LIMIT))
    if not limit.isdecimal() or len(limit) > _LIMIT_DIGITS:
        raise CallerError(400, "Invalid value for 'limit': expected a whole number.", param="limit")
    newest_first = asked.get("order", "desc") != "asc"
    return responses.input_items(
        response_id, client, now_s=now_s, after=asked.get("after", ""), limit=int(limit), newest_first=newest_first
    )
