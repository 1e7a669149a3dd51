"""Failures put together by what they have in common."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyrelay.core.error_groups import (
    MAX_MESSAGE,
    MAX_NAMES,
    Affected,
    FailureCount,
    action_on,
    advice_on,
    grouped,
    normalised,
)
from keyrelay.core.failures import ADVICE, FailureKind


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Too many requests", "Too many requests"),
        (
            "Rate limit reached for `llama-3.3-70b` in `org_01hxa7b2c3`: Limit 12000, Used 11,480. Try again in 2.3s.",
            "Rate limit reached for `llama-3.3-70b` in `<id>`: Limit <n>, Used <n>. Try again in <time>.",
        ),
        ("try again in 1m26.4s", "try again in <time>"),
        ("Incorrect API key provided: sk-proj-********abcd.", "Incorrect API key provided: <key>."),
        ("Incorrect API key provided: sk-te…wxyz", "Incorrect API key provided: <key>"),
        ("key sk-test-0123456789abcdef0123", "key <id>"),
        ("The model gpt-4.1-mini does not exist", "The model gpt-4.1-mini does not exist"),
        ("resets at 2026-11-21T12:00:00Z or 12:30", "resets at <time> or <time>"),
        ("request 7b1e6d1c-9c2f-4b8e-a9d1-0123456789ab failed", "request <id> failed"),
        ("see https://example.com/errors?id=5 or write to help@example.com", "see <url> or write to <address>"),
        ("503 Service\n  Unavailable", "<n> Service Unavailable"),
        ("it cost $0.25 (12 %)", "it cost $<n> (<n> %)"),
        ("  ", ""),
    ],
)
def test_what_differs_from_call_to_call_is_taken_out(message: str, expected: str) -> None:
    assert normalised(message) == expected


def test_a_message_has_an_end() -> None:
    assert len(normalised("many words " * 1000)) <= MAX_MESSAGE


TEXTS = st.text(st.sampled_from("abc 019.-:,/<>*…TZ@_\nhd"), max_size=60) | st.text(max_size=60)


@given(TEXTS)
@example("0 1-2 3.4.5")
def test_what_is_plain_stays_plain(message: str) -> None:
    assert normalised(normalised(message)) == normalised(message)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.uuids(), st.uuids())
def test_numbers_and_ids_make_no_difference(one: int, other: int, this: object, that: object) -> None:
    first, second = (f"Limit {number} reached by {name}: wait" for number, name in ((one, this), (other, that)))
    assert normalised(first) == normalised(second) == "Limit <n> reached by <id>: wait"


def count(message: str = "Slow down, 5 left", **about: object) -> FailureCount:
    usual: dict[str, object] = {
        "kind": "rate", "provider": "groq", "key": "a", "model": "m", "client": "app", "status": 429,
        "count": 1, "recovered": 0, "first_ms": 1000, "last_ms": 2000,
    }  # fmt: skip
    return FailureCount(message=message, **{**usual, **about})  # type: ignore[arg-type]


def test_failures_of_one_kind_that_say_the_same_are_one_group() -> None:
    first, second, third = grouped(
        [
            count(count=3, recovered=2),
            count("Slow down, 17 left", key="b", client="other", last_ms=9000, count=2, recovered=1, status=503),
            count("Slow down, 5 left", kind="quota", provider="gemini", count=4, first_ms=10),
            count("", kind="model_not_found", provider="", key="", model="", status=404, count=1),
        ]
    )
    assert (first.message, first.example, first.count, first.recovered) == (
        "Slow down, <n> left", "Slow down, 17 left", 5, 3
    )  # fmt: skip
    assert first.share_recovered == pytest.approx(0.6)
    assert (first.first_ms, first.last_ms, first.statuses) == (1000, 9000, (429, 503))
    assert first.keys == Affected(names=("groq/a", "groq/b"), total=2)
    assert (first.providers.names, first.models.names, first.clients.names) == (("groq",), ("m",), ("app", "other"))
    assert (second.kind, second.count, second.first_ms) == ("quota", 4, 10)
    assert (third.kind, third.message, third.providers.total, third.keys.total) == ("model_not_found", "", 0, 0)
    assert len({first.id, second.id, third.id}) == 3
    assert grouped([count("Slow down, 99 left")])[0].id == first.id


def test_a_group_does_not_name_everybody() -> None:
    (group,) = grouped([count(key=f"k{number:02}", count=number + 1) for number in range(30)])
    assert (len(group.keys.names), group.keys.total, group.keys.names[0]) == (MAX_NAMES, 30, "groq/k29")


NOBODY = Affected(names=(), total=0)
GROQ = Affected(names=("groq",), total=1)
TWO = Affected(names=("groq", "gemini"), total=2)
KEY = Affected(names=("groq/my key",), total=1)
KEYS = Affected(names=("groq/a", "groq/b"), total=2)


@pytest.mark.parametrize(
    ("kind", "providers", "keys", "method", "path"),
    [
        ("auth", GROQ, KEY, "POST", "/api/v1/keys/groq/my%20key/rotate"),
        ("auth", GROQ, KEYS, "GET", "/api/v1/keys"),
        ("quota", GROQ, KEYS, "GET", "/api/v1/quota?provider=groq"),
        ("quota", TWO, KEYS, "GET", "/api/v1/quota"),
        ("network", GROQ, KEY, "POST", "/api/v1/providers/groq/test"),
        ("network", TWO, KEYS, "GET", "/api/v1/providers"),
        ("service", TWO, KEYS, "GET", "/api/v1/health/providers"),
        ("request", GROQ, KEY, "GET", "/api/v1/requests?category=request"),
        ("a&b", NOBODY, NOBODY, "GET", "/api/v1/requests?category=a%26b"),
    ],
)
def test_the_action_is_a_call_of_the_api(
    kind: str, providers: Affected, keys: Affected, method: str, path: str
) -> None:
    found = action_on(kind, providers, keys)
    assert (found.method, found.path) == (method, path)
    assert found.text


def test_every_kind_has_advice() -> None:
    assert [advice_on(kind) for kind in FailureKind] == [ADVICE[kind] for kind in FailureKind]
    assert "log" in advice_on("internal")
    assert "before any call" in advice_on("model_not_found")
