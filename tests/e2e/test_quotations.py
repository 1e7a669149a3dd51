"""Providers quote what they were asked. Who asked is told so; nothing that is kept of the failure has a word of it."""

from pathlib import Path

from keyrelay.simulator import FAULTS, Change, ProviderPlan, Scenario
from tests.api.served import OPERATOR_SECRET, look
from tests.e2e.cache_callers import CHATS, MODELS, PAIRS
from tests.e2e.harness import Caller, embedded, environment, simulated
from tests.e2e.test_texts import written

RARE = ("quokka", "zirkonium", "przemyśl", "öresund", "kumquat")
PROMPT = f'My {RARE[0]} eats "{RARE[1]}" & <{RARE[2]}>, says Dr. {RARE[3]}:\n\ta {RARE[4]} a day.'
QUOTING = sorted(name for name in FAULTS if name.startswith("quotes_"))
PAGES = (
    *("errors", "requests?limit=200", "keys", "status", "health/providers", "alerts", "quota", "audit"),
    *("requests/export?format=jsonl", "providers"),
)


async def test_no_error_that_quotes_the_prompt_is_kept_with_the_quotation(tmp_path: Path) -> None:
    scenario = Scenario(providers={name: ProviderPlan(limits=()) for name in MODELS})
    more = {f"{name.upper()}_TIER": "paid" for name in MODELS} | {
        "KEYRELAY_MAX_WAIT_S": "0",
        "KEYRELAY_CIRCUIT_FAILURES": "1000",
    }
    more |= {f"{name.upper()}_DIALECT": name for name in MODELS if name != "groq"}
    more |= {"KEYRELAY_LOG_LEVEL": "debug", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}
    keys = {name: [] if name == "ollama" else [f"sim-{name}-a"] for name in MODELS}
    seen: dict[str, bytes] = {}
    told, asked = set[tuple[str, str]](), 0
    async with simulated(scenario) as simulator:
        async with embedded(environment(simulator, keys, **more), tmp_path) as gateway, Caller(gateway.port) as caller:
            for fault in QUOTING:
                for name in MODELS:
                    simulator.change(Change(provider=name, faults={fault: 1.0}))
                async with Caller(gateway.port, OPERATOR_SECRET) as operator:
                    assert (await operator.get("/api/v1/quota/learned", "DELETE")).status == 200
                    for key in (await operator.get("/api/v1/keys")).json["items"]:
                        assert (await operator.post(f"/api/v1/keys/{key['id']}/wake", {})).status == 200
                for way, provider in PAIRS:
                    asking = CHATS[way]
                    for stream in {FAULTS[fault].only == "stream" or not asking.whole, True}:
                        path, body = asking.request(PROMPT, MODELS[provider], stream=stream)
                        reply = await caller.post(path, body)
                        asked += 1
                        if RARE[0].encode() in reply.body.lower():
                            told.add((fault, way))
            for page in PAGES:
                reply = await look(gateway, f"/api/v1/{page}", OPERATOR_SECRET)
                assert reply.status == 200, reply.body
                seen[page] = reply.body
            rows = (await look(gateway, "/api/v1/requests?limit=50", OPERATOR_SECRET)).json["requests"]
            for row in rows:
                page = f"requests/{row['request_id']}"
                seen[page] = (await look(gateway, f"/api/v1/{page}", OPERATOR_SECRET)).body
            seen["log"], seen["metrics"] = gateway.log().encode(), (await caller.get("/metrics")).body
        seen |= written(tmp_path)
    assert asked > 150
    assert {("quotes_value", way) for way in CHATS} <= told, "callers see their own text"
    assert b"[prompt]" in seen["log"]
    assert b"Supported values are: 'auto' and 'none'" in seen["log"], "the provider's own words stay"
    assert b"[prompt]" in seen["errors"]
    found = {
        (name, word) for name, data in seen.items() for word in RARE if word in data.decode(errors="replace").lower()
    }
    assert found == set()
