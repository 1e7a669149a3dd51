import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.moments import duration_words, known_moment, past_moment, rfc3339, utc_time


@given(st.integers(0, 253_402_300_799), st.floats(0, 0.999))
def test_a_time_reads_back_to_its_second(second: int, fraction: float) -> None:
    written = rfc3339(second + fraction)
    assert dt.datetime.fromisoformat(written).timestamp() == math.floor(second + fraction)
    assert written.endswith("Z")


@pytest.mark.parametrize(("epoch_s", "written"), [(-5.0, "1970-01-01T00:00:00Z"), (math.inf, "9999-12-31T23:59:59Z")])
def test_what_cannot_be_written_becomes_the_nearest_that_can(epoch_s: float, written: str) -> None:
    assert rfc3339(epoch_s) == written


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.2, "1 s"),
        (59.0, "59 s"),
        (59.5, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (86_400 * 2 + 3600 * 4 + 59, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize("unknown", [None, math.inf, -math.inf, math.nan])
def test_a_time_that_is_not_known_is_none(unknown: float | None) -> None:
    assert known_moment(unknown) is None
    assert known_moment(1_800_000_000.9) == rfc3339(1_800_000_000.0)


def test_zero_stands_for_never() -> None:
    assert (past_moment(0), past_moment(1.5)) == (None, "1970-01-01T00:00:01Z")


def test_a_time_is_one_in_utc() -> None:
    assert utc_time(1.5) == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)
