"""A kept decision put into words: a document for programs, and the same as text for people.

The document is what `GET /api/v1/requests/{id}` answers. Everything in it was known when the request ended, but for a
limit's amount in force, which is the present one. Where a policy goes round, candidates stand in the order in which it
went; elsewhere those that were looked at stand first.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from keyrelay.core.configuration import PolicyName, Target, Withheld
from keyrelay.core.failures import ADVICE
from keyrelay.core.limits import LimitSource, Unit
from keyrelay.core.moments import known_moment, rfc3339
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.reasons import Decision
from keyrelay.ports import Ledger
from keyrelay.quota.values import Amounts, Standing
from keyrelay.routing.candidates import Candidate, withheld
from keyrelay.routing.drops import Dropped
from keyrelay.routing.policies import POLICIES, Stage

MAX_LISTED = 200
"""Candidates listed of one stage; those beyond are only counted."""

_ID = re.compile(r"req_([0-9a-f]{12})[0-9a-f]{20}")

Outcome = Literal["answered", "failed", "passed_over", "not_reached"]


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """One request in short.

    `time` is when it came (RFC 3339), `category` why there was no whole answer, empty when there was one, `ms` its
    length, `attempts` the calls that it took, `passed_over` how many candidates were passed over.
    """

    request_id: str
    time: str | None
    client: str
    operation: str
    model_asked: str
    provider: str
    key: str
    model: str
    status: int
    category: str
    ms: float
    attempts: int
    passed_over: int


class CandidateLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one candidate.

    `outcome`: `answered`, `failed` (called, without an answer), `passed_over` (a gate was shut), `not_reached` (not
    looked at, because the request had ended before). `reason` names the gate or the kind of failure, `detail` says it
    in words with its numbers, `until` (RFC 3339) when it may be back: null when unknown or never by itself.
    """

    provider: str
    key: str
    model: str
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    until: str | None = None


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates of equal rank; a later stage is for when no candidate of an earlier one can serve.

    `why` says how they were put in order, with the policy's numbers. `total` counts all of them, listed or not.
    """

    policy: str
    why: str
    total: int
    candidates: tuple[CandidateLine, ...]


class AttemptLine(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a provider, `ms` long; without a `kind` it answered.

    `kind`, `scope` and `status` classify the failure, `message` is the provider's word, redacted; `reached` is false
    when the provider cannot have seen the request, `until` (RFC 3339) ends the rest that the failure brought.
    """

    provider: str
    key: str
    model: str
    ms: float
    kind: str = ""
    scope: str = ""
    status: int = 0
    message: str = ""
    reached: bool = True
    until: str | None = None


class DebitLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer took from one limit of the candidate that gave it.

    `reserved` before the call, `settled` once its true amount was known (null for a request without an answer),
    `used` and `amount` what is used by now of what the limit allows.
    """

    limit: str
    bound: tuple[str, ...]
    unit: Unit
    window: str
    source: LimitSource
    amount: int
    used: int
    reserved: int
    settled: int | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was answered as it was.

    `summary` says it in a sentence. `time` is when it came (RFC 3339). `ms` is its whole length, `upstream_ms` the part
    spent waiting for providers, `waited_ms` that for quota, `first_token_ms` the wait for a stream's first content.
    `estimate` is what was expected and reserved; tokens are those reported, or estimated when `tokens_estimated`.
    `preferred` is the provider that the caller wanted first. `free_choice`: a route was asked for, so the model was
    Keyrelay's choice. `stages` hold every candidate, `attempts` every call, `debit` what the answer took from each
    limit. `left_out` counts reasons that were too many to keep; their candidates then read `not_reached`. `withheld`
    are keys that take no requests at all now, disabled or expired.
    """

    request_id: str
    summary: str
    time: str | None
    client: str
    operation: str
    model_asked: str
    stream: bool
    status: int
    category: str
    provider: str
    key: str
    model: str
    ms: float
    upstream_ms: float
    waited_ms: float
    first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    tokens_estimated: bool
    cost_usd: float | None
    estimate: Amounts
    preferred: str
    free_choice: bool
    stages: tuple[StageLine, ...]
    attempts: tuple[AttemptLine, ...]
    debit: tuple[DebitLine, ...]
    left_out: int = 0
    withheld: tuple[CandidateLine, ...] = ()


class Explainer:
    """Puts decisions into words. `redact` takes secrets out of what others said."""

    __slots__ = ("_ledger", "_redact")

    def __init__(self, ledger: Ledger, redact: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._redact = redact

    def line(self, decision: Decision) -> RequestLine:
        """The short form."""
        record = decision.record
        return RequestLine(
            request_id=record.id,
            time=_came_at(record),
            client=record.client,
            operation=record.operation,
            model_asked=self._asked(record),
            provider=record.provider,
            key=record.key,
            model=record.model,
            status=record.status,
            category=record.category,
            ms=record.ms,
            attempts=len(record.attempts),
            passed_over=len(decision.drops),
        )

    def explain(self, decision: Decision, now_s: float) -> Explanation:
        """The full form; `now_s` (epoch) is when the limits are looked at."""
        record, usage = decision.record, decision.record.usage
        return Explanation(
            request_id=record.id,
            summary=_summary(decision),
            time=_came_at(record),
            client=record.client,
            operation=record.operation,
            model_asked=self._asked(record),
            stream=record.stream,
            status=record.status,
            category=record.category,
            provider=record.provider,
            key=record.key,
            model=record.model,
            ms=record.ms,
            upstream_ms=round(record.upstream_ms, 2),
            waited_ms=record.waited_ms,
            first_token_ms=record.first_token_ms,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            tokens_estimated=usage is not None and usage.estimated,
            cost_usd=record.cost_usd,
            estimate=decision.amounts,
            preferred=decision.preferred,
            free_choice=decision.plan.free_choice,
            stages=tuple(self._stage(decision, stage) for stage in decision.plan.stages),
            attempts=tuple(self._attempt(attempt) for attempt in record.attempts[:MAX_LISTED]),
            withheld=tuple(_withheld(target, key) for target, key in decision.plan.withheld[:MAX_LISTED]),
            debit=tuple(self._debit(decision, now_s)),
            left_out=decision.left_out,
        )

    def _asked(self, record: RequestRecord) -> str:
        """The name asked for; one that nobody served may be anything, so it is redacted."""
        return record.model_asked if record.provider else self._redact(record.model_asked)

    def _stage(self, decision: Decision, stage: Stage) -> StageLine:
        ordered, why = _order(decision, stage)
        if decision.preferred and all(each.provider_id == decision.preferred for each in stage.candidates):
            why = f"first, because the caller preferred {decision.preferred}; {why}"
        return StageLine(
            policy=policy_of(stage),
            why=why,
            total=len(ordered),
            candidates=tuple(self._candidate(decision, candidate) for candidate in ordered[:MAX_LISTED]),
        )

    def _candidate(self, decision: Decision, candidate: Candidate) -> CandidateLine:
        outcome: Outcome = "not_reached"
        reason, detail, until_s = "", "", None
        failure, dropped = decision.tried.get(candidate), decision.drops.get(candidate)
        if dropped is None:
            dropped = next((parked[candidate] for parked in decision.parked if candidate in parked), None)
        if candidate is decision.chosen:
            outcome = "answered"
        elif failure is not None:
            outcome, reason, detail, until_s = "failed", failure.kind, failure.message, failure.until_s
        elif dropped is not None:
            outcome, reason, detail, until_s = "passed_over", dropped.reason, gate_words(dropped), dropped.until_s
        return CandidateLine(
            provider=candidate.provider_id,
            key=candidate.key.label,
            model=candidate.model,
            outcome=outcome,
            reason=reason,
            detail=self._redact(detail),
            until=known_moment(until_s),
        )

    def _attempt(self, attempt: Attempt) -> AttemptLine:
        failure = attempt.failure
        line = AttemptLine(provider=attempt.provider, key=attempt.key, model=attempt.model, ms=attempt.ms)
        if failure is None:
            return line
        return msgspec.structs.replace(
            line,
            kind=failure.kind,
            scope=failure.scope,
            status=failure.status,
            message=self._redact(failure.message),
            reached=failure.reached,
            until=known_moment(failure.until_s),
        )

    def _debit(self, decision: Decision, now_s: float) -> Iterable[DebitLine]:
        chosen = decision.chosen
        if chosen is None:
            return
        settled = _settled(decision.record)
        for standing in self._ledger.peek(chosen.path, now_s):
            yield debit_line(standing, decision.amounts, settled)

    def __repr__(self) -> str:
        return f"<Explainer over {self._ledger!r}>"


def _withheld(target: Target, key: Withheld) -> CandidateLine:
    dropped = withheld(key)
    return CandidateLine(
        provider=target.provider_id,
        key=key.key.label,
        model=target.model,
        outcome="passed_over",
        reason=dropped.reason,
        detail=dropped.text,
    )


def debit_line(standing: Standing, reserved: Amounts, settled: Amounts | None = None) -> DebitLine:
    """What a request takes of a limit, beside how that stands."""
    limit = standing.limit.limit
    return DebitLine(
        limit=str(limit),
        bound=standing.limit.bound,
        unit=limit.unit,
        window=str(limit.window),
        source=standing.source,
        amount=standing.amount,
        used=standing.used,
        reserved=reserved.of(limit.unit),
        settled=None if settled is None else settled.of(limit.unit),
    )


def _settled(record: RequestRecord) -> Amounts | None:
    """What the attempt that answered took in the end; None before its end is known."""
    if record.usage is None or not record.attempts:
        return None
    last = record.attempts[-1]
    return Amounts(last.requests, last.input_tokens, last.output_tokens, last.usd_micros, last.units)


def _order(decision: Decision, stage: Stage) -> tuple[list[Candidate], str]:
    """A stage's candidates in the order in which they stood for this request, and why."""
    candidates = list(stage.candidates)
    name = policy_of(stage)
    if not any(each is decision.chosen or each in decision.drops or each in decision.tried for each in candidates):
        return candidates, "not reached"
    if name is PolicyName.ROUND_ROBIN:
        start = _turn(decision, candidates)
        return candidates[start:] + candidates[:start], f"round robin from turn {start + 1} of {len(candidates)}"
    if name is PolicyName.PRIORITY:
        return candidates, "in the order of configuration"
    own = set(candidates)
    drawn = decision.chosen if decision.chosen in own else None
    looked_at = [each for each in (*decision.drops, *decision.tried) if each in own]
    ordered = list(dict.fromkeys([*looked_at, *([drawn] if drawn else []), *candidates]))
    if name is PolicyName.LEAST_USED:
        return ordered, "fewest uses of late first"
    weights = sum(candidate.key.weight for candidate in candidates)
    share = f"; who answered has weight {drawn.key.weight:g} of {weights:g}" if drawn is not None else ""
    return ordered, f"drawn at random by weight{share}"


def _turn(decision: Decision, candidates: list[Candidate]) -> int:
    """Where a stage's round began: at the first candidate that was called, or at those passed over just before it."""
    places = {(each.provider_id, each.key.label, each.model): place for place, each in enumerate(candidates)}
    called = (places.get((each.provider, each.key, each.model)) for each in decision.record.attempts)
    start = next((place for place in called if place is not None), None)
    if start is None:
        own = set(candidates)
        first = next((each for each in decision.drops if each in own), None)
        return 0 if first is None else candidates.index(first)
    for _ in candidates:
        if candidates[start - 1] not in decision.drops:
            break
        start = (start - 1) % len(candidates)
    return start


def gate_words(dropped: Dropped) -> str:
    """Why a candidate is not tried, and when it may be."""
    free = known_moment(dropped.until_s)
    if free is not None:
        return f"{dropped.text}, free at {free}"
    never = dropped.until_s is not None and math.isinf(dropped.until_s)
    return f"{dropped.text}, until somebody acts" if never else dropped.text


def policy_of(stage: Stage) -> PolicyName:
    """The name of a stage's policy."""
    return next(name for name, policy in POLICIES.items() if policy is stage.policy)


def _came_at(record: RequestRecord) -> str | None:
    """When a request came, which its id says (`core.ids`)."""
    found = _ID.fullmatch(record.id)
    return rfc3339(int(found[1], 16) / 1000) if found else None


def _summary(decision: Decision) -> str:
    record = decision.record
    failed = sum(attempt.failure is not None for attempt in record.attempts)
    before = [_counted(failed, "call failed", "calls failed")] if failed else []
    if decision.drops or decision.left_out:
        passed_over = len(decision.drops) + decision.left_out
        before.append(_counted(passed_over, "candidate was passed over", "candidates were passed over"))
    if record.cached:
        how = "kept from before" if record.cached == "hit" else "made for another request at the same time"
        end = "; it broke off" if record.category else ""
        return f"The answer was {how}: {record.provider}'s key {record.key!r} gave it with {record.model}{end}."
    if record.provider:
        end = " and broke off" if record.category else ""
        text = f"{record.provider}'s key {record.key!r} answered with {record.model}{end}"
        lost = f" Left out in translation: {', '.join(record.left_out[:MAX_LISTED])}." if record.left_out else ""
        return f"{text}; {' and '.join(before)}.{lost}" if before else f"{text}, at once.{lost}"
    why = record.category.replace("_", " ") or "no answer"
    return f"Nobody answered ({record.status}, {why}); {' and '.join(before) or 'there was no candidate'}."


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def as_text(explanation: Explanation) -> str:
    """The full form for people, in lines."""
    lines = [explanation.summary, *_facts(explanation)]
    for number, stage in enumerate(explanation.stages, 1):
        lines += ["", f"stage {number}: {stage.policy}, {stage.why}"]
        listed = [line for line in stage.candidates if line.outcome != "not_reached"]
        lines += [f"  {_candidate_text(line)}" for line in listed]
        rest = stage.total - len(listed)
        if rest:
            lines.append(f"  {_counted(rest, 'other candidate', 'other candidates')} not reached")
    if explanation.withheld:
        lines += ["", "keys that take no requests:", *(f"  {_candidate_text(line)}" for line in explanation.withheld)]
    if explanation.attempts:
        lines += ["", "calls:"]
        lines += [f"  {number}. {_attempt_text(line)}" for number, line in enumerate(explanation.attempts, 1)]
    if explanation.debit:
        lines += ["", "taken from the ledger:"]
        lines += [f"  {_debit_text(line)}" for line in explanation.debit]
    kinds = {line.kind for line in explanation.attempts if line.kind}
    advice = [text for kind, text in ADVICE.items() if kind in kinds]
    lines += ["", *(f"advice: {text}" for text in advice)] if advice else []
    return "\n".join(lines) + "\n"


def _facts(explanation: Explanation) -> list[str]:
    tokens = "unknown"
    if explanation.input_tokens is not None:
        estimated = " (estimated)" if explanation.tokens_estimated else ""
        tokens = f"{explanation.input_tokens} in, {explanation.output_tokens} out{estimated}"
    estimate = explanation.estimate
    expected = f"{estimate.input_tokens} in, {estimate.output_tokens} out expected"
    waited = f", {explanation.waited_ms:g} ms for quota" if explanation.waited_ms else ""
    first = "" if explanation.first_token_ms is None else f", first content after {explanation.first_token_ms:g} ms"
    asked = explanation.model_asked or "nothing in particular"
    return [
        f"request  {explanation.request_id}, {explanation.time or 'time unknown'}, client {explanation.client or '-'}",
        f"asked    {asked} ({explanation.operation}{', streamed' if explanation.stream else ''})",
        f"status   {explanation.status}{' ' + explanation.category if explanation.category else ''}",
        f"time     {explanation.ms:g} ms, of which {explanation.upstream_ms:g} ms waiting for providers{waited}{first}",
        f"tokens   {tokens}; {expected}",
        *([] if explanation.cost_usd is None else [f"cost     ${explanation.cost_usd:.8f} at list prices"]),
    ]


def _candidate_text(line: CandidateLine) -> str:
    name = f"{line.provider}/{line.key} {line.model}"
    reason = f" ({line.reason})" if line.reason else ""
    detail = f": {line.detail}" if line.detail else ""
    return f"{line.outcome.replace('_', ' '):11} {name}{reason}{detail}"


def _attempt_text(line: AttemptLine) -> str:
    name = f"{line.provider}/{line.key} {line.model}, {line.ms:g} ms:"
    if not line.kind:
        return f"{name} answered"
    status = f" (status {line.status})" if line.status else ""
    rest = f"; {line.scope} rests until {line.until}" if line.until else ""
    return f"{name} {line.kind}{status}: {line.message}{rest}"


def _debit_text(line: DebitLine) -> str:
    settled = "not settled" if line.settled is None else f"settled at {line.settled}"
    return f"{line.limit}: {line.reserved} reserved, {settled}; {line.used} of {line.amount} used by now, {line.source}"
