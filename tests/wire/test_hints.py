import datetime as dt
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyrelay.wire.hints import LONGEST_HINT_S, SHORTEST_HINT_S, clamp, header_hint, parse_wait, prose_hint

NOW_S = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("-1", -1.0),
        ("0.5", 0.5),
        ("11726.2840", 11_726.284),
        ("1s", 1.0),
        ("17ms", 0.017),
        ("825ms", 0.825),
        ("1500us", 0.0015),
        ("1500µs", 0.0015),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1m26.4s", 86.4),
        ("1h2m3s", 3723.0),
        ("1d2h", 93_600.0),
        ("5m", 300.0),
        ("2h30m", 9000.0),
        ("45.578569677s", 45.578569677),
        ("1s500ms", 1.5),
        (f"{NOW_S + 30:.0f}", 30.0),
        (f"{(NOW_S + 30) * 1000:.0f}", 30.0),
        (f"{NOW_S - 30:.0f}", -30.0),
        ("2026-11-21T12:00:30Z", 30.0),
        ("2026-11-21T12:00:30.500+00:00", 30.5),
        ("2026-11-21T13:01:00+01:00", 60.0),
        ("2026-11-21T12:00:30", 30.0),
        ("2026-11-21T11:59:00Z", -60.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 12:00:30 -0000", 30.0),
        ("Sat, 21 Nov 2026 04:01:00 -0800", 60.0),
        ("1e12", 1e9 - NOW_S),
        ("999999999", 999_999_999.0),
    ],
)
def test_every_format_in_use_is_read(text: str, seconds: float) -> None:
    assert parse_wait(text, NOW_S) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "nan",
        "inf",
        "-inf",
        "infinity",
        "9" * 400,
        "5 minutes",
        "-5s",
        "1s1m",
        "s",
        "m",
        "1.5m",
        "2026-13-45T99:00:00Z",
        "T",
        "1T",
        "Sat, 99 Nov 2026 12:00:30 GMT",
        "Sat, 21 Nov 99999999999 12:00:30 GMT",
        "tomorrow, 12",
        "{}",
        "\x00",
    ],
)
def test_what_says_nothing_usable_is_nothing(text: str) -> None:
    assert parse_wait(text, NOW_S) is None


@pytest.mark.parametrize(
    ("wait_s", "expected"),
    [(0.0, 0.5), (-1.0, 0.5), (-1e300, 0.5), (0.5, 0.5), (5.0, 5.0), (93_600.0, 93_600.0), (1e12, 93_600.0)],
)
def test_a_hint_is_kept_within_reason(wait_s: float, expected: float) -> None:
    assert clamp(wait_s) == expected
    assert clamp(float("inf")) == LONGEST_HINT_S == 26 * 3600


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "hint_s"),
        [
            ({}, None),
            ({"retry-after": "12"}, 12.0),
            ({"retry-after": "0"}, 0.5),
            ({"retry-after": "-1"}, 0.5),
            ({"retry-after": "1e12"}, 0.5),
            ({"retry-after": "86400000"}, 93_600.0),
            ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
            ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 0.5),
            ({"retry-after": "garbage"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "inf"}, None),
            ({"retry-after": ""}, None),
            ({"retry-after-ms": "1500"}, 1.5),
            ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
            ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
            ({"retry-after-ms": "", "retry-after": "9"}, 9.0),
            ({"retry-after-ms": "1"}, 0.5),
        ],
    )
    def test_retry_after(self, headers: dict[str, str], hint_s: float | None) -> None:
        assert header_hint(headers, NOW_S) == hint_s

    @pytest.mark.parametrize(
        ("headers", "hint_s"),
        [
            # Groq and OpenAI: only the dimension that is used up counts.
            (
                {
                    "x-ratelimit-remaining-requests": "999",
                    "x-ratelimit-reset-requests": "1m26.4s",
                    "x-ratelimit-remaining-tokens": "0",
                    "x-ratelimit-reset-tokens": "7.66s",
                },
                7.66,
            ),
            # Cerebras: of two that are, the later one.
            (
                {
                    "x-ratelimit-remaining-requests-minute": "0",
                    "x-ratelimit-reset-requests-minute": "30.5",
                    "x-ratelimit-remaining-tokens-day": "0.0",
                    "x-ratelimit-reset-tokens-day": "11726.2840",
                },
                11_726.284,
            ),
            # Anthropic: RFC 3339.
            (
                {
                    "anthropic-ratelimit-tokens-remaining": " 0 ",
                    "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:30Z",
                },
                30.0,
            ),
            # OpenRouter: epoch milliseconds. SambaNova: epoch seconds.
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{(NOW_S + 40) * 1000:.0f}"}, 40.0),
            ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{NOW_S + 40:.0f}"}, 40.0),
            ({"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "42"}, 42.0),
            ({"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "42"}, None),
            ({"x-ratelimit-reset-tokens": "42"}, None),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "garbage"}, None),
            ({"x-remaining": "0", "x-reset": "42"}, None),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "42", "retry-after": "3"}, 3.0),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "42", "retry-after": "garbage"}, 42.0),
        ],
    )
    def test_the_reset_of_what_is_used_up(self, headers: dict[str, str], hint_s: float | None) -> None:
        assert header_hint(headers, NOW_S) == hint_s


class TestProse:
    @pytest.mark.parametrize(
        ("message", "hint_s"),
        [
            ("Rate limit reached … Please try again in 3.89s. Visit x.", 3.89),
            ("Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.", 578.016),
            ("Please try again in 7m12.5s", 432.5),
            ("Please try again in 20ms.", 0.5),
            ("You exceeded your current quota. Please retry in 45.578569677s.", 45.578569677),
            ("Please retry after 6 seconds. To increase", 6.0),
            ("Please retry after 20 sec.", 20.0),
            ("RETRY AFTER 20 SECONDS", 20.0),
            ("Retry after 12", 12.0),
            ("Your limit will reset in 1h.", 3600.0),
            ("try again later in 5s", 5.0),
            ("retry your request in 0s", 0.5),
            ("try again in 99999999999h", 93_600.0),
            ("try again in " + "9" * 400 + " seconds", 93_600.0),
        ],
    )
    def test_the_wait_in_a_sentence(self, message: str, hint_s: float) -> None:
        assert prose_hint(message) == hint_s

    @pytest.mark.parametrize(
        ("message", "hint_s"),
        [
            ("Please try again in 5 minutes.", 300.0),
            ("Please try again in 1 minute.", 60.0),
            ("Please retry after 2 mins", 120.0),
            ("try again in 1.5 hours", 5400.0),
            ("try again in 1 day", 86_400.0),
            ("try again in 800 milliseconds", 0.8),
        ],
    )
    def test_bug_five_minutes_were_taken_for_five_seconds(self, message: str, hint_s: float) -> None:
        assert prose_hint(message) == hint_s

    @pytest.mark.parametrize(
        "message",
        [
            "",
            "Please try again later.",
            "try again in a moment",
            "Limit 5, retry",
            "wait 5s",
            "try again in 5x",
            "Your limit will reset after 2026-11-22T00:00:00Z",
            "Retry between requests in 5:30",
        ],
    )
    def test_a_sentence_without_one(self, message: str) -> None:
        assert prose_hint(message) is None


@given(st.text(max_size=60), st.text(max_size=60), st.floats(0, 4e9))
@example("retry-after", "Mon, 01 Jan 0001 00:00:00 +2359", 0.0)
@example("retry-after", "0001-01-01T00:00:00+23:59", 0.0)
@example("retry-after", "9999-12-31T23:59:59-23:59", 0.0)
@example("retry-after", "\u0661s", 0.0)
@example("retry-after", "\u00b2T", 0.0)
def test_no_header_does_anything_but_hint_within_reason(name: str, value: str, now_s: float) -> None:
    for header in (name, "retry-after", "retry-after-ms", "x-ratelimit-reset"):
        hint_s = header_hint({header: value, "x-ratelimit-remaining": "0"}, now_s)
        assert hint_s is None or SHORTEST_HINT_S <= hint_s <= LONGEST_HINT_S


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**400), 10**400)


@given(NUMBERS.map(str), st.sampled_from(["", "s", "ms", "m", "h", "d", " seconds", " minutes", ".", "-", "T"]))
def test_no_number_does_anything_but_hint_within_reason(number: str, unit: str) -> None:
    for hint_s in (header_hint({"retry-after": number + unit}, NOW_S), prose_hint(f"try again in {number}{unit}")):
        assert hint_s is None or SHORTEST_HINT_S <= hint_s <= LONGEST_HINT_S


@given(st.text(max_size=80), st.sampled_from(["try again in ", "Please retry in ", "resets after "]))
def test_no_sentence_does_anything_but_hint_within_reason(text: str, words: str) -> None:
    hint_s = prose_hint(words + text)
    assert hint_s is None or SHORTEST_HINT_S <= hint_s <= LONGEST_HINT_S


@pytest.mark.parametrize("text", ["retry " * 40_000, "retry in " + "9." * 100_000, "retry in " + "9" * 200_000 + "x"])
def test_no_text_takes_long(text: str) -> None:
    began = time.perf_counter()
    prose_hint(text)
    parse_wait(text, NOW_S)
    parse_wait(text.rpartition(" ")[2], NOW_S)
    assert time.perf_counter() - began < 1
