import io

import pytest

from keyrelay.api.request_log import RequestLog
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor
from keyrelay.core.usage import Usage
from keyrelay.replay.trace import TraceRequest, read_trace

T0_S = 1_800_000_000.0


def log_of(*entries: tuple[float, RequestRecord, Attempt | None]) -> bytes:
    """What the gateway writes of requests that end, and of attempts that fail."""
    stream = io.StringIO()
    log = RequestLog(stream, as_json=True, redactor=Redactor([]))
    log.write([(time_s, ended, failed or log.seal(time_s, ended)) for time_s, ended, failed in entries])
    return stream.getvalue().encode()


def record(number: int, ms: float, usage: Usage | None = None, *, status: int = 200, model: str = "m") -> RequestRecord:
    return RequestRecord(
        f"req_{number}",
        client="app",
        operation="chat",
        model_asked=model,
        provider="acme",
        key="k",
        model="m-1",
        status=status,
        stream=number % 2 == 0,
        ms=ms,
        usage=usage,
    )


def test_the_gateways_own_log_becomes_a_trace() -> None:
    failed = Attempt(
        "acme", "k", "m-1", 5.0, Failure(kind=FailureKind.RATE, scope=FailureScope.KEY, message="slow down", status=429)
    )
    log = log_of(
        (T0_S + 9.0, record(0, 1000.0, Usage(10, 20)), None),
        (T0_S + 9.5, record(1, 10.0), failed),
        (T0_S + 10.0, record(2, 4000.0, Usage(30, 40)), None),
        (T0_S + 11.0, record(3, 0.0, status=429), None),
    )
    trace = read_trace(b"what a server says beside it\n" + log, "/var/log/keyrelay.log")
    assert trace.header.trace == "keyrelay.log"
    assert trace.start_s == T0_S + 6.0
    assert trace.requests == (
        TraceRequest(at_s=0.0, client="app", model="m", stream=True, input_tokens=30, output_tokens=40),
        TraceRequest(at_s=2.0, client="app", model="m", stream=True, input_tokens=10, output_tokens=20),
        # Nobody answered this one: it is taken for one like the others.
        TraceRequest(at_s=5.0, client="app", model="m", stream=False, input_tokens=20, output_tokens=30),
    )


def test_an_unanswered_model_takes_the_mean_of_all_and_without_any_a_guess() -> None:
    log = log_of(
        (T0_S, record(0, 0.0, Usage(100, 10)), None), (T0_S + 1, record(1, 0.0, status=503, model="other"), None)
    )
    assert [(each.input_tokens, each.output_tokens) for each in read_trace(log, "x").requests] == [(100, 10)] * 2
    alone = log_of((T0_S, record(1, 0.0, status=503), None))
    assert [(each.input_tokens, each.output_tokens) for each in read_trace(alone, "x").requests] == [(500, 250)]


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_requests_refused_for_their_own_sake_are_left_out(status: int) -> None:
    log = log_of((T0_S, record(0, 0.0, Usage(1, 1)), None), (T0_S, record(1, 0.0, status=status), None))
    assert len(read_trace(log, "x").requests) == 1


def test_a_log_without_a_request_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the log holds no request"):
        read_trace(b'{"event":"message","time":"2026-11-16T08:00:00Z","message":"hello"}\n', "x")


def test_a_broken_line_is_named() -> None:
    with pytest.raises(ConfigurationError, match="x line 2: this is no line of a request log"):
        read_trace(b'{"event":"message"}\n{"event":"request","ms":"long"}\n', "x")
