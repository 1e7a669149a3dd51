"""`/api/v1/audit`: who changed what, and when."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Response

from keyrelay.administration.service import Administration
from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.moments import utc_time
from keyrelay.ports import AuditEntry

MAX_LINES = 1_000
_LINES = 100
_ID = r"^req_[0-9a-f]{32}$"


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One change, or one attempt to sign in. `before` and `after` hold no secrets; null: it was not there."""

    id: str
    at: dt.datetime
    actor: str
    action: str
    kind: str
    entry: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str


class AuditPage(msgspec.Struct, frozen=True):
    """The newest lines first. `next` is the value of `before` for the page behind this one, null at the end."""

    lines: tuple[AuditLine, ...]
    next: str | None


class AuditView:
    """The route."""

    __slots__ = ("_access", "_administration")

    def __init__(self, administration: Administration, access: Access) -> None:
        self._administration = administration
        self._access = access

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get(
            "/api/v1/audit",
            tags=["administration"],
            summary="Who changed what.",
            description="Every change of a key, provider, route, client, setting or person, the newest first.",
            response_class=Response,
            responses={**described(AuditPage, _EXAMPLE, 400, 403), **unavailable()},
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.OPERATOR))],
        )
        async def audit(
            before: Annotated[str, Query(pattern=_ID, description="The `next` of the page before.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="At most so many lines.")] = _LINES,
        ) -> Response:
            entries = await from_store(self._administration.store.audit(before=before, limit=limit))
            following = entries[-1].id if len(entries) == limit else None
            return answer(AuditPage(tuple(map(_line, entries)), following))

    def schemas(self) -> dict[str, Any]:
        """Those of its documents."""
        return schemas_of(AuditPage)


def _line(entry: AuditEntry) -> AuditLine:
    return AuditLine(
        id=entry.id,
        at=utc_time(entry.at_ms / 1000),
        actor=entry.actor,
        action=entry.action,
        kind=entry.kind,
        entry=entry.entry,
        before=msgspec.json.decode(entry.before or b"null"),
        after=msgspec.json.decode(entry.after or b"null"),
        address=entry.address,
    )


_EXAMPLE = AuditPage(
    (
        AuditLine(
            id="req_0198c0de00007abc8def0123456789ab",
            at=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC),
            actor="user:alice",
            action="disable key",
            kind="key",
            entry="groq/work",
            before={"provider": "groq", "label": "work"},
            after={"provider": "groq", "label": "work", "enabled": False},
            address="127.0.0.1",
        ),
    ),
    None,
)
