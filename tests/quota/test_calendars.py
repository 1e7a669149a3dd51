import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import CALENDAR_KINDS, Window, WindowKind, parse_window
from keyrelay.quota.calendars import expiry_s, needs_zone, next_reset, period_bounds, period_start, zone_of

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


@pytest.mark.parametrize("zone", ZONES)
def test_each_week_from_2026_to_2035_begins_with_its_monday(zone: str) -> None:
    window = Window(WindowKind.WEEK, zone=zone)
    monday = dt.date(2025, 12, 29)
    while monday.year < 2036:
        following = monday + dt.timedelta(days=7)
        bounds = (midnight_s(monday, zone), midnight_s(following, zone))
        for day in range(7):
            begin_s = midnight_s(monday + dt.timedelta(days=day), zone)
            end_s = midnight_s(monday + dt.timedelta(days=day + 1), zone)
            assert period_bounds(begin_s, window) == period_bounds(end_s - 1, window) == bounds
        monday = following


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", [2, 15, 28, 29, 30, 31])
def test_each_anniversary_month_from_2026_to_2035_begins_on_its_day_or_the_months_last(day: int, zone: str) -> None:
    window = Window(WindowKind.ANNIVERSARY, zone=zone, day=day)
    firsts = [anniversary(2025 + index // 12, index % 12 + 1, day) for index in range(11, 134)]
    today = dt.date(2026, 1, 1)
    while today.year < 2036:
        start = max(first for first in firsts if first <= today)
        bounds = (midnight_s(start, zone), midnight_s(firsts[firsts.index(start) + 1], zone))
        end_s = midnight_s(today + dt.timedelta(days=1), zone)
        assert period_bounds(midnight_s(today, zone), window) == period_bounds(end_s - 1, window) == bounds
        today += dt.timedelta(days=1)


def anniversary(year: int, month: int, day: int) -> dt.date:
    """That day of the month, or the last one before it that the month has."""
    while True:
        try:
            return dt.date(year, month, day)
        except ValueError:
            day -= 1


def midnight_s(day: dt.date, zone: str) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-02-28 00:00", "2026-02-28", "2026-03-31"),
        ("2026-02-27 23:59:59", "2026-01-31", "2026-02-28"),
        ("2028-02-29 12:00", "2028-02-29", "2028-03-31"),
        ("2026-04-30 00:00", "2026-04-30", "2026-05-31"),
        ("2026-12-31 00:00", "2026-12-31", "2027-01-31"),
    ],
)
def test_the_31st_is_the_last_day_of_shorter_months(now: str, start: str, end: str) -> None:
    assert period_bounds(utc(now), parse_window("month:31@UTC")) == (utc(start), utc(end))


@pytest.mark.parametrize(
    ("text", "expiry"),
    [
        ("once:2027-03-01@UTC", "2027-03-01 00:00"),
        ("once:2027-03-01@America/Los_Angeles", "2027-03-01 08:00"),
        ("once:2027-07-01@Europe/Berlin", "2027-06-30 22:00"),
        ("once:0001-01-01@UTC", "0001-01-01 00:00"),
    ],
)
def test_a_quota_expires_when_its_day_begins(text: str, expiry: str) -> None:
    assert expiry_s(parse_window(text)) == utc(expiry)
    assert needs_zone(parse_window(text))


@pytest.mark.parametrize("text", ["once", "60s", "concurrent"])
def test_what_does_not_expire_needs_no_zone(text: str) -> None:
    assert expiry_s(parse_window(text)) == math.inf
    assert not needs_zone(parse_window(text))


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
    kind=st.sampled_from(sorted(CALENDAR_KINDS)),
    day=st.integers(1, 31),
)
def test_now_lies_in_its_period_and_periods_meet(now_s: float, zone: str, kind: WindowKind, day: int) -> None:
    window = Window(kind, zone=zone, day=day)
    start_s, end_s = period_bounds(now_s, window)
    assert start_s <= now_s < end_s
    assert period_start(end_s, window) == end_s
    assert next_reset(start_s - 1, window) == start_s


def test_the_last_moment_of_a_day_is_not_rounded_into_the_next() -> None:
    midnight_s = utc("2099-12-31")
    assert next_reset(math.nextafter(midnight_s, 0), parse_window("day@UTC")) == midnight_s


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "America"])
def test_an_unknown_zone_is_named(zone: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA name"):
        zone_of(Window(WindowKind.DAY, zone=zone))
