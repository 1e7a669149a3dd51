import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from keyrelay.alerting.quiet import is_quiet, problem
from keyrelay.core.alerts import QuietHours

BERLIN = "Europe/Berlin"
NIGHT = QuietHours("22:00", "07:00", BERLIN)
NOON = QuietHours("12:00", "13:30", BERLIN)


def moment(text: str, zone: str = BERLIN, *, fold: int = 0) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hours", "text", "quiet"),
    [
        (NIGHT, "2026-11-21T21:59:59", False),
        (NIGHT, "2026-11-21T22:00:00", True),
        (NIGHT, "2026-11-22T00:00:00", True),
        (NIGHT, "2026-11-22T06:59:59", True),
        (NIGHT, "2026-11-22T07:00:00", False),
        (NOON, "2026-11-22T11:59:00", False),
        (NOON, "2026-11-22T12:00:00", True),
        (NOON, "2026-11-22T13:30:00", False),
    ],
)
def test_hours_go_by_the_wall_clock(hours: QuietHours, text: str, *, quiet: bool) -> None:
    assert is_quiet(hours, moment(text)) is quiet


@pytest.mark.parametrize(
    ("evening", "hours"),
    [("2026-03-28T22:00:00", 8), ("2026-10-24T22:00:00", 10), ("2026-11-21T22:00:00", 9)],
    ids=["spring forward", "fall back", "any other"],
)
def test_a_night_is_as_long_as_the_clock_makes_it(evening: str, hours: int) -> None:
    start_s = moment(evening)
    minutes = [is_quiet(NIGHT, start_s + minute * 60) for minute in range(12 * 60)]
    assert minutes.index(False) == hours * 60
    assert not any(minutes[hours * 60 :])


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    hours = QuietHours("02:00", "03:00", BERLIN)
    assert is_quiet(hours, moment("2026-10-25T02:30:00"))
    assert is_quiet(hours, moment("2026-10-25T02:30:00", fold=1))
    assert moment("2026-10-25T02:30:00", fold=1) - moment("2026-10-25T02:30:00") == 3600


@pytest.mark.parametrize(
    ("hours", "where"),
    [
        (NIGHT, ""),
        (QuietHours("24:00", "07:00"), "start"),
        (QuietHours("22:00", "7:00"), "end"),
        (QuietHours("22:00", "22:00"), "end"),
        (QuietHours("22:00", "07:00", "Europe/Nowhere"), "zone"),
        (QuietHours("22:00", "07:00", "../etc/passwd"), "zone"),
        (QuietHours("22:00", "07:00", ""), "zone"),
    ],
)
def test_what_will_not_do_is_named(hours: QuietHours, where: str) -> None:
    assert problem(hours)[0] == where
