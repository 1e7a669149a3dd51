"""`POST /api/v1/explain`: where a request would go now, and why. Nothing is sent and nothing is reserved."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.callers import check_model
from keyrelay.api.policies import Permission
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.configuration import PolicyName, Snapshot
from keyrelay.core.conversation import Dialect
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import FORM_OPERATIONS, OPAQUE_OPERATIONS
from keyrelay.core.requests import CallRequest
from keyrelay.engine.dry_run import DryRun, DryRunAnswer, PlannedCandidate, PlannedStage, as_plan_text
from keyrelay.quota.values import Amounts
from keyrelay.wire.opaque import decode_opaque
from keyrelay.wire.openai import decode_request
from keyrelay.wire.registry import DIALECTS

MAX_DEPTH = 64
MAX_TOKENS = 100_000_000
MAX_LEFT_OUT = 10_000

AskedOperation = Literal["chat", "completions", "embeddings", "images", "speech", "moderations", "rerank"]
AskedDialect = Literal["openai", "anthropic", "responses", "gemini", "ollama"]

_TURN = {"role": "user", "content": "?"}
_BODIES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "openai": {"messages": [_TURN]},
        "anthropic": {"messages": [_TURN], "max_tokens": 256},
        "responses": {"input": "?"},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "?"}]}]},
        "ollama": {"messages": [_TURN]},
        "completions": {"prompt": "?"},
        "embeddings": {"input": "?"},
        "images": {"prompt": "?"},
        "speech": {"input": "?", "voice": "alloy"},
        "moderations": {"input": "?"},
        "rerank": {"query": "?", "documents": ["?"]},
    }
)
"""The shortest requests, by dialect and operation, for who asks without a body."""


class DryRunQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that is not to be sent.

    `client` is the label of the client that it would come from. `tokens` is the length of its prompt where there is no
    `body`, `max_tokens` its bound on the answer. `prefer` is the provider that it wants first. `without` names keys
    (`groq/work`) and providers that are not to be counted on: what if they failed?
    """

    model: str
    client: str = ""
    operation: AskedOperation = "chat"
    dialect: AskedDialect = "openai"
    body: dict[str, Any] | None = None
    tokens: int | None = None
    max_tokens: int | None = None
    prefer: str = ""
    without: tuple[str, ...] = ()


class DryRunView:
    """The route."""

    __slots__ = ("_access", "_dry_run", "_snapshot")

    def __init__(self, access: Access, dry_run: DryRun, snapshot: Callable[[], Snapshot]) -> None:
        self._access = access
        self._dry_run = dry_run
        self._snapshot = snapshot

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.post(
            "/api/v1/explain",
            tags=["requests"],
            summary="Where a request would go now, and why.",
            description="Every candidate in the order in which it would be tried, with what its limits have left. "
            "Nothing is sent, reserved or changed. With `accept: text/plain`, text for people.",
            response_class=Response,
            responses=described(DryRunAnswer, _EXAMPLE, 400, 403, 404, 413, 415, plain=as_plan_text(_EXAMPLE)),
            openapi_extra=SECURITY | body_of(DryRunQuestion, DryRunQuestion(model="auto", tokens=2_000)),
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "route"))],
        )
        async def explain(request: Request) -> Response:
            found = self._answer(await read_body(request, DryRunQuestion))
            if "text/plain" in request.headers.get("accept", ""):
                return Response(as_plan_text(found), media_type="text/plain", headers={"cache-control": "no-store"})
            return answer(found)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(DryRunAnswer, DryRunQuestion)

    def _answer(self, question: DryRunQuestion) -> DryRunAnswer:
        if question.tokens is not None and not 0 <= question.tokens <= MAX_TOKENS:
            raise CallerError(400, f"tokens: from 0 to {MAX_TOKENS}.", param="tokens", code="invalid_parameter")
        request = decoded(question)
        if question.client:
            self._check_client(question.client, request.model)
        return self._dry_run.explain(
            request,
            client=question.client,
            prefer=question.prefer,
            input_tokens=question.tokens,
            without=frozenset(question.without[:MAX_LEFT_OUT]),
        )

    def _check_client(self, label: str, model: str) -> None:
        snapshot = self._snapshot()
        client = next((each for each in snapshot.clients.values() if each.label == label), None)
        if client is None:
            message = f"There is no client {label[:64]!a}."
            raise CallerError(404, message, param="client", code="client_not_found")
        if client.rules is not None and client.rules.state:
            message = f"The client '{label}' is {client.rules.state}: whatever it asks for is refused."
            raise CallerError(
                403, message, kind="permission_error", param="client", code=f"client_{client.rules.state}"
            )
        check_model(client, model, snapshot.providers)

    def __repr__(self) -> str:
        return f"<DryRunView of {self._dry_run!r}>"


def decoded(question: DryRunQuestion) -> CallRequest:
    """The request that is asked about, as the endpoint of its dialect would read it. Raise CallerError (400)."""
    operation, dialect = question.operation, question.dialect
    kind = dialect if operation == "chat" else operation
    members = dict(_BODIES[kind] if question.body is None else question.body)
    if dialect != "gemini":
        members["model"] = question.model
    if question.max_tokens is not None:
        members |= _bound(dialect, question.max_tokens)
    body = msgspec.json.encode(members)
    if operation in OPAQUE_OPERATIONS and operation not in FORM_OPERATIONS:
        return decode_opaque(operation, body, max_depth=MAX_DEPTH)
    if operation != "chat" and dialect == "openai":
        return decode_request(operation, body, max_depth=MAX_DEPTH)
    caller = DIALECTS.callers[dialect]
    model, stream = (question.model, False) if dialect == "gemini" else ("", None)
    return caller.request(operation, body, max_depth=MAX_DEPTH, model=model, stream=stream)


def _bound(dialect: Dialect, tokens: int) -> dict[str, Any]:
    if dialect == "gemini":
        return {"generationConfig": {"maxOutputTokens": tokens}}
    if dialect == "ollama":
        return {"options": {"num_predict": tokens}}
    return {"max_output_tokens" if dialect == "responses" else "max_tokens": tokens}


_EXAMPLE = DryRunAnswer(
    summary="It would go to groq's key 'work' with openai/gpt-oss-20b; 0 more could serve, 1 is passed over.",
    model_asked="openai/gpt-oss-20b",
    operation="chat",
    dialect="openai",
    client="",
    free_choice=False,
    estimate=Amounts(requests=1, input_tokens=2_000, output_tokens=256),
    client_limits=(),
    stages=(
        PlannedStage(
            policy=PolicyName.ROUND_ROBIN,
            why="round robin, from the next turn on",
            total=2,
            candidates=(
                PlannedCandidate(
                    provider="groq",
                    key="home",
                    model="openai/gpt-oss-20b",
                    outcome="passed_over",
                    reason="limited",
                    detail="30 of 30 requests per 60s used, free at 2026-11-21T12:00:12Z",
                    until="2026-11-21T12:00:12Z",
                ),
                PlannedCandidate(provider="groq", key="work", model="openai/gpt-oss-20b", outcome="first"),
            ),
        ),
    ),
    withheld=(),
)
