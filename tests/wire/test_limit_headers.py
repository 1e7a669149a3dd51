import datetime as dt
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyrelay.core.limits import ScopePart, Unit, Window, parse_window
from keyrelay.core.providers import LimitHeadersRow
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.limit_headers import LONGEST_RESET_S, MOST, LimitWord, read_limits, whole_number

CATALOGUE = load_catalogue()
NOW_S = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC).timestamp()

Told = tuple[str, str, int | None, int | None, float | None]
"""Unit, window, amount, remaining, seconds until the reset."""

WIRE: list[tuple[str, dict[str, str], list[Told]]] = [
    (
        "openai",
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-remaining-tokens": "29993",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        [("requests", "60s", 500, 499, 0.12), ("tokens", "60s", 30_000, 29_993, 360.0)],
    ),
    (
        "groq",
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        [("requests", "86400s", 14_400, 14_370, 179.56), ("tokens", "60s", 18_000, 17_997, 7.66)],
    ),
    (
        "cerebras",
        {
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "14399",
            "x-ratelimit-reset-requests-day": "11726.2840",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "0",
            "x-ratelimit-reset-tokens-minute": "26.2840",
            "x-ratelimit-limit-requests-hour": "900",
        },
        [
            ("tokens", "60s", 60_000, 0, 26.284),
            ("requests", "3600s", 900, None, None),
            ("requests", "86400s", 14_400, 14_399, 11_726.284),
        ],
    ),
    (
        "anthropic",
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:02Z",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-input-tokens-remaining": "39000",
            "anthropic-ratelimit-output-tokens-remaining": "8000",
        },
        [
            ("requests", "60s", 50, 49, 2.0),
            ("input_tokens", "60s", 40_000, 39_000, None),
            ("output_tokens", "60s", None, 8000, None),
        ],
    ),
    (
        "mistral",
        {
            "ratelimitbysize-limit": "500000",
            "ratelimitbysize-reset": "48",
            "x-ratelimitbysize-limit-minute": "500000",
            "x-ratelimitbysize-remaining-minute": "499950",
            "x-ratelimitbysize-limit-month": "1000000000",
            "x-ratelimitbysize-remaining-month": "999999950",
        },
        [
            ("tokens", "60s", 500_000, 499_950, 48.0),
            ("tokens", "month@UTC", 1_000_000_000, 999_999_950, None),
        ],
    ),
    (
        "xai",
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{NOW_S + 7:.0f}",
        },
        [("requests", "60s", 60, 0, 7.0)],
    ),
    (
        "sambanova",
        {
            "x-ratelimit-limit-requests": "20",
            "x-ratelimit-remaining-requests": "19",
            "x-ratelimit-reset-requests": f"{NOW_S + 60:.0f}",
            "x-ratelimit-limit-requests-day": "20",
            "x-ratelimit-remaining-requests-day": "3",
            "x-ratelimit-reset-requests-day": f"{NOW_S + 3600:.0f}",
        },
        [("requests", "60s", 20, 19, 60.0), ("requests", "86400s", 20, 3, 3600.0)],
    ),
    (
        "together",
        {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "9",
            "x-ratelimit-reset": "1",
            "x-tokenlimit-limit": "3000",
        },
        [("requests", "1s", 10, 9, 1.0)],
    ),
    (
        "fireworks",
        {"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-tokens-generated": "36000"},
        [("requests", "60s", 6000, None, None), ("output_tokens", "60s", None, 36_000, None)],
    ),
    ("azure", {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-remaining-tokens": "-1"}, []),
    (
        "openai_compatible",
        {"x-ratelimit-limit-requests": "10", "x-ratelimit-limit-requests-minute": "20", "x-ratelimit-reset": "5"},
        [("requests", "60s", 20, None, None)],
    ),
    (
        "openai_compatible",
        {
            "ratelimit-policy": '"burst";q=100;w=60, "daily";q=1000;w=86400;qu="tokens", "bytes";q=5;w=1;qu="x"',
            "ratelimit": '"burst";r=50;t=30, "daily";r=0;t=500',
        },
        [("requests", "60s", 100, 50, 30.0), ("tokens", "86400s", 1000, 0, 500.0)],
    ),
    (
        "openai_compatible",
        {"ratelimit-policy": "100;w=60", "ratelimit": "limit=100, remaining=50, reset=5"},
        [("requests", "60s", 100, 50, 5.0)],
    ),
    (
        "openai_compatible",
        {"ratelimit-policy": "100;w=60", "ratelimit-limit": "100", "ratelimit-remaining": "7", "ratelimit-reset": "9"},
        [("requests", "60s", 100, 7, 9.0)],
    ),
    (
        "openai_compatible",
        {"ratelimit-policy": "10;w=1, 1000;w=3600", "ratelimit-remaining": "7"},
        [("requests", "1s", 10, None, None), ("requests", "3600s", 1000, None, None)],
    ),
    ("openai_compatible", {"ratelimit-policy": "100", "ratelimit": "limit=100, remaining=50, reset=5"}, []),
    ("openai_compatible", {"ratelimit-policy": "0;w=60, 5;w=0, 5;w=99999999, x;w=60, 5;w=-1"}, []),
]


def told(word: LimitWord) -> Told:
    wait_s = None if word.reset_s is None else round(word.reset_s - NOW_S, 6)
    return str(word.unit), str(word.window), word.amount, word.remaining, wait_s


@pytest.mark.parametrize(("provider_id", "headers", "expected"), WIRE)
def test_every_format_in_use_is_read(provider_id: str, headers: dict[str, str], expected: list[Told]) -> None:
    words = read_limits(headers, CATALOGUE[provider_id].limit_headers, NOW_S)
    assert [told(word) for word in words] == expected


def test_a_word_binds_what_its_row_says() -> None:
    (word, *_) = read_limits({"x-ratelimit-limit-requests": "5"}, CATALOGUE["fireworks"].limit_headers, NOW_S)
    assert word.scope_hint == (ScopePart.ACCOUNT,)
    (word, *_) = read_limits({"x-ratelimit-limit-requests": "5"}, CATALOGUE["openai"].limit_headers, NOW_S)
    assert word.scope_hint == (ScopePart.ACCOUNT, ScopePart.MODEL)


ROW = LimitHeadersRow(unit=Unit.REQUESTS, window="60s", limit="x-limit", remaining="x-remaining", reset="x-reset")


@pytest.mark.parametrize("text", ["", "-1", "1e12", "NaN", "inf", "ten", "5,000", "12.5", "٣", "9" * 17, "1_000", "+5"])
def test_what_is_no_sound_number_is_as_if_absent(text: str) -> None:
    assert read_limits({"x-limit": text, "x-remaining": text}, (ROW,), NOW_S) == ()


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 12 ", 12), ("12.0", 12), ("12.", 12), (str(MOST), MOST)])
def test_sound_numbers(text: str, number: int) -> None:
    assert whole_number(text) == number


def test_a_number_above_the_most_is_none() -> None:
    assert whole_number(str(MOST + 1)) is None


def test_a_limit_of_nothing_is_no_limit_but_nothing_may_remain() -> None:
    (word,) = read_limits({"x-limit": "0", "x-remaining": "0"}, (ROW,), NOW_S)
    assert (word.amount, word.remaining) == (None, 0)


@pytest.mark.parametrize("text", ["0", "-5", "soon", "1e300", "NaN", "33d", "2026-11-21T11:59:59Z", "1000000000"])
def test_resets_that_are_past_or_absurd_are_none(text: str) -> None:
    (word,) = read_limits({"x-limit": "5", "x-reset": text}, (ROW,), NOW_S)
    assert word.reset_s is None


@pytest.mark.parametrize(("text", "wait_s"), [("1500", 1.5), ("2s", 2.0), (f"{NOW_S + 9:.0f}", 9.0)])
def test_a_bare_number_may_be_milliseconds(text: str, wait_s: float) -> None:
    row = LimitHeadersRow(unit=Unit.REQUESTS, window="60s", limit="x-limit", reset="x-reset", reset_unit="ms")
    (word,) = read_limits({"x-limit": "5", "x-reset": text}, (row,), NOW_S)
    assert word.reset_s == pytest.approx(NOW_S + wait_s)


def test_a_row_with_all_its_headers_absent_says_nothing() -> None:
    assert read_limits({"x-reset": "5"}, (ROW,), NOW_S) == ()
    assert read_limits({}, (ROW,), NOW_S) == ()


FORMATS = tuple({row: None for provider in CATALOGUE.values() for row in provider.limit_headers})
NAMES = sorted({name for row in FORMATS for name in (row.limit, row.remaining, row.reset, row.policy) if name})
VALUES = st.one_of(
    st.text(max_size=60),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(dt.datetime.isoformat),
    st.from_regex(r'("?[a-z0-9]{0,3}"?(;[qwrt]=[0-9]{0,12}){0,3},? ?){0,3}', fullmatch=True),
)


@given(headers=st.dictionaries(st.sampled_from(NAMES), VALUES), now_s=st.floats(0, 4e9))
@example(headers={"x-ratelimit-limit-requests": "1e12", "x-ratelimit-reset-requests": "-1"}, now_s=NOW_S)
@example(headers={"x-ratelimit-limit": "5", "x-ratelimit-reset": "1E-100"}, now_s=NOW_S)
def test_no_header_is_able_to_do_harm(headers: dict[str, str], now_s: float) -> None:
    for word in read_limits(headers, FORMATS, now_s):
        assert word.window is not None
        assert word.amount is None or 1 <= word.amount <= MOST
        assert word.remaining is None or 0 <= word.remaining <= MOST
        assert word.reset_s is None or now_s < word.reset_s <= now_s + LONGEST_RESET_S
        assert word.reset_s is None or math.isfinite(word.reset_s)
        assert isinstance(word.window, Window)
        assert parse_window(str(word.window)) == word.window
