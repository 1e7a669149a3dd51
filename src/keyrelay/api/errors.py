"""`GET /api/v1/errors`: what fails, put together by kind and message, with what to do about it.

It comes from the kept rows, which are there about a second after a request has ended.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Depends, FastAPI, Query, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import Range, fields_seen, from_store, unavailable, wanted_range
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.error_groups import Action, Affected, ErrorGroup, FailureCounts, FailureFilter, grouped
from keyrelay.core.failures import ADVICE, FailureKind
from keyrelay.core.moments import rfc3339, utc_time
from keyrelay.core.usage_views import DAY_S, UsageFilter

MAX_GROUPS = 500
_GROUPS = 50


class ErrorReader(Protocol):
    """Reads failures of a store; raises StoreError when it cannot answer now."""

    async def failures(self, wanted: FailureFilter) -> FailureCounts:
        """The failures that are wanted."""
        ...


class ErrorLine(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one kind that say the same but for ids, times and amounts; `example` is the latest as it came.

    `share_recovered` (0 to 1) is the part of them after which the request was answered all the same, by another key or
    provider. `advice` says what to do, `action` is the call of this API that does it or shows what there is to see. A
    request that was refused without a call has no provider, and its category as `kind`.
    """

    id: str
    kind: str
    message: str
    example: str
    statuses: tuple[int, ...]
    count: int
    recovered: int
    share_recovered: float
    first_seen: dt.datetime
    last_seen: dt.datetime
    providers: Affected
    keys: Affected
    models: Affected
    clients: Affected
    advice: str
    action: Action


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What failed in requests that came from `from` up to `to`: the largest of `groups_total` groups.

    `failures` counts all of them, `recovered` those after which the request was answered. Where there are more than are
    looked at, they are the latest, from `complete_since` on (null: all), and `left_out` are in no group.
    """

    start: str
    end: str
    failures: int
    recovered: int
    groups: tuple[ErrorLine, ...]
    groups_total: int
    complete_since: dt.datetime | None
    left_out: int


class ErrorsView:
    """The route."""

    __slots__ = ("_access", "_epoch_s", "_reader")

    def __init__(self, reader: ErrorReader, access: Access, epoch_s: Callable[[], float]) -> None:
        self._reader = reader
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        fields_of = Depends(fields_seen(self._access.requires(Permission.CLIENT, "usage")))

        @app.get(
            "/api/v1/errors",
            tags=["errors"],
            summary="What fails, how often, and what to do about it.",
            description="Failed calls and refused requests by kind and message. A client sees its own, the operator "
            "everyone's. `category` chooses the kind. Without `from`: 24 hours.",
            response_class=Response,
            responses=described(ErrorReport, _EXAMPLE, 400, 403) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def errors(
            asked: Annotated[Range, Depends(wanted_range)],
            limit: Annotated[int, Query(ge=1, le=MAX_GROUPS, description="At most so many groups.")] = _GROUPS,
            fields: UsageFilter = fields_of,
        ) -> Response:
            return await self.report(asked, fields, limit)

    def schemas(self) -> dict[str, Any]:
        """Those of its documents."""
        return schemas_of(ErrorReport)

    async def report(self, asked: Range, fields: UsageFilter, limit: int) -> Response:
        """The report. Raise CallerError (400, 503)."""
        now_s = self._epoch_s()
        start_s, end_s = asked.moments(now_s)
        end_s = now_s if end_s is None else end_s
        wanted = FailureFilter(
            from_s=max(0.0, end_s - DAY_S) if start_s is None else max(0.0, start_s),
            to_s=max(0.0, end_s),
            kind=fields.category,
            provider=fields.provider,
            key=fields.key,
            model=fields.model,
            client=fields.client,
        )
        found = await from_store(self._reader.failures(wanted))
        return await asyncio.to_thread(lambda: answer(_report(found, wanted, limit)))  # reading messages takes a while

    def __repr__(self) -> str:
        return f"<ErrorsView of {self._reader!r}>"


def _report(found: FailureCounts, wanted: FailureFilter, limit: int) -> ErrorReport:
    groups = grouped(found.counts)
    return ErrorReport(
        start=rfc3339(wanted.from_s),
        end=rfc3339(wanted.to_s),
        failures=sum(group.count for group in groups) + found.left_out,
        recovered=sum(group.recovered for group in groups),
        groups=tuple(map(_line, groups[:limit])),
        groups_total=len(groups),
        complete_since=None if found.since_ms is None else utc_time(found.since_ms / 1000),
        left_out=found.left_out,
    )


def _line(group: ErrorGroup) -> ErrorLine:
    return ErrorLine(
        id=group.id,
        kind=group.kind,
        message=group.message,
        example=group.example,
        statuses=group.statuses,
        count=group.count,
        recovered=group.recovered,
        share_recovered=round(group.share_recovered, 4),
        first_seen=utc_time(group.first_ms / 1000),
        last_seen=utc_time(group.last_ms / 1000),
        providers=group.providers,
        keys=group.keys,
        models=group.models,
        clients=group.clients,
        advice=group.advice,
        action=group.action,
    )


_EXAMPLE = ErrorReport(
    start="2026-11-20T12:00:00Z",
    end="2026-11-21T12:00:00Z",
    failures=38,
    recovered=38,
    groups=(
        ErrorLine(
            id="8a1b2c3d4e5f",
            kind=FailureKind.AUTH,
            message="Invalid API key: <key>",
            example="Invalid API key: gsk_…f00d",
            statuses=(401,),
            count=38,
            recovered=38,
            share_recovered=1.0,
            first_seen=dt.datetime(2026, 11, 21, 9, 12, 4, tzinfo=dt.UTC),
            last_seen=dt.datetime(2026, 11, 21, 11, 58, 12, tzinfo=dt.UTC),
            providers=Affected(names=("groq",), total=1),
            keys=Affected(names=("groq/work",), total=1),
            models=Affected(names=("openai/gpt-oss-120b",), total=1),
            clients=Affected(names=("my-app",), total=1),
            advice=ADVICE[FailureKind.AUTH],
            action=Action(text="Exchange the key.", method="POST", path="/api/v1/keys/groq/work/rotate"),
        ),
    ),
    groups_total=1,
    complete_since=None,
    left_out=0,
)
