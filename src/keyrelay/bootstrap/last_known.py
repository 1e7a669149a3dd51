"""What a gateway that runs remembers, made anew of what its store has kept of the last requests.

A process knows of each key when it last answered and how it failed. The rows know the same; so the newest of them are
told to a fresh history as if they ended now, the oldest first, and what they prove of keys counts as proven.
"""

import math
from collections.abc import Iterator, Mapping

import msgspec

from keyrelay.administration.known_keys import KnownKey
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.moment_texts import moment_of
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.stored_requests import StoredAttempt, StoredRequest
from keyrelay.engine.key_history import KeyHistory
from keyrelay.engine.pasts import Past
from keyrelay.routing.health import KEY_PREFIX, Health, cell_names

MOST_REQUESTS = 1_000
"""How many rows are looked at: as many as take no time that anybody would notice."""

_LASTING: Mapping[FailureKind, FailureScope] = {
    FailureKind.AUTH: FailureScope.KEY,
    FailureKind.BILLING: FailureScope.ACCOUNT,
}
"""What only a person can mend, and so is not among what is kept over a restart; and what it is true of."""


def remember(rows: tuple[StoredRequest, ...], keys: Mapping[str, KnownKey], history: KeyHistory) -> None:
    """Tell a history what the newest requests, newest first, say of these keys as they are now."""
    for row in reversed(rows):
        ended_s = moment_of(row.ended, 0.0)
        for attempt in _attempts(row):
            if attempt.failure is not None and ended_s >= _since_s(keys, attempt.provider, attempt.key):
                history.failed(attempt, ended_s)
        if ended_s >= _since_s(keys, row.provider, row.key):
            history.answered(_record(row), ended_s)


def believe(pasts: Mapping[str, Past], keys: Mapping[str, KnownKey], health: Health) -> None:
    """Have keys be in the state that their last calls left them in, where they have not come back since."""
    for key_id, past in pasts.items():
        known, failure = keys.get(key_id), past.error
        if known is None:
            continue
        failed_last = failure is not None and past.error_s >= past.success_s
        if failed_last and failure is not None and _LASTING.get(failure.kind) is failure.scope:
            key = known.key
            names = cell_names(key.provider_id, key.account, key.label, "")
            health.cell(names[failure.scope]).rest(math.inf, failure)
        elif past.success_s:
            health.proof(f"{KEY_PREFIX}{key_id}").settle(proven=True)
    health.changes += 1


def _since_s(keys: Mapping[str, KnownKey], provider: str, label: str) -> float:
    """Since when a key has the secret that it has; never, where there is no such key any more."""
    known = keys.get(f"{provider}/{label}")
    return math.inf if known is None else max(known.said.created_s, known.said.rotated_s)


def _attempts(row: StoredRequest) -> Iterator[Attempt]:
    calls: tuple[StoredAttempt, ...] = () if isinstance(row.calls, msgspec.UnsetType) else row.calls
    for call in calls:
        yield Attempt(provider=call.provider, key=call.key, model=call.model, ms=call.ms, failure=_failure(call))


def _failure(call: StoredAttempt) -> Failure | None:
    kind = next((kind for kind in FailureKind if kind == call.kind), None)
    scope = next((scope for scope in FailureScope if scope == call.scope), FailureScope.REQUEST)
    if kind is None:
        return None
    return Failure(kind=kind, scope=scope, message=call.message, status=call.status)


def _record(row: StoredRequest) -> RequestRecord:
    return RequestRecord(
        id=row.request_id,
        provider=row.provider,
        key=row.key,
        category=row.category,
        cached=row.cached,
        upstream_ms=row.upstream_ms,
        first_token_ms=row.first_token_ms,
    )
