"""`GET /api/v1/requests`: the requests of the store, newest first, a page at a time.

A page begins below the last request of the one before it, so that requests that end meanwhile move nothing. What has
only just ended is there once the recorder has written it, usually within a second.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import (
    LONGEST_TEXT,
    Range,
    RequestReader,
    fields_seen,
    from_store,
    unavailable,
    wanted_range,
    wanted_statuses,
    wrong,
)
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.stored_requests import RequestFilter, StoredAttempt, StoredRequest, cursor_of, id_of_cursor
from keyrelay.core.usage_views import UsageFilter

MAX_ROWS = 500
_ROWS = 50
_MOST_MS = 1e9


class RequestPage(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that have ended, the newest first; `next` is the `cursor` of the page behind it, null at the end."""

    requests: tuple[StoredRequest, ...]
    next: str | None


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of a query is about single requests only."""

    status: str = ""
    failed: bool = False
    min_ms: float | None = None
    attempts: bool = False


def wanted_options(
    status: Annotated[
        str,
        Query(max_length=LONGEST_TEXT, description="Answered with this status only: `429`, `4xx` or `500-504`."),
    ] = "",
    *,
    failed: Annotated[bool, Query(description="Only those that failed; a caller who left is no failure.")] = False,
    min_ms: Annotated[
        float | None, Query(ge=0, le=_MOST_MS, description="Only those that took at least so long.")
    ] = None,
    attempts: Annotated[bool, Query(description="Each with its calls to providers.")] = False,
) -> RequestOptions:
    """The options that a query asks for."""
    return RequestOptions(status=status, failed=failed, min_ms=min_ms, attempts=attempts)


def wanted_requests(fields: UsageFilter, span: Range, options: RequestOptions, now_s: float) -> RequestFilter:
    """Which requests a query asks for. Raise CallerError (400)."""
    from_s, to_s = span.moments(now_s)
    return RequestFilter(
        fields=fields,
        from_s=from_s,
        to_s=to_s,
        statuses=wanted_statuses(options.status) if options.status else None,
        failed=options.failed,
        min_ms=options.min_ms,
    )


class RequestListView:
    """The list of requests."""

    __slots__ = ("_access", "_epoch_s", "_reader")

    def __init__(self, reader: RequestReader, access: Access, epoch_s: Callable[[], float]) -> None:
        self._reader = reader
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        fields_of = Depends(fields_seen(self._access.requires(Permission.CLIENT, "usage")))

        @app.get(
            "/api/v1/requests",
            tags=["requests"],
            summary="Requests, the newest first.",
            description="A client sees its own requests, the operator everyone's. For the page that follows, ask with "
            "`cursor` and the same filters: it begins where this one ends, whatever has come in meanwhile.",
            response_class=Response,
            responses=described(RequestPage, _EXAMPLE, 400, 403) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def requests(
            span: Annotated[Range, Depends(wanted_range)],
            options: Annotated[RequestOptions, Depends(wanted_options)],
            cursor: Annotated[str, Query(max_length=LONGEST_TEXT, description="`next` of the page before.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="At most so many.")] = _ROWS,
            fields: UsageFilter = fields_of,
        ) -> Response:
            wanted = wanted_requests(fields, span, options, self._epoch_s())
            return answer(await self.page(wanted, cursor, limit, attempts=options.attempts))

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(RequestPage)

    async def page(self, wanted: RequestFilter, cursor: str, limit: int, *, attempts: bool) -> RequestPage:
        """A page. Raise CallerError (400, 503)."""
        try:
            below = id_of_cursor(cursor) if cursor else None
        except ValueError as error:
            raise wrong("cursor", str(error)) from None
        rows = await from_store(self._reader.page(wanted, below, limit + 1, attempts=attempts))
        following = cursor_of(rows[limit - 1].request_id) if len(rows) > limit else None
        return RequestPage(requests=rows[:limit], next=following)

    def __repr__(self) -> str:
        return f"<RequestListView of {self._reader!r}>"


EXAMPLE = StoredRequest(
    request_id="req_01998a5c8c007d3f8a1b2c3d4e5f6071",
    time="2026-11-21T12:00:00.250Z",
    ended="2026-11-21T12:00:00.662Z",
    client="my-app",
    operation="chat",
    model_asked="auto",
    provider="groq",
    key="work",
    model="llama-3.3-70b-versatile",
    status=200,
    category="",
    stream=False,
    cached="",
    ms=412.5,
    upstream_ms=411.9,
    waited_ms=0.0,
    first_token_ms=None,
    attempts=1,
    input_tokens=21,
    output_tokens=180,
    estimated=False,
    cost_usd=0.00015459,
    price_version="genai-prices 0.0.40",
    calls=(
        StoredAttempt(
            provider="groq",
            key="work",
            model="llama-3.3-70b-versatile",
            sent="2026-11-21T12:00:00.251Z",
            ms=411.9,
            kind="",
            scope="",
            status=0,
            message="",
            requests=1,
            input_tokens=21,
            output_tokens=180,
            usd_micros=155,
            units=0,
        ),
    ),
)

_EXAMPLE = RequestPage(requests=(EXAMPLE,), next="AZmKXIwAfT-KGyw9Tl9gcQ")
