"""The response cache over real sockets: what callers, the log and the command line's user see of it."""

import asyncio
from pathlib import Path

import pytest

from keyrelay.simulator import Latency, ProviderPlan, Scenario
from tests.e2e.harness import Caller, calls_of, chat, embedded, environment, simulated

MODEL = "openai/gpt-oss-20b"
KEYS = {"groq": ["sim-groq-a"]}
FREE = Scenario(providers={"groq": ProviderPlan(limits=())})
SLOW = Scenario(
    providers={"groq": ProviderPlan(limits=())}, latency=Latency(first_token_ms=(150, 150), tokens_per_s=100)
)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_again_costs_nothing(stream: bool, tmp_path: Path) -> None:
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        body = chat(MODEL, stream=stream, temperature=0)
        first, second = [await gateway.ask(body) for _ in range(2)]
        assert len(calls_of(simulator)) == 1
        assert first.is_good()
        assert second.is_good()
        assert first.text == second.text
        assert (first.headers["x-keyrelay-cache"], second.headers["x-keyrelay-cache"]) == ("miss", "hit")
        assert (second.headers["age"], second.headers["x-keyrelay-attempts"]) == ("0", "0")
        line = await gateway.line_of(second.headers["x-request-id"])
        assert (line["cached"], line["cost_usd"], line["provider"], "attempts" in line) == ("hit", 0.0, "groq", False)
        assert "cached" not in await gateway.line_of(first.headers["x-request-id"])


async def test_what_was_written_another_way_is_the_same(tmp_path: Path) -> None:
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        one = b'{"model":"openai/gpt-oss-20b","seed":7,"messages":[{"role":"user","content":"A"}]}'
        other = b'{ "messages": [{"content": "\\u0041", "role": "user"}], "model": "openai\\/gpt-oss-20b", "seed": 7 }'
        assert [(await gateway.ask(body)).headers["x-keyrelay-cache"] for body in (one, other)] == ["miss", "hit"]


async def test_by_default_only_what_is_deterministic_and_generate_are_kept(tmp_path: Path) -> None:
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        for _ in range(2):
            assert "x-keyrelay-cache" not in (await gateway.ask(chat(MODEL))).headers
        prompt = {"prompt": "Say hello.", "model": MODEL}
        short = [await gateway.ask(prompt, "/v1/generate") for _ in range(2)]
        assert short[0].json == short[1].json
        assert [reply.headers["x-keyrelay-cache"] for reply in short] == ["miss", "hit"]
        streamed = [await gateway.ask({**prompt, "stream": True}, "/v1/generate") for _ in range(2)]
        assert streamed[0].body == streamed[1].body
        assert streamed[1].headers["x-keyrelay-cache"] == "hit"


async def test_the_head_of_a_request_has_its_say(tmp_path: Path) -> None:
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        body = chat(MODEL, temperature=0)

        async def ask(**headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await gateway.ask(body, headers=named)).headers.get("x-keyrelay-cache", "")

        assert await ask() == "miss"
        assert await ask(x_keyrelay_cache="no-store") == ""
        assert await ask(cache_control="no-cache") == "miss"
        assert await ask(cache_control="max-age=60") == "hit"
        assert await ask(x_keyrelay_cache="refresh, ttl=60") == "miss"
        assert await ask(x_keyrelay_cache="off") == ""
        refused = await gateway.ask(body, headers={"x-keyrelay-cache": "nostore"})
        assert (refused.status, refused.error["code"], refused.error["param"]) == (
            400,
            "invalid_header",
            "x-keyrelay-cache",
        )
        assert len(calls_of(simulator)) == 5


async def test_a_route_of_the_file_has_a_mode_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "keyrelay.toml").write_text('[routes.faq]\ntargets = ["groq"]\ncache = "all"\n')
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        outcomes = [(await gateway.ask(chat("faq"))).headers["x-keyrelay-cache"] for _ in range(2)]
        assert outcomes == ["miss", "hit"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_leader_who_hangs_up_harms_nobody(stream: bool, tmp_path: Path) -> None:
    async with simulated(SLOW) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        body = chat(MODEL, stream=stream, temperature=0)
        leader = Caller(gateway.port)
        asking = asyncio.create_task(leader.post("/v1/chat/completions", body))
        await asyncio.sleep(0.05)
        followers = [asyncio.create_task(gateway.ask(body)) for _ in range(3)]
        await asyncio.sleep(0.05)
        asking.cancel()
        await leader.close()
        replies = await asyncio.gather(*followers)
        assert all(reply.is_good() for reply in replies)
        assert {reply.headers["x-keyrelay-cache"] for reply in replies} == {"shared"}
        assert len({reply.text for reply in replies}) == 1
        assert len(calls_of(simulator)) == 1
        assert (await gateway.ask(body)).headers["x-keyrelay-cache"] == "hit"
        assert sorted(line.get("cached", "") for line in gateway.lines()) == ["", "hit", "shared", "shared", "shared"]
        assert not [line for line in gateway.lines() if "started_at" in line], "compiled code once wrote a 0 of its own"


async def test_when_all_hang_up_the_call_is_cut_off(tmp_path: Path) -> None:
    async with simulated(SLOW) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        callers = [Caller(gateway.port) for _ in range(3)]
        body = chat(MODEL, stream=True, temperature=0, max_tokens=400)
        asking = [asyncio.create_task(caller.post("/v1/chat/completions", body)) for caller in callers]
        await asyncio.sleep(0.3)
        for task, caller in zip(asking, callers, strict=True):
            task.cancel()
            await caller.close()
        async with asyncio.timeout(2.0):
            while len(gateway.lines()) < 3:  # noqa: ASYNC110 - another process would tell by its log, too
                await asyncio.sleep(0.01)
        assert {line["category"] for line in gateway.lines()} == {"caller_gone"}
        assert (await gateway.ask(body)).headers["x-keyrelay-cache"] == "miss"


async def test_an_answer_from_the_cache_is_explained(tmp_path: Path) -> None:
    async with simulated(FREE) as simulator, embedded(environment(simulator, KEYS), tmp_path) as gateway:
        _, hit = [await gateway.ask(chat(MODEL, temperature=0)) for _ in range(2)]
        async with Caller(gateway.port) as caller:
            text = (
                await caller.get(f"/api/v1/requests/{hit.headers['x-request-id']}", accept="text/plain")
            ).body.decode()
    assert text.startswith("The answer was kept from before: groq's key ")
    assert "ledger" not in text
