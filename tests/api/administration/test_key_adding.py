"""Adding keys by API: asked before, all or nothing, never twice."""

import json
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.core.parcels import PublicKey
from tests.api.administration.keyed import BAD, GOOD, OTHER, PATH, POOR, Desk, desk
from tests.api.served import MODEL
from tests.e2e.harness import chat
from tests.vault.test_parcels import packed


async def test_a_key_is_asked_for_before_it_is_saved_and_serves_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        added = await at.add()
        assert added["validation"]["outcome"] == "valid"
        assert added["validation"]["limits_of"] == "What is left of the quota."
        assert (added["key"]["state"], added["key"]["last_test"]["outcome"]) == ("ready", "valid")
        for label in ("work", "home"):
            await at.send(f"/groq/{label}/disable")
        answered = await at.gateway.ask(chat(f"groq/{MODEL}"))
        assert (answered.is_good(), answered.headers["x-keyrelay-key"]) == (True, "mine")


async def test_a_key_that_the_provider_refuses_is_not_saved_nor_repeated(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        refused = await at.ask("", {"provider": "groq", "secret": BAD})
        assert (refused.status, refused.error["code"], refused.error["param"]) == (422, "key_invalid", "secret")
        assert "Groq answered 401" in refused.error["message"]
        assert BAD.encode() not in refused.body
        assert sorted(await at.states()) == ["groq/home", "groq/work"]
        unasked = await at.add(BAD, validate=False)
        assert (unasked["validation"], unasked["key"]["state"]) == (None, "unknown")


async def test_a_provider_that_cannot_be_reached_says_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, DEEPSEEK_BASE_URL="http://127.0.0.1:9") as at:
        body = {"provider": "deepseek", "secret": "sk-test-0123456789ab", "label": "x"}
        refused = await at.ask("", body)
        assert (refused.status, refused.error["code"]) == (422, "key_not_verified")
        assert "save_unknown" in refused.error["message"]
        added = await at.send("", {**body, "save_unknown": True}, status=201)
        assert (added["validation"]["outcome"], added["key"]["state"]) == ("unknown", "unknown")


WRONG: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"provider": "groq"}, 400, "invalid_parameter", "secret"),
    ({"provider": "groq", "secret": "a b"}, 400, "invalid_parameter", "secret"),
    ({"provider": "groq", "secret": "changeme"}, 400, "invalid_parameter", "secret"),
    ({"provider": "groq", "secret": "x" * 5000}, 400, "invalid_parameter", "secret"),
    ({"provider": "grok", "secret": GOOD}, 400, "provider_not_found", "provider"),
    ({"provider": "openai_compatible", "secret": GOOD}, 409, "provider_off", "provider"),
    ({"provider": "groq", "secret": GOOD, "label": "work"}, 409, "label_exists", "label"),
    ({"provider": "groq", "secret": "sim-groq-a"}, 409, "key_exists", "secret"),
    ({"provider": "groq", "secret": GOOD, "limits": ["x"]}, 422, "invalid_configuration", None),
    ({"secret": GOOD}, 400, "invalid_parameter", "provider"),
    ({"provider": "groq", "secret": GOOD, "encrypted": {}}, 400, "invalid_parameter", "encrypted.key_id"),
]


async def test_what_cannot_be_added(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for body, status, code, param in WRONG:
            refused = await at.ask("", body)
            assert (refused.status, refused.error["code"], refused.error["param"]) == (status, code, param)
            assert GOOD.encode() not in refused.body
        assert sorted(await at.states()) == ["groq/home", "groq/work"]


def stored_in(directory: Path) -> list[Path]:
    return list(directory.rglob("keyrelay.db*"))


async def bulk(at: Desk, text: str, **more: Any) -> Any:
    return await at.send("/bulk", {"text": text, **more})


async def test_a_paste_is_shown_before_it_is_taken(tmp_path: Path) -> None:
    text = f"# mine\nGROQ_API_KEYS=one={GOOD},again={GOOD}\n{OTHER}\nPORT=80\nwork=sim-groq-a\nsk-test-0123456789ab\n"
    async with desk(tmp_path) as at:
        shown = await bulk(at, text, dry_run=True)
        assert (shown["dry_run"], shown["added"]) == (True, 0)
        assert [(line["line"], line["outcome"], line["provider"]) for line in shown["lines"]] == [
            (2, "new", "groq"),
            (2, "duplicate", "groq"),
            (3, "new", "groq"),
            (4, "ignored", ""),
            (5, "problem", ""),
            (6, "problem", ""),
        ]
        first, again, other, *_, unclear = shown["lines"]
        assert (first["label"], first["validation"]["outcome"]) == ("one", "valid")
        assert again["duplicate_of"] == "line 2"
        assert other["suggestions"] == ["groq"]
        assert unclear["suggestions"] == ["deepseek", "openai"]
        assert sorted(await at.states()) == ["groq/home", "groq/work"]
        refused = await at.ask("/bulk", {"text": text})
        assert (refused.status, refused.error["code"]) == (422, "keys_not_added")
        assert [line["outcome"] for line in refused.error["keyrelay"]["lines"]].count("problem") == 2
        assert sorted(await at.states()) == ["groq/home", "groq/work"]


async def test_one_bad_key_among_many_keeps_all_out(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        refused = await at.ask("/bulk", {"text": f"{GOOD}\n{BAD}\n"})
        assert (refused.status, refused.error["code"]) == (422, "keys_not_added")
        assert BAD.encode() not in refused.body
        lines = refused.error["keyrelay"]["lines"]
        assert [(line["outcome"], line["validation"]["outcome"]) for line in lines] == [
            ("new", "valid"),
            ("problem", "invalid"),
        ]
        assert sorted(await at.states()) == ["groq/home", "groq/work"]
        taken = await bulk(at, f"{GOOD}\n{BAD}\n", validate=False)
        assert taken["added"] == 2
        twice = await bulk(at, f"{GOOD}\n{BAD}\n", validate=False)
        assert (twice["added"], [line["outcome"] for line in twice["lines"]]) == (0, ["duplicate", "duplicate"])


async def test_two_hundred_keys_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        secrets = [f"gsk_test_many_{number:04}" for number in range(200)]
        taken = await bulk(at, "\n".join(secrets))
        assert taken["added"] == 200
        page = await at.get()
        assert page["states"] == {"ready": 200, "unknown": 2}
        assert (await at.caller.get("/api/v1/audit?limit=1000")).body.count(b'"add keys"') == 200
        assert b"gsk_test_many" not in (await at.ask("", method="GET")).body
        database = b"".join(map(Path.read_bytes, stored_in(tmp_path)))
        assert b"groq/" in database
        for secret in secrets:
            assert secret.encode() not in database
        assert "gsk_test_many" not in at.gateway.log()


async def test_a_list_of_keys_with_what_is_said_of_each(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        keys = [
            {"provider": "groq", "secret": GOOD, "label": "a", "priority": 3},
            {"provider": "groq", "secret": POOR, "label": "b", "backup": True},
        ]
        taken = await at.send("/bulk", {"keys": keys})
        assert [line["validation"]["outcome"] for line in taken["lines"]] == ["valid", "valid"]
        assert (await at.get("/groq/a"))["priority"] == 3
        assert (await at.get("/groq/b"))["backup"]
        empty = await at.ask("/bulk", {"keys": [{"provider": "groq", "label": "c"}]})
        assert empty.error["keyrelay"]["lines"][0]["message"] == "It holds no secret."
        for body in ({}, {"keys": keys, "text": "x"}, {"text": "[1"}, {"text": "x\n" * 1001}):
            assert (await at.ask("/bulk", body)).status == 400


async def test_keys_of_the_environment_are_copied_when_that_is_asked_for(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        assert await at.send("/import", {"keys": ["groq/work"]}) == {"imported": ["groq/work"]}
        work = await at.get("/groq/work")
        assert (work["source"], work["editable"]) == ("environment GROQ_API_KEYS", False)
        assert "wins over the copy" in work["note"]
        assert await at.send("/import", {"all": True}) == {"imported": ["groq/home", "groq/work"]}
        for body in ({}, {"keys": ["groq/work"], "all": True}):
            assert (await at.ask("/import", body)).status == 400
        assert (await at.ask("/import", {"keys": ["groq/none"]})).status == 404
        state = at.gateway.application.administration.state
        assert sorted(name for _, name in state.secrets) == ["groq/home", "groq/work"]


async def test_the_routes_are_described_with_bodies_and_examples(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        document = (await at.caller.get("/openapi.json")).json
        for path, operations in document["paths"].items():
            if path.startswith((PATH, "/api/v1/tasks", "/api/v1/vault")):
                for operation in operations.values():
                    good = next(answer for code, answer in operation["responses"].items() if code.startswith("2"))
                    assert "example" in good["content"]["application/json"], path
        assert "#/components/schemas/NewKey" in json.dumps(document)


async def test_a_secret_that_the_browser_has_encrypted_is_taken_wherever_one_is(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        key = msgspec.convert((await at.caller.get("/api/v1/vault/public-key")).json, PublicKey)

        def parcel(secret: str) -> Any:
            return msgspec.to_builtins(packed(key, secret.encode()))

        added = await at.send("", {"provider": "groq", "label": "mine", "encrypted": parcel(GOOD)}, status=201)
        assert added["key"]["tail"] == GOOD[-4:]
        assert (await at.send("/bulk", {"encrypted": parcel(POOR)}))["added"] == 1
        rotated = await at.send("/groq/mine/rotate", {"encrypted": parcel(OTHER)})
        assert rotated["key"]["tail"] == OTHER[-4:]
        old = {"encrypted": parcel(BAD), "provider": "groq"}
        assert not (await at.caller.post("/api/v1/api-keys/validate", old)).json["valid"]
        twice = await at.ask("", {"provider": "groq", "secret": GOOD, "encrypted": parcel(GOOD)})
        assert (twice.status, twice.error["param"]) == (400, "encrypted")
        wrong = await at.ask("", {"provider": "groq", "encrypted": {**parcel(GOOD), "key_id": "t9"}})
        assert (wrong.status, wrong.error["code"]) == (400, "not_opened")
