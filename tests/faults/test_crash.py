"""The short form of `scripts/crash`: processes are killed under load, and nothing acknowledged is lost."""

from pathlib import Path

import pytest

from tests.faults.crash import Plan, crash
from tests.faults.permits import PERMITS, permits

PLANS = {
    "one worker and SQLite": Plan(seconds=2.8, rate=100.0, kill_every_s=1.5),
    "a worker of two with Redis and PostgreSQL": Plan(seconds=2.0, rate=60.0, kill_every_s=0.8, workers=2),
}


@pytest.mark.parametrize("name", PLANS)
async def test_what_was_acknowledged_is_kept_once_whoever_is_killed(tmp_path: Path, name: str) -> None:
    outcome = await crash(PLANS[name], tmp_path)
    assert outcome.kills
    assert len(outcome.tally.acknowledged) > 30
    assert outcome.good, str(outcome)


async def test_what_a_killed_gateway_held_of_a_limit_of_calls_at_a_time_is_free_when_it_is_back(tmp_path: Path) -> None:
    outcome = await permits(tmp_path, workers=1)
    assert outcome.most_at_once == PERMITS
    assert outcome.all_used_after_s < 5.0
