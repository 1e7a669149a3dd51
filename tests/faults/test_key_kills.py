"""The short form of `scripts/key-kills`: a gateway is killed in each kind of change of its keys."""

from pathlib import Path

from tests.faults.key_kills import key_kills


async def test_a_change_that_is_cut_off_is_whole_or_was_never_made(tmp_path: Path) -> None:
    outcome = await key_kills(tmp_path, rounds=1, seed=3)
    assert not outcome.problems, str(outcome)
    assert outcome.made + outcome.unmade == 4
