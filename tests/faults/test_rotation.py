"""The short form of `scripts/rotation`: what seals the stored keys changes under load, and commands are killed."""

from pathlib import Path

from tests.faults.rotation import ROTATIONS, Plan, rotation


async def test_no_request_fails_and_no_key_is_lost_while_what_seals_them_changes(tmp_path: Path) -> None:
    outcome = await rotation(Plan(seconds=3.0, rate=60.0, workers=1), tmp_path)
    assert outcome.rotations >= len(ROTATIONS)
    assert outcome.killed >= 1
    assert len(outcome.tally.acknowledged) > 100
    assert (outcome.tally.failed, outcome.tally.cut) == (0, []), str(outcome)
    assert outcome.good, str(outcome)
