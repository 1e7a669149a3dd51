import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, LimitSource, Pacing, ScopePart, Unit, Window, WindowKind, parse_window

ROLLING = WindowKind.ROLLING


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("1s", Window(ROLLING, 1.0)),
        ("60s", Window(ROLLING, 60.0)),
        ("5m", Window(ROLLING, 300.0)),
        ("1h", Window(ROLLING, 3600.0)),
        ("24h", Window(ROLLING, 86_400.0)),
        ("30d", Window(ROLLING, 2_592_000.0)),
        ("once", Window(WindowKind.ONCE)),
        ("day@UTC", Window(WindowKind.DAY, zone="UTC")),
        ("week@Europe/Berlin", Window(WindowKind.WEEK, zone="Europe/Berlin")),
        ("month@America/Los_Angeles", Window(WindowKind.MONTH, zone="America/Los_Angeles")),
        ("month:1@UTC", Window(WindowKind.MONTH)),
        ("month:02@UTC", Window(WindowKind.ANNIVERSARY, day=2)),
        ("month:31@Asia/Kolkata", Window(WindowKind.ANNIVERSARY, zone="Asia/Kolkata", day=31)),
        ("once:2027-03-01@UTC", Window(WindowKind.ONCE, expires_on=dt.date(2027, 3, 1))),
        ("concurrent", Window(WindowKind.CONCURRENT)),
    ],
)
def test_a_window_is_read_as_it_is_written(text: str, window: Window) -> None:
    assert parse_window(text) == window


WRONG = ("", "0s", "-1s", "1.5s", "60", "s", "60 s", "60S", "1w", "60s\n", "9" * 400 + "s")
WRONG_CALENDARS = ("day", "day@", "@UTC", "week", "year@UTC", "once@UTC", "rolling@UTC", "anniversary@UTC", "ONCE")
WRONG_DAYS = ("month:0@UTC", "month:32@UTC", "month:@UTC", "month:-1@UTC", "day:1@UTC", "week:1@UTC", "month:1")
WRONG_DATES = ("once:2027-02-30@UTC", "once:2027-3-1@UTC", "once:tomorrow@UTC", "once:2027-03-01", "once:@UTC")


@pytest.mark.parametrize("text", [*WRONG, *WRONG_CALENDARS, *WRONG_DAYS, *WRONG_DATES, "concurrent@UTC"])
def test_any_other_text_is_refused_with_what_would_do(text: str) -> None:
    forms = "1s, 60s, 1h, 24h, day@ZONE, week@ZONE, month@ZONE, month:15@ZONE, once, once:2027-03-01@ZONE, concurrent"
    expected = f"window {text!r} is not one of {forms}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        parse_window(text)


@given(st.integers(1, 999_999_999), st.sampled_from("smhd"))
def test_a_rolling_window_survives_being_written(amount: int, unit: str) -> None:
    window = parse_window(f"{amount}{unit}")
    again = str(window)
    if len(again) <= len("999999999s"):
        assert parse_window(again) == window
    assert again == f"{amount * {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}[unit]}s"


def test_a_long_rolling_window_is_not_written_in_powers_of_ten() -> None:
    assert str(parse_window("30d")) == "2592000s"


OTHERS = ("once", "once:2027-03-01@UTC", "day@Europe/Berlin", "week@UTC", "month@UTC", "month:31@UTC", "concurrent")


@pytest.mark.parametrize("text", [*OTHERS, "60s"])
def test_the_others_survive_it_too(text: str) -> None:
    assert str(parse_window(text)) == text


@given(st.text(max_size=20))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        window = parse_window(text)
    except ValueError as error:
        assert repr(text) in str(error)  # noqa: PT017 both outcomes are right
    else:
        assert window.length_s > 0 or window.kind is not ROLLING


def test_a_limit_says_what_it_is() -> None:
    limit = Limit(unit=Unit.REQUESTS, amount=15, window=parse_window("60s"))
    assert str(limit) == "15 requests per 60s for (account, model)"
    assert (limit.source, limit.firm, limit.models) == (LimitSource.CATALOGUE, True, ())
    month = Limit(unit=Unit.TOKENS, amount=10, window=parse_window("month@UTC"), scope=(ScopePart.KEY,))
    assert str(month) == "10 tokens per month@UTC for (key)"


def test_a_limit_says_how_it_is_paced_and_what_it_counts() -> None:
    smooth = Limit(unit=Unit.USD_MICROS, amount=5, window=parse_window("month:15@UTC"), pacing=Pacing.SMOOTH)
    assert str(smooth) == "5 usd_micros per month:15@UTC for (account, model) smooth"
    in_flight = Limit(unit=Unit.REQUESTS, amount=5, window=parse_window("concurrent"), scope=(ScopePart.KEY,))
    assert str(in_flight) == "5 requests concurrent for (key)"


@pytest.mark.parametrize(
    ("text", "words"),
    [("60s", "60s"), ("90m", "5400s"), ("1h", "1h"), ("86400s", "24h"), ("36h", "36h"), ("48h", "2d"), ("30d", "30d")]
    + [(text, text) for text in ("day@UTC", "month:15@UTC", "once", "concurrent")],
)
def test_a_window_is_told_in_hours_and_days(text: str, words: str) -> None:
    window = parse_window(text)
    assert window.words == words
    assert parse_window(words) == window
