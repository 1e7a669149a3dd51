"""Importing over the API: shown first, then done whole or not at all."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.administration.keyed import GOOD, OTHER, Desk, desk
from tests.e2e.harness import CLIENT_SECRET, Caller

PATH = "/api/v1/import"
NEW_CLIENT = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ENV = f"GROQ_API_KEYS=mine={GOOD}\nGROQ_RPD=5\nCLIENT_API_KEYS_MAP={NEW_CLIENT}:App\nFLASK_ENV=dev\n"
NAME = "groq/openai/gpt-oss-20b"


def body(text: str = ENV, kind: str = "env", **more: Any) -> dict[str, Any]:
    return {"files": [{"kind": kind, "text": text, "name": "old"}], **more}


async def send(at: Desk, document: object, status: int = 200) -> Any:
    reply = await at.caller.post(PATH, document)
    assert reply.status == status, reply.body
    assert GOOD.encode() not in reply.body
    return reply.json


def outcomes(answer: Any) -> dict[str, str]:
    return {line["source"]: line["outcome"] for line in answer["lines"]}


async def test_it_is_shown_first_and_then_done_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        shown = await send(at, body(dry_run=True))
        assert (shown["dry_run"], shown["imported"]) == (True, 3)
        assert "groq/mine" not in await at.states()
        done = await send(at, body(revision=shown["revision"]))
        assert done["lines"] == shown["lines"]
        assert done["revision"] > shown["revision"]
        assert outcomes(done) == {
            "GROQ_RPD": "new",
            "GROQ_API_KEYS": "new",
            "CLIENT_API_KEYS_MAP entry 1": "new",
            "FLASK_ENV": "left",
        }
        assert "groq/mine" in await at.states()
        async with Caller(at.gateway.port, NEW_CLIENT) as caller:
            reply = await caller.post(
                "/v1/chat/completions", {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
            )
            assert reply.status == 200
        again = await send(at, body())
        assert (again["imported"], again["revision"]) == (0, done["revision"])


async def test_what_changed_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        shown = await send(at, body(dry_run=True))
        await at.add(OTHER, "other")
        refused = await send(at, body(revision=shown["revision"]), 409)
        assert refused["error"]["code"] == "changed_meanwhile"
        assert "groq/mine" not in await at.states()


async def test_what_would_not_be_valid_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        text = ENV + "KEYRELAY_RETRY_ATTEMPTS=1000\n"
        assert (await send(at, body(text, dry_run=True), 422))["error"]["code"] == "invalid_configuration"
        await send(at, body(text), 422)
        assert "groq/mine" not in await at.states()


async def test_what_was_used_elsewhere_counts_at_once_and_after_a_restart(tmp_path: Path) -> None:
    chat = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}

    async def left(at: Desk) -> int:
        async with Caller(at.gateway.port, CLIENT_SECRET) as caller:
            for count in range(6):
                if (await caller.post("/v1/chat/completions", chat)).status != 200:
                    return count
        return 6

    keys = f"GROQ_API_KEYS=mine={GOOD}\nGROQ_LIMIT=5\n"
    async with desk(tmp_path, GROQ_API_KEYS="") as at:
        await send(at, body(keys))
        done = await send(at, body('{"groq": 3}', "usage"))
        assert (done["uncounted"], done["lines"][0]["message"]) == ("", "3 requests")
        assert (await send(at, body('{"groq": 3}', "usage", dry_run=True)))["lines"][0]["outcome"] != "new"
        assert await left(at) == 2
    async with desk(tmp_path, GROQ_API_KEYS="") as at:
        assert await left(at) == 0


async def test_a_litellm_configuration_is_taken_over(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: quick, litellm_params: {model: groq/openai/gpt-oss-20b, api_key: os.environ/MINE, rpm: 7}}
"""
    async with desk(tmp_path) as at:
        done = await send(at, body(text, "litellm", variables={"MINE": GOOD}))
        assert [line["outcome"] for line in done["lines"]] == ["new", "new"]
        async with Caller(at.gateway.port, CLIENT_SECRET) as caller:
            asked = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}
            assert (await caller.post("/v1/chat/completions", asked)).status == 200


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400),
        ({"files": []}, 400),
        (body(kind="toml"), 400),
        (body(variables={str(number): "x" for number in range(1001)}), 400),
        (body("x" * 1_100_000), 413),
    ],
)
async def test_what_cannot_be_read_is_refused(tmp_path: Path, document: object, status: int) -> None:
    async with desk(tmp_path) as at:
        await send(at, document, status)
