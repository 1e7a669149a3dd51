"""Clients that the store keeps, held to their limits and budgets, over real sockets and real processes."""

import asyncio
import contextlib
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.bootstrap import application
from keyrelay.simulator import Latency, ProviderPlan, Scenario
from tests.e2e.harness import (
    Caller,
    Embedded,
    Gateway,
    Process,
    Reply,
    chat_bytes,
    embedded,
    environment,
    process,
    simulated,
    until,
)
from tests.servers.redis_server import RedisServer

OPERATOR = "7d865e959b2466918c9863afca942d0f"
CHAT = "/v1/chat/completions"
MODEL = "mistral-small-2603"
QUICK = ProviderPlan(limits=(), latency=Latency(first_token_ms=(1, 5), tokens_per_s=2000), answer_tokens=(5, 20))
TURN = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
CALLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, TURN),
    "responses": ("/v1/responses", {"model": MODEL, "input": "Say hello."}),
    "anthropic": ("/v1/messages", {"max_tokens": 100, **TURN}),
    "ollama": ("/api/chat", TURN),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": "Say hello."}]}]}),
}


async def make(gateway: Gateway, label: str, *limits: str, **more: object) -> str:
    """Make a client by the API; its secret."""
    async with Caller(gateway.port, OPERATOR) as operator:
        reply = await operator.post("/api/v1/clients", {"label": label, "limits": limits, **more})
    assert reply.status == 201, reply.body
    secret: str = reply.json["secret"]
    return secret


async def standing(gateway: Gateway, label: str) -> dict[str, dict[str, Any]]:
    """How a client's limits stand, by how they are written."""
    async with Caller(gateway.port, OPERATOR) as operator:
        reply = await operator.get(f"/api/v1/clients/{label}")
    return {line["limit"]: line for line in reply.json["limits"]}


@contextlib.asynccontextmanager
async def served(directory: Path, **more: str) -> AsyncIterator[Embedded]:
    async with simulated(Scenario(providers={"mistral": QUICK})) as simulator:
        usual = {"MISTRAL_TIER": "paid", "KEYRELAY_OPERATOR_SECRET": OPERATOR}
        environ = environment(simulator, {"mistral": ["a=sim-mistral-a"]}, **usual | more)
        async with embedded(environ, directory) as gateway:
            yield gateway


def about(dialect: str, reply: Reply) -> tuple[object, str]:
    """What tells a program the kind of an error, and what it says."""
    document = reply.json
    if dialect == "ollama":
        return None, document["error"]
    error = document["error"]
    kind = {"gemini": error.get("status"), "anthropic": error.get("type")}.get(dialect, error.get("code"))
    return kind, error["message"]


async def test_refusals_speak_the_callers_dialect(tmp_path: Path) -> None:
    kinds = {
        "chat": ("client_limit", "model_not_allowed"),
        "responses": ("client_limit", "model_not_allowed"),
        "anthropic": ("rate_limit_error", "permission_error"),
        "gemini": ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED"),
        "ollama": (None, None),
    }
    async with served(tmp_path) as gateway:
        for dialect, (path, body) in CALLERS.items():
            secret = await make(gateway, dialect, "1 requests per hour")
            other = await make(gateway, f"{dialect}-other", models=["ministral-*"])
            async with Caller(gateway.port, secret) as caller, Caller(gateway.port, other) as stranger:
                first, second = [await caller.post(path, body) for _ in range(2)]
                third = await stranger.post(path, body)
            assert first.status == 200, (dialect, first.body)
            assert first.headers["x-ratelimit-remaining-requests"] == "0"
            kind, message = about(dialect, second)
            assert (second.status, kind) == (429, kinds[dialect][0]), (dialect, second.body)
            assert "a limit of 1 requests per 1h" in message
            assert 3_500 < int(second.headers["retry-after"]) <= 3_600
            assert second.headers["x-should-retry"] == "false"
            assert second.headers["x-ratelimit-limit-requests"] == "1"
            kind, message = about(dialect, third)
            assert (third.status, kind) == (403, kinds[dialect][1]), (dialect, third.body)
            assert "may not ask for" in message


async def test_streams_and_cached_answers_say_how_limits_stand_and_the_latter_cost_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_CACHE="deterministic") as gateway:
        secret = await make(gateway, "app", "4 requests per hour", "100000 tokens per day")
        async with Caller(gateway.port, secret) as caller:
            streamed = await caller.post(CHAT, chat_bytes(MODEL, stream=True))
            assert streamed.headers["x-ratelimit-remaining-requests"] == "3"
            asked = chat_bytes(MODEL, temperature=0, text="Say it again.")
            made, kept = [await caller.post(CHAT, asked) for _ in range(2)]
            wrong = await caller.post(CHAT, b"{}")
        assert streamed.is_good()
        assert (made.status, kept.status, wrong.status) == (200, 200, 400)
        left = [reply.headers["x-ratelimit-remaining-requests"] for reply in (made, kept, wrong)]
        assert (kept.headers["x-keyrelay-cache"], left) == ("hit", ["2", "2", "2"])
        lines = await standing(gateway, "app")
        row = await gateway.line_of(streamed.headers["x-request-id"])
        assert row["charged"][1:3] == [row["usage"]["input_tokens"], row["usage"]["output_tokens"]]
        assert lines["100000 tokens per day@UTC"]["reserved"] == 0


async def test_only_allowed_models_are_listed(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        secret = await make(gateway, "app", models=["mistral-small*", "mistral/ministral-8b*"])
        async with Caller(gateway.port, secret) as caller:
            listed = [model["id"] for model in (await caller.get("/v1/models")).json["data"]]
            tags = [model["name"] for model in (await caller.get("/api/tags")).json["models"]]
            one = await caller.get(f"/v1/models/{MODEL}")
            other = await caller.get("/v1/models/auto")
            shown = await caller.post("/api/show", {"model": "auto"})
        assert MODEL in listed
        assert all(name.startswith(("mistral-small", "mistral/ministral-8b")) for name in listed)
        assert {name.removesuffix(":latest") for name in tags} == set(listed)
        assert (one.status, other.status, shown.status) == (200, 403, 403)


async def test_a_clients_class_is_the_usual_one_of_its_requests(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        secret = await make(gateway, "app", priority="batch")
        async with Caller(gateway.port, secret) as caller:
            assert (await caller.post(CHAT, TURN)).status == 200
            assert (await caller.post(CHAT, TURN, headers={"x-keyrelay-priority": "agent"})).status == 200
            assert (await caller.post(CHAT, TURN, headers={"x-keyrelay-priority": "first"})).status == 400


def whole(directory: Path, base_url: str, **more: str) -> dict[str, str]:
    return {
        "MISTRAL_BASE_URL": base_url,
        "MISTRAL_API_KEYS": "a=sim-mistral-a",
        "MISTRAL_TIER": "paid",
        "CLIENT_API_KEYS_MAP": "b1946ac92492d2347c6235b4d2611184:tests",
        "KEYRELAY_OPERATOR_SECRET": OPERATOR,
        "KEYRELAY_DATA_DIR": str(directory / "data"),
        "KEYRELAY_LOG_FORMAT": "json",
        "KEYRELAY_PORT": "0",
        **more,
    }


async def ask_at_once(gateway: Gateway, secret: str, count: int) -> list[Reply]:
    async def ask() -> Reply:
        async with Caller(gateway.port, secret) as caller:
            return await caller.post(CHAT, TURN)

    return await asyncio.gather(*(ask() for _ in range(count)))


async def test_a_killed_gateway_remembers_what_clients_have_used(tmp_path: Path) -> None:
    limits = ("10 requests per day@Europe/Berlin", "1 usd per month", "100000 tokens once", "7 requests per hour")
    async with simulated(Scenario(providers={"mistral": QUICK})) as simulator:
        environ = whole(tmp_path, simulator.base_url("mistral"))
        async with process(environ, tmp_path) as gateway:
            early = await make(gateway, "app", "5 requests once")
            assert [reply.status for reply in await ask_at_once(gateway, early, 3)] == [200] * 3
            await asyncio.sleep(1.1)  # what was used is known by the second
            async with Caller(gateway.port, OPERATOR) as operator:
                assert (await operator.post("/api/v1/clients/app", {"limits": limits}, method="PATCH")).status == 200
                secret = early
            replies = await ask_at_once(gateway, secret, 4)
            before = await standing(gateway, "app")
            gateway.process.send_signal(signal.SIGKILL)
            await gateway.ended()
        async with process(environ, tmp_path) as gateway:
            after = await standing(gateway, "app")
            more = await ask_at_once(gateway, secret, 8)
    assert [reply.status for reply in replies] == [200] * 4
    used = {name: line["used"] for name, line in before.items()}
    assert used["7 requests per 1h"] == used["10 requests per day@Europe/Berlin"] == 4
    assert used["100000 tokens once"] > 40
    assert used["1 usd per month@UTC"] > 0
    kept = {name: line["used"] for name, line in after.items()}
    # What the store had not heard of when the last limit was set counts for that too: rather too much than too little.
    assert kept.pop("100000 tokens once") >= used.pop("100000 tokens once")
    assert kept == used
    assert sorted(reply.status for reply in more) == [200] * 3 + [429] * 5


@pytest.mark.skipif(sys.platform != "linux", reason="several workers share a port on Linux")
async def test_two_workers_share_a_budget_and_let_go_of_a_revoked_client_within_a_second(tmp_path: Path) -> None:
    async with RedisServer() as redis, simulated(Scenario(providers={"mistral": QUICK})) as simulator:
        more = {"KEYRELAY_WORKERS": "2", "KEYRELAY_REDIS_URL": redis.url}
        async with embedded(whole(tmp_path, simulator.base_url("mistral")), tmp_path) as gateway:
            free = await make(gateway, "free")
            async with Caller(gateway.port, OPERATOR) as operator:
                key = {"provider": "groq", "label": "kept", "secret": "sk-test-0123456789abcdef", "validate": False}
                assert (await operator.post("/api/v1/keys", key)).status == 201
        async with process(whole(tmp_path, simulator.base_url("mistral"), **more), tmp_path) as gateway:
            assert "(2 providers, 2 keys: groq, mistral)" in gateway.log(), "the store's are counted too"
            assert "2 clients may call" in gateway.log()
            secret = await make(gateway, "app", "10 requests per day")
            await known_everywhere(gateway, secret, free)
            statuses = [reply.status for reply in await ask_at_once(gateway, secret, 200)]
            assert 5 <= statuses.count(200) <= 10
            assert set(statuses) == {200, 429}
            await asyncio.sleep(1.2)
            rest = [reply.status for reply in await ask_at_once(gateway, secret, 40)]
            assert statuses.count(200) + rest.count(200) <= 10
            assert statuses.count(200) + rest.count(200) >= 9
            lines = await standing(gateway, "app")
            assert lines["10 requests per day@UTC"]["used"] <= 10
            (tmp_path / ".env").write_text("KEYRELAY_POLICY=worst\n")
            await revoked_within_a_second(gateway, free)  # also while a file is not valid
            (tmp_path / ".env").unlink()
            await all_files_in_force(gateway)


async def known_everywhere(gateway: Process, *secrets: str) -> None:
    """Wait until both workers know these clients, which takes them a third of a second; models cost nothing."""
    deadline_at = time.monotonic() + 5.0
    for secret in secrets:
        async with contextlib.AsyncExitStack() as stack:  # all at once, lest one worker takes them all
            callers = [await stack.enter_async_context(Caller(gateway.port, secret)) for _ in range(12)]
            while {(await caller.get("/v1/models")).status for caller in callers} != {200}:
                assert time.monotonic() < deadline_at


async def all_files_in_force(gateway: Process) -> None:
    """Wait until no worker leaves a file out of account any more: none is told that it is as it was before."""
    deadline_at, good = time.monotonic() + 15.0, 0
    while good < 12:
        async with Caller(gateway.port, OPERATOR) as caller:
            checks = (await caller.get("/readyz?verbose=true")).json["checks"]
        good = 0 if any(check["degraded"] for check in checks if check["name"] == "configuration") else good + 1
        await asyncio.sleep(0.0 if good else 0.2)
        assert time.monotonic() < deadline_at, checks


async def revoked_within_a_second(gateway: Process, secret: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.port, secret)) for _ in range(12)]
        assert {(await caller.get("/v1/models")).status for caller in callers} == {200}
        async with Caller(gateway.port, OPERATOR) as operator:
            assert (await operator.post("/api/v1/clients/free/revoke", {})).status == 200
        revoked_at = time.monotonic()
        while {(await caller.get("/v1/models")).status for caller in callers} != {401}:
            assert time.monotonic() - revoked_at < 1.0
            await asyncio.sleep(0.02)
        reply = await callers[0].post(CHAT, TURN)
    assert reply.error["code"] == "client_revoked"


async def test_nobody_spends_a_budget_whose_use_the_store_has_not_told_of_since_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "_COUNT_EVERY_S", 0.05)
    async with simulated(Scenario(providers={"mistral": QUICK})) as simulator:
        usual = {"MISTRAL_TIER": "paid", "KEYRELAY_OPERATOR_SECRET": OPERATOR}
        environ = environment(simulator, {"mistral": ["a=sim-mistral-a"]}, **usual)
        async with embedded(environ, tmp_path) as gateway:
            limited = await make(gateway, "app", "2 requests per month")
            busy, free = await make(gateway, "busy", "9 requests concurrent"), await make(gateway, "free")
            assert [reply.status for reply in await ask_at_once(gateway, limited, 2)] == [200, 200]
            store = gateway.application.watch.configuration.settings.data_dir / "keyrelay.db"
        rename(store, "used_totals", "mislaid")
        async with embedded(environ, tmp_path) as gateway:
            for secret in (free, busy):
                assert [reply.status for reply in await ask_at_once(gateway, secret, 1)] == [200]
            (refused,) = await ask_at_once(gateway, limited, 1)
            assert (refused.status, refused.error["code"]) == (503, "usage_unknown")
            assert refused.headers["retry-after"] == "5"
            rename(store, "mislaid", "used_totals")
            await until(lambda: gateway.application.data._gateway.client_limits.known, "it is known again")
            (refused,) = await ask_at_once(gateway, limited, 1)
            assert (refused.status, refused.error["code"]) == (429, "budget_exhausted")


def rename(store: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
