"""In which order a candidate is looked at: what costs most is found out last."""

from typing import Any

import pytest

from keyrelay.engine.jobs import Job
from keyrelay.engine.translation import Translator
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped
from keyrelay.routing.ways import Way
from keyrelay.wire.dialects import Written
from tests.engine.rig import FakeAnswer, Rig, error, providers

TRANSLATED: dict[str, Any] = {"ACME_DIALECT": "ollama"}
SEVERAL: dict[str, Any] = {"n": 2}
"""Ollama gives one answer at a time, which only translating the request finds out."""


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys for which a request was translated."""
    keys: list[str] = []
    written = Translator.written

    def noting(self: Translator, job: Job, candidate: Candidate, way: Way) -> Written | Dropped:
        keys.append(candidate.key.label)
        return written(self, job, candidate, way)

    monkeypatch.setattr(Translator, "written", noting)
    return keys


async def test_for_one_who_rests_nothing_is_translated(translated: list[str]) -> None:
    rig = Rig(lambda *_: error(429, retry_after="30"), providers("acme", keys=2, **TRANSLATED))
    assert (await rig.refusal()).status == 429
    assert set(translated) == {"k00", "k01"}
    translated.clear()
    refused = await rig.refusal(**SEVERAL)
    assert translated == []
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded"), "what passes by waiting is said first"


async def test_what_cannot_be_told_is_found_out_by_translating_and_takes_nothing_of_a_limit(
    translated: list[str],
) -> None:
    rig = Rig(lambda *_: FakeAnswer(), providers("acme", ACME_RPM="1", **TRANSLATED))
    for _ in range(2):
        refused = await rig.refusal(**SEVERAL)
        assert (refused.status, refused.code) == (400, "unsupported_operation")
    assert translated == ["k00", "k00"]
    assert rig.upstream.calls == []
    plan = rig.gateway.pool.plan("m")
    assert plan is not None
    (candidate,) = plan.candidates()
    assert [standing.used for standing in rig.ledger.peek(candidate.path, rig.clock.epoch_s())] == [0]
