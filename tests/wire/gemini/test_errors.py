import json
from typing import Any

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.wire.errors import read_error
from keyrelay.wire.gemini.errors import status_name
from tests.wire.gemini.shared import EVENTS

GOOGLE = "type.googleapis.com/google.rpc."


def body_of(error: CallerError, request_id: str = "") -> tuple[int, Any]:
    status, body = EVENTS.error(error, request_id)
    return status, json.loads(body)


def test_an_error_with_all_that_it_says() -> None:
    error = CallerError(
        429,
        "Too many.",
        code="rate_limit",
        param="contents",
        headers=(("x-a", "b"), ("Retry-After", "12")),
        detail={"attempts": 2},
    )
    assert body_of(error, "req_1") == (
        429,
        {
            "error": {
                "code": 429,
                "message": "Too many.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"@type": f"{GOOGLE}RetryInfo", "retryDelay": "12s"},
                    {
                        "@type": f"{GOOGLE}BadRequest",
                        "fieldViolations": [{"field": "contents", "description": "Too many."}],
                    },
                    {"@type": f"{GOOGLE}ErrorInfo", "reason": "RATE_LIMIT", "domain": "keyrelay"},
                    {"@type": f"{GOOGLE}RequestInfo", "requestId": "req_1"},
                ],
                "keyrelay": {"attempts": 2},
            }
        },
    )


def test_keyrelay_reads_its_own_errors() -> None:
    _, body = EVENTS.error(CallerError(429, "Too many.", headers=(("retry-after", "12.5"),)), "req_1")
    error = read_error(429, body, {}, 0.0)
    assert (error.message, error.hint_s) == ("Too many.", 12.5)


@pytest.mark.parametrize("wait", ["", "Wed, 21 Oct 2026 07:28:00 GMT", "1" * 10])
def test_a_wait_that_is_no_number_is_not_passed_on(wait: str) -> None:
    _, body = body_of(CallerError(503, "Later.", headers=(("retry-after", wait),)))
    assert body["error"]["details"] == []


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (402, "RESOURCE_EXHAUSTED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (529, "INTERNAL"),
    ],
)
def test_names_of_statuses(status: int, name: str) -> None:
    assert status_name(status) == name
