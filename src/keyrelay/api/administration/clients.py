"""`/api/v1/clients`: the applications that may call, with their limits and budgets; `/api/v1/me`: one about itself."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request, Response

from keyrelay.administration.client_edits import not_found
from keyrelay.administration.clients import Clients
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.client_lines import (
    EXAMPLE_LINE,
    ClientLimitLine,
    ClientLine,
    ClientPage,
    ClientPatch,
    ClientReset,
    ClientRotation,
    MadeClient,
    NewClient,
    RemovedClient,
    fields_of,
    limit_lines,
    other_line,
    stored_line,
)
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import Range, UsageReader, from_store, unavailable
from keyrelay.api.usage import EXAMPLE_TOTALS, UsageOptions, UsagePlanner
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.configuration.stored import STORE
from keyrelay.core.administered import ClientEntry
from keyrelay.core.errors import CallerError, StoreError
from keyrelay.core.moments import rfc3339
from keyrelay.core.usage_sums import Totals, totals_of
from keyrelay.core.usage_views import UsageFilter
from keyrelay.engine.client_limits import ClientLimits

MAX_CLIENT_LINES = 1_000
_LINES = 200
_CREATED = 201
_WHOLE = UsageOptions(None, "none")

ClientLabel = Annotated[str, Path(alias="label", max_length=64, description="The client's label.")]


class OwnPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may know of itself. Usage is that of today and of this month in UTC, null while it is not known."""

    label: str
    source: str
    limits: tuple[ClientLimitLine, ...]
    models: tuple[str, ...]
    priority: str
    expires_at: str | None
    usage_today: Totals | None
    usage_month: Totals | None


class ClientsView:
    """The routes of clients. `limits` knows how theirs stand."""

    __slots__ = ("_access", "_clients", "_epoch_s", "_limits")

    def __init__(self, clients: Clients, limits: ClientLimits, access: Access, epoch_s: Callable[[], float]) -> None:
        self._clients = clients
        self._limits = limits
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_list(app)
        self._install_making(app)
        self._install_changes(app)
        self._install_secrets(app)
        self._install_reset(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(ClientPage, MadeClient, RemovedClient, NewClient, ClientPatch, ClientRotation, ClientReset)

    def _install_list(self, app: FastAPI) -> None:
        looking = [Depends(self._access.requires(Permission.VIEWER, "client"))]

        @app.get(
            "/api/v1/clients",
            tags=["clients"],
            summary="The applications that may call, and how their limits and budgets stand.",
            description="Those of the environment and of `clients.json` are listed too, and cannot be changed here.",
            response_class=Response,
            responses=described(ClientPage, ClientPage((EXAMPLE_LINE,), None), 400, 403),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def clients(
            tag: Annotated[str, Query(max_length=200, description="Of those with this tag only.")] = "",
            after: Annotated[str, Query(max_length=64, description="The `next` of the page before.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_CLIENT_LINES, description="At most so many clients.")] = _LINES,
        ) -> Response:
            return answer(self.page(tag, after, limit))

        @app.get(
            "/api/v1/clients/{label}",
            tags=["clients"],
            summary="One client.",
            response_class=Response,
            responses=described(ClientLine, EXAMPLE_LINE, 403, 404),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def client(label: ClientLabel) -> Response:
            return answer(self.line(label))

    def _install_making(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "client"))
        example = NewClient(label="my-app", limits=("60 requests per minute", "5 usd per month"), models=("fast",))

        @app.post(
            "/api/v1/clients",
            tags=["clients"],
            summary="Make a client.",
            description="Its secret is in this answer and nowhere else.",
            status_code=_CREATED,
            response_class=Response,
            responses=described(MadeClient, _MADE, 400, 403, 409, 413, 415, 422, status=_CREATED) | unavailable(),
            openapi_extra=SECURITY | body_of(NewClient, example),
        )
        async def make(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewClient)
            fields = fields_of(body, self._epoch_s())
            entry, secret = await from_store(self._clients.add(body.label, fields, author_of(who)))
            return answer(MadeClient(secret=secret.reveal(), client=self.line(entry.label)), _CREATED)

    def _install_changes(self, app: FastAPI) -> None:
        who_switches = Depends(self._access.requires(Permission.OPERATOR, "client"))

        @app.patch(
            "/api/v1/clients/{label}",
            tags=["clients"],
            summary="Change a client: its limits, models, expiry, notes, or whether it may call.",
            description="An operator may change `enabled` alone. A limit goes on with its count when its amount "
            "changes; a new one counts from now on.",
            response_class=Response,
            responses=described(ClientLine, EXAMPLE_LINE, 400, 403, 404, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(ClientPatch, ClientPatch(limits=("10 usd per month@UTC",))),
        )
        async def change(request: Request, label: ClientLabel, who: Principal = who_switches) -> Response:
            fields = fields_of(await read_body(request, ClientPatch), self._epoch_s())
            if fields.given.keys() - {"enabled"}:
                who.need(Permission.ADMINISTRATOR, "client")
            entry = await from_store(self._clients.edit(label, fields, author_of(who)))
            return answer(self.line(entry.label))

        who_removes = Depends(self._access.requires(Permission.ADMINISTRATOR, "client"))

        @app.delete(
            "/api/v1/clients/{label}",
            tags=["clients"],
            summary="Forget a client, whose secrets are then refused.",
            response_class=Response,
            responses=described(RemovedClient, RemovedClient("my-app"), 403, 404, 409, 422) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def remove(label: ClientLabel, who: Principal = who_removes) -> Response:
            await from_store(self._clients.remove(label, author_of(who)))
            return answer(RemovedClient(label))

    def _install_secrets(self, app: FastAPI) -> None:
        who_rotates = Depends(self._access.requires(Permission.ADMINISTRATOR, "client"))

        @app.post(
            "/api/v1/clients/{label}/rotate",
            tags=["clients"],
            summary="Give a client another secret.",
            description="The one that it has holds for `grace_s` seconds more, unless it was revoked.",
            response_class=Response,
            responses=described(MadeClient, _MADE, 400, 403, 404, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(ClientRotation, ClientRotation()),
        )
        async def rotate(request: Request, label: ClientLabel, who: Principal = who_rotates) -> Response:
            body = await read_body(request, ClientRotation)
            entry, secret = await from_store(self._clients.rotate(label, body.grace_s, author_of(who)))
            return answer(MadeClient(secret=secret.reveal(), client=self.line(entry.label)))

        who_revokes = Depends(self._access.requires(Permission.OPERATOR, "client"))

        @app.post(
            "/api/v1/clients/{label}/revoke",
            tags=["clients"],
            summary="Refuse all secrets of a client, within a second everywhere.",
            description="It is let in again by a new secret alone (`rotate`).",
            response_class=Response,
            responses=described(ClientLine, EXAMPLE_LINE, 403, 404, 409, 422) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def revoke(label: ClientLabel, who: Principal = who_revokes) -> Response:
            entry = await from_store(self._clients.revoke(label, author_of(who)))
            return answer(self.line(entry.label))

    def _install_reset(self, app: FastAPI) -> None:
        who_resets = Depends(self._access.requires(Permission.OPERATOR, "client"))

        @app.post(
            "/api/v1/clients/{label}/reset",
            tags=["clients"],
            summary="Count a client's limit or budget anew, or all of them.",
            response_class=Response,
            responses=described(ClientLine, EXAMPLE_LINE, 400, 403, 404, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(ClientReset, ClientReset("5 usd per month@UTC")),
        )
        async def reset(request: Request, label: ClientLabel, who: Principal = who_resets) -> Response:
            body = await read_body(request, ClientReset)
            entry = await from_store(self._clients.reset(label, body.limit, author_of(who)))
            return answer(self.line(entry.label))

    def page(self, tag: str, after: str, limit: int) -> ClientPage:
        """A part of all clients."""
        entries, sources = self._clients.entries(), self._clients.sources()
        labels = sorted(entries.keys() | sources.keys())
        if tag:
            labels = [label for label in labels if label in entries and tag in entries[label].tags]
        wanted = labels[bisect_right(labels, after) :]
        following = wanted[limit - 1] if len(wanted) > limit else None
        lines = (self._line(label, entries.get(label), sources.get(label, "")) for label in wanted[:limit])
        return ClientPage(tuple(lines), following)

    def line(self, label: str) -> ClientLine:
        """One client. Raise CallerError (404)."""
        entry, source = self._clients.entries().get(label), self._clients.sources().get(label, "")
        if entry is None and not source:
            raise not_found(label)
        return self._line(label, entry, source)

    def _line(self, label: str, entry: ClientEntry | None, source: str) -> ClientLine:
        """A client of the store, or else of another place."""
        if entry is None:
            return other_line(label, source)
        shadowed = source not in {"", STORE}
        limits = () if shadowed else limit_lines(self._limits.standings(label))
        return stored_line(entry, limits, self._epoch_s(), shadowed=shadowed)

    def __repr__(self) -> str:
        return f"<ClientsView of {self._clients!r}>"


class OwnView:
    """The route of a client about itself."""

    __slots__ = ("_access", "_clients", "_epoch_s", "_planner", "_usage")

    def __init__(
        self,
        clients: ClientsView,
        usage: UsageReader,
        planner: UsagePlanner,
        access: Access,
        epoch_s: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._usage = usage
        self._planner = planner
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        who_asks = Depends(self._access.requires(Permission.CLIENT))

        @app.get(
            "/api/v1/me",
            tags=["clients"],
            summary="What a client may know of itself: its limits, how they stand, what it has used.",
            description="For the secret of a client alone.",
            response_class=Response,
            responses=described(OwnPage, _OWN, 404),
            openapi_extra=SECURITY,
        )
        async def me(who: Principal = who_asks) -> Response:
            if not who.client:
                message = f"{who.name} is no client; GET /api/v1/clients shows all of them."
                raise CallerError(404, message, code="clients_only")
            return answer(await self.page(who.client))

    def schemas(self) -> dict[str, Any]:
        """Those of the document."""
        return schemas_of(OwnPage)

    async def page(self, label: str) -> OwnPage:
        """A client's own page."""
        line = self._clients.line(label)
        today = dt.datetime.fromtimestamp(self._epoch_s(), dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return OwnPage(
            label=line.label,
            source=line.source,
            limits=line.limits,
            models=line.models,
            priority=line.priority,
            expires_at=line.expires_at,
            usage_today=await self._used(label, today),
            usage_month=await self._used(label, today.replace(day=1)),
        )

    async def _used(self, label: str, since: dt.datetime) -> Totals | None:
        """What a client has used since then; None while the store does not answer."""
        since_s = min(since.timestamp(), self._epoch_s() - 1)
        try:
            plan = await self._planner.plan(Range(rfc3339(since_s), None), _WHOLE, bounded=False)
            sums = await self._usage.report(plan.query(UsageFilter(client=label), None), 1)
        except (CallerError, StoreError):
            return None
        return totals_of(sums.totals)

    def __repr__(self) -> str:
        return f"<OwnView of {self._usage!r}>"


_MADE = MadeClient(secret="kr-0000", client=EXAMPLE_LINE)  # noqa: S106 - an example
_OWN = OwnPage(
    label="my-app",
    source="store",
    limits=EXAMPLE_LINE.limits,
    models=("fast", "gpt-*"),
    priority="agent",
    expires_at=None,
    usage_today=EXAMPLE_TOTALS,
    usage_month=EXAMPLE_TOTALS,
)
