"""The demo's scenario, environment and traffic, against the shipped catalogue."""

import asyncio
from collections import Counter

import pytest

from keyrelay.simulator import Simulator, run
from keyrelay.simulator.demo import DEMO_PROVIDERS, demo_environment, demo_scenario
from keyrelay.simulator.traffic import Plan, Result, send_traffic
from keyrelay.upstream.catalogue import load_catalogue
from tests.simulator.helpers import Bench, row


async def test_the_environment_names_what_the_scenario_serves() -> None:
    rows = {name: row for name, row in load_catalogue().items() if name in DEMO_PROVIDERS}
    ready: asyncio.Queue[Simulator] = asyncio.Queue(1)
    serving = asyncio.create_task(run(demo_scenario(), rows, on_ready=ready.put_nowait))
    simulator = await ready.get()
    environment = demo_environment(int(simulator.address.rpartition(":")[2]))
    for name in DEMO_PROVIDERS:
        assert environment[f"{name.upper()}_BASE_URL"] == simulator.base_url(name)
    keys = environment["GEMINI_API_KEYS"].split(",")
    assert len(keys) == 4
    assert "used-up=sim-gemini-d" in keys
    states = simulator.provider("gemini").keys.states(simulator.clock.now())
    assert states == {"personal": "ok", "work": "ok", "spare": "ok", "used-up": "exhausted_day"}
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


PLAN = Plan(
    rate_per_s=500,
    requests=60,
    models={"chat": "small", "stream": "small", "tools": "small", "embeddings": "embedder"},
)


async def test_traffic_is_a_mix_that_ends_by_itself() -> None:
    async with Bench(row("openai")) as bench:
        results: list[Result] = []
        await send_traffic(bench.simulator.base_url("openai"), "sim-a", plan=PLAN, on_result=results.append)
        assert len(results) == bench.judge.total == 60
        assert all(result.good for result in results)
        assert {"chat", "stream", "tools", "embeddings"} == {r.kind for r in results}
        kinds = Counter(call.operation for call in bench.judge.calls)
        assert kinds["embeddings"] == sum(r.kind == "embeddings" for r in results)


async def test_traffic_reports_what_fails_and_goes_on() -> None:
    async with Bench(row("openai")) as bench:
        address = bench.simulator.base_url("openai")
    results: list[Result] = []
    await send_traffic(address, "sim-a", plan=Plan(rate_per_s=500, requests=3), on_result=results.append)
    assert [(r.status, r.good) for r in results] == [(0, False)] * 3
    assert {r.error for r in results} == {"ConnectionRefusedError"}


async def test_traffic_can_be_cancelled_and_is_bounded_in_time() -> None:
    async with Bench(row("openai")) as bench:
        address = bench.simulator.base_url("openai")
        results: list[Result] = []
        async with asyncio.timeout(2):
            await send_traffic(address, "sim-a", plan=Plan(rate_per_s=50, duration_s=0.3), on_result=results.append)
        assert 3 < len(results) < 40
        sending = asyncio.create_task(send_traffic(address, "sim-a", on_result=results.append))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
