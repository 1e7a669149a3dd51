import gc
import timeit
import weakref
from typing import cast

import msgspec
import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.ids import request_id
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.decisions import MAX_REASONS, REASONS_PER_REQUEST, Decisions
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan, Pool
from keyrelay.quota.values import Amounts, RawEstimate
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.health import Health
from tests.engine.rig import newest_first, providers, snapshot_of

PLAN = Plan((), free_choice=False)
DROPPED = Dropped(DropReason.LIMITED, "15 of 15 requests per 60s used", 7.0)
FAILURE = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="slow down")
LINES = msgspec.json.Encoder()


class Name:
    """Stands for a candidate, of which only the identity counts here."""


def names(count: int) -> list[Candidate]:
    return [cast("Candidate", Name()) for _ in range(count)]


def decisions_of(most: int = 1_000) -> Decisions:
    return Decisions(Pool(snapshot_of(**providers("acme", keys=2)), Health(CircuitSettings())), most)


def job_for(request: CallRequest, identifier: str) -> Job:
    job = Job(request, RequestRecord(identifier), PLAN, RawEstimate(3), 0.0)
    job.amounts = Amounts(1, 20, 30)
    return job


def job_of(number: int, *, dropped: int = 0, tried: int = 0) -> Job:
    request = CallRequest(operation="chat", model="m", stream=False, body=b"the prompt", fields={})
    job = job_for(request, f"req_{number}")
    job.drops.update(dict.fromkeys(names(dropped), DROPPED))
    job.tried.update(dict.fromkeys(names(tried), FAILURE))
    return job


def end(decisions: Decisions, *jobs: Job, preferred: str = "") -> None:
    """What becomes of requests that end: their reasons are kept, and their lines come as a page."""
    for job in jobs:
        decisions.keep(job, preferred=preferred)
    decisions.remember(LINES.encode_lines([job.record for job in jobs]), len(jobs))


def ids(decisions: Decisions) -> list[str]:
    return [decision.record.id for decision in newest_first(decisions)]


class TestTheRing:
    def test_a_decision_is_found_by_its_request(self) -> None:
        decisions = decisions_of(3)
        jobs = [job_of(number, dropped=number) for number in range(3)]
        end(decisions, *jobs, preferred="groq")
        for job in jobs:
            found = decisions.find(job.record.id)
            assert found is not None
            assert (found.record, found.plan, found.amounts) == (job.record, PLAN, Amounts(1, 20, 30))
            assert (found.drops, found.tried, found.preferred) == (job.drops, {}, "groq")
        assert decisions.find("req_9") is None

    def test_of_a_plain_one_its_line_says_everything(self) -> None:
        decisions = decisions_of()
        job = job_of(7)
        record = job.record
        record.provider, record.key, record.model, record.model_asked = "acme", "k01", "m", "acme/m"
        record.attempts.append(Attempt("acme", "k01", "m", 3.5))
        end(decisions, job_of(6), job, job_of(8))
        found = decisions.find("req_7")
        assert found is not None
        assert found.record is not record, "no object of the request is kept"
        assert msgspec.to_builtins(found.record) == msgspec.to_builtins(record)
        assert found.chosen is not None
        assert (found.chosen.id, found.amounts) == ("acme/k01:m", Amounts(1, 20, 30))
        assert [stage.candidates for stage in found.plan.stages] == [tuple(found.plan.candidates())]

    def test_other_lines_of_the_log_are_none(self) -> None:
        decisions = decisions_of()
        attempt = b'{"event":"attempt_failed","request_id":"req_1"}\n'
        decisions.remember(attempt + b'{"event":"request","request_id":"req_1"}\n', 1)
        decisions.remember(attempt.replace(b"req_1", b"req_2"), 0)
        assert ids(decisions) == ["req_1"]
        assert decisions.find("req_1") is not None
        assert decisions.find("req_2") is None

    def test_the_newest_come_first_and_the_oldest_go(self) -> None:
        decisions = decisions_of(3)
        for number in range(5):
            end(decisions, job_of(number))
        assert ids(decisions) == ["req_4", "req_3", "req_2"]
        assert decisions.find("req_1") is None
        assert repr(decisions) == "<Decisions 3 of about 3, 0 reasons>"

    def test_what_ended_a_moment_ago_is_brought_in_before_anybody_looks(self) -> None:
        decisions = decisions_of()
        waiting = [job_of(1)]
        decisions.refresh = lambda: end(decisions, *(waiting.pop() for _ in tuple(waiting)))
        assert ids(decisions) == ["req_1"]
        waiting.append(job_of(2))
        assert decisions.find("req_2") is not None

    def test_nothing_of_the_callers_request_is_kept_alive(self) -> None:
        decisions = decisions_of()

        class Request(CallRequest, frozen=True, weakref=True):
            """A request that can be watched."""

        request = Request(operation="chat", model="m", stream=False, body=b"the prompt", fields={})
        watched = weakref.ref(request)
        end(decisions, job_for(request, "req_0"), preferred="acme")
        del request
        gc.collect()
        assert watched() is None
        assert decisions.find("req_0") is not None


class TestBounds:
    def test_a_request_with_too_many_reasons_keeps_its_failures_first(self) -> None:
        decisions = decisions_of()
        end(decisions, job_of(0, dropped=MAX_REASONS, tried=20), job_of(1, tried=MAX_REASONS + 1))
        found = decisions.find("req_0")
        assert found is not None
        assert (len(found.tried), len(found.drops), found.left_out) == (20, MAX_REASONS - 20, 20)
        found = decisions.find("req_1")
        assert found is not None
        assert (len(found.tried), len(found.drops), found.left_out) == (MAX_REASONS, 0, 1)

    @pytest.mark.parametrize("dropped", [0, 1, 50, 2 * MAX_REASONS])
    def test_reasons_are_bounded_together(self, dropped: int) -> None:
        most = 100
        decisions = decisions_of(most)
        for number in range(3 * most):
            end(decisions, job_of(number, dropped=dropped))
        kept = list(newest_first(decisions))
        assert [decision.record.id for decision in kept] == [f"req_{3 * most - 1 - number}" for number in range(most)]
        assert sum(decision.reasons for decision in kept) <= most * REASONS_PER_REQUEST
        with_reasons = sum(decision.reasons > 0 for decision in kept)
        assert with_reasons == (min(most, most * REASONS_PER_REQUEST // min(dropped, MAX_REASONS)) if dropped else 0)

    def test_nothing_is_left_after_clearing(self) -> None:
        decisions = decisions_of()
        end(decisions, job_of(1, dropped=2), job_of(2))
        decisions.clear()
        assert ids(decisions) == []
        assert (len(decisions), decisions.find("req_1")) == (0, None)
        assert "0 reasons" in repr(decisions)

    def test_room_that_was_made_is_used_again(self) -> None:
        decisions = decisions_of(10)
        end(decisions, *(job_of(number, dropped=50) for number in range(5)))
        assert "100 reasons" in repr(decisions)
        end(decisions, *(job_of(number, dropped=1) for number in range(5, 15)))
        assert "10 reasons" in repr(decisions)


def test_keeping_costs_next_to_nothing() -> None:
    """Measured at 0.2 µs; the bound leaves room for a busy machine."""
    decisions = decisions_of()
    jobs = iter([job_for(cast("CallRequest", None), request_id(number, number)) for number in range(20_000)])
    best_s = min(timeit.repeat(lambda: decisions.keep(next(jobs)), number=2_000, repeat=10)) / 2_000
    assert best_s < 3e-6
