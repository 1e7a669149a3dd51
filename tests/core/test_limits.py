import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind, parse_window

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
        ("month@America/Los_Angeles", Window(WindowKind.MONTH, zone="America/Los_Angeles")),
    ],
)
def test_a_window_is_read_as_it_is_written(text: str, window: Window) -> None:
    assert parse_window(text) == window


WRONG = ("", "0s", "-1s", "1.5s", "60", "s", "60 s", "60S", "1w", "60s\n", "9" * 400 + "s")
WRONG_CALENDARS = ("day", "day@", "@UTC", "week@UTC", "once@UTC", "rolling@UTC", "ONCE")


@pytest.mark.parametrize("text", [*WRONG, *WRONG_CALENDARS])
def test_any_other_text_is_refused_with_what_would_do(text: str) -> None:
    expected = f"window {text!r} is not one of 1s, 60s, 1h, 24h, day@ZONE, month@ZONE, once"
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


@pytest.mark.parametrize("text", ["once", "day@Europe/Berlin", "month@UTC", "60s"])
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
