from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS, bucket
from keyrelay.core.usage_sums import Sums, SumsRow, UsageSums, added, report_of, totals_of
from keyrelay.core.usage_views import Dimension, Group, Interval, UsageQuery


class TestTotals:
    def test_shares_and_cost_follow_from_the_sums(self) -> None:
        totals = totals_of(
            Sums(requests=8, failed=2, cancelled=1, cached=4, estimated=1, cost_nanos=1_500_000_000, unpriced=3)
        )
        assert (totals.failure_rate, totals.cache_hit_rate, totals.estimated_share) == (0.25, 0.5, 0.125)
        assert (totals.cost_usd, totals.unpriced, totals.cancelled) == (1.5, 3, 1)

    def test_of_nothing_there_are_no_shares_and_no_percentiles(self) -> None:
        totals = totals_of(Sums())
        assert (totals.failure_rate, totals.cache_hit_rate, totals.estimated_share) == (None, None, None)
        assert (totals.latency_ms.p50, totals.first_token_ms.p99) == (None, None)

    @given(st.lists(st.floats(0, 900_000), min_size=1, max_size=200))
    def test_a_percentile_lies_in_the_bucket_of_the_exact_one(self, values: list[float]) -> None:
        counts = [0] * (len(LATENCY_MS) + 1)
        for value in values:
            counts[bucket(LATENCY_MS, value)] += 1
        totals = totals_of(Sums(requests=len(values), latency=tuple(counts)))
        for percent, found in ((50, totals.latency_ms.p50), (90, totals.latency_ms.p90), (99, totals.latency_ms.p99)):
            exact = sorted(values)[-(-percent * len(values) // 100) - 1]
            place = bucket(LATENCY_MS, exact)
            assert found is not None
            assert ((0.0, *LATENCY_MS)[place] - 0.05) <= found <= LATENCY_MS[place] + 0.05

    def test_what_is_beyond_the_scale_counts_as_its_end(self) -> None:
        counts = (*[0] * len(FIRST_TOKEN_MS), 1)
        assert totals_of(Sums(requests=1, first_token=counts)).first_token_ms.p50 == FIRST_TOKEN_MS[-1]


SUMS = st.builds(
    Sums,
    requests=st.integers(1, 9),
    failed=st.integers(0, 9),
    cost_nanos=st.integers(0, 10**15),
    latency=st.lists(st.integers(0, 5), min_size=3, max_size=3).map(tuple),
    first_token=st.lists(st.integers(0, 5), min_size=2, max_size=2).map(tuple),
)


@given(st.lists(SUMS, min_size=1, max_size=6))
def test_sums_are_added_member_by_member(several: list[Sums]) -> None:
    whole = added(several)
    for name in ("requests", "failed", "cost_nanos", "input_tokens"):
        assert getattr(whole, name) == sum(getattr(each, name) for each in several)
    for place in range(3):
        assert whole.latency[place] == sum(each.latency[place] for each in several)
    assert whole.first_token[1] == sum(each.first_token[1] for each in several)


class TestReports:
    CELLS = (
        SumsRow(0, Group("b"), Sums(requests=1)),
        SumsRow(0, Group("a"), Sums(requests=2)),
        SumsRow(60, Group("a"), Sums(requests=4)),
        SumsRow(120, Group("c"), Sums(requests=1)),
    )

    def test_groups_are_the_largest_and_their_series_their_own(self) -> None:
        query = UsageQuery(pieces=(), group_by=Dimension.CLIENT, interval=Interval.MINUTE)
        report = report_of(self.CELLS, query, 2)
        assert report.totals.requests == 8
        assert [(row.group.name, row.sums.requests) for row in report.groups] == [("a", 6), ("b", 1)]
        assert report.groups_total == 3
        assert [(row.start_s, row.sums.requests) for row in report.series] == [(0, 3), (60, 4), (120, 1)]
        assert report.group_series == (self.CELLS[1], self.CELLS[2], self.CELLS[0])

    def test_without_grouping_there_is_only_the_series(self) -> None:
        cells = (SumsRow(0, Group(), Sums(requests=3)), SumsRow(60, Group(), Sums(requests=4)))
        report = report_of(cells, UsageQuery(pieces=(), interval=Interval.MINUTE), 5)
        assert report == UsageSums(totals=Sums(requests=7), series=cells)

    def test_of_nothing_there_is_nothing(self) -> None:
        assert report_of((), UsageQuery(pieces=(), group_by=Dimension.KEY), 5) == UsageSums(totals=Sums())
