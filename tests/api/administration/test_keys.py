"""Keys by API: listed, changed, switched, removed."""

import asyncio
from pathlib import Path
from typing import Any

from keyrelay.simulator.scenario import Change, KeyPlan
from tests.api.administration.keyed import BAD, GOOD, OTHER, PATH, desk
from tests.api.served import MODEL
from tests.e2e.harness import CLIENT_SECRET, Caller, chat, until


async def test_all_keys_are_listed_wherever_they_stand_and_none_is_shown(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add(notes="the team's", limits=["1000 requests per day@UTC"], priority=2, backup=True, weight=2.0)
        page = await at.get()
        assert [(key["id"], key["source"], key["editable"]) for key in page["items"]] == [
            ("groq/home", "environment GROQ_API_KEYS", False),
            ("groq/mine", "store", True),
            ("groq/work", "environment GROQ_API_KEYS", False),
        ]
        assert page["states"] == {"ready": 1, "unknown": 2}
        mine = page["items"][1]
        assert (mine["tail"], mine["notes"], mine["limits"]) == (GOOD[-4:], "the team's", ["1000 requests per day@UTC"])
        assert (mine["priority"], mine["backup"], mine["weight"]) == (2, True, 2.0)
        assert mine["usage"] == {"requests": 0, "failed": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}
        assert "GROQ_API_KEYS" in page["items"][0]["note"]
        everything = (await at.ask("", method="GET")).body + (await at.caller.get("/api/v1/audit")).body
        for secret in (GOOD, "sim-groq-a", "sim-groq-b"):
            assert secret.encode() not in everything
        only = await at.get("?state=ready&provider=groq")
        assert [key["id"] for key in only["items"]] == ["groq/mine"]
        first = await at.get("?limit=2")
        rest = await at.get(f"?limit=2&after={first['next']}")
        assert ([key["id"] for key in rest["items"]], rest["next"]) == (["groq/work"], None)
        assert (await at.get("?provider=mistral"))["items"] == []


async def test_what_a_key_is_good_for_shows_in_its_state_and_it_can_be_brought_back(tmp_path: Path) -> None:
    states = {"sim-groq-a": "invalid", "sim-groq-b": "exhausted_day"}
    async with desk(tmp_path, states) as at:  # type: ignore[arg-type]
        refused = await at.gateway.ask(chat(f"groq/{MODEL}"))
        assert refused.status == 503
        found = {key["label"]: key for key in (await at.get())["items"]}
        work, home = found["work"], found["home"]
        assert (work["state"], work["set_by"], work["until"], work["reason"]) == ("invalid", "provider", None, "auth")
        assert (home["state"], home["reason"]) == ("exhausted", "quota")
        assert home["until"] > "2026"
        assert "Rotate" in work["way_back"]
        assert work["last_error"]["kind"] == "auth"
        assert [line["why"] for line in work["suggestions"]] == ["invalid"]
        at.simulator.change(Change(provider="groq", keys={"sim-groq-a": "ok"}))
        awake = await at.send("/groq/work/wake")
        assert awake["state"] == "unknown"
        assert (await at.gateway.ask(chat(f"groq/{MODEL}"))).is_good()
        at.gateway.log()
        again = await at.get("/groq/work")
        assert (again["state"], again["last_success_at"] is not None) == ("ready", True)
        audit = (await at.caller.get("/api/v1/audit?limit=1")).json["lines"][0]
        assert (audit["action"], audit["entry"], audit["actor"]) == ("end rest of key", "groq/work", "operator")


async def test_calls_that_failed_count_for_the_key_that_they_were_made_with_whoever_answered(tmp_path: Path) -> None:
    async with desk(tmp_path, {"sim-groq-a": KeyPlan(faults={"500": 1.0})}) as at:
        replies = [await at.gateway.ask(chat(f"groq/{MODEL}")) for _ in range(2)]
        made = sum(int(reply.headers["x-keyrelay-attempts"]) for reply in replies)
        assert made > len(replies)
        uses, calls = dict[str, Any](), 0
        async with asyncio.timeout(10):
            while calls < made:
                uses = {key["label"]: key["usage"] for key in (await at.get())["items"]}
                calls = sum(each["requests"] for each in uses.values())
        assert {label: (use["requests"], use["failed"]) for label, use in uses.items()} == {
            "work": (made - 2, made - 2),
            "home": (2, 0),
        }


async def test_what_is_said_of_a_key_of_the_environment_holds_on_top_of_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        changed = await at.send(
            "/groq/work", {"account": "team", "backup": True, "limits": ["5 requests per 60s"]}, "PATCH"
        )
        assert (changed["account"], changed["backup"], changed["limits"]) == ("team", True, ["5 requests per 60s"])
        assert (changed["source"], changed["editable"]) == ("environment GROQ_API_KEYS", False)
        refused = await at.ask("/groq/work", {"label": "other"}, "PATCH")
        assert (refused.status, refused.error["code"]) == (409, "not_here")
        assert "GROQ_API_KEYS" in refused.error["message"]
        gone = await at.ask("/groq/work", None, "DELETE")
        assert (gone.status, gone.error["code"]) == (409, "not_here")
        back = await at.send("/groq/work", {"account": "", "backup": False, "limits": []}, "PATCH")
        assert (back["account"], back["backup"]) == ("work", False)


async def test_a_key_is_renamed_changed_and_removed(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add()
        renamed = await at.send("/groq/mine", {"label": "ours", "notes": "n", "expires_at": "2099-01-01"}, "PATCH")
        assert (renamed["id"], renamed["notes"]) == ("groq/ours", "n")
        assert renamed["expires_at"] == "2099-01-01T00:00:00Z"
        assert (await at.send("/groq/ours", {"expires_at": None}, "PATCH"))["expires_at"] is None
        await at.add(OTHER, "mine")
        taken = await at.ask("/groq/mine", {"label": "ours"}, "PATCH")
        assert (taken.status, taken.error["code"]) == (409, "label_exists")
        assert await at.send("/groq/ours", None, "DELETE") == {"removed_key": "groq/ours"}
        assert (await at.ask("/groq/ours", None, "DELETE")).status == 404
        assert sorted(await at.states()) == ["groq/home", "groq/mine", "groq/work"]


WRONG: list[tuple[dict[str, object], str | None, int]] = [
    ({"label": "a b"}, "label", 400),
    ({"label": "x.next"}, "label", 400),
    ({"label": ""}, "label", 400),
    ({"account": "-"}, "account", 400),
    ({"priority": -1}, "priority", 400),
    ({"weight": 0.0}, "weight", 400),
    ({"weight": -1.0}, "weight", 400),
    ({"notes": "x" * 2001}, "notes", 400),
    ({"limits": ["x" * 201]}, "limits", 400),
    ({"limits": ["a few"]}, None, 422),
    ({"expires_at": "soon"}, "expires_at", 400),
    ({"expires_at": "2020-01-01"}, "expires_at", 400),
    ({"colour": "red"}, "colour", 400),
    ({"backup": "yes"}, "backup", 400),
]


async def test_what_cannot_be_said_of_a_key(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for change, param, status in WRONG:
            reply = await at.ask("/groq/work", change, "PATCH")
            assert reply.status == status, (change, reply.body)
            if status == 400:
                assert reply.error["param"] == param


async def test_a_disabled_key_takes_no_requests_and_explanations_say_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for label in ("work", "home"):
            disabled = await at.send(f"/groq/{label}/disable")
            assert (disabled["state"], disabled["set_by"]) == ("disabled", "operator")
        refused = await at.gateway.ask(chat(f"groq/{MODEL}"))
        assert (refused.status, refused.error["code"]) == (503, "no_candidates")
        candidates = refused.error["keyrelay"]["candidates"]
        assert {(each["key"], each["reason"], each["detail"]) for each in candidates} == {
            ("work", "disabled", "it was disabled by operator"),
            ("home", "disabled", "it was disabled by operator"),
        }
        assert (await at.send("/groq/home/enable"))["state"] == "unknown"
        answered = await at.gateway.ask(chat(f"groq/{MODEL}"))
        assert answered.is_good()
        async with Caller(at.gateway.port, CLIENT_SECRET) as caller:
            told = await caller.get(f"/api/v1/requests/{answered.headers['x-request-id']}")
        assert [(line["key"], line["reason"]) for line in told.json["withheld"]] == [("work", "disabled")]


async def test_a_key_that_expires_goes_out_of_service_within_seconds(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        now_s = at.gateway.application.data._clock.epoch_s()
        await at.send("/groq/work", {"expires_at": f"{now_s + 1.2:.3f}"}, "PATCH")
        assert (await at.states())["groq/work"] == "unknown"
        watch = at.gateway.application.watch
        assert watch is not None
        await until(lambda: "work" not in {key.label for key in watch.configuration.snapshot.keys}, "it is gone", 4.0)
        expired = await at.get("/groq/work")
        assert expired["state"] == "expired"
        assert (await at.send("/groq/work", {"expires_at": None}, "PATCH"))["state"] == "unknown"
        await asyncio.sleep(0)


async def test_who_may_do_what(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add()
        async with Caller(at.gateway.port, CLIENT_SECRET) as caller:
            for method, path in (("GET", ""), ("DELETE", "/groq/mine"), ("POST", "/groq/mine/disable")):
                assert (await caller.get(PATH + path, method)).status == 403
            assert (await caller.post(PATH, {"provider": "groq", "secret": BAD})).status == 403
        assert (await at.get("/groq/mine"))["enabled"]
        missing = await at.ask("/groq/nothing", method="GET")
        assert (missing.status, missing.error["code"]) == (404, "key_not_found")
