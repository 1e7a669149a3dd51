import gzip
import itertools
from collections import Counter
from pathlib import Path

import pytest

from keyrelay.replay import generating
from keyrelay.replay.trace import SUFFIX, load_trace
from tests.house.sources import PACKAGE

SHIPPED = PACKAGE / "replay" / "traces"
MOST_BYTES = 300_000


@pytest.mark.parametrize("name", generating.TRACES)
def test_the_shipped_trace_is_what_the_generator_draws(name: str, tmp_path: Path) -> None:
    generating.write_all(tmp_path)
    drawn, shipped = (directory / f"{name}{SUFFIX}" for directory in (tmp_path, SHIPPED))
    assert gzip.decompress(drawn.read_bytes()) == gzip.decompress(shipped.read_bytes()), "run scripts/make-traces"
    assert shipped.stat().st_size < MOST_BYTES


def test_the_day_is_a_day_and_asks_for_more_than_some_quotas() -> None:
    day = load_trace("day")
    assert 3000 <= len(day.requests) <= 6000
    assert 80_000 < day.requests[-1].at_s <= 86_400
    asked = Counter(request.model for request in day.requests)
    assert asked["gemini-3.1-flash-lite"] > 4 * 500
    assert asked["gemini-3.5-flash"] > 4 * 20
    minutes = Counter((request.model, request.at_s // 60) for request in day.requests)
    assert max(count for (model, _), count in minutes.items() if model == "gemini-3.1-flash-lite") > 4 * 15


def test_the_day_has_a_rhythm() -> None:
    hours = Counter(int(request.at_s // 3600) for request in load_trace("day").requests if request.client == "chat")
    assert sum(hours[hour] for hour in range(6)) * 5 < sum(hours[hour] for hour in range(9, 15))


def test_the_burst_is_500_requests_in_a_minute() -> None:
    burst = load_trace("burst")
    assert len(burst.requests) == 500
    assert all(request.at_s < 60 for request in burst.requests)


@pytest.mark.parametrize("name", generating.TRACES)
def test_requests_stand_in_order_and_say_how_long_they_wait(name: str) -> None:
    requests = load_trace(name).requests
    assert all(first.at_s <= second.at_s for first, second in itertools.pairwise(requests))
    assert all(request.deadline_s and request.priority and request.input_tokens for request in requests)
