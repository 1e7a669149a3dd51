"""`/api/v1/alerts`: what fires, what was told, rules and quiet hours; acknowledging and silencing."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from msgspec import UNSET, UnsetType

from keyrelay.administration.alerts import (
    LONGEST_SILENCE_S,
    change_of,
    changing_rule,
    hushing,
    policy_of,
    rules_of,
    setting_quiet_hours,
)
from keyrelay.administration.service import Administration
from keyrelay.alerting.telling import NO_HUSH
from keyrelay.api.access import Access
from keyrelay.api.administration.alert_lines import (
    EXAMPLE_ALERT,
    EXAMPLE_PAGE,
    EXAMPLE_RULE,
    AlertItem,
    AlertPage,
    QuietItem,
    RuleItem,
    RuleList,
    alert_item,
    message_item,
    quiet_item,
    rule_item,
)
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.administered import Administered
from keyrelay.core.alerts import QuietHours, RuleName
from keyrelay.core.errors import CallerError
from keyrelay.engine.alerts import Known, firing_of
from keyrelay.ports import AlertStore

MAX_ITEMS = 1_000
_ITEMS = 100
_ALERT_ID = r"^al_[0-9a-f]{16}$"
_ID = r"^req_[0-9a-f]{32}$"

RuleId = Annotated[RuleName, Path(alias="name", description="The rule's name.")]


class RuleEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another from now on; null puts it back to what ships.

    `thresholds` are one per step, in their order.
    """

    enabled: bool | UnsetType | None = UNSET
    thresholds: tuple[float, ...] | UnsetType | None = UNSET
    fall: float | UnsetType | None = UNSET
    for_s: float | UnsetType | None = UNSET
    clear_for_s: float | UnsetType | None = UNSET
    gather_s: float | UnsetType | None = UNSET
    remind_s: float | UnsetType | None = UNSET
    per_hour: int | UnsetType | None = UNSET


class QuietEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when to when only what is critical is told, by the wall clock of a zone."""

    start: str
    end: str
    zone: str = "UTC"


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds nothing of it is told; 0: told again from now on."""

    for_s: float


class AlertsView:
    """The routes. `known` says what is known of alerts and raises StoreError."""

    __slots__ = ("_access", "_administration", "_epoch_s", "_known", "_store")

    def __init__(
        self,
        access: Access,
        administration: Administration,
        store: AlertStore,
        *,
        known: Callable[[], Awaitable[Known]],
        epoch_s: Callable[[], float],
    ) -> None:
        self._access = access
        self._administration = administration
        self._store = store
        self._known = known
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_list(app)
        self._install_rules(app)
        self._install_quiet_hours(app)
        self._install_hushes(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(AlertPage, AlertItem, RuleList, RuleItem, RuleEdit, QuietItem, QuietEdit, Silence)

    def _install_list(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/alerts",
            tags=["alerts"],
            summary="What fires now, and what was told.",
            response_class=Response,
            responses=described(AlertPage, EXAMPLE_PAGE, 400, 403) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "alert"))],
        )
        async def alerts(
            before: Annotated[str, Query(pattern=_ID, description="The `next` of the page before.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="At most so many messages.")] = _ITEMS,
        ) -> Response:
            known = await from_store(self._known())
            records = await from_store(self._store.history(before=before, limit=limit))
            following = records[-1].message.id if len(records) == limit else None
            return answer(AlertPage(self._firing(known), tuple(map(message_item, records)), following))

    def _install_rules(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/alerts/rules",
            tags=["alerts"],
            summary="The rules, as they are in force, and the quiet hours.",
            response_class=Response,
            responses=described(RuleList, RuleList((EXAMPLE_RULE,), QuietItem("22:00", "07:00", "Europe/Berlin")), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "alert"))],
        )
        async def rules() -> Response:
            state = self._administration.state
            items = tuple(rule_item(rule, change_of(state, name)) for name, rule in rules_of(state).items())
            return answer(RuleList(items, quiet_item(policy_of(state).quiet)))

        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "alert"))

        @app.patch(
            "/api/v1/alerts/rules/{name}",
            tags=["alerts"],
            summary="Change a rule, or switch it on or off.",
            response_class=Response,
            responses=described(RuleItem, EXAMPLE_RULE, 400, 403, 409) | unavailable(),
            openapi_extra=SECURITY | body_of(RuleEdit, RuleEdit(thresholds=(14.0, 3.0))),
        )
        async def change(request: Request, name: RuleId, who: Principal = who_asks) -> Response:
            body = await read_body(request, RuleEdit)
            fields = {
                field: value
                for field in RuleEdit.__struct_fields__
                if not isinstance(value := getattr(body, field), UnsetType)
            }
            state = await self._change(changing_rule(name, fields), who, "change alert rule")
            return answer(rule_item(rules_of(state)[name], change_of(state, name)))

    def _install_quiet_hours(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "alert"))

        @app.put(
            "/api/v1/alerts/quiet-hours",
            tags=["alerts"],
            summary="Set the hours in which only what is critical is told.",
            response_class=Response,
            responses=described(QuietItem, QuietItem("22:00", "07:00", "Europe/Berlin"), 400, 403, 409) | unavailable(),
            openapi_extra=SECURITY | body_of(QuietEdit, QuietEdit("22:00", "07:00", "Europe/Berlin")),
        )
        async def put(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, QuietEdit)
            hours = QuietHours(body.start, body.end, body.zone)
            await self._change(setting_quiet_hours(hours), who, "set quiet hours")
            return answer(quiet_item(hours))

        @app.delete(
            "/api/v1/alerts/quiet-hours",
            tags=["alerts"],
            summary="Have no quiet hours.",
            status_code=204,
            response_class=Response,
            responses={204: {"description": "There are none."}, **_errors(403, 409), **unavailable()},
            openapi_extra=SECURITY,
        )
        async def delete(who: Principal = who_asks) -> Response:
            await self._change(setting_quiet_hours(None), who, "remove quiet hours")
            return Response(status_code=204)

    def _install_hushes(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "alert"))

        @app.post(
            "/api/v1/alerts/{id}/acknowledge",
            tags=["alerts"],
            summary="Say that somebody sees to it: no reminders until it fires anew.",
            response_class=Response,
            responses=described(AlertItem, EXAMPLE_ALERT, 400, 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def acknowledge(
            alert_id: Annotated[str, Path(alias="id", pattern=_ALERT_ID)], who: Principal = who_asks
        ) -> Response:
            fields = {"acknowledged_s": self._epoch_s(), "acknowledged_by": who.name}
            return answer(await self._hush(alert_id, fields, who, "acknowledge alert"))

        @app.post(
            "/api/v1/alerts/{id}/silence",
            tags=["alerts"],
            summary="Have nothing told of it for a while.",
            response_class=Response,
            responses=described(AlertItem, EXAMPLE_ALERT, 400, 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY | body_of(Silence, Silence(3600.0)),
        )
        async def silence(
            request: Request, alert_id: Annotated[str, Path(alias="id", pattern=_ALERT_ID)], who: Principal = who_asks
        ) -> Response:
            body = await read_body(request, Silence)
            if not 0 <= body.for_s <= LONGEST_SILENCE_S:
                message = f"for_s: from 0 to {LONGEST_SILENCE_S:g}."
                raise CallerError(400, message, param="for_s", code="invalid_parameter")
            until_s = self._epoch_s() + body.for_s if body.for_s else 0.0
            return answer(await self._hush(alert_id, {"silenced_until_s": until_s}, who, "silence alert"))

    async def _hush(self, alert_id: str, fields: dict[str, Any], who: Principal, action: str) -> AlertItem:
        known = await from_store(self._known())
        if not any(alert.id == alert_id for alert in firing_of(known)):
            raise CallerError(404, f"No alert {alert_id} fires.", param="id", code="alert_not_found")
        await self._change(hushing(alert_id, self._epoch_s(), fields), who, action)
        return next(item for item in self._firing(known) if item.id == alert_id)

    async def _change(self, edit: Callable[[Administered], Administered], who: Principal, action: str) -> Administered:
        return await from_store(self._administration.change(edit, author_of(who), action))

    def _firing(self, known: Known) -> tuple[AlertItem, ...]:
        policy, now_s = policy_of(self._administration.state), self._epoch_s()
        return tuple(
            alert_item(alert, policy.rules, policy.hushes.get(alert.id, NO_HUSH), now_s) for alert in firing_of(known)
        )

    def __repr__(self) -> str:
        return f"<AlertsView of {self._store!r}>"


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors alone, of an operation that answers without a document."""
    found = described(QuietItem, QuietItem("22:00", "07:00", "UTC"), *statuses)
    return {status: each for status, each in found.items() if status != 200}  # noqa: PLR2004 - the answer there is none of
