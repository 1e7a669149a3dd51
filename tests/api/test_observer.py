import asyncio
import io
import json

from prometheus_client import CollectorRegistry, generate_latest

from keyrelay.api.metrics import MAX_SERIES, Metrics
from keyrelay.api.observer import FLUSH_S, Watchers
from keyrelay.api.request_log import RequestLog
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.core.redaction import Redactor
from keyrelay.core.usage import Usage
from keyrelay.engine.pool import Pool
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from tests.e2e.harness import until
from tests.engine.rig import providers, snapshot_of

SECRET = "a-secret-0123456789"


class Watched:
    """Watchers over a log in memory."""

    def __init__(self, *, as_json: bool = True) -> None:
        self.stream = io.StringIO()
        self.metrics = Metrics(Pool(snapshot_of(**providers("acme")), Health(CircuitSettings())), lambda: 0.0)
        log = RequestLog(self.stream, as_json=as_json, redactor=Redactor([SECRET]))
        self.watchers = Watchers(self.metrics, log, lambda: 1_800_000_000.25)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def exposition(self) -> str:
        registry = CollectorRegistry()
        registry.register(self.metrics)
        return generate_latest(registry).decode()


def answered(number: int = 0, provider: str = "acme", model: str = "m") -> RequestRecord:
    record = RequestRecord(f"req_{number}")
    record.client, record.operation, record.model_asked = "tests", "chat", model
    record.provider, record.model, record.key, record.status = provider, model, "k", 200
    record.usage, record.ms = Usage(3, 4), 12.5
    record.attempts = [Attempt(provider, "k", model)]
    return record


def refused_because(message: str) -> Attempt:
    failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message=message, status=401)
    return Attempt("acme", "k", "m", failure=failure)


async def test_a_line_for_each_request_and_each_failed_attempt() -> None:
    watched = Watched()
    record = answered()
    watched.watchers.attempt_failed(record, refused_because("no"))
    watched.watchers.finished(record)
    watched.watchers.flush()
    first, second = map(json.loads, watched.lines)
    assert (first["event"], first["kind"], first["status"]) == ("attempt_failed", "auth", 401)
    assert (second["event"], second["status"], second["model"]) == ("request", 200, "m")
    assert first["request_id"] == second["request_id"] == "req_0"
    assert second["time"] == "2027-01-15T08:00:00.250Z"


async def test_lines_are_written_by_themselves_after_a_moment() -> None:
    watched = Watched()
    watched.watchers.finished(answered())
    assert not watched.lines
    await until(lambda: watched.lines, "the line is written", 4 * FLUSH_S + 1)
    watched.watchers.finished(answered(1))
    await until(lambda: len(watched.lines) == 2, "the next one too", 4 * FLUSH_S + 1)


async def test_a_full_batch_does_not_wait() -> None:
    watched = Watched()
    for number in range(1000):
        watched.watchers.finished(answered(number))
    assert len(watched.lines) >= 512
    watched.watchers.flush()
    assert len(watched.lines) == 1000
    await asyncio.sleep(0)


async def test_text_is_for_people_and_says_the_same() -> None:
    watched = Watched(as_json=False)
    watched.watchers.finished(answered())
    watched.watchers.flush()
    (line,) = watched.lines
    assert line.startswith("2027-01-15T08:00:00.250Z info    request ")
    assert "model=m" in line
    assert "status=200" in line


async def test_no_secret_in_the_callers_words_or_in_the_providers() -> None:
    watched = Watched()
    record = RequestRecord("req_1")
    record.model_asked, record.status = f"my key is {SECRET} sk-proj-abcdefghijklmnop", 404
    watched.watchers.attempt_failed(record, refused_because(f"key {SECRET} is wrong"))
    watched.watchers.finished(record)
    watched.watchers.flush()
    assert SECRET not in watched.stream.getvalue()
    assert "abcdefghijklmnop" not in watched.stream.getvalue()
    assert watched.stream.getvalue().count("[redacted]") == 3


async def test_a_line_break_in_a_name_does_not_make_a_second_line() -> None:
    for as_json in (True, False):
        watched = Watched(as_json=as_json)
        record = RequestRecord("req_1")
        record.model_asked = 'a\n{"event":"request"}\u2028"'
        watched.watchers.attempt_failed(record, refused_because("a\u2028b\x85c\nd"))
        watched.watchers.finished(record)
        watched.watchers.flush()
        assert watched.stream.getvalue().count("\n") == 2


async def test_labels_are_bounded() -> None:
    watched = Watched()
    for number in range(MAX_SERIES + 500):
        watched.metrics.finished(answered(number, model=f"m{number}"))
    exposition = watched.exposition()
    requests = [line for line in exposition.splitlines() if line.startswith("keyrelay_requests_total{")]
    assert len(requests) == MAX_SERIES + 1
    assert sum(float(line.rsplit(" ", 1)[1]) for line in requests) == MAX_SERIES + 500
    assert any('model="other"' in line for line in requests)


async def test_what_is_counted_adds_up() -> None:
    watched = Watched()
    for number in range(3):
        watched.watchers.finished(answered(number))
    watched.watchers.attempt_failed(answered(), refused_because("no"))
    watched.watchers.flush()
    exposition = watched.exposition()
    assert 'keyrelay_attempts_total{model="m",outcome="answered",provider="acme"} 3.0' in exposition
    assert 'keyrelay_attempts_total{model="m",outcome="auth",provider="acme"} 1.0' in exposition
    assert 'keyrelay_tokens_total{kind="output",model="m",provider="acme"} 12.0' in exposition
    assert 'keyrelay_request_duration_seconds_bucket{le="0.025",model="m",provider="acme"} 3.0' in exposition
    assert 'keyrelay_request_duration_seconds_bucket{le="0.01",model="m",provider="acme"} 0.0' in exposition


class Filling:
    """A journal that may be full."""

    def __init__(self) -> None:
        self.full = self.syncs = False
        self.lines: list[bytes] = []

    def reserved(self, entry: Reserved) -> None:
        raise AssertionError("attempts are told by whoever sends them")

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        self.lines.append(line)

    async def synced(self) -> None:
        raise AssertionError("nobody waits here")


async def test_a_full_journal_is_filled_by_what_was_sent_and_not_by_what_was_refused() -> None:
    journal, watched = Filling(), Watched()
    watchers = Watchers(watched.metrics, watched.watchers.log, lambda: 1_800_000_000.25, journal)
    refused, unknown = answered(1), answered(2)
    refused.attempts, unknown.client = [], ""
    watchers.finished(refused)
    watchers.finished(unknown)
    assert [json.loads(line)["request_id"] for line in journal.lines] == ["req_1"], "strangers get no row"
    journal.full = True
    again = answered(3)
    again.attempts = []
    watchers.finished(again)
    watchers.finished(answered(4))
    assert [json.loads(line)["request_id"] for line in journal.lines] == ["req_1", "req_4"]
    watchers.flush()
    assert len(watched.lines) == 4, "the log has them all"
