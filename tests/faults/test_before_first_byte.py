"""A provider or a key fails before anything has gone to the caller: he never learns of it."""

from pathlib import Path

import pytest

from keyrelay.simulator import FAULTS
from tests.e2e.harness import calls_of, chat
from tests.faults.matrix import BEFORE, CALLERS_FAULT, DEADLINE_S, HARMLESS, NOTHING_LEARNED, Where, faulty, run_row

pytestmark = pytest.mark.alone

REQUESTS = 80


@pytest.mark.parametrize("where", ["key", "provider"])
@pytest.mark.parametrize("fault", BEFORE)
async def test_the_caller_gets_a_good_answer(tmp_path: Path, fault: str, where: Where) -> None:
    if fault == "unknown_model" and where == "key":
        pytest.skip("the model is there for the neighbours of the key: what one learns, the others unlearn")
    row = await run_row(fault, where, tmp_path, requests=REQUESTS)
    assert row.good == row.requests, [(reply.status, reply.body[:500]) for reply in row.bad[:3]]
    assert row.calls <= (2 * row.requests if fault in NOTHING_LEARNED else row.allowed_calls)
    assert row.faulty_calls > 0
    assert row.slowest_s <= DEADLINE_S + 0.5


@pytest.mark.parametrize("where", ["key", "provider"])
@pytest.mark.parametrize("fault", HARMLESS)
async def test_what_is_only_odd_is_read_as_it_was_meant(tmp_path: Path, fault: str, where: Where) -> None:
    requests = 6 if fault == "tiny_events" else 30
    row = await run_row(fault, where, tmp_path, requests=requests, concurrency=2)
    assert row.good == row.requests, [(reply.status, reply.body[:500]) for reply in row.bad[:3]]
    assert row.faulty_calls > 0


@pytest.mark.parametrize("fault", sorted(CALLERS_FAULT))
async def test_what_the_caller_has_to_mend_is_told_him_and_not_tried_elsewhere(tmp_path: Path, fault: str) -> None:
    async with faulty(fault, "provider", tmp_path) as (simulator, gateway):
        for _ in range(12):
            reply = await gateway.ask(chat())
            assert reply.status in {200, 400}
        calls = calls_of(simulator)
        assert len(calls) == 12
        assert {call.status for call in calls if call.provider == "groq"} == {400}
        assert {call.status for call in calls if call.provider == "openai"} == {200}


def test_every_fault_of_the_simulator_is_in_the_matrix() -> None:
    assert len(BEFORE) > 40
    assert {fault.strikes for fault in FAULTS.values()} == {"before", "after", "harmless"}


async def test_bug_a_status_without_a_phrase_cut_the_connection_instead(tmp_path: Path) -> None:
    """529 is what Anthropic's clients are told when nobody can serve."""
    async with faulty("503", "provider", tmp_path, OPENAI_ENABLED="false", KEYRELAY_CIRCUIT_FAILURES="1") as (
        _,
        gateway,
    ):
        await gateway.ask(chat())
        reply = await gateway.ask(chat(max_tokens=5), "/v1/messages")
        assert (reply.status, reply.whole, reply.error["type"]) == (529, True, "overloaded_error")
