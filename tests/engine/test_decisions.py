import gc
import timeit
import weakref
from typing import cast

import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.ids import request_id
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.decisions import MAX_REASONS, REASONS_PER_REQUEST, Decisions
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan
from keyrelay.quota.estimates import RawEstimate
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate, Dropped, DropReason

PLAN = Plan((), free_choice=False)
DROPPED = Dropped(DropReason.LIMITED, "15 of 15 requests per 60s used", 7.0)
FAILURE = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="slow down")


class Name:
    """Stands for a candidate, of which only the identity counts here."""


def names(count: int) -> list[Candidate]:
    return [cast("Candidate", Name()) for _ in range(count)]


def job_for(request: CallRequest, identifier: str) -> Job:
    return Job(request, RequestRecord(identifier), PLAN, RawEstimate(3), 0.0, amounts=Amounts())


def job_of(number: int, *, dropped: int = 0, tried: int = 0) -> Job:
    request = CallRequest(operation="chat", model="m", stream=False, body=b"the prompt", fields={})
    job = job_for(request, f"req_{number}")
    job.drops.update(dict.fromkeys(names(dropped), DROPPED))
    job.tried.update(dict.fromkeys(names(tried), FAILURE))
    return job


def ids(decisions: Decisions) -> list[str]:
    return [decision.record.id for decision in decisions.newest_first()]


class TestTheRing:
    def test_a_decision_is_found_by_its_request(self) -> None:
        decisions = Decisions(3)
        jobs = [job_of(number, dropped=number) for number in range(3)]
        for job in jobs:
            decisions.keep(job, preferred="groq")
        for job in jobs:
            found = decisions.find(job.record.id)
            assert found is not None
            assert (found.record, found.plan, found.amounts) == (job.record, PLAN, Amounts())
            assert (found.drops, found.tried, found.preferred) == (job.drops, {}, "groq")
        assert decisions.find("req_9") is None

    def test_the_newest_come_first_and_the_oldest_go(self) -> None:
        decisions = Decisions(3)
        for number in range(5):
            decisions.keep(job_of(number))
        assert ids(decisions) == ["req_4", "req_3", "req_2"]
        assert decisions.find("req_1") is None
        assert repr(decisions) == "<Decisions 3 of at most 3, 0 reasons>"

    def test_nothing_of_the_callers_request_is_kept_alive(self) -> None:
        decisions = Decisions()

        class Request(CallRequest, frozen=True, weakref=True):
            """A request that can be watched."""

        request = Request(operation="chat", model="m", stream=False, body=b"the prompt", fields={})
        watched = weakref.ref(request)
        decisions.keep(job_for(request, "req_0"))
        del request
        gc.collect()
        assert watched() is None
        assert decisions.find("req_0") is not None


class TestBounds:
    def test_a_request_with_too_many_reasons_keeps_its_failures_first(self) -> None:
        decisions = Decisions()
        decisions.keep(job_of(0, dropped=MAX_REASONS, tried=20))
        found = decisions.find("req_0")
        assert found is not None
        assert (len(found.tried), len(found.drops), found.left_out) == (20, MAX_REASONS - 20, 20)
        decisions.keep(job_of(1, tried=MAX_REASONS + 1))
        found = decisions.find("req_1")
        assert found is not None
        assert (len(found.tried), len(found.drops), found.left_out) == (MAX_REASONS, 0, 1)

    @pytest.mark.parametrize("dropped", [0, 1, 50, 2 * MAX_REASONS])
    def test_reasons_are_bounded_together(self, dropped: int) -> None:
        most = 100
        decisions = Decisions(most)
        for number in range(3 * most):
            decisions.keep(job_of(number, dropped=dropped))
        kept = list(decisions.newest_first())
        assert kept[0].record.id == f"req_{3 * most - 1}"
        assert sum(decision.reasons for decision in kept) <= most * REASONS_PER_REQUEST
        assert len(kept) == min(most, most * REASONS_PER_REQUEST // min(dropped, MAX_REASONS) if dropped else most)
        assert all(decisions.find(decision.record.id) is decision for decision in kept)
        assert sum(decisions.find(f"req_{number}") is not None for number in range(3 * most)) == len(kept)

    def test_room_that_was_made_is_used_again(self) -> None:
        decisions = Decisions(10)
        for number in range(5):
            decisions.keep(job_of(number, dropped=50))
        for number in range(5, 15):
            decisions.keep(job_of(number))
        assert ids(decisions) == [f"req_{number}" for number in range(14, 4, -1)]
        assert "0 reasons" in repr(decisions)


def test_keeping_costs_next_to_nothing() -> None:
    """Measured at 0.4 µs; the bound leaves room for a busy machine."""
    decisions = Decisions(1_000)
    jobs = iter([job_for(cast("CallRequest", None), request_id(number, number)) for number in range(20_000)])
    best_s = min(timeit.repeat(lambda: decisions.keep(next(jobs)), number=2_000, repeat=10)) / 2_000
    assert best_s < 3e-6
