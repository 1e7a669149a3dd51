"""`/api/v1/quota`: how every count stands, how long the quotas last, what was learned of limits."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError
from keyrelay.core.limits import LimitSource, ScopePart, Unit
from keyrelay.engine.quota_view import (
    CountLine,
    ForecastLine,
    KeyLine,
    LearnedLine,
    LifespanLine,
    LifespanReport,
    QuotaView,
    Wanted,
    in_turns,
)
from keyrelay.quota.accuracy import Accuracy, CalibrationView, Deviation
from keyrelay.quota.calibration import Calibrations
from keyrelay.quota.forecast import Outlook
from keyrelay.quota.learning import FactSource
from keyrelay.quota.lifespan import TOKENS_PER_REQUEST, Demand, Verdict

MAX_COUNTS = 10_000
_COUNTS = 2_000
_MOST_TOKENS = 1e15
_LONGEST_NAME = 256


class QuotaReport(msgspec.Struct, frozen=True, kw_only=True):
    """How every count stands.

    `counts` are listed up to the limit asked for, `total` says how many there are. `keys_without_limits` are those on
    which no limit is known. `estimates` says of each model used how requests are estimated and how well that met what
    was used; `learned` lists what the providers' answers taught of limits.
    """

    counts: tuple[CountLine, ...]
    total: int
    keys_without_limits: tuple[KeyLine, ...]
    estimates: tuple[CalibrationView, ...]
    learned: tuple[LearnedLine, ...]


class Forgotten(msgspec.Struct, frozen=True):
    """How many learned facts were forgotten."""

    forgotten: int


class QuotaRoutes:
    """The routes of `/api/v1/quota`."""

    __slots__ = ("_access", "_calibrations", "_epoch_s", "_view")

    def __init__(
        self, view: QuotaView, calibrations: Calibrations, access: Access, epoch_s: Callable[[], float]
    ) -> None:
        self._view = view
        self._calibrations = calibrations
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_report(app)
        self._install_lifespan(app)
        self._install_learned(app)

    def _install_report(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/quota",
            tags=["quota"],
            summary="How every count stands.",
            description="Used, reserved and remaining, when it comes back and whether it lasts: of every limit on "
            "every configured key. How good the estimates are, and what was learned.",
            response_class=Response,
            responses=described(QuotaReport, _EXAMPLE, 400),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.CLIENT))],
        )
        async def quota(
            provider: Annotated[str, Query(max_length=_LONGEST_NAME, description="Of this provider only.")] = "",
            account: Annotated[str, Query(max_length=_LONGEST_NAME, description="Of this account only.")] = "",
            key: Annotated[str, Query(max_length=_LONGEST_NAME, description="Of the key with this label only.")] = "",
            model: Annotated[str, Query(max_length=_LONGEST_NAME, description="What this model draws on.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_COUNTS, description="At most so many counts.")] = _COUNTS,
        ) -> Response:
            return answer(await self.report(Wanted(provider=provider, account=account, key=key, model=model), limit))

    def _install_lifespan(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/quota/lifespan",
            tags=["quota"],
            summary="How long the quotas last at a given use per day.",
            description="Of each provider alone, and of all together.",
            response_class=Response,
            responses=described(LifespanReport, _LIFESPAN_EXAMPLE, 400),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.CLIENT))],
        )
        async def lifespan(
            tokens_per_day: Annotated[
                float, Query(gt=0, le=_MOST_TOKENS, description="Tokens to be used each day, prompts and answers.")
            ],
            tokens_per_request: Annotated[
                float, Query(gt=0, le=_MOST_TOKENS, description="Tokens of an average request.")
            ] = TOKENS_PER_REQUEST,
        ) -> Response:
            demand = Demand(tokens_per_day=tokens_per_day, tokens_per_request=tokens_per_request)
            return answer(await self._view.lifespan(demand, self._epoch_s()))

    def _install_learned(self, app: FastAPI) -> None:
        operator_only = [Depends(self._access.requires(Permission.TRUSTED))]
        about = "The operator may do this; any client while no operator's secret is set."

        @app.delete(
            "/api/v1/quota/learned/{id}",
            tags=["quota"],
            summary="Forget one thing learned of limits.",
            description=about,
            response_class=Response,
            responses=described(Forgotten, Forgotten(1), 403, 404),
            openapi_extra=SECURITY,
            dependencies=operator_only,
        )
        async def forget(fact_id: Annotated[str, Path(alias="id", description="Its `id` in `learned`.")]) -> Response:
            forgotten = self._view.forget(self._epoch_s(), fact_id)
            if not forgotten:
                message = f"Nothing learned has the id {fact_id[:64]!a}; GET /api/v1/quota lists what there is."
                raise CallerError(404, message, param="id", code="fact_not_found")
            return answer(Forgotten(forgotten))

        @app.delete(
            "/api/v1/quota/learned",
            tags=["quota"],
            summary="Forget everything learned of limits.",
            description=about,
            response_class=Response,
            responses=described(Forgotten, Forgotten(7), 403),
            openapi_extra=SECURITY,
            dependencies=operator_only,
        )
        async def forget_all() -> Response:
            return answer(Forgotten(self._view.forget(self._epoch_s())))

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(QuotaReport, LifespanReport, Forgotten)

    async def report(self, wanted: Wanted, limit: int) -> QuotaReport:
        """How counts stand; others get a turn while thousands of lines are made."""
        now_s = self._epoch_s()
        bounds = await self._view.bounds(wanted)
        return QuotaReport(
            counts=tuple([self._view.line(bound, now_s) async for bound in in_turns(bounds[:limit])]),
            total=len(bounds),
            keys_without_limits=tuple(self._view.without_limits(wanted, bounds)),
            estimates=tuple(
                each
                for each in self._calibrations.view()
                if wanted.provider in {"", each.provider} and wanted.model in {"", each.model}
            ),
            learned=self._view.learned(wanted, now_s),
        )

    def __repr__(self) -> str:
        return f"<QuotaRoutes of {self._view!r}>"


_EXAMPLE = QuotaReport(
    counts=(
        CountLine(
            provider="gemini",
            account="alice",
            key=None,
            keys=("alice",),
            model="gemini-2.5-flash",
            models=(),
            unit=Unit.REQUESTS,
            window="day@America/Los_Angeles",
            scope=(ScopePart.ACCOUNT, ScopePart.MODEL),
            amount=250,
            used=190,
            reserved=2,
            remaining=60,
            used_share=0.76,
            reset_at="2026-11-22T08:00:00Z",
            reset_in_s=72_000.0,
            rate_per_h=21.5,
            forecast=ForecastLine(
                kind=Outlook.RUNS_OUT,
                at="2026-11-21T14:47:26Z",
                reason="At 21.5 requests an hour it runs out in about 2 h 47 min, 17 h 12 min before the reset at "
                "2026-11-22T08:00:00Z.",
            ),
            source=LimitSource.LEARNED,
            source_at="2026-11-21T11:02:10Z",
            source_age_s=3470.0,
            learned="8a1b2c3d4e5f",
            firm=True,
            paced_until=None,
        ),
    ),
    total=1,
    keys_without_limits=(KeyLine("ollama", "local"),),
    estimates=(
        CalibrationView(
            provider="gemini",
            model="gemini-2.5-flash",
            prompt_factor=1.08,
            completion_tokens=312,
            learned=True,
            accuracy=Accuracy(
                answers=190, prompt=Deviation(0.06, 0.01), completion=Deviation(0.71, 0.44), exceeded=0.21
            ),
        ),
    ),
    learned=(
        LearnedLine(
            id="8a1b2c3d4e5f",
            provider="gemini",
            limit="250 requests per day@America/Los_Angeles for (account, model)",
            bound=("acct:gemini/alice", "model:gemini-2.5-flash"),
            amount=250,
            source=FactSource.REFUSAL,
            evidence="429 GenerateRequestsPerDayPerProjectPerModel-FreeTier, quota value 250",
            first_at="2026-11-20T19:40:00Z",
            seen_at="2026-11-21T11:02:10Z",
            confidence=0.9,
            times=2,
            reset_at="2026-11-22T08:00:00Z",
            followed=True,
        ),
    ),
)

_LIFESPAN_EXAMPLE = LifespanReport(
    tokens_per_day=50_000.0,
    tokens_per_request=1_000.0,
    providers=(
        LifespanLine(
            provider="gemini",
            verdict=Verdict.LASTS,
            reason="gemini lasts: it takes 50 k of 250 k tokens a day.",
            share=1.0,
            tokens_per_day=250_000.0,
            days=None,
            until=None,
        ),
    ),
    total=LifespanLine(
        provider="",
        verdict=Verdict.LASTS,
        reason="All together lasts: it takes 50 k of 250 k tokens a day.",
        share=1.0,
        tokens_per_day=250_000.0,
        days=None,
        until=None,
    ),
)
