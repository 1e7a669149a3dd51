from pathlib import Path

import pytest

from tests.faults.canaries import Outcome, Storm, run


async def test_nobody_sees_what_is_somebody_elses(tmp_path: Path) -> None:
    outcome = await run(Storm(requests=2000, clients=4), tmp_path)
    assert not outcome.foreign
    assert not outcome.bad
    assert outcome.answers >= 1200
    assert outcome.hung_up >= 100
    assert outcome.caches["hit"] >= 300
    assert outcome.caches["shared"] >= 50
    assert outcome.calls < outcome.answers


@pytest.mark.parametrize("body", [b"canary-2-7-end", b"x call-7-end y"])
def test_what_is_somebody_elses_would_be_seen(body: bytes) -> None:
    outcome = Outcome(call_of={b"7": 2})
    outcome.look(2, body)
    assert not outcome.foreign
    outcome.look(1, body)
    assert len(outcome.foreign) == 1
