"""`GET /api/v1/requests/{id}`: what was decided for a request, and why.

The newest requests are kept in memory with every candidate; of older ones the store has the answer and the calls. A
client sees its own requests, the operator everyone's.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Request, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission, Principal
from keyrelay.api.siblings import Siblings
from keyrelay.api.stored import RequestReader, from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError
from keyrelay.core.limits import LimitSource, Unit
from keyrelay.core.stored_requests import StoredAttempt, StoredRequest, is_request_id
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.explanations import (
    AttemptLine,
    CandidateLine,
    DebitLine,
    Explainer,
    Explanation,
    StageLine,
    as_text,
)
from keyrelay.quota.values import Amounts

_QUESTION = "explain"
"""The question to the other workers; its payload is a request id and the viewer's two fields."""


class RequestsView:
    """The requests that can be explained: those in memory, here or with `siblings`, and what is `stored` of others."""

    __slots__ = ("_access", "_decisions", "_epoch_s", "_explainer", "_siblings", "_stored")

    def __init__(
        self,
        decisions: Decisions,
        explainer: Explainer,
        access: Access,
        epoch_s: Callable[[], float],
        *,
        stored: RequestReader,
        siblings: Siblings,
    ) -> None:
        self._decisions = decisions
        self._explainer = explainer
        self._access = access
        self._epoch_s = epoch_s
        self._stored = stored
        self._siblings = siblings
        siblings.answer(_QUESTION, self._answer)

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        viewer_of = Depends(self._access.requires(Permission.CLIENT, "usage"))

        @app.get(
            "/api/v1/requests/{id}",
            tags=["requests"],
            summary="Why a request was answered as it was.",
            description="Every candidate with its reason, every call, and what the answer took from the ledger. "
            "Of a request that is no longer in memory, only the answer and the calls. With `accept: text/plain`, text "
            "for people.",
            response_class=Response,
            responses=described(Explanation, _EXAMPLE, 404, plain=as_text(_EXAMPLE)) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def request(
            request: Request,
            request_id: Annotated[str, Path(alias="id", description="Its `x-request-id`.")],
            viewer: Principal = viewer_of,
        ) -> Response:
            found = await self.explain(request_id, viewer)
            if "text/plain" in request.headers.get("accept", ""):
                return Response(as_text(found), media_type="text/plain", headers={"cache-control": "no-store"})
            return answer(found)

    def schemas(self) -> dict[str, Any]:
        """The schema of the document."""
        return schemas_of(Explanation)

    async def explain(self, request_id: str, viewer: Principal) -> Explanation:
        """The full form of one. Raise CallerError (404, also when it is somebody else's, and 503)."""
        here = self._decisions.find(request_id)
        if here is not None and viewer.may_see(here.record.client):
            return self._explainer.explain(here, self._epoch_s())
        stored = None
        if here is None and is_request_id(request_id):
            question = msgspec.msgpack.encode((request_id, viewer.client, viewer.operator))
            for known in await self._siblings.ask(_QUESTION, question):
                return msgspec.msgpack.decode(known, type=Explanation)
            stored = await from_store(self._stored.find(request_id))
        if stored is None or not viewer.may_see(stored.client):
            message = (
                f"No request {request_id[:64]!a} of yours is known. Requests are kept for some time after they have "
                "ended (KEYRELAY_KEEP_REQUESTS_DAYS)."
            )
            raise CallerError(404, message, param="id", code="request_not_found")
        return _recalled(stored)

    async def _answer(self, question: bytes) -> bytes | None:
        """What another worker wants to know for whoever asks there."""
        request_id, client, operator = msgspec.msgpack.decode(question, type=tuple[str, str, bool])
        viewer = Principal(name="sibling", client=client, role="viewer" if operator else None)
        decision = self._decisions.find(request_id)
        if decision is None or not viewer.may_see(decision.record.client):
            return None
        return msgspec.msgpack.encode(self._explainer.explain(decision, self._epoch_s()))

    def __repr__(self) -> str:
        return f"<RequestsView of {self._decisions!r}>"


def _recalled(stored: StoredRequest) -> Explanation:
    """What can be said of a request that is no longer in memory: no candidates, and nothing of the ledger."""
    calls = stored.calls or ()
    failed = sum(bool(call.kind) for call in calls)
    before = f" after {failed} failed {'call' if failed == 1 else 'calls'}" if failed else ""
    if stored.provider:
        end = " and broke off" if stored.category else ""
        summary = f"{stored.provider}'s key {stored.key!r} answered with {stored.model}{end}{before}"
    else:
        why = stored.category.replace("_", " ") or "no answer"
        summary = f"Nobody answered ({stored.status}, {why}){before}"
    return Explanation(
        request_id=stored.request_id,
        summary=f"{summary}. Which other candidates there were is no longer known.",
        time=stored.time,
        client=stored.client,
        operation=stored.operation,
        model_asked=stored.model_asked,
        stream=stored.stream,
        status=stored.status,
        category=stored.category,
        provider=stored.provider,
        key=stored.key,
        model=stored.model,
        ms=stored.ms,
        upstream_ms=stored.upstream_ms,
        waited_ms=stored.waited_ms,
        first_token_ms=stored.first_token_ms,
        input_tokens=stored.input_tokens,
        output_tokens=stored.output_tokens,
        tokens_estimated=stored.estimated,
        cost_usd=stored.cost_usd,
        estimate=Amounts(requests=1),
        preferred="",
        free_choice=False,
        stages=(),
        attempts=tuple(map(_recalled_call, calls)),
        debit=(),
    )


def _recalled_call(call: StoredAttempt) -> AttemptLine:
    return AttemptLine(
        provider=call.provider,
        key=call.key,
        model=call.model,
        ms=call.ms,
        kind=call.kind,
        scope=call.scope,
        status=call.status,
        message=call.message,
    )


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
