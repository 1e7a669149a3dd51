"""The word for how everything stands, and the health of providers, over real sockets."""

import asyncio
import time
from pathlib import Path
from typing import Any

from keyrelay.simulator import Change, ProviderPlan, Scenario, Simulator
from tests.api.served import CLIENTS, OPERATOR_SECRET, look, served
from tests.e2e.harness import Embedded, calls_of, chat, embedded, environment, simulated

STATUS, PROVIDERS = "/api/v1/status", "/api/v1/health/providers"
TWO = {"groq": ["work=sim-groq-a"], "gemini": ["work=sim-gemini-a"]}


def two_providers(simulator: Simulator, **more: str) -> dict[str, str]:
    operator = {"KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET, "CLIENT_API_KEYS_MAP": CLIENTS}
    return environment(simulator, TWO, **operator, KEYRELAY_CIRCUIT_FAILURES="2", **more)


async def status_of(gateway: Embedded) -> Any:
    reply = await look(gateway, STATUS, OPERATOR_SECRET)
    assert reply.status == 200, reply.body
    return reply.json


async def health_of(gateway: Embedded) -> dict[str, Any]:
    reply = await look(gateway, PROVIDERS, OPERATOR_SECRET)
    assert reply.status == 200, reply.body
    return {each["provider"]: each for each in reply.json["providers"]}


async def becomes(gateway: Embedded, word: str, within_s: float = 8.0) -> Any:
    deadline_at = time.monotonic() + within_s
    while (found := await status_of(gateway))["status"] != word:
        assert time.monotonic() < deadline_at, found
        await asyncio.sleep(0.1)
    return found


async def test_clients_see_the_word_and_people_the_reasons(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        own = await look(gateway, STATUS)
        refused = await look(gateway, PROVIDERS)
        found = await status_of(gateway)
    assert own.json == {"status": "operational"}
    assert refused.status == 403
    assert (found["status"], found["reasons"]) == ("operational", [])
    assert found["hints"] == [
        "All keys are those of groq: when it is down nothing serves. Add one of another provider."
    ]
    assert {"name": "auto", "kind": "route", "status": "operational", "serving": 2, "keys": 2, "reasons": []} in found[
        "services"
    ]


async def test_a_key_that_the_provider_refuses_has_its_error_with_advice(tmp_path: Path) -> None:
    async with (
        simulated(Scenario(providers={"groq": ProviderPlan(keys={"sim-groq-a": "invalid"})})) as simulator,
        embedded(two_providers(simulator), tmp_path) as gateway,
    ):
        for _ in range(2):
            assert (await gateway.ask(chat())).status == 200
        found = await becomes(gateway, "at_risk")
        groq = (await health_of(gateway))["groq"]
    assert found["reasons"][0]["text"] == "Only the key gemini/work still serves; groq/work is out."
    (key,) = groq["keys"]
    assert (groq["state"], key["state"], key["last_error"]["kind"]) == ("down", "invalid", "auth")
    assert key["last_error"]["advice"].startswith("The provider does not accept this key")
    assert key["probe"]["today"] == 0


async def test_a_provider_that_dies_is_replaced_at_once_and_comes_back_by_a_probe(tmp_path: Path) -> None:
    async with simulated() as simulator:
        quick = two_providers(simulator, KEYRELAY_HEALTH_RECOVERY_PROBE_S="0.2", KEYRELAY_CIRCUIT_OPEN_S="600")
        async with embedded(quick, tmp_path) as gateway:
            assert (await becomes(gateway, "operational"))["hints"] == []
            simulator.change(Change(provider="groq", faults={"refuse": 1.0}))
            for _ in range(4):
                reply = await gateway.ask(chat())
                assert (reply.status, reply.headers["x-keyrelay-provider"]) == (200, "gemini")
                assert reply.seconds < 2.0
            found = await becomes(gateway, "at_risk")
            down = (await health_of(gateway))["groq"]
            assert down["state"] == "down"
            assert down["circuit"]["state"] == "open"
            assert found["reasons"][0]["text"].startswith("Only the key gemini/work still serves")
            calls = len(calls_of(simulator))
            simulator.change(Change(provider="groq", faults={}))
            await becomes(gateway, "operational")
            back = (await health_of(gateway))["groq"]
            assert len(calls_of(simulator)) == calls  # no caller had to find out
            assert (back["state"], back["circuit"]["state"]) == ("operational", "closed")
            assert back["keys"][0]["probe"]["outcome"] == "valid"
            assert back["keys"][0]["probe"]["today"] >= 1


async def test_without_recovery_probes_a_request_has_to_find_out(tmp_path: Path) -> None:
    async with simulated(Scenario(providers={"groq": ProviderPlan(faults={"503": 1.0})})) as simulator:
        off = two_providers(simulator, KEYRELAY_HEALTH_RECOVERY_PROBE_S="0")
        async with embedded(off, tmp_path) as gateway:
            for _ in range(4):
                assert (await gateway.ask(chat())).status == 200
            await becomes(gateway, "at_risk")
            await asyncio.sleep(1.5)
            (key,) = (await health_of(gateway))["groq"]["keys"]
    assert (key["probe"]["today"], key["probe"]["next"]) == (0, None)


async def test_idle_keys_are_probed_when_that_is_wanted(tmp_path: Path) -> None:
    async with (
        simulated() as simulator,
        embedded(two_providers(simulator, KEYRELAY_HEALTH_PROBE_EVERY_S="0.5"), tmp_path) as gateway,
    ):
        deadline_at = time.monotonic() + 8.0
        while True:
            probes = [each["keys"][0]["probe"] for each in (await health_of(gateway)).values()]
            if all(each["outcome"] == "valid" for each in probes):
                break
            assert time.monotonic() < deadline_at, probes
            await asyncio.sleep(0.1)
    assert all(each["next"] and each["today"] >= 1 and each["per_day"] == 288 for each in probes)
    assert calls_of(simulator) == []
