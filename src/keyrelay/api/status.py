"""`/api/v1/status` and `/api/v1/health/providers`: how everything stands, in a word with its reasons, and in detail."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission, Principal
from keyrelay.api.provider_health import (
    CircuitLine,
    ErrorLine,
    KeyHealthLine,
    ProbeLine,
    ProviderHealth,
    ProviderHealthLine,
    ProviderHealthReport,
)
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.failures import ADVICE, FailureKind
from keyrelay.core.moments import known_moment
from keyrelay.core.probes import ProbeOutcome
from keyrelay.engine.status_view import StatusView
from keyrelay.routing.key_states import KeyState
from keyrelay.routing.status import Level, Reason, Standing, Status


class StatusReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why things do not stand better than `level`. `until` (RFC 3339) is when that ends by itself, if that is known."""

    level: Level
    subject: str
    text: str
    until: str | None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a route or a model stands: `serving` of its `keys` can serve it."""

    name: str
    kind: str
    status: Level
    serving: int
    keys: int
    reasons: tuple[StatusReason, ...]


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """How everything stands: `operational`, `degraded`, `at_risk` or `down`. Clients see that word alone.

    `reasons` are sentences, the worst first; `hints` say what could be made safer and change nothing. `services` are
    the routes, and the models that have been used.
    """

    status: Level
    reasons: tuple[StatusReason, ...] | msgspec.UnsetType = msgspec.UNSET
    hints: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    services: tuple[ServiceStatus, ...] | msgspec.UnsetType = msgspec.UNSET


class StatusRoutes:
    """Both routes."""

    __slots__ = ("_access", "_providers", "_view")

    def __init__(self, view: StatusView, providers: ProviderHealth, access: Access) -> None:
        self._view = view
        self._providers = providers
        self._access = access

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        caller = self._access.requires(Permission.CLIENT)

        @app.get(
            "/api/v1/status",
            tags=["status"],
            summary="How everything stands, and why.",
            description="A word, and for people its reasons in sentences and how each route and model stands. It is "
            "that of the process that was asked, and at most a second old.",
            response_class=Response,
            responses=described(StatusReport, _EXAMPLE),
            openapi_extra=SECURITY,
        )
        async def status(who: Annotated[Principal, Depends(caller)]) -> Response:
            found = await self._view.status()
            return answer(_report(found) if who.may(Permission.VIEWER) else StatusReport(status=found.level))

        @app.get(
            "/api/v1/health/providers",
            tags=["status"],
            summary="How every provider and key is.",
            description="State, circuit, last probe, last answer and last error of each, with what to do about it.",
            response_class=Response,
            responses=described(ProviderHealthReport, _HEALTH_EXAMPLE, 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER))],
        )
        async def providers() -> Response:
            return answer(await self._providers.report())

    def schemas(self) -> dict[str, Any]:
        """Those of its documents."""
        return schemas_of(StatusReport, ProviderHealthReport)

    def __repr__(self) -> str:
        return f"<StatusRoutes of {self._view!r}>"


def _report(found: Status) -> StatusReport:
    return StatusReport(
        status=found.level,
        reasons=tuple(map(_reason, found.reasons)),
        hints=found.hints,
        services=tuple(map(_service, found.services)),
    )


def _reason(reason: Reason) -> StatusReason:
    return StatusReason(
        level=reason.level, subject=reason.subject, text=reason.text, until=known_moment(reason.until_s)
    )


def _service(standing: Standing) -> ServiceStatus:
    return ServiceStatus(
        name=standing.name,
        kind=standing.kind,
        status=standing.level,
        serving=standing.serving,
        keys=standing.choices,
        reasons=tuple(map(_reason, standing.reasons)),
    )


_EXAMPLE = StatusReport(
    status=Level.AT_RISK,
    reasons=(
        StatusReason(
            level=Level.AT_RISK,
            subject="all keys",
            text="Only the key gemini/alice still serves; groq/work is out.",
            until="2026-11-22T00:00:00Z",
        ),
    ),
    hints=(),
    services=(ServiceStatus(name="auto", kind="route", status=Level.AT_RISK, serving=1, keys=2, reasons=()),),
)
_CIRCUIT = CircuitLine(state="open", until="2026-11-21T12:00:30Z", reason="service: the provider answered 503")
_HEALTH_EXAMPLE = ProviderHealthReport(
    providers=(
        ProviderHealthLine(
            provider="groq",
            name="Groq",
            state="down",
            circuit=_CIRCUIT,
            latency_ms=182.4,
            last_success_at="2026-11-21T11:58:12Z",
            keys=(
                KeyHealthLine(
                    key="groq/work",
                    label="work",
                    state=KeyState.RESTING,
                    until="2026-11-21T12:00:30Z",
                    message="Calls keep failing: service: the provider answered 503.",
                    way_back="One request finds out by itself when it is back; end its rest to try it sooner.",
                    last_success_at="2026-11-21T11:58:12Z",
                    last_error=ErrorLine(
                        at="2026-11-21T12:00:00Z",
                        kind=FailureKind.SERVICE,
                        status=503,
                        message="the provider answered 503",
                        advice=ADVICE[FailureKind.SERVICE],
                    ),
                    probe=ProbeLine(
                        at="2026-11-21T12:00:05Z",
                        outcome=ProbeOutcome.UNKNOWN,
                        message="Groq answered 503.",
                        ms=41.0,
                        today=3,
                        per_day=288,
                        next="2026-11-21T12:00:15Z",
                    ),
                    circuit=CircuitLine(state="closed"),
                    latency_ms=182.4,
                ),
            ),
        ),
    ),
)
