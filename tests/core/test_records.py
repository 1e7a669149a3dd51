import msgspec
import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.records import Attempt, RequestRecord, milliseconds
from keyrelay.core.usage import Usage


def test_an_attempt_tells_how_it_ended() -> None:
    attempt = Attempt("groq", "home", "llama")
    attempt.ms = 12.5
    assert repr(attempt) == "<Attempt home llama answered 12.5 ms>"
    attempt.failure = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="Slower.")
    assert repr(attempt) == "<Attempt home llama rate 12.5 ms>"


def test_a_record_tells_how_it_stands() -> None:
    record = RequestRecord("req_1")
    record.status = 200
    assert repr(record) == "<RequestRecord req_1 200 ok attempts=0>"
    record.category = "quota"
    record.attempts.append(Attempt("groq", "home", "llama"))
    assert repr(record) == "<RequestRecord req_1 200 quota attempts=1>"


def test_when_it_began_is_nobodys_business_once_it_is_written_down() -> None:
    record = RequestRecord("req_1", started_at=12.5)
    record.mark_written()
    assert not record.started_at
    assert msgspec.json.decode(msgspec.json.encode(record)) == {"event": "request", "request_id": "req_1"}


def test_two_records_share_nothing() -> None:
    first, second = RequestRecord("req_1"), RequestRecord("req_1")
    first.attempts.append(Attempt("groq", "home", "llama"))
    assert second.attempts == []
    assert first != second


def test_the_line_in_the_log_leaves_out_what_there_is_nothing_to_say_about() -> None:
    record = RequestRecord("req_1")
    assert msgspec.json.decode(msgspec.json.encode(record)) == {"event": "request", "request_id": "req_1"}
    record.usage = Usage(3, 4)
    record.attempts.append(Attempt("groq", "home", "llama", failure=_failure()))
    written = msgspec.json.decode(msgspec.json.encode(record))
    assert written["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert written["attempts"] == [
        {
            "provider": "groq",
            "key": "home",
            "model": "llama",
            "failure": {"kind": "timeout", "scope": "provider", "message": "Too slow."},
        }
    ]


def _failure() -> Failure:
    return Failure(kind=FailureKind.TIMEOUT, scope=FailureScope.PROVIDER, message="Too slow.")


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0.0), (0.0123456, 12.34), (1.0, 1000.0), (2.5e-6, 0.0)])
def test_milliseconds_have_two_decimals(seconds: float, expected: float) -> None:
    assert milliseconds(seconds) == expected
