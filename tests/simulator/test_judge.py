"""The judge's record, in process and over HTTP, and what it says of peers that go away."""

import asyncio
import json
from typing import Any

import pytest

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.simulator import Call, Change, Judge, KeyPlan, Latency, ProviderPlan, Scope
from keyrelay.simulator.limits import limit_of
from tests.simulator.helpers import NOON, Bench, chat, per, request_bytes, row


async def test_a_call_is_written_down() -> None:
    plan = ProviderPlan(keys={"sim-a": KeyPlan(label="mine", account="team")})
    async with Bench(row("groq"), groq=plan) as bench:
        await bench.ask("groq", chat(max_tokens=9), x_request_id="req-7")
        call = bench.judge.calls[0]
        assert (call.provider, call.account, call.key, call.model) == ("groq", "team", "mine", "small")
        assert (call.operation, call.stream, call.status, call.request_id) == ("chat", False, 200, "req-7")
        assert (call.input_tokens, call.output_tokens, call.arrived_s, call.ended_s) == (6, 9, NOON, NOON)
        assert repr(bench.judge) == "Judge(1 calls, 1 kept)"


async def test_real_keys_are_masked_and_told_apart() -> None:
    async with Bench(row("groq")) as bench:
        for key in ("gsk_canary_one_1234", "gsk_canary_two_1234", "gsk_canary_one_1234"):
            await bench.ask("groq", key=key)
        counts = bench.judge.calls_per_key()
        assert sorted(counts.values()) == [1, 2]
        everything = (await bench.send("", path="/__simulator/calls", method="GET")).body
        everything += (await bench.send("", path="/__simulator/summary", method="GET")).body
        assert b"canary" not in everything


def test_the_record_is_bounded_and_keeps_the_newest() -> None:
    judge = Judge(capacity=3)
    for number in range(5):
        judge.open(Call(number=number, provider="p", operation="chat"))
    assert ([c.number for c in judge.calls], judge.total, judge.dropped) == ([2, 3, 4], 5, 2)
    judge.reset()
    assert (len(judge.calls), judge.total) == (0, 0)


@pytest.mark.parametrize(
    ("window", "expected"),
    [("60s", 3), ("1s", 1), ("1h", 5), ("once", 5), ("day@UTC", 3), ("month@UTC", 5)],
)
def test_the_fullest_window(window: str, expected: int) -> None:
    judge = Judge()
    midnight = NOON + 4 * 3600
    for number, at in enumerate((-130, -61, -30, 10, 29.9)):
        judge.open(Call(number=number, provider="p", operation="chat", arrived_s=midnight + at, status=200))
    limit = Limit(unit=Unit.REQUESTS, amount=1, window=parse_window(window))
    assert judge.max_in_window(limit, Scope("p")) == expected
    assert judge.max_in_window(limit, Scope("q")) == 0


@pytest.mark.parametrize(("gap_s", "expected"), [(59.999, 2), (60.0, 1)])
def test_what_is_a_whole_window_old_no_longer_counts(gap_s: float, expected: int) -> None:
    judge = Judge()
    for number in range(3):
        judge.open(Call(number=number, provider="p", operation="chat", arrived_s=NOON + number * gap_s, status=200))
    assert judge.max_in_window(limit_of(per(1, "60s")), Scope("p")) == expected


async def test_model_lists_are_written_down_but_do_not_count() -> None:
    async with Bench(row("groq", limits=(per(1, "60s"),))) as bench:
        for _ in range(3):
            await bench.send("groq", path="/v1/models", method="GET")
        assert (await bench.ask("groq")).status == 200
        assert [c.operation for c in bench.judge.calls] == ["models"] * 3 + ["chat"]
        assert bench.judge.calls_per_key() == {"sim-a": 1}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_peer_that_goes_away_is_noticed_at_once(stream: bool) -> None:
    plan = ProviderPlan(latency=Latency(first_token_ms=(50 if stream else 900, 50 if stream else 900), tokens_per_s=50))
    async with Bench(row("groq"), groq=plan) as bench:
        _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        headers = {"authorization": "Bearer sim-a", "x-sim-events": "100"}
        writer.write(request_bytes("/groq/v1/chat/completions", chat(stream=stream), headers=headers))
        await asyncio.sleep(0.3)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        gone = bench.judge.disconnects()[0]
        assert 0.25 < gone.after_s < 1.0
        assert gone.call.ended_s == NOON
        assert gone.call.status == (200 if stream else 0)
        assert (4 <= gone.call.output_tokens <= 60) if stream else gone.call.output_tokens == 0


async def test_what_a_broken_stream_generated_is_charged() -> None:
    async with Bench(row("groq", limits=(per(40, "60s", "tokens"),))) as bench:
        await bench.ask("groq", chat(stream=True), x_sim_fault="eof_mid_stream", x_sim_events="60")
        refused = await bench.ask("groq", chat(max_tokens=1))
        assert "Used 36, Requested 6" in refused.json["error"]["message"]


async def test_over_http() -> None:
    async with Bench(row("groq", limits=(per(1, "60s"),)), row("openai")) as bench:
        for _ in range(2):
            await bench.ask("groq")
        await bench.ask("openai")

        async def get(what: str) -> Any:
            return (await bench.send("", path=f"/__simulator/{what}", method="GET")).json

        calls = (await get("calls?provider=groq"))["calls"]
        assert [c["status"] for c in calls] == [200, 429]
        assert [c["number"] for c in (await get("calls?after=1"))["calls"]] == [2]
        assert len((await get("calls?limit=2"))["calls"]) == 2
        summary = await get("summary")
        assert summary["calls_per_key"] == {"sim-a": 3}
        assert summary["statuses"]["groq"] == {"200": 1, "429": 1}
        assert summary["violations"][0]["limit"] == "1 requests per 60s for (account, model)"
        assert summary["keys"]["groq"] == {"sim-a": "ok"}
        faults = await get("faults")
        assert faults["rst_mid_stream"]["strikes"] == "after"
        assert (await bench.send("", path="/__simulator/nothing", method="GET")).status == 404


async def test_the_scenario_changes_while_it_runs() -> None:
    async with Bench(row("groq")) as bench:

        async def script(**change: Any) -> int:
            return (await bench.send("", {"provider": "groq", **change}, path="/__simulator/script")).status

        assert await script(script=["500"], keys={"sim-b": "invalid"}) == 200
        assert [(await bench.ask("groq")).status for _ in range(2)] == [500, 200]
        assert (await bench.ask("groq", key="sim-b")).status == 401
        assert await script(keys={"sim-b": "ok"}, faults={"503": 1}) == 200
        assert (await bench.ask("groq", key="sim-b")).status == 503
        assert await script(faults={}, limits=[{"unit": "requests", "amount": 0, "window": "60s"}]) == 200
        assert (await bench.ask("groq")).status == 429
        for wrong in ({"script": ["nonsense"]}, {"provider": "nobody"}, {"colour": "red"}):
            assert await script(**wrong) == 400
        unknown = await bench.send("", {"provider": "opena"}, path="/__simulator/script")
        assert unknown.json["error"] == "no provider 'opena' is simulated here; there are: groq"
        assert (await bench.send("", {}, path="/__simulator/reset")).status == 200
        assert bench.judge.total == 0
        assert (await bench.ask("groq")).status == 200


async def test_a_label_names_a_key_too() -> None:
    async with Bench(row("groq"), groq=ProviderPlan(keys={"sim-a": KeyPlan(label="mine")})) as bench:
        bench.simulator.change(Change(provider="groq", keys={"mine": "banned"}))
        assert (await bench.ask("groq")).status == 400


async def test_unknown_providers() -> None:
    async with Bench(row("groq")) as bench:
        assert (await bench.send("nobody", chat())).status == 404
        listed = await bench.send("", path="", method="GET")
        assert json.loads(listed.body)["providers"] == {"groq": f"http://127.0.0.1:{bench.port}/groq/v1"}
