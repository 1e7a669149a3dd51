"""What a caller is told when nothing could serve: status, words, every candidate's reason, when to come back."""

import math
from typing import Any

from keyrelay.core.configuration import Target, Withheld
from keyrelay.core.errors import CallerError
from keyrelay.core.failures import ADVICE, FAULT_KINDS, Failure, FailureKind
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import RequestRecord
from keyrelay.engine.choice import unsuited
from keyrelay.engine.jobs import Job
from keyrelay.quota.client_limits import is_budget, limit_words
from keyrelay.quota.forecast import amount_words
from keyrelay.quota.values import Amounts, Refusal
from keyrelay.routing.candidates import Candidate, failed, gate, withheld
from keyrelay.routing.drops import PASSING_REASONS, Dropped, DropReason

MAX_LISTED = 100
_LONGEST_SDK_WAIT_S = 120.0
"""The official SDKs do not retry when told to wait longer."""
_DEFAULT_WAIT_S = 5.0
_UNSERVABLE = frozenset(
    {
        DropReason.NO_OPERATION,
        DropReason.NO_CAPABILITY,
        DropReason.INEXPRESSIBLE,
        DropReason.ELSEWHERE,
        DropReason.CONTEXT_TOO_SMALL,
    }
)
_KIND_BY_STATUS = {
    400: "invalid_request_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def caller_fault(failure: Failure, job: Job) -> CallerError:
    """The provider found the request wrong: its words, redacted, under a 4xx of its own or 400.

    Whoever sent it is told what the provider quotes of it, and nobody else is.
    """
    status = failure.status if failure.status in _KIND_BY_STATUS else 400
    content = failure.kind is FailureKind.CONTENT
    code = "content_policy_violation" if content else failure.code or "invalid_request"
    if failure.kind is FailureKind.CONTEXT:
        status, code = 400, "context_length_exceeded"
    headers = (("x-should-retry", "false"),)
    return CallerError(status, job.said or failure.message, code=code, headers=headers, detail=_detail(job, 0.0, 0.0))


def deadline_passed(job: Job, now_s: float) -> CallerError:
    """The request's own deadline came first."""
    return CallerError(
        504,
        "The request's deadline passed before any provider had answered. Raise x-keyrelay-deadline-ms or try again.",
        kind="timeout_error",
        code="deadline_exceeded",
        detail=_detail(job, now_s, 0.0),
    )


def nothing_could_serve(job: Job, now_s: float, *, stopped: str = "") -> CallerError:
    """The error for a request that no candidate could take.

    `stopped` says when it was given up although some had not been tried; empty when all had their turn.
    """
    drops = all_drops(job)
    reasons = {drop.reason for drop in drops.values()}
    kinds = {drop.kind for drop in drops.values()}
    if not drops:
        return _no_candidates(job)
    if reasons <= _UNSERVABLE or kinds == {FailureKind.CONTEXT}:
        return _unservable(job, drops, now_s)
    if kinds == {FailureKind.MODEL}:
        message = f"No configured provider offers the model '{job.record.model_asked}' to its keys."
        return CallerError(404, message, param="model", code="model_not_found", detail=_detail(job, now_s, None))
    return _come_back(job, drops, now_s, stopped)


def over_client_limit(record: RequestRecord, refusal: Refusal, needed: Amounts, now_s: float) -> CallerError:
    """The error for a request that does not fit into its client's limits; it is expected to use what is `needed`."""
    limit, until_s = refusal.limit.limit, refusal.until_s
    asked = needed.of(limit.unit)
    budget = is_budget(limit)
    used, needs = amount_words(refusal.used, limit.unit), amount_words(asked, limit.unit)
    words = f"The client '{record.client}' has {'a budget' if budget else 'a limit'} of {limit_words(limit)}, of which "
    words += f"{used} of {amount_words(refusal.amount, limit.unit)} are taken, and this request takes about {needs}."
    if until_s is None:
        wait_s = None
        why = "it is larger than the whole limit" if asked > refusal.amount else "this does not come back by itself"
        words += f" Waiting does not help: {why}."
    else:
        wait_s = max(0.0, until_s - now_s)
        words += f" There is room for it in {_words(wait_s)}, at {rfc3339(until_s)}."
    detail: dict[str, Any] = {
        "request_id": record.id,
        "limit": limit_words(limit),
        "unit": limit.unit,
        "used": refusal.used,
        "amount": refusal.amount,
        "needed": asked,
        "until": None if until_s is None else rfc3339(until_s),
    }
    if wait_s is not None:
        detail["retry_after_s"] = round(wait_s, 3)
    return CallerError(
        429,
        words,
        kind="insufficient_quota" if budget else "rate_limit_error",
        code="budget_exhausted" if budget else "client_limit",
        headers=_headers(wait_s),
        detail=detail,
    )


def no_price(record: RequestRecord) -> CallerError:
    """The error where a client's money is limited and nobody knows what a model costs."""
    message = (
        f"The client '{record.client}' has a budget in money, and no candidate for '{record.model_asked}' has a price. "
        'Write [prices."PROVIDER/MODEL"] in keyrelay.toml, with 0 for what is free.'
    )
    headers = (("x-should-retry", "false"),)
    return CallerError(503, message, kind="service_unavailable_error", code="unpriced", headers=headers)


def usage_unknown(record: RequestRecord) -> CallerError:
    """The error where a client has limits, and nobody knows yet how much of them was used before this start."""
    message = (
        f"What the client '{record.client}' has used of its limits is not known yet: the store has not said so since "
        "the start. It is asked again every few seconds."
    )
    return CallerError(
        503, message, kind="service_unavailable_error", code="usage_unknown", headers=_headers(_DEFAULT_WAIT_S)
    )


def still_crowded(job: Job, slot_s: float | None, now_s: float) -> CallerError:
    """The error for a request that found the waiting room full, or waited behind others for as long as it may.

    `slot_s` (epoch) is when the next of those who wait is expected to be served.
    """
    wait_s = _DEFAULT_WAIT_S if slot_s is None or not math.isfinite(slot_s) else max(0.0, slot_s - now_s)
    message = (
        f"Others already wait for '{job.record.model_asked}', and there is no place or time left behind them. The next "
        f"one is expected to be served in {_words(wait_s)}, at {rfc3339(now_s + wait_s)}."
    )
    detail = _detail(job, now_s, wait_s) | {"retry_after_s": round(wait_s, 3)}
    return CallerError(
        429, message, kind="rate_limit_error", code="waiting_room_full", headers=_headers(wait_s), detail=detail
    )


def all_drops(job: Job) -> dict[Candidate, Dropped]:
    """Why each candidate is out: passed over, or tried and failed."""
    drops = dict(job.drops)
    drops.update((candidate, failed(failure)) for candidate, failure in job.tried.items())
    return drops


def _not_reached(job: Job, drops: dict[Candidate, Dropped], now_s: float, stopped: str) -> dict[Candidate, Dropped]:
    """Why those are out whose turn never came: what would have kept them back, else that they were not tried."""
    left = dict[Candidate, Dropped]()
    for candidate in job.plan.candidates():
        if candidate in drops or candidate in left:
            continue
        dropped = next((parked[candidate] for parked in job.parked if candidate in parked), None)
        if dropped is None:
            dropped = unsuited(candidate, job) or gate(candidate, now_s)
        if dropped is None:
            avoided = candidate.provider_id in job.avoided
            why = "its provider had just failed" if avoided else f"stopped {stopped}" if stopped else "no time was left"
            dropped = Dropped(DropReason.NOT_REACHED, f"not tried: {why}")
        left[candidate] = dropped
    return left


def _no_candidates(job: Job) -> CallerError:
    name = job.record.model_asked
    if not job.plan.withheld:
        message = f"'{name}' has no key that could serve it. Add a key for one of its providers."
        return CallerError(503, message, kind="service_unavailable_error", code="no_candidates")
    reasons = " or ".join(dict.fromkeys(each.reason for _, each in job.plan.withheld))
    message = f"Every key that could serve '{name}' is {reasons}. Enable one, or add another."
    detail = _detail(job, 0.0, None, {})
    return CallerError(503, message, kind="service_unavailable_error", code="no_candidates", detail=detail)


def _unservable(job: Job, drops: dict[Candidate, Dropped], now_s: float) -> CallerError:
    texts = list(dict.fromkeys(drop.text for drop in drops.values()))
    message = f"No candidate for '{job.record.model_asked}' can serve this request: {'; '.join(texts[:3])}."
    too_small = any(
        drop.reason is DropReason.CONTEXT_TOO_SMALL or drop.kind is FailureKind.CONTEXT for drop in drops.values()
    )
    code = "context_length_exceeded" if too_small else "unsupported_operation"
    return CallerError(400, message, param="model", code=code, detail=_detail(job, now_s, None))


def _come_back(job: Job, drops: dict[Candidate, Dropped], now_s: float, stopped: str) -> CallerError:
    """What stood in the way decides the status, of those that had their turn; all are listed."""
    everyone = drops | _not_reached(job, drops, now_s, stopped)
    servable = [drop for drop in drops.values() if drop.reason not in _UNSERVABLE]
    limits_only = all(drop.reason in PASSING_REASONS for drop in servable)
    faults_only = all(drop.reason is DropReason.FAILED and drop.kind in FAULT_KINDS for drop in servable)
    times = [drop.until_s for drop in servable if drop.until_s is not None and math.isfinite(drop.until_s)]
    unknown = any(drop.until_s is None for drop in servable)
    wait_s = max(0.0, min(times) - now_s) if times else _DEFAULT_WAIT_S if unknown else None
    if stopped and (wait_s is None or wait_s > _DEFAULT_WAIT_S):
        wait_s = _DEFAULT_WAIT_S  # those that were not tried need not be waited for
    message = _message(job, everyone, wait_s, now_s, stopped)
    headers = _headers(wait_s)
    detail = _detail(job, now_s, wait_s, everyone)
    if limits_only:
        return CallerError(
            429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers, detail=detail
        )
    status, code = (502, "upstream_failed") if faults_only else (503, "no_candidate_available")
    return CallerError(status, message, kind="service_unavailable_error", code=code, headers=headers, detail=detail)


def _message(job: Job, everyone: dict[Candidate, Dropped], wait_s: float | None, now_s: float, stopped: str) -> str:
    servable = [drop for drop in everyone.values() if drop.reason not in _UNSERVABLE]
    counts: dict[str, int] = {}
    for drop in servable:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    summary = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())
    name = job.record.model_asked
    if wait_s is None:
        when = "None of them comes back by itself: add or replace a key."
    elif not stopped and any(drop.until_s is not None for drop in servable):
        when = f"The earliest is expected back in {_words(wait_s)}, at {rfc3339(now_s + wait_s)}."
    else:
        when = "Try again shortly."
    candidates = "its only candidate" if len(servable) == 1 else f"its {len(servable)} candidates"
    end = f"Keyrelay stopped {stopped}. {when}" if stopped else when
    return f"Nothing can serve '{name}' right now. Of {candidates}: {summary}. {end}"


def _words(wait_s: float) -> str:
    minutes, seconds = divmod(math.ceil(wait_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _headers(wait_s: float | None) -> tuple[tuple[str, str], ...]:
    if wait_s is None:
        return (("x-should-retry", "false"),)
    worth_it = "true" if wait_s <= _LONGEST_SDK_WAIT_S else "false"
    return (
        ("retry-after", str(max(1, math.ceil(wait_s)))),
        ("retry-after-ms", str(max(1, math.ceil(wait_s * 1000)))),
        ("x-should-retry", worth_it),
    )


def _detail(
    job: Job, now_s: float, wait_s: float | None, drops: dict[Candidate, Dropped] | None = None
) -> dict[str, Any]:
    detail: dict[str, Any] = {"request_id": job.record.id, "attempts": _attempts(job.record)}
    if drops is None:
        return detail
    if wait_s is not None:
        detail["retry_after_s"] = round(wait_s, 3)
    detail["candidates"] = [_candidate(candidate, drop, now_s) for candidate, drop in list(drops.items())[:MAX_LISTED]]
    detail["candidates"] += [_withheld(target, key) for target, key in job.plan.withheld[:MAX_LISTED]]
    detail["candidates_total"] = len(drops) + len(job.plan.withheld)
    kinds = [drop.kind for drop in drops.values() if drop.kind is not None]
    if kinds:
        detail["suggestion"] = ADVICE[max(set(kinds), key=kinds.count)]
    return detail


def _withheld(target: Target, key: Withheld) -> dict[str, Any]:
    drop = withheld(key)
    return {
        "provider": target.provider_id,
        "model": target.model,
        "key": key.key.label,
        "reason": drop.reason,
        "detail": drop.text,
    }


def _candidate(candidate: Candidate, drop: Dropped, now_s: float) -> dict[str, Any]:
    line: dict[str, Any] = {
        "provider": candidate.provider.id,
        "model": candidate.model,
        "key": candidate.key.label,
        "reason": drop.reason,
        "detail": drop.text,
    }
    if drop.until_s is not None and math.isfinite(drop.until_s):
        line["until"] = rfc3339(drop.until_s)
        line["wait_s"] = round(max(0.0, drop.until_s - now_s), 3)
    return line


def _attempts(record: RequestRecord) -> list[dict[str, Any]]:
    return [
        {
            "provider": attempt.provider,
            "key": attempt.key,
            "model": attempt.model,
            "kind": attempt.failure.kind if attempt.failure else None,
            "status": attempt.failure.status if attempt.failure else 200,
            "ms": attempt.ms,
        }
        for attempt in record.attempts[:MAX_LISTED]
    ]
