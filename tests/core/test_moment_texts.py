import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.moment_texts import moment_ahead, moment_of

NOW_S = 1_795_262_400.0
"""2026-11-21T12:00:00Z"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW_S),
        ("24h", NOW_S - 86_400),
        ("7d", NOW_S - 7 * 86_400),
        ("90s", NOW_S - 90),
        ("5m", NOW_S - 300),
        ("2w", NOW_S - 14 * 86_400),
        ("999999999w", 0.0),
        ("0", 0.0),
        ("1795262400", NOW_S),
        ("1795262400.25", NOW_S + 0.25),
        ("2026-11-21T12:00:00Z", NOW_S),
        ("2026-11-21t12:00:00z", NOW_S),
        ("2026-11-21 12:00", NOW_S),
        ("2026-11-21T13:00:00+01:00", NOW_S),
        ("2026-11-21T13:00:00 01:00", NOW_S),
        ("2026-11-21T07:00:00-05:00", NOW_S),
        ("2026-11-21T12:00:00.5Z", NOW_S + 0.5),
        ("2026-11-21", NOW_S - 12 * 3600),
        ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ("0001-01-01T00:00:00+23:59", 0.0),
    ],
)
def test_what_is_written_is_understood(text: str, expected: float) -> None:
    assert moment_of(text, NOW_S) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "h", "-1h", "1.5h", "24 h", "-5", "1e9", "nan", "inf", "999999999999", "2026-13-01",
        "2026-02-30", "2026-11-21T25:00:00Z", "2026-11-21T12", "20261121T120000Z", "2026-W47", "12:00",
    ],
)  # fmt: skip
def test_anything_else_is_answered_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a time such as 2026-11-21T12:00:00Z, .* or 7d"):
        moment_of(text, NOW_S)


@given(
    st.datetimes(
        min_value=dt.datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the time zone
        timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30))]),
    )
)
def test_every_moment_is_read_as_it_is_written(moment: dt.datetime) -> None:
    assert moment_of(moment.isoformat(), NOW_S) == pytest.approx(moment.timestamp(), abs=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7d", NOW_S + 7 * 86_400), ("90s", NOW_S + 90), ("2026-11-21", NOW_S - 12 * 3600), ("1795262400", NOW_S)],
)
def test_of_what_is_to_come_a_length_of_time_lies_ahead(text: str, expected: float) -> None:
    assert moment_ahead(text, NOW_S) == expected


@pytest.mark.parametrize("text", ["now", "soon", "999999999w", ""])
def test_what_is_no_time_to_come_is_answered_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="or one ahead such as 30d"):
        moment_ahead(text, NOW_S)
