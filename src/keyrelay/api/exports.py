"""`GET /api/v1/requests/export` and `GET /api/v1/usage/export`: everything that passes the filters, for other programs.

An export has no bound on its rows and a small one on its memory: rows are read a page at a time, each when the caller
has taken the one before it, and no transaction is open in between. When the caller goes away, nothing more is read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, FastAPI, Query
from fastapi.responses import StreamingResponse

from keyrelay.api import request_list, usage
from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.request_list import RequestOptions, wanted_requests
from keyrelay.api.row_texts import MEDIA_TYPES, Pages, RowFormat, row_texts
from keyrelay.api.stored import (
    Range,
    RequestReader,
    Tagged,
    UsageReader,
    fields_seen,
    fields_seen_by_tag,
    from_store,
    unavailable,
    wanted_range,
    wrong,
)
from keyrelay.api.usage import UsageOptions, UsagePlan, UsagePlanner
from keyrelay.api.usage_lines import USAGE_LINE_EXAMPLE, UsageLine, usage_line
from keyrelay.api.views import SECURITY, described, schemas_of
from keyrelay.core.moments import rfc3339
from keyrelay.core.stored_requests import RequestFilter, StoredRequest
from keyrelay.core.usage_sums import SumsRow
from keyrelay.core.usage_views import Dimension, Interval, Span, UsageFilter

PAGE_ROWS = 200
"""Rows that are read, and held, at a time."""

_INTERVALS_AT_ONCE = 48

_Row = TypeVar("_Row")


class UsageExport(msgspec.Struct, frozen=True, kw_only=True):
    """Usage, in the order of the intervals and then of the groups."""

    usage: tuple[UsageLine, ...]


class RequestExport(msgspec.Struct, frozen=True, kw_only=True):
    """Requests, the newest first."""

    requests: tuple[StoredRequest, ...]


REQUEST_COLUMNS = tuple(name for name in StoredRequest.__struct_fields__ if name != "calls")
USAGE_COLUMNS = UsageLine.__struct_fields__

_FORMAT = Query(alias="format", description="`jsonl` is JSON Lines, a row in each.")


class ExportsView:
    """The routes of exports. Installed before those of single requests, whose ids would take `export` for one."""

    __slots__ = ("_access", "_epoch_s", "_planner", "_requests", "_tagged", "_usage")

    def __init__(
        self,
        usage_reader: UsageReader,
        request_reader: RequestReader,
        planner: UsagePlanner,
        access: Access,
        *,
        epoch_s: Callable[[], float],
        tagged: Tagged,
    ) -> None:
        self._usage = usage_reader
        self._requests = request_reader
        self._planner = planner
        self._access = access
        self._epoch_s = epoch_s
        self._tagged = tagged

    def install(self, app: FastAPI) -> None:
        """Add both routes."""
        fields_of = Depends(fields_seen(self._access.requires(Permission.CLIENT, "usage")))
        tagged_of = Depends(fields_seen_by_tag(self._access.requires(Permission.CLIENT, "usage"), self._tagged))

        @app.get(
            "/api/v1/requests/export",
            tags=["requests"],
            summary="Requests as CSV, JSON or JSON Lines, the newest first.",
            description="All that pass the filters. The answer is cut off when the store goes away meanwhile.",
            response_class=StreamingResponse,
            responses=_described(RequestExport, RequestExport(requests=(request_list.EXAMPLE,)), REQUEST_COLUMNS),
            openapi_extra=SECURITY,
        )
        async def export_requests(
            span: Annotated[Range, Depends(wanted_range)],
            options: Annotated[RequestOptions, Depends(request_list.wanted_options)],
            row_format: Annotated[RowFormat, _FORMAT] = RowFormat.CSV,
            fields: UsageFilter = fields_of,
        ) -> StreamingResponse:
            if options.attempts and row_format is RowFormat.CSV:
                raise wrong("attempts", "calls do not fit into CSV: ask for `format=json` or `format=jsonl`")
            wanted = wanted_requests(fields, span, options, self._epoch_s())
            pages = await _begun(self._request_pages(wanted, attempts=options.attempts))
            return self._streamed(row_texts(pages, row_format, "requests", REQUEST_COLUMNS), row_format, "requests")

        @app.get(
            "/api/v1/usage/export",
            tags=["usage"],
            summary="Usage as CSV, JSON or JSON Lines.",
            description="A line for each interval and group, in that order, without bound on either.",
            response_class=StreamingResponse,
            responses=_described(UsageExport, UsageExport(usage=(USAGE_LINE_EXAMPLE,)), USAGE_COLUMNS),
            openapi_extra=SECURITY,
        )
        async def export_usage(
            asked: Annotated[Range, Depends(wanted_range)],
            options: Annotated[UsageOptions, Depends(usage.wanted_options)],
            row_format: Annotated[RowFormat, _FORMAT] = RowFormat.CSV,
            fields: UsageFilter = tagged_of,
        ) -> StreamingResponse:
            plan = await self._planner.plan(asked, options, bounded=False)
            pages = await _begun(self._usage_pages(plan, fields, options.group_by))
            return self._streamed(row_texts(pages, row_format, "usage", USAGE_COLUMNS), row_format, "usage")

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(UsageExport, RequestExport)

    async def _request_pages(self, wanted: RequestFilter, *, attempts: bool) -> AsyncIterator[Sequence[StoredRequest]]:
        async def page(last: StoredRequest | None) -> tuple[StoredRequest, ...]:
            below = None if last is None else last.request_id
            return await self._requests.page(wanted, below, PAGE_ROWS, attempts=attempts)

        async for rows in _pages(page):
            yield rows

    async def _usage_pages(
        self, plan: UsagePlan, fields: UsageFilter, group_by: Dimension | None
    ) -> AsyncIterator[Sequence[UsageLine]]:
        for span in _parts(plan.span, plan.interval):
            query = UsagePlan(span=span, interval=plan.interval).query(fields, group_by)

            async def page(last: SumsRow | None, query: Any = query) -> tuple[SumsRow, ...]:
                return await self._usage.page(query, last, PAGE_ROWS)

            async for rows in _pages(page):
                yield [usage_line(row, plan, group_by) for row in rows]

    def _streamed(self, texts: AsyncIterator[bytes], row_format: RowFormat, name: str) -> StreamingResponse:
        day = rfc3339(self._epoch_s())[:10]
        headers = {
            "content-disposition": f'attachment; filename="keyrelay-{name}-{day}.{row_format}"',
            "content-type": MEDIA_TYPES[row_format],
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        return StreamingResponse(texts, headers=headers)

    def __repr__(self) -> str:
        return f"<ExportsView of {self._usage!r} and {self._requests!r}>"


async def _pages(page: Callable[[_Row | None], Awaitable[tuple[_Row, ...]]]) -> AsyncIterator[tuple[_Row, ...]]:
    """All pages until one is not full, each read when it is wanted. Raise CallerError (503)."""
    rows = await from_store(page(None))
    while rows:
        yield rows
        rows = await from_store(page(rows[-1])) if len(rows) == PAGE_ROWS else ()


async def _begun(pages: Pages) -> Pages:
    """The same pages, of which the first has been read: nothing has been sent yet if that fails."""
    first = await anext(pages, None)

    async def all_of_them() -> Pages:
        if first is not None:
            yield first
        async for page in pages:
            yield page

    return all_of_them()


def _parts(span: Span, interval: Interval | None) -> Iterator[Span]:
    """The range in parts of some intervals each, so that a page need not sum all of it."""
    if interval is None:
        yield span
        return
    part_s = _INTERVALS_AT_ONCE * interval.seconds
    start_s = span.from_s
    while start_s < span.to_s:
        end_s = min((start_s // part_s + 1) * part_s, span.to_s)
        yield Span(start_s, end_s)
        start_s = end_s


def _described(kind: type, example: Any, columns: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """The answers of an export for OpenAPI: the document, and the same as text."""
    answers = described(kind, example, 400, 403, csv=",".join(columns)) | unavailable()
    lines = {"schema": {"type": "string", "description": "A row of the JSON document in each line."}}
    answers[200]["content"][MEDIA_TYPES[RowFormat.JSONL]] = lines
    return answers
