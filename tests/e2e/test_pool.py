"""Requirement 3 of the first issue: a pool of many keys, some worthless, under more traffic than its limits allow."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from keyrelay.core.limits import ScopePart, Unit
from keyrelay.core.providers import LimitRow
from keyrelay.simulator import KeyPlan, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import calls_of, chat_bytes, environment, load, process, simulated

REQUESTS = 10_000
CONCURRENCY = 64
GEMINI = {f"g{number:02}": f"sim-gemini-{number:02}" for number in range(20)}
STATES = {"g03": "invalid", "g11": "invalid", "g05": "exhausted_day", "g08": "exhausted_day", "g17": "exhausted_day"}
BANNED = "g14"
DEEPSEEK = {"d0": "sim-deepseek-0", "d1": "sim-deepseek-1"}
SHORT = (4, 12)
PER_MINUTE = 1500
"""What each DeepSeek key may do in a minute, so that Ollama has to help out as well."""


def scenario() -> Scenario:
    gemini = {
        secret: KeyPlan(label=label, state="banned" if label == BANNED else STATES.get(label, "ok"))  # type: ignore[arg-type]
        for label, secret in GEMINI.items()
    }
    limit = LimitRow(unit=Unit.REQUESTS, amount=PER_MINUTE, window="60s", scope=(ScopePart.ACCOUNT, ScopePart.MODEL))
    deepseek = ProviderPlan(
        keys={secret: KeyPlan(label=label) for label, secret in DEEPSEEK.items()},
        limits=(limit,),
        accept_unknown_keys=False,
        answer_tokens=SHORT,
    )
    return Scenario(
        providers={
            "gemini": ProviderPlan(keys=dict(gemini), accept_unknown_keys=False, answer_tokens=SHORT),
            "deepseek": deepseek,
            "ollama": ProviderPlan(limits=(), answer_tokens=SHORT),
        }
    )


def gateway_environment(simulator: Simulator) -> dict[str, str]:
    keys = {
        "gemini": [f"{label}={secret}" for label, secret in GEMINI.items()],
        "deepseek": [f"{label}={secret}" for label, secret in DEEPSEEK.items()],
        "ollama": [],
    }
    return environment(simulator, keys, GEMINI_TIER="free", DEEPSEEK_RPM=str(PER_MINUTE), OLLAMA_MODELS="llama3.2")


@pytest.mark.parametrize("requests", [REQUESTS])
async def test_everyone_is_answered_and_no_limit_is_crossed(tmp_path: Path, requests: int) -> None:
    async with simulated(scenario()) as simulator, process(gateway_environment(simulator), tmp_path) as gateway:
        bodies = (chat_bytes(text=f"Request {number}") for number in range(requests))
        began_at = time.monotonic()
        replies = await load(gateway.port, bodies, concurrency=CONCURRENCY)
        assert time.monotonic() - began_at < 55, "all within one minute, so that the minute limits are felt"
        calls = calls_of(simulator)
        by_provider = Counter(call.provider for call in calls)

        assert Counter(reply.status for reply in replies) == {200: requests}
        assert all(reply.is_good() for reply in replies)

        # What was refused: keys without worth, once each, and nothing else. A key's hidden state costs one call.
        refused = Counter((call.provider, call.key, call.model, call.error) for call in calls if call.status != 200)
        assert set(refused.values()) == {1}
        assert {key for _, key, _, _ in refused} == {*STATES, BANNED}
        assert simulator.judge.violations() == [], "a call above a limit that the gateway knew"

        # Everyone worked: Gemini to its minute limit, DeepSeek to its own, Ollama for the rest.
        per_key = simulator.judge.calls_per_key(provider="gemini")
        able = set(GEMINI) - set(STATES) - {BANNED}
        assert {key for key, count in per_key.items() if count >= 15} == able
        assert by_provider["deepseek"] >= 2 * PER_MINUTE
        assert by_provider["ollama"] > 0
        assert len(calls) == requests + len(refused)

        lines = gateway.lines()
        await asyncio.sleep(0)
        assert len({line["request_id"] for line in lines}) == len(lines)


def test_the_scenario_is_what_the_requirement_says() -> None:
    states = [plan.state for plan in scenario().providers["gemini"].keys.values() if isinstance(plan, KeyPlan)]
    assert Counter(states) == {"ok": 14, "invalid": 2, "exhausted_day": 3, "banned": 1}
    assert msgspec.json.decode(chat_bytes())["model"] == "auto"
