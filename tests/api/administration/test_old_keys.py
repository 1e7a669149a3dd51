"""The key routes of older key managers."""

import time
from pathlib import Path

from tests.api.administration.keyed import BAD, GOOD, POOR, desk
from tests.api.served import MODEL
from tests.e2e.harness import CLIENT_SECRET, Caller, chat

ROUTES = (
    ("POST", "/api/v1/api-keys/add"),
    ("POST", "/api/v1/api-keys/validate"),
    ("GET", "/api/v1/api-keys/status"),
    ("GET", "/api/v1/credits"),
    ("POST", "/api/v1/credits/reset"),
)


async def test_a_key_is_tried_out_added_counted_and_counted_anew(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        asked = {"api_key": GOOD, "provider": "groq", "name": "mine", "usage_limit": 100}
        tried = await at.caller.post("/api/v1/api-keys/validate", asked)
        assert (tried.status, tried.json["valid"], tried.json["checked"]) == (200, True, True)
        assert "groq/mine" not in await at.states()
        added = await at.caller.post("/api/v1/api-keys/add", asked)
        assert (added.status, added.json["success"], added.json["key_id"]) == (200, True, "groq/mine")
        assert added.json["masked_key"] == f"…{GOOD[-4:]}"
        known = await at.caller.post("/api/v1/api-keys/validate", asked)
        assert known.json["valid"]
        assert (await at.get("/groq/mine"))["limits"] == ["100 requests per day@UTC"]
        for label in ("work", "home"):
            await at.send(f"/groq/{label}/disable")
        for _ in range(3):
            assert (await at.gateway.ask(chat(f"groq/{MODEL}"))).is_good()
        deadline_s = time.monotonic() + 10.0
        while (status := (await at.caller.get("/api/v1/api-keys/status")).json)["total_requests"] < 3:
            assert time.monotonic() < deadline_s
        assert (status["total_keys"], status["active_keys"], status["total_errors"]) == (3, 1, 0)
        mine = next(key for key in status["keys"] if key["key_id"] == "groq/mine")
        assert (mine["usage_count"], mine["status"], mine["is_active"]) == (3, "ready", True)
        assert mine["tokens_used"] > 0
        spent = (await at.caller.get("/api/v1/credits")).json
        assert (spent["total_requests"], spent["total_tokens"]) == (3, mine["tokens_used"])
        reset = await at.caller.post("/api/v1/credits/reset", {"key_id": "groq/mine"})
        assert (reset.json["success"], reset.json["keys"]) == (True, ["groq/mine"])
        assert (await at.caller.get("/api/v1/credits")).json["total_requests"] == 0
        assert (await at.caller.post("/api/v1/credits/reset", {})).json["keys"] == [
            "groq/home",
            "groq/mine",
            "groq/work",
        ]
        assert (await at.caller.get("/api/v1/usage?from=1h")).json["totals"]["requests"] == 3
        assert GOOD.encode() not in (await at.caller.get("/api/v1/audit")).body


async def test_what_a_provider_refuses_is_said(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        bad = await at.caller.post("/api/v1/api-keys/validate", {"api_key": BAD, "provider": "groq"})
        assert (bad.json["valid"], bad.json["checked"]) == (False, True)
        refused = await at.caller.post("/api/v1/api-keys/add", {"api_key": BAD, "provider": "groq"})
        assert (refused.status, refused.error["code"]) == (422, "key_invalid")
        for body in ({"provider": "groq"}, {"api_key": POOR, "usage_limit": 0}, {"api_key": "x", "provider": "?"}):
            assert (await at.caller.post("/api/v1/api-keys/add", body)).status == 400
        assert (await at.caller.post("/api/v1/credits/reset", {"key_id": "groq/none"})).status == 404
        unasked = await at.caller.post("/api/v1/api-keys/validate", {"api_key": "0123456789abcdef", "provider": "ai21"})
        assert (unasked.json["valid"], unasked.json["checked"]) == (False, False)


async def test_they_are_for_administrators(tmp_path: Path) -> None:
    async with desk(tmp_path) as at, Caller(at.gateway.port, CLIENT_SECRET) as caller:
        for method, path in ROUTES:
            assert (await caller.get(path, method)).status == 403
