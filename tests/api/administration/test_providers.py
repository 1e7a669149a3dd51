import time
from pathlib import Path
from typing import Any

from keyrelay.core.administered import KeyEntry, ProviderEntry
from keyrelay.simulator.scenario import KeyPlan, ProviderPlan, Scenario
from tests.api.administration.providing import At, administered
from tests.api.served import CLIENTS, MODEL
from tests.e2e.harness import chat, embedded, until
from tests.servers.redis_server import RedisServer
from tests.upstream.hostile import Peer, http, serving

STRICT = Scenario(
    providers={"groq": ProviderPlan(accept_unknown_keys=False, keys={"sim-groq-a": KeyPlan()})},
)
_ADDED = {"models": [MODEL], "priority": 2, "tier": "paid", "limits": ["5 requests per 60s"], "margin": 0.5}


async def add_sim(at: At, **more: Any) -> Any:
    body = {"base_url": at.simulator.base_url("groq"), **_ADDED, **more}
    return await at.send("PUT", "/providers/sim", body)


async def test_what_is_in_use_is_listed_with_the_place_that_each_value_comes_from(tmp_path: Path) -> None:
    async with administered(tmp_path, GROQ_RPM="7") as at:
        (groq,) = (await at.get("/providers"))["items"]
        assert (groq["id"], groq["name"], groq["state"], groq["in_catalogue"]) == ("groq", "Groq", "in_use", True)
        assert groq["dialects"] == ["openai"]
        assert groq["values"]["base_url"]["source"] == "environment GROQ_BASE_URL"
        assert groq["values"]["priority"] == {"value": "3", "source": "catalogue"}
        assert groq["fixed"] == {"base_url": "environment GROQ_BASE_URL"}
        assert groq["keys"] == {"unknown": 2}
        assert {limit["source"] for limit in groq["limits"]} == {"catalogue", "environment GROQ_RPM"}
        assert "sim-groq-a" not in str(groq)
        assert groq["docs_url"].startswith("https://console.groq.com")
        assert (groq["terms"]["free_tier"], groq["entry"]) == (True, None)
        assert await at.get("/providers/groq") == groq
        everything = {each["id"]: each["state"] for each in (await at.get("/providers?all=true"))["items"]}
        assert (everything["groq"], everything["gemini"]) == ("in_use", "no_key")
        assert "openai_compatible" not in everything
        assert (await at.get("/providers/nowhere", 404))["error"]["code"] == "provider_not_found"


async def test_a_provider_of_any_address_serves_as_soon_as_it_has_a_key(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        added = await add_sim(at)
        assert (added["state"], added["priority"], added["tier"], added["margin"]) == ("in_use", 2, "paid", 0.5)
        assert added["entry"]["base_url"] == at.simulator.base_url("groq")
        assert added["limits"][0]["source"] == "store SIM_LIMITS"
        await at.add_key("sim", "sim-groq-c")
        reply = await at.gateway.ask(chat(f"sim/{MODEL}"))
        assert reply.is_good()
        assert reply.headers["x-keyrelay-provider"] == "sim"
        listed = [each["id"] for each in (await at.get("/providers"))["items"]]
        assert listed == ["sim", "groq"], "first priority first"


async def test_put_says_all_anew_and_patch_some_of_it(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await at.send("PUT", "/providers/groq", {"priority": 9, "tier": "free", "notes": "mine"})
        changed = await at.send("PATCH", "/providers/groq", {"tier": "paid"})
        assert (changed["priority"], changed["tier"], changed["entry"]["notes"]) == (9, "paid", "mine")
        changed = await at.send("PATCH", "/providers/groq", {"tier": None, "notes": None})
        assert changed["entry"] == {"id": "groq", "priority": 9}
        assert (await at.send("PUT", "/providers/groq", {"tier": "free"}))["entry"] == {"id": "groq", "tier": "free"}
        assert (await at.send("PATCH", "/providers/groq", {"tier": None}))["entry"] is None
        assert at.state.all(ProviderEntry) == ()


WRONG: list[tuple[str, object, int, str, str]] = [
    ("groq", {"priority": -1}, 400, "invalid_parameter", "priority"),
    ("groq", {"margin": 2}, 400, "invalid_parameter", "margin"),
    ("groq", {"tier": "gold"}, 400, "invalid_parameter", "tier"),
    ("groq", {"dialect": "klingon"}, 400, "invalid_parameter", "dialect"),
    ("groq", {"limits": ["many requests"]}, 400, "invalid_parameter", "limits"),
    ("groq", {"models": ["with space"]}, 400, "invalid_parameter", "models"),
    ("groq", {"models": ["with,comma"]}, 400, "invalid_parameter", "models"),
    ("groq", {"notes": "x" * 2001}, 400, "invalid_parameter", "notes"),
    ("groq", {"color": "red"}, 400, "invalid_parameter", "color"),
    ("groq", {"base_url": "ftp://host"}, 422, "invalid_base_url", "base_url"),
    ("groq", {"base_url": "https://other.example/v1"}, 409, "set_in_environment", "base_url"),
    ("groq", {"base_url": "https://user:secret@host/v1"}, 422, "invalid_base_url", "base_url"),
    ("groq", {"confirm_keys": "https://other.example"}, 422, "not_confirmed", "confirm_keys"),
    ("My-LLM", {"base_url": "https://host.example/v1"}, 400, "invalid_parameter", "id"),
    ("keyrelay", {"base_url": "https://host.example/v1"}, 400, "invalid_parameter", "id"),
    ("preview", {"base_url": "https://host.example/v1"}, 400, "invalid_parameter", "id"),
    ("my_llm", {"models": ["m"]}, 400, "invalid_parameter", "base_url"),
]


async def test_a_wrong_change_changes_nothing(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        for path, body, status, code, param in WRONG:
            assert await at.refused("PUT", f"/providers/{path}", body, status) == (code, param), body


async def test_an_address_that_may_not_be_connected_to_is_refused_at_the_change(tmp_path: Path) -> None:
    async with administered(tmp_path, private=False) as at:
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "169.254.169.254"):
            body = {"base_url": f"http://{host}:9/v1"}
            assert await at.refused("PUT", "/providers/inside", body, 422) == ("address_denied", "base_url"), host
            assert await at.refused("POST", "/providers/preview", body, 422) == ("address_denied", "base_url"), host


async def test_a_provider_is_switched_off_and_on(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        assert (await at.send("POST", "/providers/groq/disable"))["state"] == "off"
        assert (await at.gateway.ask(chat(MODEL))).status == 404
        assert (await at.send("POST", "/providers/groq/enable"))["state"] == "in_use"
        assert (await at.gateway.ask(chat(MODEL))).is_good()
        assert await at.refused("POST", "/providers/nowhere/enable", b"", 404) == ("provider_not_found", "id")


async def test_what_the_environment_says_is_changed_there(tmp_path: Path) -> None:
    async with administered(tmp_path, GROQ_ENABLED="true", GROQ_PRIORITY="4") as at:
        assert await at.refused("POST", "/providers/groq/disable", b"", 409) == ("set_in_environment", "enabled")
        assert await at.refused("PUT", "/providers/order", {"order": ["groq"]}, 409) == ("set_in_environment", "order")
        error = (await at.send("PATCH", "/providers/groq", {"priority": 1}, 409))["error"]
        assert error["message"] == "priority: GROQ_PRIORITY in the environment says this, and wins. Change it there."


async def test_the_order_of_all_is_one_change(tmp_path: Path) -> None:
    keys = {"groq": ["a=sim-groq-a"], "mistral": ["a=sim-mistral-a"], "gemini": ["a=sim-gemini-a"]}
    async with administered(tmp_path, keys) as at:
        usual = [each["id"] for each in (await at.get("/providers"))["items"]]
        last = usual[-1]
        before = at.state.revision
        made = await at.send("PUT", "/providers/order", {"order": [last]})
        assert made["order"] == [last, *usual[:-1]]
        assert [each["id"] for each in (await at.get("/providers"))["items"]] == made["order"]
        assert at.state.revision == before + 1
        assert await at.refused("PUT", "/providers/order", {"order": ["groq", "groq"]}, 400) == (
            "invalid_parameter",
            "order",
        )
        assert await at.refused("PUT", "/providers/order", {"order": ["nowhere"]}, 404) == ("provider_not_found", "id")


async def test_keys_in_the_store_keep_a_provider_from_going(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await add_sim(at)
        await at.add_key("sim", "sim-groq-c")
        assert await at.refused("DELETE", "/providers/sim", b"", 409) == ("provider_has_keys", "with_keys")
        assert await at.send("DELETE", "/providers/sim?with_keys=true") == {"removed_provider": "sim"}
        assert (at.state.all(KeyEntry), at.state.all(ProviderEntry)) == ((), ())
        assert await at.refused("DELETE", "/providers/sim", b"", 404) == ("provider_not_administered", "id")


async def test_a_provider_that_a_route_names_stays(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await add_sim(at)
        await at.send("PUT", "/routes/fast", {"targets": [f"sim/{MODEL}"]})
        assert await at.refused("DELETE", "/providers/sim", b"", 422) == ("invalid_configuration", None)


async def test_a_key_is_tested_by_the_call_that_is_free(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        tested = await at.send("POST", "/providers/groq/test", {"key": "work"})
        assert (tested["key"], tested["outcome"]) == ("work", "valid")
        assert (await at.send("POST", "/providers/groq/test", {}))["key"] == "home"
        assert await at.refused("POST", "/providers/groq/test", {"key": "none"}, 404) == ("key_not_found", "key")
        assert await at.refused("POST", "/providers/gemini/test", {}, 409) == ("provider_off", None)


async def test_models_are_discovered_and_taken_in(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await add_sim(at, models=["my-own"])
        await at.add_key("sim", "sim-groq-c")
        found = await at.send("POST", "/providers/sim/discover", {})
        news = {each["id"]: each["known"] for each in found["models"]}
        assert (news[MODEL], found["missing"], found["added"]) == (False, ["my-own"], [])
        taken = await at.send("POST", "/providers/sim/discover", {"apply": True, "models": [MODEL]})
        assert taken["added"] == [MODEL]
        entry = at.state.get(ProviderEntry, "sim")
        assert entry is not None
        assert entry.models == ("my-own", MODEL), "the default model stays the one that it was"
        assert (await at.gateway.ask(chat(f"sim/{MODEL}"))).is_good()
        everything = await at.send("POST", "/providers/sim/discover", {"apply": True})
        assert set(everything["added"]) == set(news) - {MODEL}
        strange = {"apply": True, "models": ["unheard-of"]}
        assert await at.refused("POST", "/providers/sim/discover", strange, 400) == ("invalid_parameter", "models")


async def test_a_list_that_is_refused_is_a_problem_in_words(tmp_path: Path) -> None:
    async with administered(tmp_path, scenario=STRICT) as at:
        await add_sim(at)
        await at.add_key("sim", "sk-test-unknown")
        found = await at.send("POST", "/providers/sim/discover", {})
        assert found["problem"].startswith("sim answered 401")
        assert found["models"] == []
        refused = await at.refused("POST", "/providers/sim/discover", {"apply": True}, 502)
        assert refused == ("models_not_listed", None)


async def test_an_address_is_looked_at_before_it_is_added(tmp_path: Path) -> None:
    async with administered(tmp_path, scenario=STRICT) as at:
        asked = {"base_url": at.simulator.base_url("groq"), "key": "sim-groq-a"}
        found = await at.send("POST", "/providers/preview", asked)
        assert (found["compatible"], found["base_url"]) == (True, asked["base_url"])
        assert MODEL in found["models"]
        wrong = await at.send("POST", "/providers/preview", {**asked, "key": "sk-test-wrong"})
        assert (wrong["compatible"], wrong["status"]) == (False, 401)
        assert "sk-test-wrong" not in str(wrong)
        nobody = await at.send("POST", "/providers/preview", {"base_url": "http://127.0.0.1:1/v1"})
        assert (nobody["compatible"], nobody["status"]) == (False, 0)
        assert "could not be asked" in nobody["problem"]
        assert at.state.all(ProviderEntry) == ()


async def test_an_address_without_its_version_is_found_all_the_same(tmp_path: Path) -> None:
    listed = http(b'{"data":[{"id":"m"}]}', "content-type: application/json")
    nothing = http(b"no", status="404 Not Found")

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await peer.send(listed if b" /v1/models" in head else nothing)

    async with administered(tmp_path) as at, serving(script) as server:
        origin = f"http://127.0.0.1:{server.port}"
        found = await at.send("POST", "/providers/preview", {"base_url": origin})
        assert (found["compatible"], found["base_url"], found["models"]) == (True, f"{origin}/v1", ["m"])
        versioned = await at.send("POST", "/providers/preview", {"base_url": f"{origin}/other/v1"})
        assert (versioned["compatible"], versioned["status"]) == (False, 404)


async def test_keys_do_not_leave_by_another_address(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await add_sim(at)
        await at.add_key("sim", "sim-groq-c")
        moved = at.simulator.base_url("groq").replace("127.0.0.1", "localhost")
        host = moved.partition("/groq")[0]
        line = await at.send("PATCH", "/providers/sim", {"base_url": moved})
        assert (line["state"], line["keys"]) == ("no_usable_key", {"other_host": 1})
        assert f"1 key was entered for another address, and not sent to {host}: main." in line["warnings"][0]
        calls = len(at.simulator.judge.calls)
        assert (await at.gateway.ask(chat(f"sim/{MODEL}"))).status == 503
        for verb in ("test", "discover"):
            assert await at.refused("POST", f"/providers/sim/{verb}", {}, 409) == ("no_key_to_use", "key")
        assert await at.refused("POST", "/keys/sim/main/test", b"", 409) == ("other_host", None)
        assert len(at.simulator.judge.calls) == calls, "nobody has heard of the key"
        assert await at.refused("PATCH", "/providers/sim", {"confirm_keys": "https://elsewhere"}, 422) == (
            "not_confirmed",
            "confirm_keys",
        )
        confirmed = await at.send("PATCH", "/providers/sim", {"confirm_keys": host})
        assert (confirmed["state"], confirmed["warnings"]) == ("in_use", [])
        assert (await at.gateway.ask(chat(f"sim/{MODEL}"))).is_good()
        audit = (await at.get("/audit"))["lines"]
        bound = next(line for line in audit if line["entry"] == "sim/main")
        assert bound["action"] == f"edit provider, keys confirmed for {host}"
        assert (bound["actor"], bound["after"]["origin"]) == ("operator", host)


async def test_keys_of_the_environment_go_nowhere_else(tmp_path: Path) -> None:
    """Not when the address is confirmed, and not when they are copied into the store."""
    async with administered(tmp_path, {}, SIM_API_KEYS="home=sim-groq-a") as at:
        line = await add_sim(at)
        assert (line["state"], line["keys"]) == ("no_usable_key", {"other_host": 1})
        host = at.simulator.base_url("groq").partition("/groq")[0]
        assert (await at.send("PATCH", "/providers/sim", {"confirm_keys": host}))["state"] == "no_usable_key"
        await at.send("POST", "/keys/import", {"keys": ["sim/home"]})
        assert (await at.send("PATCH", "/providers/sim", {"confirm_keys": host}))["state"] == "no_usable_key"
        assert await at.refused("POST", "/keys/sim/home/test", b"", 409) == ("other_host", None)
        assert (await at.gateway.ask(chat(f"sim/{MODEL}"))).status == 503
        assert not at.simulator.judge.calls


async def test_the_other_process_follows_within_a_second(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str
) -> None:
    shared = {"KEYRELAY_REDIS_URL": redis_server.url, "KEYRELAY_REDIS_PREFIX": redis_prefix}
    async with administered(tmp_path, KEYRELAY_REDIS_URL=redis_server.url, KEYRELAY_REDIS_PREFIX=redis_prefix) as at:
        allowed = {"CLIENT_API_KEYS_MAP": CLIENTS, "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true", "KEYRELAY_PORT": "1"}
        environ = allowed | shared
        async with embedded(environ, tmp_path) as other:
            await add_sim(at)
            await at.add_key("sim", "sim-groq-c")
            began_at = time.monotonic()
            await at.send("PUT", "/routes/fast", {"targets": [f"sim/{MODEL}"]})
            snapshot = other.application.watch
            await until(lambda: "fast" in snapshot.configuration.snapshot.routes, "the other one knows the route")
            assert time.monotonic() - began_at < 1.0
            reply = await other.ask(chat("fast"))
            assert (reply.is_good(), reply.headers["x-keyrelay-provider"]) == (True, "sim")


async def test_a_key_that_no_header_can_hold_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        body = {"base_url": at.simulator.base_url("groq"), "key": "sk-…-0123456789"}
        assert await at.refused("POST", "/providers/preview", body, 400) == ("invalid_parameter", "key")
