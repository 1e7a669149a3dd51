"""The key routes of older key managers: `/api/v1/api-keys/…` and `/api/v1/credits`, over the same keys.

They take one key of one provider at a time, Gemini's unless another is named, and answer `success` and `valid` where
the others answer by their status. Counters are reset by counting from then on: what was used stays in the usage.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.key_edits import KeyFields, WantedKey, tail_of, wrong
from keyrelay.administration.keys import Checks, Keys
from keyrelay.administration.known_keys import KnownKey
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.key_bodies import Unseal, secret_of
from keyrelay.api.administration.key_lines import KeyItem, KeyLister, Usage
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError
from keyrelay.core.moments import rfc3339
from keyrelay.core.parcels import EncryptedSecret
from keyrelay.core.probes import ProbeOutcome
from keyrelay.core.secrets import Secret
from keyrelay.core.usage_sums import Sums
from keyrelay.routing.key_states import KeyState

_NANOS = 1_000_000_000
_OUT = frozenset({KeyState.INVALID, KeyState.DISABLED, KeyState.EXPIRED, KeyState.OUT_OF_CREDIT})
_NO_USE = Sums()

UsageSince = Callable[[float], Awaitable[Usage | None]]
"""What was used of each key since a time (epoch seconds); None while the store does not answer."""


class OldKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be added or tried out. `usage_limit` is how many requests it may serve per day."""

    api_key: str = ""
    encrypted: EncryptedSecret | None = None
    provider: str = "gemini"
    name: str = ""
    usage_limit: int | None = None


class OldReset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose counters are reset; without a key, everybody's."""

    key_id: str = ""


class OldAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was added."""

    success: bool
    message: str
    key_id: str
    provider: str
    name: str
    masked_key: str


class OldValidation(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of a key; `checked` is false when it could not be asked, or there is no free call."""

    valid: bool
    checked: bool
    message: str
    provider: str


class OldKeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One key: its counters since `counted_from`, or ever."""

    key_id: str
    provider: str
    name: str
    masked_key: str
    status: KeyState
    is_active: bool
    usage_count: int
    tokens_used: int
    error_count: int
    estimated_cost_usd: float
    last_used: str | None
    last_error: str | None
    counted_from: str | None


class OldStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All keys, and what they add up to."""

    total_keys: int
    active_keys: int
    total_requests: int
    total_tokens: int
    total_errors: int
    keys: tuple[OldKeyStatus, ...]


class OldCredits(msgspec.Struct, frozen=True, kw_only=True):
    """What was used and what it would cost at list prices."""

    total_requests: int
    total_tokens: int
    estimated_cost_usd: float
    keys: tuple[OldKeyStatus, ...]


class OldResetDone(msgspec.Struct, frozen=True, kw_only=True):
    """Whose counters begin anew, and when: with the next whole minute."""

    success: bool
    message: str
    keys: tuple[str, ...]
    counted_from: str


class OldKeysView:
    """The routes."""

    __slots__ = ("_access", "_keys", "_lister", "_unseal", "_usage")

    def __init__(self, access: Access, keys: Keys, lister: KeyLister, *, unseal: Unseal, usage: UsageSince) -> None:
        self._access = access
        self._keys = keys
        self._lister = lister
        self._unseal = unseal
        self._usage = usage

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "key"))
        self._install_keys(app, who_asks)
        self._install_credits(app, who_asks)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(OldKey, OldAdded, OldValidation, OldStatus, OldCredits, OldReset, OldResetDone)

    def _install_keys(self, app: FastAPI, who_asks: Any) -> None:
        body = body_of(OldKey, OldKey(api_key="AIza…", name="work", usage_limit=250))

        @app.post(
            "/api/v1/api-keys/add",
            tags=["older interfaces"],
            summary="Add a key, as older key managers did.",
            response_class=Response,
            responses=described(OldAdded, _ADDED, 400, 403, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body,
        )
        async def add(request: Request, who: Principal = who_asks) -> Response:
            asked = await read_body(request, OldKey)
            secret, limit = await self._secret(asked), asked.usage_limit
            if limit is not None and limit < 1:
                raise wrong("usage_limit", "at least 1")
            limits = () if limit is None else (f"{limit} requests per day@UTC",)
            wanted = WantedKey(asked.provider, secret, KeyFields(label=asked.name, limits=limits))
            probed = await from_store(self._keys.add(wanted, author_of(who), Checks()))
            return answer(
                OldAdded(
                    success=True,
                    message=probed.message,
                    key_id=wanted.id,
                    provider=wanted.provider,
                    name=wanted.label,
                    masked_key=f"…{tail_of(secret)}",
                )
            )

        @app.post(
            "/api/v1/api-keys/validate",
            tags=["older interfaces"],
            summary="Try a key out without saving it.",
            response_class=Response,
            responses=described(OldValidation, _VALID, 400, 403, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body,
            dependencies=[who_asks],
        )
        async def validate(request: Request) -> Response:
            asked = await read_body(request, OldKey)
            probed = await from_store(self._keys.validate(asked.provider, await self._secret(asked)))
            good = probed.outcome in {ProbeOutcome.VALID, ProbeOutcome.OUT_OF_CREDIT}
            checked = good or probed.outcome is ProbeOutcome.INVALID
            return answer(OldValidation(valid=good, checked=checked, message=probed.message, provider=asked.provider))

        @app.get(
            "/api/v1/api-keys/status",
            tags=["older interfaces"],
            summary="All keys with their counters.",
            response_class=Response,
            responses=described(OldStatus, _STATUS, 403) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[who_asks],
        )
        async def status() -> Response:
            lines = await self._lines()
            return answer(
                OldStatus(
                    total_keys=len(lines),
                    active_keys=sum(line.is_active for line in lines),
                    total_requests=sum(line.usage_count for line in lines),
                    total_tokens=sum(line.tokens_used for line in lines),
                    total_errors=sum(line.error_count for line in lines),
                    keys=lines,
                )
            )

    def _install_credits(self, app: FastAPI, who_asks: Any) -> None:
        @app.get(
            "/api/v1/credits",
            tags=["older interfaces"],
            summary="What was used of the keys, and what it would cost.",
            response_class=Response,
            responses=described(OldCredits, _CREDITS, 403) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[who_asks],
        )
        async def used() -> Response:
            lines = await self._lines()
            return answer(
                OldCredits(
                    total_requests=sum(line.usage_count for line in lines),
                    total_tokens=sum(line.tokens_used for line in lines),
                    estimated_cost_usd=sum(line.estimated_cost_usd for line in lines),
                    keys=lines,
                )
            )

        @app.post(
            "/api/v1/credits/reset",
            tags=["older interfaces"],
            summary="Begin the counters anew.",
            description="Those of one key, or of all. The limits that providers set are not touched, nor is the usage.",
            response_class=Response,
            responses=described(OldResetDone, _RESET, 400, 403, 404, 413, 415) | unavailable(),
            openapi_extra=SECURITY | body_of(OldReset, OldReset(key_id="gemini/work")),
        )
        async def reset(request: Request, who: Principal = who_asks) -> Response:
            key_id, known = (await read_body(request, OldReset)).key_id, self._keys.known()
            wanted = [self._keys.find(*key_id.partition("/")[::2])] if key_id else list(known.values())
            from_s = await from_store(self._keys.count_anew(wanted, author_of(who)))
            names, counted_from = tuple(each.key.id for each in wanted), rfc3339(from_s)
            message = f"The counters of {len(names)} keys begin anew at {counted_from}."
            return answer(OldResetDone(success=True, message=message, keys=names, counted_from=counted_from))

    async def _secret(self, asked: OldKey) -> Secret:
        secret = await secret_of(asked.api_key, asked.encrypted, self._unseal)
        if secret is None:
            raise wrong("api_key", "is missing")
        return secret

    async def _lines(self) -> tuple[OldKeyStatus, ...]:
        known = self._keys.known()
        used = dict[float, Usage]()
        for from_s in {each.said.counted_from_s for each in known.values()}:
            usage = await self._usage(from_s)
            if usage is None:
                message = "Kept usage cannot be looked up just now: its store does not answer."
                raise CallerError(503, message, kind="service_unavailable_error", code="store_unavailable")
            used[from_s] = usage
        lines = await self._lister.lines(known.values())
        return tuple(
            _line(each, line, used[each.said.counted_from_s]) for each, line in zip(known.values(), lines, strict=True)
        )

    def __repr__(self) -> str:
        return f"<OldKeysView of {self._keys!r}>"


def _line(known: KnownKey, line: KeyItem, usage: Usage) -> OldKeyStatus:
    row, from_s = usage.get((line.provider, line.label)), known.said.counted_from_s
    sums = _NO_USE if row is None else row.sums
    return OldKeyStatus(
        key_id=line.id,
        provider=line.provider,
        name=line.label,
        masked_key=f"…{line.tail}",
        status=line.state,
        is_active=line.state not in _OUT,
        usage_count=sums.requests,
        tokens_used=sums.input_tokens + sums.output_tokens,
        error_count=sums.failed,
        estimated_cost_usd=sums.cost_nanos / _NANOS,
        last_used=line.last_used_at,
        last_error=None if line.last_error is None else line.last_error.message,
        counted_from=rfc3339(from_s) if from_s else None,
    )


_ADDED = OldAdded(
    success=True,
    message="Google Gemini accepts it.",
    key_id="gemini/work",
    provider="gemini",
    name="work",
    masked_key="…f00d",
)
_VALID = OldValidation(valid=True, checked=True, message="Google Gemini accepts it.", provider="gemini")
_LINE = OldKeyStatus(
    key_id="gemini/work",
    provider="gemini",
    name="work",
    masked_key="…f00d",
    status=KeyState.READY,
    is_active=True,
    usage_count=190,
    tokens_used=81_240,
    error_count=2,
    estimated_cost_usd=0.0,
    last_used="2026-11-21T12:30:00Z",
    last_error=None,
    counted_from=None,
)
_STATUS = OldStatus(total_keys=1, active_keys=1, total_requests=190, total_tokens=81_240, total_errors=2, keys=(_LINE,))
_CREDITS = OldCredits(total_requests=190, total_tokens=81_240, estimated_cost_usd=0.0, keys=(_LINE,))
_RESET = OldResetDone(
    success=True,
    message="The counters of 1 keys begin anew at 2026-11-21T12:31:00Z.",
    keys=("gemini/work",),
    counted_from="2026-11-21T12:31:00Z",
)
