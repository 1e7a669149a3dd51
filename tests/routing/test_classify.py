import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.failures import Failure, FailureKind, FailureScope, ProviderError
from keyrelay.core.providers import FailureRow
from keyrelay.routing.classify import BACKOFF, Classifier, Moment, duration_s, rest_until
from tests.routing.helpers import NOW_S

NOON = Moment(now_s=NOW_S)

HOUR = 3600.0


def row(rest: str = "none", rest_default: str = "30s") -> FailureRow:
    return FailureRow(kind=FailureKind.RATE, scope=FailureScope.PAIR, rest=rest, rest_default=rest_default)


def epoch_s(zone: str, *wall_clock: int) -> float:
    return dt.datetime(*wall_clock, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type, misc]


class TestRestUntil:
    def test_none_rests_nothing_and_manual_for_ever(self) -> None:
        assert rest_until(row("none"), 5.0, NOON) is None
        assert rest_until(row("manual"), 5.0, NOON) == math.inf

    @pytest.mark.parametrize(("rest", "seconds"), [("30s", 30.0), ("10m", 600.0), ("6h", 21_600.0), ("1d", 86_400.0)])
    def test_a_duration_is_one_whatever_the_hint(self, rest: str, seconds: float) -> None:
        assert rest_until(row(rest), None, NOON) == NOW_S + seconds
        assert rest_until(row(rest), 5.0, NOON) == NOW_S + seconds

    def test_a_hint_is_followed(self) -> None:
        assert rest_until(row("hint"), 45.5, NOON) == NOW_S + 45.5

    @pytest.mark.parametrize(("hint_s", "latest_s"), [(5.0, 5.5), (10.0, 11.0), (3600.0, 3601.0)])
    def test_returns_are_spread_by_a_tenth_and_at_most_a_second(self, hint_s: float, latest_s: float) -> None:
        until_s = rest_until(row("hint"), hint_s, Moment(now_s=NOW_S, random=1.0))
        assert until_s == pytest.approx(NOW_S + latest_s)

    def test_without_a_hint_the_rows_default_counts(self) -> None:
        assert rest_until(row("hint", "10m"), None, NOON) == NOW_S + 600

    @pytest.mark.parametrize(
        ("strikes", "longest_s"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (100_000, 60)]
    )
    def test_backing_off_doubles_with_each_strike_up_to_a_minute(self, strikes: int, longest_s: float) -> None:
        def after(random: float) -> float | None:
            return rest_until(row("hint", BACKOFF), None, Moment(now_s=NOW_S, strikes=strikes, random=random))

        assert after(1.0) == NOW_S + longest_s
        assert after(0.0) == NOW_S + longest_s / 2

    @pytest.mark.parametrize(
        ("zone", "seconds"),
        [("UTC", 12 * HOUR), ("America/Los_Angeles", 20 * HOUR), ("Asia/Shanghai", 4 * HOUR)],
    )
    def test_a_day_ends_at_the_providers_midnight_whatever_the_hint(self, zone: str, seconds: float) -> None:
        assert rest_until(row("day"), 45.0, Moment(now_s=NOW_S, zone=zone)) == NOW_S + seconds
        assert rest_until(row("day"), None, Moment(now_s=NOW_S, zone=zone, random=0.5)) == NOW_S + seconds + 0.5

    @pytest.mark.parametrize(
        ("now", "end", "hours"),
        [
            ((2026, 3, 8, 0, 30), (2026, 3, 9), 22.5),  # the clocks go forward at two
            ((2026, 3, 8, 3, 30), (2026, 3, 9), 20.5),
            ((2026, 11, 1, 0, 30), (2026, 11, 2), 24.5),  # and back at two
            ((2026, 11, 1, 12, 0), (2026, 11, 2), 12.0),
            ((2026, 7, 1, 0, 0), (2026, 7, 2), 24.0),
            ((2026, 12, 31, 23, 59), (2027, 1, 1), 1 / 60),
        ],
    )
    def test_days_on_which_the_clocks_change(self, now: tuple[int, ...], end: tuple[int, ...], hours: float) -> None:
        zone = "America/Los_Angeles"
        now_s = epoch_s(zone, *now)
        until_s = rest_until(row("day"), 45.0, Moment(now_s=now_s, zone=zone))
        assert until_s == epoch_s(zone, *end)
        assert until_s - now_s == pytest.approx(hours * HOUR)

    @pytest.mark.parametrize(
        ("now", "end"),
        [((2025, 11, 21), (2025, 12, 1)), ((2025, 12, 31, 23, 59), (2026, 1, 1)), ((2028, 2, 29), (2028, 3, 1))],
    )
    @pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
    def test_a_month_ends_with_the_providers_month(self, now: tuple[int, ...], end: tuple[int, ...], zone: str) -> None:
        assert rest_until(row("month"), 45.0, Moment(now_s=epoch_s(zone, *now), zone=zone)) == epoch_s(zone, *end)


class TestDuration:
    @given(st.integers(0, 999_999_999), st.sampled_from("smhd"))
    def test_it_is_read(self, amount: int, unit: str) -> None:
        assert duration_s(f"{amount}{unit}") == amount * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]

    @pytest.mark.parametrize("text", ["", "30", "s", "1.5s", "-1s", "30 s", "1w", "backoff", "9" * 400 + "d"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not one of 30s, 10m, 6h, 1d"):
            duration_s(text)


class TestClassifier:
    OWN = (
        FailureRow(kind=FailureKind.MODEL, scope=FailureScope.MODEL, status=(400, 404), code=("a", "b"), rest="6h"),
        FailureRow(kind=FailureKind.CONTENT, scope=FailureScope.REQUEST, message="un(safe|wise)"),
        FailureRow(kind=FailureKind.QUOTA, scope=FailureScope.PAIR, detail="PerDay", rest="day"),
        FailureRow(kind=FailureKind.SERVICE, scope=FailureScope.REQUEST, status=(500,)),
    )

    @pytest.mark.parametrize(
        ("error", "index"),
        [
            (ProviderError(status=404, codes=("b", "c")), 0),
            (ProviderError(status=400, codes=("x", "a"), message="unsafe"), 0),
            (ProviderError(status=404, codes=("x",), message="It is UNSAFE."), 1),
            (ProviderError(status=401, codes=("a",), message="unwise"), 1),
            (ProviderError(status=429, detail="RequestsPerDayPerModel=20"), 2),
            (ProviderError(status=429, detail="requestsperday", message="unsafe"), 1),
            (ProviderError(status=500), 3),
        ],
    )
    def test_the_first_row_whose_tests_all_hold_decides(self, error: ProviderError, index: int) -> None:
        assert Classifier(self.OWN).row_for(error) is self.OWN[index]

    def test_behind_its_own_rows_stand_the_generic_ones(self) -> None:
        error = ProviderError(status=404, message="gone")
        assert Classifier(self.OWN).row_for(error) is Classifier().row_for(error)

    def test_a_failure_says_what_was_said(self) -> None:
        error = ProviderError(status=404, codes=("b", "c"), message="No such model.", hint_s=5.0)
        assert Classifier(self.OWN).classify(error, NOON) == Failure(
            kind=FailureKind.MODEL,
            scope=FailureScope.MODEL,
            message="No such model.",
            status=404,
            code="b",
            until_s=NOW_S + 6 * HOUR,
            reached=False,
        )

    def test_without_a_word_it_names_the_status(self) -> None:
        failure = Classifier().classify(ProviderError(status=503), NOON)
        assert (failure.message, failure.code) == ("HTTP 503", "")

    @pytest.mark.parametrize(("should_retry", "kind"), [(None, "service"), (True, "service"), (False, "request")])
    def test_a_fault_of_the_request_that_must_not_be_tried_again_is_the_callers(
        self, *, should_retry: bool | None, kind: str
    ) -> None:
        error = ProviderError(status=500, should_retry=should_retry)
        assert Classifier(self.OWN).classify(error, NOON).kind == kind
        assert Classifier().classify(error, NOON).kind == "service"

    @pytest.mark.parametrize("kind", FailureKind)
    def test_what_a_provider_turned_away_at_the_door_used_nothing_up(self, kind: FailureKind) -> None:
        classifier = Classifier([FailureRow(kind=kind, scope=FailureScope.REQUEST)])
        turned_away = kind in {"auth", "permission", "model", "request", "context"}
        assert classifier.classify(ProviderError(status=400), NOON).reached is not turned_away

    def test_its_repr_counts_the_rows(self) -> None:
        generic = int(repr(Classifier()).split()[2])
        assert repr(Classifier(self.OWN)) == f"<Classifier of {generic + 4} rows>"
