"""Where a request would go now, and why, without sending it, reserving anything or taking anybody's turn.

The candidates stand in the order in which they would be tried. Whether one has room is read off its counts: a limit
that more than one request is after at this moment may be full by the time that the request comes.
"""

import math
from collections.abc import Collection
from typing import Literal

import msgspec

from keyrelay.core.configuration import PolicyName, Target, Withheld
from keyrelay.core.limits import parse_window
from keyrelay.core.moments import known_moment
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.amounts import expected_amounts
from keyrelay.engine.choice import Chooser, bring_up_to_date, unsuited
from keyrelay.engine.explanations import MAX_LISTED, DebitLine, debit_line, gate_words, policy_of
from keyrelay.engine.gateway import Gateway, unknown_model
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan
from keyrelay.engine.translation import Translator
from keyrelay.ports import Clock, Ledger
from keyrelay.quota.values import Amounts, RawEstimate, Refusal, Standing
from keyrelay.routing.candidates import Candidate, gate, limited, withheld
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.policies import Stage
from keyrelay.routing.resolve import AUTO
from keyrelay.wire.dialects import Dialects

Prospect = Literal["first", "next", "passed_over"]

_WHY = {
    PolicyName.PRIORITY: "in the order of configuration",
    PolicyName.ROUND_ROBIN: "round robin, from the next turn on",
    PolicyName.WEIGHTED: "drawn at random by weight, so the order may be another one",
    PolicyName.LEAST_USED: "fewest uses of late first",
}
_ONE_TARGET = "one target after the other, the keys of each in turn"
"""What a route of that policy goes by: each of its targets is a stage of its own."""


class PlannedCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one candidate.

    `outcome`: `first` would get the request, `next` would be tried if those before fail, `passed_over` is out, with
    `reason` and `detail`, and `until` (RFC 3339) when it may be back. `debit` are the limits that it draws on, with
    what the request is expected to take of each.
    """

    provider: str
    key: str
    model: str
    outcome: Prospect
    reason: str = ""
    detail: str = ""
    until: str | None = None
    debit: tuple[DebitLine, ...] = ()


class PlannedStage(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates of equal rank in the order in which they would be tried; `total` counts those not listed too."""

    policy: str
    why: str
    total: int
    candidates: tuple[PlannedCandidate, ...]


class DryRunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request would go now.

    `estimate` is what it would take of the first candidate. `free_choice`: a route is asked for, so the model would be
    Keyrelay's choice. `client_limits` are those of the client that it is asked for. `withheld` are keys that take no
    requests at all.
    """

    summary: str
    model_asked: str
    operation: str
    dialect: str
    client: str
    free_choice: bool
    estimate: Amounts
    client_limits: tuple[DebitLine, ...]
    stages: tuple[PlannedStage, ...]
    withheld: tuple[PlannedCandidate, ...]


class DryRun:
    """Asks the gateway's own parts what they would do. `ledger` is only looked at."""

    __slots__ = ("_chooser", "_clock", "_gateway", "_ledger")

    def __init__(self, gateway: Gateway, ledger: Ledger, dialects: Dialects, clock: Clock) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._clock = clock
        translator = Translator(dialects, gateway.recall, clock)
        self._chooser = Chooser(ledger, _first, gateway.learner, translator)

    def explain(
        self,
        request: CallRequest,
        *,
        client: str = "",
        prefer: str = "",
        input_tokens: int | None = None,
        without: Collection[str] = (),
    ) -> DryRunAnswer:
        """Where the request would go; `without` names keys and providers that are not to be counted on.

        `input_tokens` stands for the length of the prompt in place of what the body holds. Raise CallerError.
        """
        pool, now_s = self._gateway.pool, self._clock.epoch_s()
        plan = pool.plan(request.model)
        if plan is None:
            raise unknown_model(pool, request.model)
        if prefer:
            plan = plan.preferring(lambda candidate: candidate.provider_id == prefer, _first)
        raw = plan.estimate(request.body) if input_tokens is None else RawEstimate(input_tokens)
        record = RequestRecord(id="", client=client, operation=request.operation, model_asked=request.model)
        job = Job(request, record, plan, raw, 0.0)
        look = _Look(job, self._chooser, self._gateway, ledger=self._ledger, now_s=now_s, without=without)
        stages = tuple(map(look.stage, plan.stages))
        route = pool.snapshot.routes.get(request.model)
        if route is not None and route.name != AUTO and route.policy is PolicyName.PRIORITY:
            stages = tuple(msgspec.structs.replace(each, policy=route.policy, why=_ONE_TARGET) for each in stages)
        limits = self._gateway.client_limits.standings(client)
        return DryRunAnswer(
            summary=_summary(stages, plan),
            model_asked=request.model,
            operation=request.operation,
            dialect=request.dialect,
            client=client,
            free_choice=plan.free_choice,
            estimate=look.estimate,
            client_limits=tuple(debit_line(standing, look.estimate) for _, standing in limits),
            stages=stages,
            withheld=tuple(map(_withheld, plan.withheld[:MAX_LISTED])),
        )

    def __repr__(self) -> str:
        return f"<DryRun of {self._gateway!r}>"


class _Look:
    """One look at all candidates of a job; `found` is the first that could serve, once there is one."""

    def __init__(
        self,
        job: Job,
        chooser: Chooser,
        gateway: Gateway,
        *,
        ledger: Ledger,
        now_s: float,
        without: Collection[str],
    ) -> None:
        self._job = job
        self._chooser = chooser
        self._gateway = gateway
        self._ledger = ledger
        self._now_s = now_s
        self._without = without
        self.found = False
        self.estimate = Amounts(requests=1, input_tokens=job.raw.input_tokens)

    def stage(self, stage: Stage) -> PlannedStage:
        """A stage, its candidates in the order in which they would be tried."""
        ordered, policy = stage.expected(self._now_s), policy_of(stage)
        planned = [self._candidate(candidate) for candidate in ordered]
        return PlannedStage(policy=policy, why=_WHY[policy], total=len(ordered), candidates=tuple(planned[:MAX_LISTED]))

    def _candidate(self, candidate: Candidate) -> PlannedCandidate:
        bring_up_to_date(candidate, self._gateway.learner.book, self._now_s)
        amounts = expected_amounts(candidate, self._job, self._now_s)
        standings = self._ledger.peek(candidate.path, self._now_s)
        dropped = self._dropped(candidate) or _full(standings, amounts, self._now_s)
        planned = PlannedCandidate(
            provider=candidate.provider_id,
            key=candidate.key.label,
            model=candidate.model,
            outcome="next" if self.found else "first",
            debit=tuple(debit_line(standing, amounts) for standing in standings),
        )
        if dropped is not None:
            redact = self._gateway.learner.redactor.redact
            return msgspec.structs.replace(
                planned,
                outcome="passed_over",
                reason=dropped.reason,
                detail=redact(gate_words(dropped)),
                until=known_moment(dropped.until_s),
            )
        if not self.found:
            self.found, self.estimate = True, amounts
        return planned

    def _dropped(self, candidate: Candidate) -> Dropped | None:
        if not {candidate.key.id, candidate.provider_id}.isdisjoint(self._without):
            return Dropped(DropReason.DISABLED, "left out for this question")
        return (
            unsuited(candidate, self._job)
            or gate(candidate, self._now_s)
            or self._chooser.inexpressible(candidate, self._job)
        )


def _full(standings: tuple[Standing, ...], amounts: Amounts, now_s: float) -> Dropped | None:
    """The limit that keeps a request of this size back longest; None when it has room under all of them."""
    found = None
    for standing in standings:
        needed, paced_s = amounts.of(standing.limit.limit.unit), standing.paced_until_s
        full = standing.used + needed > standing.amount
        if not full and (paced_s is None or paced_s <= now_s):
            continue
        until_s = standing.reset_s if full else paced_s
        dropped = limited(
            Refusal(
                limit=standing.limit,
                used=standing.used,
                amount=standing.amount,
                until_s=until_s if needed <= standing.amount else None,
                firm=standing.firm,
                paced=not full,
            )
        )
        if not standing.firm:
            text = f"{dropped.text}, as is believed; tried all the same once nothing else can serve"
            dropped = msgspec.structs.replace(dropped, text=text)
        if found is None or (dropped.until_s or math.inf) > (found.until_s or math.inf):
            found = dropped
    return found


def _withheld(held: tuple[Target, Withheld]) -> PlannedCandidate:
    target, key = held
    dropped = withheld(key)
    return PlannedCandidate(
        provider=target.provider_id,
        key=key.key.label,
        model=target.model,
        outcome="passed_over",
        reason=dropped.reason,
        detail=dropped.text,
    )


def _summary(stages: tuple[PlannedStage, ...], plan: Plan) -> str:
    listed = [candidate for stage in stages for candidate in stage.candidates]
    first = next((each for each in listed if each.outcome == "first"), None)
    behind = sum(each.outcome == "next" for each in listed)
    out = sum(each.outcome == "passed_over" for each in listed)
    rest = f"{behind} more could serve, {_are(out)} passed over"
    if first is not None:
        return f"It would go to {first.provider}'s key {first.key!r} with {first.model}; {rest}."
    if not listed:
        held = f": {len(plan.withheld)} are disabled, expired or bound to another address" if plan.withheld else ""
        return f"Nobody could serve it: no key takes requests{held}."
    times = sorted(each.until for each in listed if each.until is not None)
    back = f"the first may be back at {times[0]}" if times else "none comes back by itself"
    return f"Nobody could serve it now: {_are(out)} passed over, {back}."


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"


def as_plan_text(answer: DryRunAnswer) -> str:
    """The answer for people, in lines."""
    asked = f"{answer.operation}, {answer.dialect}" + (f", for client {answer.client}" if answer.client else "")
    estimate = answer.estimate
    lines = [
        answer.summary,
        f"asked    {answer.model_asked} ({asked})",
        f"takes    about {estimate.input_tokens} tokens in, {estimate.output_tokens} out",
    ]
    for number, stage in enumerate(answer.stages, 1):
        lines += ["", f"stage {number}: {stage.policy}, {stage.why}"]
        lines += [f"  {_line_text(line)}" for line in stage.candidates]
        if stage.total > len(stage.candidates):
            lines.append(f"  {stage.total - len(stage.candidates)} more")
    if answer.withheld:
        lines += ["", "keys that take no requests:", *(f"  {_line_text(line)}" for line in answer.withheld)]
    if answer.client_limits:
        lines += ["", "limits of the client:", *(f"  {_limit_text(line)}" for line in answer.client_limits)]
    return "\n".join(lines) + "\n"


def _line_text(line: PlannedCandidate) -> str:
    name = f"{line.outcome.replace('_', ' '):11} {line.provider}/{line.key} {line.model}"
    if line.outcome == "passed_over":
        return f"{name} ({line.reason}): {line.detail}"
    tightest = min(line.debit, key=lambda each: (each.amount - each.used) / max(each.amount, 1), default=None)
    return name if tightest is None else f"{name}: {_limit_text(tightest)}"


def _limit_text(line: DebitLine) -> str:
    return f"{line.used} of {line.amount} {line.unit} per {parse_window(line.window).words} used"


def _first() -> float:
    """In place of chance: the beginning of every round."""
    return 0.0
