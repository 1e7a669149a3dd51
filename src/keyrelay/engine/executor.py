"""From a plan to an answer: choose, attempt, recover, until one answers or nothing is left.

The loop performs decisions that are taken elsewhere: `choice` says who is next, `attempts` what became of it,
`routing.recovery` what to do after it, `refusals` what to say in the end.
"""

import asyncio
import math
from typing import Final

from keyrelay.core.failures import LIMIT_KINDS, Failure, FailureKind, FailureScope
from keyrelay.core.records import milliseconds
from keyrelay.engine.attempts import AttemptRunner
from keyrelay.engine.choice import Chooser
from keyrelay.engine.jobs import Job
from keyrelay.engine.learner import Learner
from keyrelay.engine.outcomes import OpenStream, WholeAnswer
from keyrelay.engine.pool import Pool
from keyrelay.engine.proofs import Arrivals
from keyrelay.engine.refusals import all_drops, caller_fault, deadline_passed, nothing_could_serve, still_crowded
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.translation import Translator
from keyrelay.engine.waiting_room import Entry, Later, Unserved, WaitingRoom, earliest_slot
from keyrelay.ports import Ports, Reservation
from keyrelay.quota.values import Refusal
from keyrelay.routing.budget import RetryBudget, backoff_s
from keyrelay.routing.candidates import Candidate, limited
from keyrelay.routing.drops import DropReason
from keyrelay.routing.policies import note_use
from keyrelay.routing.recovery import Recovery, recover

_ATTEMPTS_SETTING, _BUDGET_SETTING = "KEYRELAY_RETRY_ATTEMPTS", "KEYRELAY_RETRY_BUDGET_PERCENT"

_PROOF_WAIT_S: Final = 0.25
"""How long to wait for the outcome of somebody else's first try before looking again."""


class Executor:
    """Serves jobs."""

    __slots__ = (
        "_arrivals",
        "_attempts",
        "_budget",
        "_chooser",
        "_clock",
        "_confirm",
        "_ledger",
        "_observer",
        "_pool",
        "_random",
        "_settings",
        "room",
    )

    def __init__(
        self,
        pool: Pool,
        attempts: AttemptRunner,
        ports: Ports,
        *,
        settings: EngineSettings,
        learner: Learner,
        translator: Translator,
    ) -> None:
        self._pool = pool
        self._attempts = attempts
        self._ledger = ports.ledger
        self._confirm = ports.confirm
        self._clock = ports.clock
        self._observer = ports.observer
        self._settings = settings
        self._random = ports.random
        self._chooser = Chooser(ports.ledger, ports.random, learner, translator)
        self._budget = RetryBudget(settings.retry)
        self._arrivals = Arrivals()
        self.room = WaitingRoom(settings.waiting, ports.clock, random=ports.random)

    def configure(self, settings: EngineSettings) -> None:
        """Go on with other settings; retries are counted anew."""
        self._settings = settings
        self._budget = RetryBudget(settings.retry)
        self.room.configure(settings.waiting)

    async def serve(self, job: Job) -> tuple[WholeAnswer | OpenStream, Candidate, Reservation]:
        """The answer, who gave it, and its reservation. Raise CallerError when there is none."""
        self._budget.count_request(self._clock.epoch_s())
        taken = await self._wait(job, None) if self.room.groups and self.room.crowded(job.group) else None
        while True:
            candidate, reservation = taken or self._choose(job) or await self._choose_later(job)
            taken = None
            if self._confirm is not None:
                refusal = await self._confirm(reservation, self._clock.epoch_s())
                if refusal is not None:
                    await self._pass_over(job, candidate, refusal)
                    continue
            classifier = self._pool.classifier(candidate.provider_id)
            try:
                outcome = await self._attempts.run(job, candidate, reservation, classifier)
            finally:
                if self._arrivals.waiting or self.room.groups:
                    self.announce()
            if not isinstance(outcome, Failure):
                if job.beyond_belief:
                    self._ledger.raise_belief(reservation)
                return outcome, candidate, reservation
            self._note_failure(job, candidate, outcome)
            self._check_deadline(job)
            await self._recover(job, candidate, outcome)

    async def _pass_over(self, job: Job, candidate: Candidate, refusal: Refusal) -> None:
        """Go on without a candidate whose limits the others who share them have used; it has been taken back."""
        job.drops[candidate] = limited(refusal)
        if not refusal.firm:
            job.beliefs.append(candidate)
        job.beyond_belief = False
        self._check_deadline(job)
        await asyncio.sleep(0)  # whatever the others say, the next try is not made in the same breath

    def _choose(self, job: Job) -> tuple[Candidate, Reservation] | None:
        now_s = self._clock.epoch_s()
        taken = self._chooser.choose(job, now_s)
        if taken is not None and taken[0].tracked:
            note_use(taken[0], now_s)
        return taken

    async def _choose_later(self, job: Job) -> tuple[Candidate, Reservation]:
        """Nobody is free: wait for a first try to end, ask a failing provider again, test a belief, or give up."""
        while True:
            now_s = self._clock.epoch_s()
            unproven = {candidate for candidate, drop in job.drops.items() if drop.reason is DropReason.UNPROVEN}
            hopeful = any(candidate.provider_id not in job.avoided for candidate in unproven)
            taken = self._chooser.choose_again(job, now_s) if job.failing and not hopeful else None
            if taken is not None:
                return taken
            if not unproven:
                taken = self._chooser.choose_beyond_belief(job, now_s)
                if taken is not None:
                    job.beyond_belief = True
                    return taken
                slot = earliest_slot(all_drops(job).values(), now_s)
                if slot is None:
                    raise nothing_could_serve(job, now_s)
                return await self._wait(job, slot)
            self._check_deadline(job)
            await self._arrivals.wait(min(_PROOF_WAIT_S, job.total_at - self._clock.monotonic_s()))
            job.drops.clear()
            job.beliefs.clear()
            taken = self._choose(job)
            if taken is not None:
                return taken

    def announce(self) -> None:
        """An attempt has ended, or a setting has changed: those who wait may find something."""
        self._arrivals.announce()
        self.room.announce()

    async def _wait(self, job: Job, slot: Later | None) -> tuple[Candidate, Reservation]:
        """Wait for the earliest slot, behind those who wait for the same already."""
        record = job.record
        began_at = self._clock.monotonic_s()
        longest_s = self._settings.waiting.wait_s if job.wishes.deadline_s is None else math.inf
        entry = Entry(
            group=job.group,
            until_at=min(record.started_at + longest_s, job.total_at),
            client=record.client,
            priority=job.wishes.priority,
            size_bytes=len(job.request.body),
        )
        try:
            outcome = await self.room.wait(entry, lambda: self._try_again(job), slot=slot, on_idle=job.patient)
        finally:
            record.waited_ms += milliseconds(self._clock.monotonic_s() - began_at)
        if not isinstance(outcome, Unserved):
            return outcome
        self._check_deadline(job)
        if outcome is Unserved.TOO_LATE and not job.drops:
            found = self._try_again(job)
            if not isinstance(found, Later):
                return found
        now_s = self._clock.epoch_s()
        if job.drops or job.tried:
            raise nothing_could_serve(job, now_s)
        next_slot = self.room.next_slot(job.group)
        raise still_crowded(job, None if next_slot is None else next_slot.at_s, now_s)

    def _try_again(self, job: Job) -> tuple[Candidate, Reservation] | Later:
        """The try of one who waits: those who were limited may serve by now. Raise CallerError when none ever will."""
        job.drops.clear()
        job.beliefs.clear()
        for candidate, failure in tuple(job.tried.items()):
            if failure.kind in LIMIT_KINDS and failure.until_s is not None:
                del job.tried[candidate]
        taken = self._choose(job)
        if taken is not None:
            return taken
        now_s = self._clock.epoch_s()
        if all(drop.reason is not DropReason.UNPROVEN for drop in job.drops.values()):
            taken = self._chooser.choose_beyond_belief(job, now_s)
            if taken is not None:
                job.beyond_belief = True
                return taken
        slot = earliest_slot(all_drops(job).values(), now_s)
        if slot is None:
            raise nothing_could_serve(job, now_s)
        return slot

    def _note_failure(self, job: Job, candidate: Candidate, failure: Failure) -> None:
        job.tried[candidate] = failure
        job.drops.pop(candidate, None)
        self._observer.attempt_failed(job.record, job.record.attempts[-1])
        if failure.kind in LIMIT_KINDS:
            now_s = self._clock.epoch_s()
            for standing in self._ledger.peek(candidate.path, now_s):
                if not standing.limit.limit.firm and standing.used >= standing.limit.limit.amount:
                    self._ledger.confirm_belief(standing.limit, now_s)

    async def _recover(self, job: Job, candidate: Candidate, failure: Failure) -> None:
        recovery = recover(failure)
        if recovery is Recovery.GIVE_UP and self._attempts.took_back(job, candidate, failure):
            del job.tried[candidate]
            return
        if recovery is Recovery.GIVE_UP:
            job.record.category = failure.kind  # a provider's own code would be a label without bounds
            raise caller_fault(failure, job)
        if recovery is Recovery.OTHER_MODEL:
            job.small_models.add(candidate.model)
            if all(other.model in job.small_models for other in job.plan.candidates()):
                raise caller_fault(failure, job)
        elif recovery is Recovery.RETRY:
            await self._before_retry(job, candidate, failure)

    async def _before_retry(self, job: Job, candidate: Candidate, failure: Failure) -> None:
        """Bound what faults may cost: attempts per request, and the budget where trying again may add to an outage.

        A call that never reached its provider adds to nobody's outage, nor does going on to a sound one elsewhere: once
        for each provider that is rotation, which no number bounds.
        """
        again = candidate.provider_id in job.avoided
        if failure.scope is FailureScope.PROVIDER:
            job.avoided.add(candidate.provider_id)
        now_s = self._clock.epoch_s()
        elsewhere = self._chooser.has_sound_candidate(job, now_s)
        if elsewhere and not failure.reached and not again:
            return
        job.faults += 1
        if job.faults >= self._settings.retry.attempts:
            raise nothing_could_serve(job, now_s, stopped=f"after {_calls(job.faults)} ({_ATTEMPTS_SETTING})")
        if elsewhere:
            return
        if not self._budget.take(now_s):
            raise nothing_could_serve(job, now_s, stopped=f"with the retry budget spent ({_BUDGET_SETTING})")
        wait_s = backoff_s(job.faults, self._settings.retry, self._random())
        if failure.kind is not FailureKind.NETWORK or failure.reached:
            await asyncio.sleep(min(wait_s, max(0.0, job.total_at - self._clock.monotonic_s())))

    def _check_deadline(self, job: Job) -> None:
        if self._clock.monotonic_s() >= job.total_at:
            raise deadline_passed(job, self._clock.epoch_s())

    def __repr__(self) -> str:
        return f"<Executor {self._budget!r}>"


def _calls(number: int) -> str:
    return f"{number} {'call' if number == 1 else 'calls'} to failing providers"
