import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Unit, parse_window
from keyrelay.quota.calendars import next_reset
from keyrelay.quota.forecast import (
    FAR_FUTURE_S,
    Cause,
    Count,
    Forecast,
    Headroom,
    Outlook,
    Pace,
    amount_words,
    forecast,
    headroom,
    number_words,
    yield_of,
)

NOW_S = dt.datetime(2027, 1, 15, 8, tzinfo=dt.UTC).timestamp()
HOUR_S = 3600.0
DAY = "day@UTC"  # ends 16 hours from NOW_S
MIDNIGHT = "2027-01-16T00:00:00Z"
PARTS = tuple(cause for cause in Cause if cause is not Cause.UNUSED)


def steady(per_h: float) -> Pace:
    return Pace(last_10_min=per_h / 6, last_hour=per_h)


IDLE = steady(0)


def count(window: str, amount: int, used: int, **more: Any) -> Count:
    return Count(unit=more.pop("unit", Unit.REQUESTS), window=parse_window(window), amount=amount, used=used, **more)


def seen(window: str, amount: int, used: int, pace: Pace, **more: Any) -> Forecast:
    return forecast(count(window, amount, used, **more), pace, NOW_S)


class TestHeadroom:
    @pytest.mark.parametrize(
        ("amount", "used", "expected"),
        [
            (100, 25, Headroom(75, 0.75)),
            (100, 0, Headroom(100, 1.0)),
            (100, 130, Headroom(0, 0.0)),
            (0, 0, Headroom(0, 0.0)),
        ],
    )
    def test_what_is_left(self, amount: int, used: int, expected: Headroom) -> None:
        assert headroom(amount, used) == expected


class TestPace:
    @pytest.mark.parametrize(
        ("pace", "rate_per_h"),
        [
            (Pace(last_10_min=100, last_hour=600), 600),
            (Pace(last_10_min=100, last_hour=100), (600 + 100) / 2),
            (Pace(last_10_min=0, last_hour=100), 50),
            (Pace(last_10_min=100, last_hour=200, typical_hour=1_000), 600 / 2 + 200 / 4 + 1_000 / 4),
            (Pace(last_10_min=100, last_hour=600, typical_hour=0), 450),
            (Pace(last_10_min=50, last_hour=50, watched_s=300), 600),
            (Pace(last_10_min=100, last_hour=300, watched_s=1_800), 600),
            (Pace(last_10_min=100, last_hour=600, watched_s=10**7), 600),
        ],
        ids=["steady", "just begun", "pausing", "unusually quiet", "unusual hour", "5 min", "30 min", "long watched"],
    )
    def test_how_it_is_combined(self, pace: Pace, rate_per_h: float) -> None:
        assert pace.rate_per_h == pytest.approx(rate_per_h)

    @pytest.mark.parametrize(
        "pace",
        [
            IDLE,
            Pace(last_10_min=0, last_hour=0, typical_hour=50),
            Pace(last_10_min=9, last_hour=9, watched_s=59),
            Pace(last_10_min=0, last_hour=5e-324),
        ],
        ids=["idle", "idle whatever is typical", "watched too shortly", "too little to be halved"],
    )
    def test_without_use_there_is_none(self, pace: Pace) -> None:
        assert pace.rate_per_h is None

    @given(
        st.floats(0, 1e9), st.floats(0, 1e9), st.none() | st.floats(0, 1e9), st.floats(60, 1e6), st.floats(1e-3, 1e6)
    )
    def test_it_lies_between_its_parts_and_grows_with_the_last_minutes(
        self, last_10_min: float, before: float, typical: float | None, watched_s: float, more: float
    ) -> None:
        pace = Pace(last_10_min=last_10_min, last_hour=last_10_min + before, typical_hour=typical, watched_s=watched_s)
        busier = Pace(
            last_10_min=last_10_min + more,
            last_hour=last_10_min + before + more,
            typical_hour=typical,
            watched_s=watched_s,
        )
        rate_per_h, busier_per_h = pace.rate_per_h, busier.rate_per_h
        assert busier_per_h is not None
        if rate_per_h is None:
            assert last_10_min + before == 0
            return
        parts = [last_10_min * HOUR_S / min(600, watched_s), (last_10_min + before) * HOUR_S / min(HOUR_S, watched_s)]
        parts += [] if typical is None else [typical]
        assert min(parts) * (1 - 1e-9) <= rate_per_h <= max(parts) * (1 + 1e-9)
        assert busier_per_h >= rate_per_h


class TestForecast:
    @pytest.mark.parametrize(
        ("window", "amount", "used", "pace", "kind", "in_s"),
        [
            (DAY, 1_000, 200, steady(50), Outlook.LASTS, None),  # exactly: 16 h at 50
            (DAY, 1_000, 200, steady(51), Outlook.RUNS_OUT, 800 / 51 * HOUR_S),
            (DAY, 1_000, 200, IDLE, Outlook.UNKNOWN, None),
            (DAY, 1_000, 1_000, IDLE, Outlook.EXHAUSTED, 16 * HOUR_S),
            (DAY, 1_000, 1_200, steady(50), Outlook.EXHAUSTED, 16 * HOUR_S),
            ("week@UTC", 1_000, 0, steady(16), Outlook.RUNS_OUT, 1_000 / 16 * HOUR_S),  # 64 h: until Monday
            ("week@UTC", 1_024, 0, steady(16), Outlook.LASTS, None),
            ("month@UTC", 1_000, 0, steady(1), Outlook.LASTS, None),  # 400 h
            ("month@UTC", 1_000, 0, steady(4), Outlook.RUNS_OUT, 250 * HOUR_S),
            ("month:16@UTC", 1_000, 0, steady(60), Outlook.LASTS, None),  # 16 h: until the 16th
            ("60s", 15, 3, steady(900), Outlook.LASTS, None),
            ("60s", 15, 3, steady(1_800), Outlook.RUNS_OUT, 12 / (1_800 / 60 - 3) * 60),
            ("24h", 240, 0, steady(20), Outlook.RUNS_OUT, 12 * HOUR_S),
            ("24h", 240, 239, steady(10), Outlook.LASTS, None),
            ("60s", 15, 15, steady(900), Outlook.EXHAUSTED, None),
            ("once", 1_000, 400, steady(10), Outlook.RUNS_OUT, 60 * HOUR_S),
            ("once", 1_000, 1_000, steady(10), Outlook.EXHAUSTED, None),
            ("once", 10**9, 0, steady(1), Outlook.LASTS, None),
            ("once", 1_000, 400, IDLE, Outlook.UNKNOWN, None),
            ("once:2027-01-16@UTC", 1_000, 0, steady(100), Outlook.RUNS_OUT, 10 * HOUR_S),
            ("once:2027-01-16@UTC", 1_000, 0, steady(10), Outlook.LASTS, None),
            ("once:2027-01-15@UTC", 1_000, 0, steady(10), Outlook.EXHAUSTED, None),
            ("once:2027-01-15@UTC", 0, 0, steady(10), Outlook.EXHAUSTED, None),
            ("concurrent", 5, 5, steady(900), Outlook.UNKNOWN, None),
        ],
    )
    def test_what_is_to_be_expected(
        self, window: str, amount: int, used: int, pace: Pace, kind: Outlook, in_s: float | None
    ) -> None:
        expected = seen(window, amount, used, pace)
        assert expected.kind is kind
        assert expected.at_s == (None if in_s is None else pytest.approx(NOW_S + in_s))
        assert expected.rate_per_h == pace.rate_per_h

    @pytest.mark.parametrize(
        ("expected", "reason"),
        [
            (
                seen(DAY, 1_000, 200, steady(10)),
                f"At 10 requests an hour it lasts: about 640 requests will be left at the reset at {MIDNIGHT}.",
            ),
            (
                seen(DAY, 2_000_000, 0, steady(500_000), unit=Unit.TOKENS),
                f"At 500 k tokens an hour it runs out in about 4 h 0 min, 12 h 0 min before the reset at {MIDNIGHT}.",
            ),
            (seen(DAY, 5, 0, IDLE), "There was no use in the last hour, so there is no rate to go by."),
            (
                seen(DAY, 5, 0, Pace(last_10_min=0, last_hour=0, watched_s=0)),
                "There was no use in the last hour, so there is no rate to go by.",
            ),
            (
                seen(DAY, 5, 0, Pace(last_10_min=5, last_hour=5, watched_s=20)),
                "Its use has been recorded for less than a minute, so there is no rate to go by.",
            ),
            (
                seen(DAY, 1_500, 1_500, IDLE),
                "All of 1,500 requests are used; more come back at 2027-01-16T00:00:00Z, in 16 h 0 min.",
            ),
            (
                seen("60s", 15, 15, IDLE, reset_s=NOW_S + 12),
                "All of 15 requests are used; more come back at 2027-01-15T08:00:12Z, in 12 s.",
            ),
            (seen("60s", 15, 15, IDLE), "All of 15 requests are used; it is not known when more come back."),
            (seen("60s", 0, 0, IDLE), "The limit is 0: nothing may be used."),
            (
                seen("60s", 15, 0, steady(90)),
                "At 90 requests an hour it lasts: the window allows 900 requests an hour.",
            ),
            (
                seen("24h", 240, 0, steady(20)),
                "At 20 requests an hour it runs out in about 12 h 0 min: more than the window gives back.",
            ),
            (seen("once", 9, 9, IDLE, unit=Unit.UNITS), "All of 9 units are used and do not come back."),
            (
                seen("once", 5_000_000, 0, steady(250_000), unit=Unit.USD_MICROS),
                "At $0.2500 an hour it runs out in about 20 h 0 min and does not come back.",
            ),
            (seen("once", 10**9, 0, steady(1)), "At 1 request an hour it lasts for more than ten years."),
            (
                seen("once:2027-01-16@UTC", 1_000, 0, steady(10)),
                f"At 10 requests an hour it lasts: about 840 requests will be left when it expires at {MIDNIGHT}.",
            ),
            (seen("once:2027-01-01@UTC", 9, 0, IDLE), "It expired at 2027-01-01T00:00:00Z."),
            (
                seen("concurrent", 5, 1, IDLE),
                "It counts what is in flight, which frees its place when it ends: there is nothing to run out.",
            ),
        ],
    )
    def test_the_reason_is_a_sentence(self, expected: Forecast, reason: str) -> None:
        assert expected.reason == reason

    def test_a_reset_that_the_ledger_knows_better_counts(self) -> None:
        soon = seen(DAY, 1_000, 200, steady(100), reset_s=NOW_S + HOUR_S)
        assert soon.kind is Outlook.LASTS
        assert seen(DAY, 1_000, 200, steady(100)).kind is Outlook.RUNS_OUT

    def test_a_reset_that_is_just_over_does_not_lie_in_the_past(self) -> None:
        assert seen(DAY, 10, 10, IDLE, reset_s=NOW_S - 5).at_s == NOW_S
        assert seen(DAY, 10, 9, steady(10**6), reset_s=NOW_S - 5).kind is Outlook.LASTS

    @given(
        window=st.sampled_from(("1s", "60s", "1h", "24h", DAY, "month@America/Los_Angeles", "once", "month:31@UTC")),
        amount=st.integers(0, 10**9),
        used=st.integers(0, 10**9),
        per_h=st.floats(0, 1e9),
        more=st.floats(1, 10),
    )
    def test_more_use_never_lasts_longer(self, window: str, amount: int, used: int, per_h: float, more: float) -> None:
        end_s = {}
        for factor in (1.0, more):
            expected = seen(window, amount, used, steady(per_h * factor))
            assert expected.reason.endswith(".")
            assert (expected.kind is Outlook.EXHAUSTED) == (used >= amount)
            if expected.kind is Outlook.RUNS_OUT:
                assert expected.at_s is not None
                assert NOW_S <= expected.at_s <= NOW_S + FAR_FUTURE_S
                end_s[factor] = expected.at_s
            else:
                end_s[factor] = NOW_S + FAR_FUTURE_S
        if per_h > 0 and used < amount:
            assert end_s[more] <= end_s[1.0] + 1e-3

    @given(amount=st.integers(1, 10**6), per_h=st.floats(0.01, 1e6), hours=st.integers(0, 40))
    def test_what_runs_out_does_so_before_the_reset_and_what_lasts_would_not(
        self, amount: int, per_h: float, hours: int
    ) -> None:
        now_s = NOW_S + hours * HOUR_S
        expected = forecast(count(DAY, amount, 0), steady(per_h), now_s)
        reset_s = next_reset(now_s, parse_window(DAY))
        needed = per_h * (reset_s - now_s) / HOUR_S
        if expected.at_s is None:
            assert needed <= amount * (1 + 1e-9)
        else:
            assert expected.at_s <= reset_s
            assert needed >= amount * (1 - 1e-9)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (0.004, "less than 0.01"),
        (0.25, "0.25"),
        (9, "9"),
        (12.34, "12.3"),
        (1_500, "1,500"),
        (9_999, "9,999"),
        (12_500, "12.5 k"),
        (999_999, "1,000 k"),
        (1_400_000, "1.4 M"),
        (2e9, "2 G"),
        (3.5e12, "3,500 G"),
    ],
)
def test_numbers_for_people(number: float, words: str) -> None:
    assert number_words(number) == words


@pytest.mark.parametrize(
    ("amount", "unit", "words"),
    [
        (1, Unit.REQUESTS, "1 request"),
        (1_500, Unit.REQUESTS, "1,500 requests"),
        (1_400_000, Unit.OUTPUT_TOKENS, "1.4 M output tokens"),
        (2_500_000, Unit.USD_MICROS, "$2.50"),
        (1_234_567_890, Unit.USD_MICROS, "$1,234.57"),
        (400, Unit.USD_MICROS, "$0.0004"),
    ],
)
def test_amounts_for_people(amount: float, unit: Unit, words: str) -> None:
    assert amount_words(amount, unit) == words


class TestYield:
    def test_what_became_of_a_quota(self) -> None:
        result = yield_of(1_000, 700, {Cause.REFUSED: 50, Cause.BROKEN: 30})
        assert result.share == 0.7
        assert result.wasted == {Cause.REFUSED: 50, Cause.FAILED: 0, Cause.BROKEN: 30, Cause.UNUSED: 220}

    def test_more_than_was_believed_was_the_whole(self) -> None:
        result = yield_of(100, 150, {Cause.FAILED: 50})
        assert (result.theoretical, result.share, result.wasted[Cause.UNUSED]) == (200, 0.75, 0)

    def test_of_nothing_there_is_no_share(self) -> None:
        assert yield_of(0, 0, {}).share is None

    @pytest.mark.parametrize(
        ("theoretical", "useful", "wasted"),
        [(-1, 0, {}), (10, -1, {}), (10, 1, {Cause.FAILED: -1}), (10, 1, {Cause.UNUSED: 9})],
    )
    def test_what_cannot_have_happened_is_refused(
        self, theoretical: int, useful: int, wasted: dict[Cause, int]
    ) -> None:
        with pytest.raises(ValueError, match="is not what happened to a quota"):
            yield_of(theoretical, useful, wasted)

    @given(
        st.integers(0, 10**12),
        st.integers(0, 10**12),
        st.dictionaries(st.sampled_from(PARTS), st.integers(0, 10**9)),
    )
    def test_the_parts_are_the_whole(self, theoretical: int, useful: int, wasted: dict[Cause, int]) -> None:
        result = yield_of(theoretical, useful, wasted)
        assert result.useful + sum(result.wasted.values()) == result.theoretical
        assert set(result.wasted) == set(Cause)
        assert min(result.wasted.values()) >= 0
        assert result.theoretical >= theoretical
        assert result.share is None or 0 <= result.share <= 1
