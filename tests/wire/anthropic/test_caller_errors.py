import msgspec
import pytest

from keyrelay.core.errors import CallerError
from keyrelay.wire.anthropic.caller_errors import encode_error, encode_error_event


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        (400, "invalid_request_error", 400),
        (401, "authentication_error", 401),
        (402, "billing_error", 402),
        (403, "permission_error", 403),
        (404, "not_found_error", 404),
        (408, "timeout_error", 408),
        (409, "conflict_error", 409),
        (413, "request_too_large", 413),
        (422, "invalid_request_error", 422),
        (429, "rate_limit_error", 429),
        (500, "api_error", 500),
        (502, "api_error", 502),
        (503, "overloaded_error", 529),
        (504, "timeout_error", 504),
        (529, "overloaded_error", 529),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str, sent: int) -> None:
    found, body = encode_error(CallerError(status, "No."), "req_1")
    assert found == sent
    assert msgspec.json.decode(body) == {
        "type": "error",
        "error": {"type": kind, "message": "No."},
        "request_id": "req_1",
    }


def test_the_field_at_fault_is_said_in_the_message() -> None:
    error = CallerError(400, "Expected a string.", param="messages[2].role", code="invalid_type")
    inner = msgspec.json.decode(encode_error(error, "req_1")[1])["error"]
    assert inner["message"] == "messages[2].role: Expected a string."
    assert inner["details"] == {"error_code": "invalid_type", "param": "messages[2].role"}


def test_but_only_once() -> None:
    error = CallerError(400, "Missing required field 'model'.", param="model")
    assert msgspec.json.decode(encode_error(error, "req_1")[1])["error"]["message"] == "Missing required field 'model'."


def test_what_keyrelay_adds_stands_beside() -> None:
    error = CallerError(429, "Later.", detail={"candidates": []})
    assert msgspec.json.decode(encode_error(error, "req_1")[1])["keyrelay"] == {"candidates": []}


def test_in_a_stream_it_is_an_event() -> None:
    error = CallerError(503, "Later.")
    assert encode_error_event(error, "req_1") == (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Later."},'
        b'"request_id":"req_1"}\n\n'
    )
