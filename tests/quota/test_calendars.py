import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Window, WindowKind, parse_window
from keyrelay.quota.calendars import next_reset, period_bounds, period_start, zone_of

ZONES = ("America/Los_Angeles", "UTC", "Europe/Berlin", "Asia/Kolkata")
HOUR = 3600


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


def wall(epoch_s: float, zone: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_s, ZoneInfo(zone))


@pytest.mark.parametrize("zone", ZONES)
def test_each_day_from_2026_to_2035_begins_at_the_zones_midnight_and_meets_the_next(zone: str) -> None:
    window = Window(WindowKind.DAY, zone=zone)
    start_s = period_start(wall(utc("2026-01-01 12:00"), zone).replace(hour=12).timestamp(), window)
    day = dt.date(2026, 1, 1)
    while day.year < 2036:
        begin = wall(start_s, zone)
        assert (begin.date(), begin.time()) == (day, dt.time())
        assert wall(start_s - 1, zone).date() == day - dt.timedelta(days=1)
        end_s = next_reset(start_s, window)
        assert end_s - start_s in {23 * HOUR, 24 * HOUR, 25 * HOUR}
        assert period_bounds(end_s - 1, window) == (start_s, end_s)
        start_s, day = end_s, day + dt.timedelta(days=1)


@pytest.mark.parametrize("zone", ZONES)
def test_each_month_from_2026_to_2035_begins_on_its_first_day(zone: str) -> None:
    window = Window(WindowKind.MONTH, zone=zone)
    start_s = period_start(utc("2026-01-15 00:00"), window)
    for index in range(120):
        begin = wall(start_s, zone)
        assert (begin.year, begin.month, begin.day, begin.time()) == (2026 + index // 12, index % 12 + 1, 1, dt.time())
        end_s = next_reset(start_s, window)
        assert period_bounds(end_s - 1, window) == (start_s, end_s)
        start_s = end_s


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-03-08 12:00", "2026-03-08 08:00", "2026-03-09 07:00"),  # 23 hours
        ("2026-11-01 12:00", "2026-11-01 07:00", "2026-11-02 08:00"),  # 25 hours
        ("2027-03-14 12:00", "2027-03-14 08:00", "2027-03-15 07:00"),
        ("2027-11-07 12:00", "2027-11-07 07:00", "2027-11-08 08:00"),
        ("2026-07-01 06:59:59", "2026-06-30 07:00", "2026-07-01 07:00"),
        ("2026-07-01 07:00", "2026-07-01 07:00", "2026-07-02 07:00"),
    ],
)
def test_a_day_in_los_angeles(now: str, start: str, end: str) -> None:
    assert period_bounds(utc(now), parse_window("day@America/Los_Angeles")) == (utc(start), utc(end))


def test_a_midnight_that_the_clock_change_skips_is_the_moment_of_the_change() -> None:
    window = parse_window("day@Africa/Cairo")  # 00:00 became 01:00 on 2025-04-25
    start_s = period_start(utc("2025-04-25 12:00"), window)
    assert wall(start_s, "Africa/Cairo").isoformat() == "2025-04-25T01:00:00+03:00"
    assert next_reset(start_s - 1, window) == start_s
    assert next_reset(start_s, window) - start_s == 23 * HOUR


def test_a_midnight_that_happens_twice_is_the_first() -> None:
    window = parse_window("day@America/Havana")  # 01:00 became 00:00 again on 2025-11-02
    start_s = period_start(utc("2025-11-02 12:00"), window)
    assert start_s == utc("2025-11-02 04:00")
    assert next_reset(start_s, window) - start_s == 25 * HOUR


@given(
    now_s=st.floats(min_value=utc("2000-01-01"), max_value=utc("2099-12-31")),
    zone=st.sampled_from((*ZONES, "Africa/Cairo", "Pacific/Apia", "Australia/Lord_Howe")),
    kind=st.sampled_from((WindowKind.DAY, WindowKind.MONTH)),
)
def test_now_lies_in_its_period(now_s: float, zone: str, kind: WindowKind) -> None:
    start_s, end_s = period_bounds(now_s, Window(kind, zone=zone))
    assert start_s <= now_s < end_s


def test_the_last_moment_of_a_day_is_not_rounded_into_the_next() -> None:
    midnight_s = utc("2099-12-31")
    assert next_reset(math.nextafter(midnight_s, 0), parse_window("day@UTC")) == midnight_s


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "America"])
def test_an_unknown_zone_is_named(zone: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA name"):
        zone_of(Window(WindowKind.DAY, zone=zone))
