import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.replay.figures import Outcome, figures_of, markdown, model_rows, percentile, rows
from keyrelay.replay.provider import Tally
from keyrelay.replay.trace import TraceRequest
from tests.replay.helpers import acme


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.floats(0.01, 1.0))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(ordered: list[float], share: float) -> None:
    value = percentile(ordered, share)
    assert value in ordered
    assert sum(each <= value for each in ordered) >= share * len(ordered) - 1e-9
    assert sum(each < value for each in ordered) < share * len(ordered)


def test_of_nothing_it_is_nothing() -> None:
    assert percentile([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (RequestRecord("a", status=200, ms=50, upstream_ms=50, cost_usd=0.5), Outcome("", 200, 50, 0, 0.5)),
        (RequestRecord("a", status=200, ms=90, upstream_ms=50), Outcome("", 200, 90, 40, 0)),
        (
            RequestRecord("a", status=200, ms=900, first_token_ms=70, upstream_ms=50, stream=True),
            Outcome("", 200, 900, 20, 0),
        ),
        (RequestRecord("a", status=200, category="service", ms=1), Outcome("service", 200, 1, 1, 0)),
        (RequestRecord("a", status=429, category="rate", ms=0), Outcome("rate", 429, 0, 0, 0)),
        (RequestRecord("a", status=500, attempts=[Attempt("p", "k", "m")]), Outcome("500", 500, 0, 0, 0)),
    ],
)
def test_a_record_tells_how_its_request_ended(record: RequestRecord, expected: Outcome) -> None:
    assert Outcome.of(record) == expected


def test_figures_count_and_stand_side_by_side() -> None:
    requests = [TraceRequest(at_s=0, model=model) for model in ("m", "m", "n", "n")]
    outcomes = [
        Outcome("", 200, 1000, 0, 0.25),
        Outcome("", 200, 3000, 2000, 0.5),
        Outcome("rate", 429, 0, 0, 0),
        Outcome("", 200, 2000, 0, 0),
    ]
    tallies = [Tally(5, 2, 1), Tally(1, 0, 0)]
    figures = figures_of(acme(), requests, outcomes, usable=[True, True, True, True], tallies=tallies)
    assert (figures.answered, figures.waited, figures.refused, figures.reasons) == (3, 1, 1, {"rate": 1})
    assert (figures.upstream_calls, figures.upstream_429, figures.self_caused) == (6, 2, 1)
    assert (figures.quota_yield, figures.cost_usd, figures.latency_p50_ms) == (0.75, 0.75, 2000)
    assert {name: cells for name, *cells in rows([figures, figures])}["yield"] == ["75.00%", "75.00%"]
    assert model_rows([figures]) == [("m", "2", "2 of 2"), ("n", "2", "1 of 2")]


def test_no_quota_no_yield() -> None:
    request = TraceRequest(at_s=0, model="m")
    figures = figures_of(acme(), [request], [Outcome("x", 404, 0, 0, 0)], usable=[False], tallies=[])
    assert figures.quota_yield == 0.0


def test_markdown_has_numbers_to_the_right() -> None:
    assert markdown(["a", "b"], [("c", "1")]) == "| a | b |\n| --- | ---: |\n| c | 1 |\n"
