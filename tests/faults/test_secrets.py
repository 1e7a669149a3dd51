"""No fault, whatever it echoes, brings a secret into a log, an answer or a header."""

import asyncio
import base64
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from keyrelay.simulator import FAULTS, Change, ProviderPlan, Scenario
from tests.e2e.harness import Caller, Embedded, chat, embedded, environment, simulated
from tests.faults.planting import Plan
from tests.faults.secrets import secrets
from tests.faults.spelling import Canary, Seen, spellings

CANARIES = {
    "groq": "gsk_canary+groq/0123456789abcdef==",
    "openai": "sk-proj-Canary&OpenAI?0123456789",
    "gemini": "AIzaCanaryGemini0123456789abcdefghi",
    "mistral": "canary%mistral0123456789",
    "ollama": "canary:ollama:0123456789",
}
MODELS = {
    "groq": "openai/gpt-oss-120b",
    "openai": "gpt-6-luna",
    "gemini": "gemini-3.1-flash-lite",
    "mistral": "mistral-small-2603",
    "ollama": "llama3.2",
}
CLIENT_CANARY = "client~canary~0123456789abcdef0123456789"
SKIPPED = frozenset({"tiny_events", "split_everywhere", "huge_body", "endless_line", "gzip_bomb"})
"""Large, and of no other text than the rest."""

LOUD = {"KEYRELAY_LOG_LEVEL": "debug", "CLIENT_API_KEYS_MAP": f"{CLIENT_CANARY}:canary"}
HASTY = {
    "KEYRELAY_FIRST_BYTE_TIMEOUT_S": "0.1",
    "KEYRELAY_ANSWER_TIMEOUT_S": "0.1",
    "KEYRELAY_CONTENT_GAP_TIMEOUT_S": "0.1",
    "KEYRELAY_TOTAL_TIMEOUT_S": "0.3",
    "KEYRELAY_CIRCUIT_FAILURES": "1000",
}


def forms(secret: str) -> set[str]:
    """The ways in which a secret may be written."""
    raw = secret.encode()
    return {secret, quote(secret), quote(secret, safe=""), base64.b64encode(raw).decode().rstrip("=")}


def found_in(texts: list[str]) -> set[str]:
    everything = "\n".join(texts)
    folded = everything.lower()
    secrets = (*CANARIES.values(), CLIENT_CANARY)
    return {form for secret in secrets for form in forms(secret) if form in everything or form.lower() in folded}


async def all_that_is_seen(gateway: Embedded, models: list[str]) -> list[str]:
    """Answers, headers, metrics and log of a few requests for each model."""
    seen = []
    async with Caller(gateway.port, CLIENT_CANARY) as caller:
        for model in models:
            for stream in (False, True):
                reply = await caller.post("/v1/chat/completions", chat(model, stream=stream))
                seen += [str(reply.headers), reply.body.decode(errors="replace")]
        seen.append((await caller.get("/metrics")).body.decode())
        seen.append((await caller.get("/v1/models")).body.decode())
        seen.append((await caller.get("/readyz?verbose=true")).body.decode())
    return [*seen, gateway.log()]


async def test_no_fault_of_the_matrix_shows_a_canary(tmp_path: Path) -> None:
    scenario = Scenario(providers={name: ProviderPlan(limits=()) for name in CANARIES})
    tiers = {f"{name.upper()}_TIER": "paid" for name in CANARIES} | {"OLLAMA_MODELS": "llama3.2"}
    seen: list[str] = []
    async with simulated(scenario) as simulator:
        environ = environment(simulator, {name: [f"k={secret}"] for name, secret in CANARIES.items()})
        for fault in sorted(set(FAULTS) - SKIPPED):
            for name in CANARIES:
                simulator.change(Change(provider=name, faults={fault: 1.0}))
            models = ["auto"]
            if FAULTS[fault].group == "status":
                models += [f"{name}/{model}" for name, model in MODELS.items()]
            async with embedded(environ | HASTY | tiers | LOUD, tmp_path) as gateway:
                seen += await all_that_is_seen(gateway, models)
    assert sum(map(len, seen)) > 100_000
    assert found_in(seen) == set()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 422, 429, 500, 503])
async def test_a_provider_that_echoes_the_key_in_every_form(tmp_path: Path, status: int) -> None:
    secret = CANARIES["openai"]

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert f"Bearer {secret}" in head
        message = f"{head} {' '.join(forms(secret))} {secret * 2} x{secret}y"
        error = {"message": message, "code": secret, "type": secret, "param": secret}
        body = msgspec.json.encode({"error": error, "detail": message})
        fields = f"content-length: {len(body)}\r\nx-echo: {secret}\r\nlocation: http://a/{secret}\r\nconnection: close"
        writer.write(f"HTTP/1.1 {status} {secret}\r\n{fields}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    environ = {"OPENAI_BASE_URL": url, "OPENAI_API_KEYS": f"k={secret}", "KEYRELAY_LOG_FORMAT": "json", **HASTY, **LOUD}
    async with embedded(environ, tmp_path) as gateway:
        seen = await all_that_is_seen(gateway, ["gpt-6-luna"])
    server.close()
    await server.wait_closed()
    assert found_in(seen) == set()


async def test_a_secret_in_the_place_of_a_model_is_not_written_down(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, {"openai": [f"k={CANARIES['openai']}"]})
        async with embedded(environ | LOUD, tmp_path) as gateway, Caller(gateway.port, CLIENT_CANARY) as caller:
            assert (await caller.post("/v1/chat/completions", chat(CANARIES["openai"]))).status == 404
            metrics = (await caller.get("/metrics")).body.decode()
            assert found_in([gateway.log(), metrics]) == set()


FEW = ("invalid_key", "quotes_code", "quotes_event_mid")
TRICKY = 'Qz7&"canary/0123456789+ab'
COMMANDS = ("keys list --json", "doctor")


async def test_nothing_that_comes_out_of_a_gateway_holds_a_secret_that_was_put_in(tmp_path: Path) -> None:
    outcome, run = await secrets(Plan(faults=FEW, commands=COMMANDS, misconfigured=False), tmp_path)
    assert not outcome.hits, "\n".join(map(str, outcome.hits))
    assert outcome.canaries > 50
    assert outcome.searched_bytes > 3_000_000
    assert {
        "log",
        "ps",
        "events",
        "backup",
        "file keyrelay.db",
        "file keyrelay.db-wal",
        "keyrelay keys list --json",
    } <= set(run.seen.places)
    assert run.statuses[200] > 100, "most was answered"
    assert {"prompt in requests to a provider", "token in answers POST /api/v1/tokens"} <= set(outcome.allowed)


@pytest.mark.parametrize("writing", sorted(spellings(TRICKY.encode())))
def test_a_secret_would_be_found_in_every_writing(writing: str) -> None:
    canary, seen = Canary("key", TRICKY), Seen()
    seen.add("log", b"x" + spellings(canary.raw)[writing].upper() + b"y")
    assert writing in {hit.writing for hit in seen.search([canary]).hits} or writing.startswith("base64url")
    assert {hit.place for hit in seen.search([canary]).hits} == {"log"}


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_a_secret_in_the_middle_of_what_was_encoded_would_be_found(before: bytes) -> None:
    canary, seen = Canary("key", TRICKY), Seen()
    seen.add("dump", base64.b64encode(before + canary.raw + b"behind it"))
    assert seen.search([canary]).hits
    assert not seen.search([Canary("another", "another&canary/0123456789")]).hits


def test_a_secret_is_allowed_only_where_it_has_to_be() -> None:
    canary, seen = Canary("key", TRICKY), Seen()
    seen.add("the answer that shows it once", canary.raw, frozenset({"key"}))
    assert seen.search([canary]).allowed == {"key in the answer that shows it once": 1}
    assert not seen.search([canary]).hits
