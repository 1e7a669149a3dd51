"""`GET /api/v1/requests` and `GET /api/v1/requests/{id}`: what was decided for a request, and why.

A client sees its own requests, the operator everyone's.
"""

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request, Response

from keyrelay.api.views import SECURITY, Access, Viewer, answer, described, schemas_of
from keyrelay.core.errors import CallerError
from keyrelay.core.limits import LimitSource, Unit
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.explanations import (
    AttemptLine,
    CandidateLine,
    DebitLine,
    Explainer,
    Explanation,
    RequestLine,
    StageLine,
    as_text,
)
from keyrelay.quota.values import Amounts

MAX_LINES = 1_000
_LINES = 50


class RequestList(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that have ended, the newest first. `most` is how many the gateway keeps at most, of all clients."""

    requests: tuple[RequestLine, ...]
    most: int


class RequestsView:
    """The requests that can be explained."""

    __slots__ = ("_access", "_decisions", "_epoch_s", "_explainer")

    def __init__(
        self, decisions: Decisions, explainer: Explainer, access: Access, epoch_s: Callable[[], float]
    ) -> None:
        self._decisions = decisions
        self._explainer = explainer
        self._access = access
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add both routes."""
        viewer_of = Depends(self._access.viewer)

        @app.get(
            "/api/v1/requests",
            tags=["requests"],
            summary="The newest requests, in short.",
            description="A client sees its own requests, the operator everyone's.",
            response_class=Response,
            responses=described(RequestList, _LIST_EXAMPLE, 400),
            openapi_extra=SECURITY,
        )
        async def requests(
            limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="At most so many.")] = _LINES,
            viewer: Viewer = viewer_of,
        ) -> Response:
            return answer(self.newest(limit, viewer))

        @app.get(
            "/api/v1/requests/{id}",
            tags=["requests"],
            summary="Why a request was answered as it was.",
            description="Every candidate with its reason, every call, and what the answer took from the ledger. "
            "With `accept: text/plain`, text for people.",
            response_class=Response,
            responses=described(Explanation, _EXAMPLE, 404, plain=as_text(_EXAMPLE)),
            openapi_extra=SECURITY,
        )
        async def request(
            request: Request,
            request_id: Annotated[str, Path(alias="id", description="Its `x-request-id`.")],
            viewer: Viewer = viewer_of,
        ) -> Response:
            found = self.explain(request_id, viewer)
            if "text/plain" in request.headers.get("accept", ""):
                return Response(as_text(found), media_type="text/plain", headers={"cache-control": "no-store"})
            return answer(found)

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(RequestList, Explanation)

    def newest(self, limit: int, viewer: Viewer) -> RequestList:
        """The newest requests that may be seen."""
        seen = (each for each in self._decisions.newest_first() if viewer.may_see(each.record.client))
        return RequestList(
            requests=tuple(map(self._explainer.line, islice(seen, limit))),
            most=self._decisions.most,
        )

    def explain(self, request_id: str, viewer: Viewer) -> Explanation:
        """The full form of one. Raise CallerError (404), also when it is somebody else's."""
        decision = self._decisions.find(request_id)
        if decision is None or not viewer.may_see(decision.record.client):
            message = (
                f"No request {request_id[:64]!a} of yours can be explained. Of the requests that reached a decision "
                f"since the start, the newest {self._decisions.most} are kept (KEYRELAY_KEPT_REQUESTS)."
            )
            raise CallerError(404, message, param="id", code="request_not_found")
        return self._explainer.explain(decision, self._epoch_s())

    def __repr__(self) -> str:
        return f"<RequestsView of {self._decisions!r}>"


_ID = "req_01998a5c8c007d3f8a1b2c3d4e5f6071"

_EXAMPLE = Explanation(
    request_id=_ID,
    summary="groq's key 'work' answered with llama-3.3-70b-versatile; 1 call failed and 1 candidate was passed over.",
    time="2026-11-21T12:00:00Z",
    client="my-app",
    operation="chat",
    model_asked="llama-3.3-70b-versatile",
    stream=False,
    status=200,
    category="",
    provider="groq",
    key="work",
    model="llama-3.3-70b-versatile",
    ms=412.5,
    upstream_ms=411.9,
    waited_ms=0.0,
    first_token_ms=None,
    input_tokens=21,
    output_tokens=180,
    tokens_estimated=False,
    cost_usd=0.00015459,
    estimate=Amounts(requests=1, input_tokens=24, output_tokens=256),
    preferred="",
    free_choice=False,
    stages=(
        StageLine(
            policy="round_robin",
            why="round robin from turn 1 of 3",
            total=3,
            candidates=(
                CandidateLine(
                    provider="groq",
                    key="home",
                    model="llama-3.3-70b-versatile",
                    outcome="passed_over",
                    reason="limited",
                    detail="30 of 30 requests per 60s used, free at 2026-11-21T12:00:12Z",
                    until="2026-11-21T12:00:12Z",
                ),
                CandidateLine(
                    provider="groq",
                    key="spare",
                    model="llama-3.3-70b-versatile",
                    outcome="failed",
                    reason="rate",
                    detail="Rate limit reached",
                    until="2026-11-21T12:00:30Z",
                ),
                CandidateLine(provider="groq", key="work", model="llama-3.3-70b-versatile", outcome="answered"),
            ),
        ),
    ),
    attempts=(
        AttemptLine(
            provider="groq",
            key="spare",
            model="llama-3.3-70b-versatile",
            ms=38.1,
            kind="rate",
            scope="pair",
            status=429,
            message="Rate limit reached",
            until="2026-11-21T12:00:30Z",
        ),
        AttemptLine(provider="groq", key="work", model="llama-3.3-70b-versatile", ms=373.8),
    ),
    debit=(
        DebitLine(
            limit="30 requests per 60s for (account, model)",
            bound=("acct:groq/work", "model:llama-3.3-70b-versatile"),
            unit=Unit.REQUESTS,
            window="60s",
            source=LimitSource.CATALOGUE,
            amount=30,
            used=13,
            reserved=1,
            settled=1,
        ),
    ),
)

_LIST_EXAMPLE = RequestList(
    requests=(
        RequestLine(
            request_id=_ID,
            time="2026-11-21T12:00:00Z",
            client="my-app",
            operation="chat",
            model_asked="llama-3.3-70b-versatile",
            provider="groq",
            key="work",
            model="llama-3.3-70b-versatile",
            status=200,
            category="",
            ms=412.5,
            attempts=2,
            passed_over=1,
        ),
    ),
    most=10_000,
)
