import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.usage_views import (
    Dimension,
    Interval,
    Kept,
    Oldest,
    Piece,
    Span,
    UsageFilter,
    cover,
    fitting_interval,
    kept_of,
    points,
    widened,
)

DAY = 1_795_219_200
"""A midnight in UTC."""

ALWAYS = Kept(-math.inf, -math.inf)
MINUTES = st.integers(0, 400 * 1440).map(lambda minutes: DAY + 60 * minutes)


class TestCovering:
    @given(start=MINUTES, length=st.integers(1, 100 * 1440), coarsest=st.sampled_from(Interval))
    def test_the_pieces_are_the_range_in_order_each_of_whole_intervals(
        self, start: int, length: int, coarsest: Interval
    ) -> None:
        span = Span(start, start + 60 * length)
        pieces = cover(span, coarsest)
        assert [pieces[0].span.from_s, *(piece.span.to_s for piece in pieces)] == [
            *(piece.span.from_s for piece in pieces),
            span.to_s,
        ]
        assert pieces[0].span.from_s == span.from_s
        for piece in pieces:
            assert piece.span.length_s > 0
            assert piece.interval.seconds <= coarsest.seconds
            assert piece.span.from_s % piece.interval.seconds == piece.span.to_s % piece.interval.seconds == 0
        assert len(pieces) <= 5

    def test_days_in_the_middle_hours_beside_them_minutes_at_the_edges(self) -> None:
        span = Span(DAY + 3540, DAY + 3 * 86_400 + 7260)
        day = DAY + 86_400
        assert cover(span, Interval.DAY) == (
            Piece(Interval.MINUTE, Span(DAY + 3540, DAY + 3600)),
            Piece(Interval.HOUR, Span(DAY + 3600, day)),
            Piece(Interval.DAY, Span(day, day + 2 * 86_400)),
            Piece(Interval.HOUR, Span(DAY + 3 * 86_400, DAY + 3 * 86_400 + 7200)),
            Piece(Interval.MINUTE, Span(DAY + 3 * 86_400 + 7200, DAY + 3 * 86_400 + 7260)),
        )


class TestWidening:
    @given(start=st.floats(DAY, DAY + 1e7), length=st.floats(0.001, 1e7))
    def test_is_to_the_whole_minutes_around(self, start: float, length: float) -> None:
        span = widened(start, start + length, ALWAYS)
        assert span.from_s <= start < span.from_s + 60
        assert span.to_s - 60 < start + length <= span.to_s

    @pytest.mark.parametrize(
        ("kept", "expected"),
        [
            (ALWAYS, Span(DAY + 3660, DAY + 93_660)),
            (Kept(DAY + 3600, -math.inf), Span(DAY + 3660, DAY + 93_660)),
            (Kept(DAY + 3601, -math.inf), Span(DAY + 3600, DAY + 93_660)),
            (Kept(math.inf, -math.inf), Span(DAY + 3600, DAY + 97_200)),
            (Kept(math.inf, DAY + 1), Span(DAY, DAY + 97_200)),
            (Kept(DAY + 1, DAY + 1), Span(DAY, DAY + 93_660)),
            (Kept(math.inf, math.inf), Span(DAY, DAY + 172_800)),
        ],
    )
    def test_is_further_where_fine_sums_are_gone(self, kept: Kept, expected: Span) -> None:
        assert widened(DAY + 3661.5, DAY + 93_600.5, kept) == expected

    @given(
        start=st.floats(DAY, DAY + 1e7),
        length=st.floats(0.001, 1e7),
        minutes_from=st.floats(DAY - 1e6, DAY + 2e7),
        older=st.floats(0, 1e7),
    )
    def test_takes_only_what_is_kept(self, start: float, length: float, minutes_from: float, older: float) -> None:
        kept = Kept(minutes_from, minutes_from - older)
        span = widened(start, start + length, kept)
        since = {Interval.MINUTE: kept.minutes_from_s, Interval.HOUR: kept.hours_from_s, Interval.DAY: -math.inf}
        assert all(piece.span.from_s >= since[piece.interval] for piece in cover(span, Interval.DAY))
        assert span.from_s <= start < start + length <= span.to_s


class TestWhatIsKept:
    @pytest.mark.parametrize(
        ("minute", "hour", "day", "expected"),
        [
            (None, None, None, ALWAYS),
            (DAY + 3660, DAY + 3600, DAY, ALWAYS),  # nothing was ever deleted
            (DAY + 86_460, DAY + 3600, DAY, Kept(DAY + 86_520, -math.inf)),
            (DAY + 172_860, DAY + 86_400, DAY, Kept(DAY + 172_920, DAY + 90_000)),
            (None, DAY + 3600, DAY, Kept(math.inf, -math.inf)),
            (None, None, DAY, Kept(-math.inf, math.inf)),
        ],
    )
    def test_is_told_by_the_oldest_sums(
        self, minute: int | None, hour: int | None, day: int | None, expected: Kept
    ) -> None:
        assert kept_of(Oldest(minute_s=minute, hour_s=hour, day_s=day), -math.inf, -math.inf) == expected

    def test_what_may_be_deleted_at_any_moment_does_not_count(self) -> None:
        assert kept_of(Oldest(minute_s=DAY, hour_s=DAY, day_s=DAY), DAY + 5.0, DAY + 4.0) == Kept(DAY + 5.0, DAY + 4.0)


class TestIntervals:
    @pytest.mark.parametrize(
        ("hours", "expected"),
        [(1, Interval.MINUTE), (3, Interval.MINUTE), (4, Interval.HOUR), (168, Interval.HOUR), (240, Interval.DAY)],
    )
    def test_the_fitting_one_makes_at_most_two_hundred(self, hours: int, expected: Interval) -> None:
        span = Span(DAY, DAY + hours * 3600)
        assert fitting_interval(span, ALWAYS) is expected

    def test_it_is_one_that_is_kept(self) -> None:
        span = Span(DAY, DAY + 3600)
        assert fitting_interval(span, Kept(math.inf, -math.inf)) is Interval.HOUR
        assert fitting_interval(span, Kept(math.inf, math.inf)) is Interval.DAY

    def test_a_thousand_years_are_in_days(self) -> None:
        assert fitting_interval(Span(0, 1000 * 366 * 86_400), ALWAYS) is Interval.DAY

    def test_intervals_that_are_only_touched_count(self) -> None:
        assert points(Span(DAY + 3540, DAY + 7260), Interval.HOUR) == 3


def test_a_filter_names_what_it_wants() -> None:
    assert list(UsageFilter(provider="groq", category="").wanted()) == [
        (Dimension.PROVIDER, "groq"),
        (Dimension.CATEGORY, ""),
    ]
