"""Choosing the next candidate and taking its quota, in one step without an await."""

from collections.abc import Callable, Iterator
from typing import Final

from keyrelay.core.failures import FAULT_KINDS
from keyrelay.core.providers import ModelRow
from keyrelay.engine.amounts import expected_amounts
from keyrelay.engine.jobs import Job
from keyrelay.engine.learner import Learner
from keyrelay.engine.translation import Translator, is_plain, way_of
from keyrelay.ports import Ledger, Reservation
from keyrelay.quota.learning import LearnedBook
from keyrelay.quota.values import Refusal
from keyrelay.routing.candidates import Candidate, gate, limited
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.policies import Stage

_CONTEXT_SLACK: Final = 1.25
"""The estimate of the prompt may be too high by this much before a model counts as too small."""


class Chooser:
    """Goes through a job's plan and reserves with the first candidate that can serve."""

    __slots__ = ("_learner", "_ledger", "_random", "_translator")

    def __init__(self, ledger: Ledger, random: Callable[[], float], learner: Learner, translator: Translator) -> None:
        self._ledger = ledger
        self._random = random
        self._learner = learner
        self._translator = translator

    def choose(self, job: Job, now_s: float) -> tuple[Candidate, Reservation] | None:
        """The next candidate with its reservation; None, with the reasons in `job.drops`, when there is none."""
        for stage in job.plan.stages:
            taken = self._first(stage.order(now_s, self._random), job, now_s, stage)
            if taken is not None:
                return taken
        for stage in job.plan.stages:
            taken = self._first(iter(stage.parked), job, now_s, stage) if stage.parked else None
            if taken is not None:
                return taken
        return None

    def _first(
        self, candidates: Iterator[Candidate], job: Job, now_s: float, stage: Stage
    ) -> tuple[Candidate, Reservation] | None:
        """The first of a stage's candidates that can serve, with its reservation; those that will not are parked."""
        tried, avoided = job.tried, job.avoided
        operation = job.request.operation
        alike = job.request.dialect == "openai" and not job.request.reshaped
        any_fits = alike and not (job.plan.free_choice or job.small_models or job.files)
        drops: dict[Candidate, Dropped] | None = None
        found = None
        for candidate in candidates:
            if candidate in tried or candidate.provider_id in avoided:
                continue
            way = candidate.openai_ways.get(operation) if any_fits else None
            plain = way is not None and way.plain
            dropped = None if plain else unsuited(candidate, job)
            if dropped is None and candidate.clear_as_of != candidate.health.changes:
                dropped = gate(candidate, now_s)
            if dropped is None and not plain:
                dropped = self.inexpressible(candidate, job)
            if dropped is None:
                taken = self._reserve(candidate, job, now_s)
                if not isinstance(taken, Refusal):
                    found = candidate, taken
                    break
                dropped = limited(taken)
                if not taken.firm:
                    job.beliefs.append(candidate)
            drops = drops or {}
            drops[candidate] = dropped
        if drops:
            job.drops.update(drops)
            stage.park(drops, now_s)
        if stage.parked:
            job.parked = (*job.parked, stage.parked)
        return found

    def choose_again(self, job: Job, now_s: float) -> tuple[Candidate, Reservation] | None:
        """After faults only: a provider or even a candidate that has failed this request may be asked once more."""
        for candidate in sorted(job.plan.candidates(), key=job.tried.__contains__):
            failure = job.tried.get(candidate)
            if (failure is not None and failure.kind not in FAULT_KINDS) or gate(candidate, now_s):
                continue
            if unsuited(candidate, job) or self.inexpressible(candidate, job):
                continue
            taken = self._reserve(candidate, job, now_s)
            if not isinstance(taken, Refusal):
                return candidate, taken
        return None

    def has_sound_candidate(self, job: Job, now_s: float) -> bool:
        """Whether somebody untried is left whose provider and key show no sign of failing."""
        return any(
            not any(circuit.suspect for circuit in candidate.circuits) and may_soon_serve(candidate, now_s)
            for stage in job.plan.stages
            for candidate in stage.candidates
            if candidate not in job.tried and candidate.provider_id not in job.avoided and not unsuited(candidate, job)
        )

    def choose_beyond_belief(self, job: Job, now_s: float) -> tuple[Candidate, Reservation] | None:
        """When only beliefs stand in the way: one request at a time may find out whether they are true."""
        beliefs, job.beliefs = job.beliefs, []
        for candidate in beliefs:
            taken = self._reserve(candidate, job, now_s, beyond_belief=True)
            if not isinstance(taken, Refusal):
                return candidate, taken
        return None

    def inexpressible(self, candidate: Candidate, job: Job) -> Dropped | None:
        """Whether a candidate cannot be told what is asked: found out last, since it takes writing the request.

        Raise CallerError when the request is wrong in itself.
        """
        way = way_of(candidate, job.request)
        if way is None or job.request.opaque or is_plain(way, job.request):
            return None
        written = self._translator.written(job, candidate, way)
        return written if isinstance(written, Dropped) else None

    def _reserve(
        self, candidate: Candidate, job: Job, now_s: float, *, beyond_belief: bool = False
    ) -> Reservation | Refusal:
        """Take what the request is expected to use of this candidate."""
        if candidate.path_as_of != self._learner.book.changes:
            bring_up_to_date(candidate, self._learner.book, now_s)
        job.amounts = amounts = expected_amounts(candidate, job, now_s)
        return self._ledger.reserve(candidate.path, amounts, now_s, beyond_belief=beyond_belief)

    def __repr__(self) -> str:
        return f"<Chooser over {self._ledger!r}>"


def bring_up_to_date(candidate: Candidate, book: LearnedBook, now_s: float) -> None:
    """Put a candidate under the limits learned so far."""
    key, own = candidate.key, candidate.own_path
    learned = book.limits_for(candidate.provider_id, key.account, key.label, candidate.model, now_s, path=own)
    candidate.path = own + learned
    candidate.path_as_of = book.changes


def may_soon_serve(candidate: Candidate, now_s: float) -> bool:
    """Whether a candidate may be tried now, or as soon as it is known whether its key works."""
    dropped = gate(candidate, now_s)
    return dropped is None or dropped.reason is DropReason.UNPROVEN


def unsuited(candidate: Candidate, job: Job) -> Dropped | None:
    """Whether a candidate's provider has no such operation, or its model could not serve this request."""
    if way_of(candidate, job.request) is None:
        text = f"{candidate.provider.row.name} has no {job.request.operation} endpoint"
        return Dropped(DropReason.NO_OPERATION, text)
    elsewhere = None if job.files is None else job.files.elsewhere(candidate)
    return elsewhere or unfit(candidate, job)


def unfit(candidate: Candidate, job: Job) -> Dropped | None:
    """Whether a candidate's model could not serve this request at any time.

    What the catalogue says of a model's abilities counts only where Keyrelay chooses the model; a caller who names
    one gets it, and the provider's own word.
    """
    if candidate.model in job.small_models:
        return Dropped(DropReason.CONTEXT_TOO_SMALL, "the request is too large for this model")
    row = candidate.model_row if job.plan.free_choice else None
    return None if row is None else _unable(candidate, row, job)


def _unable(candidate: Candidate, row: ModelRow, job: Job) -> Dropped | None:
    missing = [need for need in job.request.needs if row.capabilities and need not in row.capabilities]
    if missing:
        return Dropped(DropReason.NO_CAPABILITY, f"the model does not have: {', '.join(missing)}")
    tokens, _ = candidate.calibration.estimate(job.raw, job.request.max_output_tokens)
    if row.context_tokens and tokens > row.context_tokens * _CONTEXT_SLACK:
        text = f"about {tokens} tokens do not fit into {row.context_tokens}"
        return Dropped(DropReason.CONTEXT_TOO_SMALL, text)
    return None
