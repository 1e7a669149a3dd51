import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from keyrelay.api.exposition import Exposition
from keyrelay.api.siblings import SAMPLE, Siblings
from keyrelay.api.worker_channel import Answer, AnyMessage, Ask, Scrape, Scraped
from keyrelay.api.worker_metrics import GAUGES, Family, Place, Sample, Totals, decode_sample, encode_sample

ONE, TWO = (("model", "a"),), (("model", "b"),)


def sample(count: float = 0.0, waiting: float = 0.0, left: float = 1.0) -> Sample:
    return Sample(
        {
            "keyrelay_requests": Family("counter", "Requests.", {("keyrelay_requests_total", ONE): count}),
            "keyrelay_waiting": Family("gauge", "Waiting.", {("keyrelay_waiting", ()): waiting}),
            "keyrelay_quota_remaining_ratio": Family("gauge", "Left.", {("keyrelay_quota_remaining_ratio", ()): left}),
        }
    )


def value(total: Sample, name: str) -> float | None:
    family = total.families.get(name)
    return None if family is None else sum(family.values.values())


def test_counters_and_most_gauges_are_summed_and_some_gauges_are_not() -> None:
    total = sample(2, 3, 0.5)
    total.add(sample(5, 4, 0.25))
    assert value(total, "keyrelay_requests") == 7
    assert value(total, "keyrelay_waiting") == 7
    assert value(total, "keyrelay_quota_remaining_ratio") == 0.25
    assert set(GAUGES) >= {"keyrelay_key_state", "keyrelay_build_info"}


def test_what_does_not_fit_is_counted_as_other() -> None:
    def histogram(model: str, count: float) -> Sample:
        values: dict[Place, float] = {
            ("h_bucket", (("model", model), ("le", bound))): count for bound in ("1.0", "+Inf")
        }
        return Sample({"h": Family("histogram", "H.", values)})

    total = histogram("a", 1)
    for model in ("b", "c", "a"):
        total.add(histogram(model, 10), most=2)
    assert total.families["h"].values == {
        ("h_bucket", (("model", "a"), ("le", "1.0"))): 11,
        ("h_bucket", (("model", "a"), ("le", "+Inf"))): 11,
        ("h_bucket", (("model", "other"), ("le", "1.0"))): 20,
        ("h_bucket", (("model", "other"), ("le", "+Inf"))): 20,
    }


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50), st.booleans()), max_size=40))
def test_the_sum_never_goes_back_whoever_ends_and_whoever_answers(steps: list[tuple[int, int, bool]]) -> None:
    totals = Totals()
    counts: dict[int, int] = {}
    numbers = {slot: slot for slot in range(1, 5)}
    newest, seen = 10, 0.0
    for slot, more, ends in steps:
        number = numbers[slot]
        counts[number] = counts.get(number, 0) + more
        totals.note(number, encode_sample(sample(counts[number])))
        if ends:
            totals.end(number)
            newest += 1
            numbers[slot] = newest
        now = value(totals.others(0, ()), "keyrelay_requests") or 0.0
        assert now == sum(counts.values())
        assert now >= seen
        seen = now


def test_gauges_are_those_of_workers_that_answered_just_now() -> None:
    totals = Totals()
    for number in (1, 2, 3):
        totals.note(number, encode_sample(sample(count=10, waiting=1)))
    others = totals.others(1, answered=[2])
    assert value(others, "keyrelay_requests") == 20
    assert value(others, "keyrelay_waiting") == 1
    totals.end(2)
    totals.end(2)
    others = totals.others(1, answered=[2])
    assert value(others, "keyrelay_requests") == 20
    assert value(others, "keyrelay_waiting") is None
    assert repr(totals) == "<Totals of 2 workers, 1 families of ended ones>"


@pytest.mark.parametrize("data", [b"\xc1", b"nonsense"])
def test_a_sample_that_cannot_be_read_changes_nothing(data: bytes) -> None:
    totals = Totals()
    totals.note(1, encode_sample(sample(3)))
    totals.note(1, data)
    assert value(totals.others(0, ()), "keyrelay_requests") == 3
    assert decode_sample(b"") == Sample()


class Counts(Collector):
    def __init__(self) -> None:
        self.requests = 0.0

    def collect(self) -> Iterator[Metric]:
        counter = CounterMetricFamily("keyrelay_requests", 'Requests, "all" of\nthem.', labels=("model",))
        counter.add_metric(("a",), self.requests)
        yield counter
        histogram = HistogramMetricFamily("keyrelay_seconds", "Time.")
        histogram.add_metric((), [("1.0", 1.0), ("+Inf", 2.0)], 3.5)
        yield histogram
        yield GaugeMetricFamily("keyrelay_build_info", "Version.", 1)


def parsed(page: bytes) -> dict[str, float]:
    families = text_string_to_metric_families(page.decode())
    return {f"{each.name}{each.labels or ''}": each.value for family in families for each in family.samples}


async def test_alone_the_page_is_that_of_the_collectors() -> None:
    counts, looked = Counts(), []
    page = await Exposition((counts,), Siblings(), lambda: looked.append(1)).text()
    assert len(looked) == 1
    assert "keyrelay_workers" not in page.decode()
    assert parsed(page)["keyrelay_requests_total{'model': 'a'}"] == 0


async def test_with_siblings_the_page_is_that_of_all() -> None:
    counts, sent = Counts(), list[AnyMessage]()
    siblings = Siblings(sent.append)
    exposition = Exposition((counts,), siblings, lambda: None)
    counts.requests = 4
    alone = await Exposition((counts,), Siblings(), lambda: None).text()

    async def page(*, answered: bool) -> dict[str, float]:
        sent.clear()
        waiting = asyncio.ensure_future(exposition.text())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (scrape,) = sent
        assert isinstance(scrape, Scrape)
        if answered:
            siblings.receive(Scraped(scrape.id, scrape.sample, 2, 2))
        return parsed(await waiting)

    both = await page(answered=True)
    assert both == {
        "keyrelay_requests_total{'model': 'a'}": 8,
        "keyrelay_seconds_bucket{'le': '1.0'}": 2,
        "keyrelay_seconds_bucket{'le': '+Inf'}": 4,
        "keyrelay_seconds_count": 4,
        "keyrelay_seconds_sum": 7,
        "keyrelay_build_info": 1,
        "keyrelay_workers": 2,
        "keyrelay_workers_answering": 2,
    }
    assert set(both) - set(parsed(alone)) == {"keyrelay_workers", "keyrelay_workers_answering"}
    counts.requests = 5
    unanswered = await page(answered=False)
    assert unanswered["keyrelay_requests_total{'model': 'a'}"] == 9, "no sum goes back"
    assert (unanswered["keyrelay_workers"], unanswered["keyrelay_workers_answering"]) == (2, 1)
    sent.clear()
    siblings.receive(Ask(9, SAMPLE, b""))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (answer,) = sent
    assert isinstance(answer, Answer)
    assert answer == Answer(9, exposition.sample())
