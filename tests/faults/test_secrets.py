"""No fault, whatever it echoes, brings a secret into a log, an answer or a header."""

import base64
from pathlib import Path
from urllib.parse import quote

from keyrelay.simulator import FAULTS, ProviderPlan, Scenario
from tests.e2e.harness import Caller, chat, embedded, environment, simulated
from tests.faults.matrix import FAST

CANARIES = {
    "groq": "gsk_canary+groq/0123456789abcdef==",
    "openai": "sk-proj-canary&openai?0123456789",
    "gemini": "AIzaCanaryGemini0123456789abcdefghi",
    "mistral": "canary mistral".replace(" ", "%") + "0123456789",
    "ollama": "canary:ollama:0123456789",
}
CLIENT_CANARY = "client~canary~0123456789abcdef0123456789"
SKIPPED = frozenset({"tiny_events", "split_everywhere", "huge_body", "endless_line", "gzip_bomb"})
"""Large, and of no other text than the rest."""


def forms(secret: str) -> set[str]:
    """The ways in which a secret may be written."""
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode()
    basic = base64.b64encode(b"x:" + raw).decode()[4:-4]
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        encoded.rstrip("="),
        base64.urlsafe_b64encode(raw).decode(),
        basic,
    }


async def test_no_canary_is_ever_seen(tmp_path: Path) -> None:
    plans = {name: ProviderPlan(limits=(), accept_unknown_keys=False) for name in CANARIES}
    scenario = Scenario(providers={name: ProviderPlan(limits=()) for name in CANARIES})
    del plans
    seen: list[str] = []
    async with simulated(scenario) as simulator:
        keys = {name: [f"k={secret}"] for name, secret in CANARIES.items()}
        client = {"CLIENT_API_KEYS_MAP": f"{CLIENT_CANARY}:canary"}
        loud = {
            "KEYRELAY_LOG_LEVEL": "debug",
            "KEYRELAY_CIRCUIT_FAILURES": "1000",
            "KEYRELAY_RETRY_BUDGET_FLOOR": "1000",
        }
        tiers = {f"{name.upper()}_TIER": "paid" for name in CANARIES} | {"OLLAMA_MODELS": "llama3.2"}
        for fault in sorted(set(FAULTS) - SKIPPED):
            for provider in simulator.providers.values():
                provider._faults = {fault: 1.0}
            environ = environment(simulator, keys, **FAST, **loud, **tiers) | client
            async with embedded(environ, tmp_path) as gateway, Caller(gateway.port, CLIENT_CANARY) as caller:
                models = ("auto", *(f"{name}/m" for name in CANARIES)) if FAULTS[fault].group == "status" else ("auto",)
                for model in models:
                    for stream in (False, True):
                        body = chat(model, stream=stream, text=f"key {' '.join(models)}")
                        reply = await caller.post("/v1/chat/completions", body)
                        seen += [str(reply.headers), reply.body.decode(errors="replace")]
                wrong = await caller.post("/v1/chat/completions", chat(CANARIES["openai"]))
                seen += [wrong.body.decode(), gateway.log()]
                metrics = await caller.get("/metrics")
                seen.append(metrics.body.decode())
    asked_for = "\n".join(seen).replace(f"The model '{CANARIES['openai']}'", "")
    assert len(asked_for) > 100_000
    found = {form for secret in (*CANARIES.values(), CLIENT_CANARY) for form in forms(secret) if form in asked_for}
    assert found == set()
