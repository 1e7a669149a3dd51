"""The short form of `scripts/shared-limits`: two gateways of two workers on one Redis that goes away and forgets."""

from pathlib import Path

import pytest

from keyrelay.simulator import Call
from tests.faults.shared_limits import MIXED, Phase, Setting, mixed, most_at_once, shared_limits, single
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.alone

SETTING = Setting(window_s=2, workers=2)
PLAN = (
    Phase("up", 4.2, serves=False),
    Phase("killed", 0.5, RedisServer.kill, serves=False),
    Phase("back", 1.6, RedisServer.start, serves=False),
    Phase("frozen", 0.5, RedisServer.freeze, serves=False),
    Phase("thawed", 0.5, RedisServer.thaw, serves=False),
    Phase("flushed", 1.5, RedisServer.flush, serves=False),
)
AMOUNT_OF_A_DAY = 50
LEAST_USED = 0.9
"""Less than in the long form: there is one window to look at, on a machine on which others work too."""


async def test_no_limit_is_crossed_by_several_gateways_whatever_happens_to_their_redis(tmp_path: Path) -> None:
    providers = [*single(("nvidia", "deepseek", "cohere"), SETTING.window_s), mixed(SETTING.window_s, AMOUNT_OF_A_DAY)]
    outcome = await shared_limits(tmp_path, providers, PLAN, SETTING)
    for seen in outcome.seen:
        for most, row in zip(seen.most, seen.provider.rows, strict=True):
            assert most <= row.amount, str(outcome)
        if seen.provider.name != MIXED:
            assert seen.used >= LEAST_USED, str(outcome)
            assert any(seen.by_phase[name] for name in ("back", "thawed", "flushed")), str(outcome)
    assert {status for seen in outcome.seen for status in seen.statuses} == {200}, str(outcome)


def test_the_most_at_once_is_counted_by_arrivals_and_ends() -> None:
    times = ((0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, None))
    calls = [Call(number=n, provider="p", arrived_s=began, ended_s=ended) for n, (began, ended) in enumerate(times)]
    assert most_at_once(calls) == 3
