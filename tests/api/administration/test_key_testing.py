"""Testing keys and exchanging their secrets, by API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.core.administered import KeyEntry
from keyrelay.simulator.scenario import Change
from tests.api.administration.keyed import BAD, GOOD, OTHER, POOR, Desk, desk
from tests.api.served import MODEL
from tests.e2e.harness import CLIENT_SECRET, Caller, chat, until


async def ended(at: Desk, task: dict[str, Any]) -> dict[str, Any]:
    while task["state"] == "running":
        await asyncio.sleep(0.01)
        task = (await at.caller.get(f"/api/v1/tasks/{task['id']}")).json
    return task


async def test_a_key_that_the_provider_refuses_goes_out_and_comes_back_when_it_accepts_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add()
        at.simulator.change(Change(provider="groq", keys={GOOD: "invalid"}))
        tested = await at.send("/groq/mine/test")
        assert (tested["validation"]["outcome"], tested["key"]["state"]) == ("invalid", "invalid")
        assert tested["key"]["set_by"] == "provider"
        assert GOOD not in str(tested)
        at.simulator.change(Change(provider="groq", keys={GOOD: "ok"}))
        again = await at.send("/groq/mine/test")
        assert (again["validation"]["outcome"], again["key"]["state"]) == ("valid", "ready")


async def test_all_failed_or_stale_keys_are_tested_in_the_background(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add()
        await at.add(BAD, "bad", validate=False)
        stale = await ended(at, await at.send("/test", {"which": "stale"}, status=202))
        assert sorted(result["subject"] for result in stale["results"]) == ["groq/bad", "groq/home", "groq/work"]
        assert (stale["state"], stale["done"], stale["total"], stale["kind"]) == ("done", 3, 3, "test keys")
        failed = await ended(at, await at.send("/test", {"which": "failed"}, status=202))
        assert [(each["subject"], each["outcome"]) for each in failed["results"]] == [("groq/bad", "invalid")]
        everything = await ended(at, await at.send("/test", {}, status=202))
        assert everything["total"] == 4
        one = await ended(at, await at.send("/test", {"keys": ["groq/mine"], "provider": "groq"}, status=202))
        assert [result["outcome"] for result in one["results"]] == ["valid"]
        assert (await ended(at, await at.send("/test", {"provider": "mistral"}, status=202)))["total"] == 0
        listed = (await at.caller.get("/api/v1/tasks")).json["items"]
        assert [task["total"] for task in listed] == [0, 1, 4, 1, 3]
        assert listed[0]["results"] == []
        assert (await at.ask("/test", {"which": "some"})).status == 400
        assert (await at.ask("/test", {"keys": ["nothing"]})).status == 404


@pytest.fixture
async def silence() -> AsyncIterator[str]:
    """The base URL of a provider that says nothing."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_task_can_be_cancelled(tmp_path: Path, silence: str) -> None:
    async with desk(tmp_path, GROQ_BASE_URL=silence) as at:
        task = await at.send("/test", {}, status=202)
        cancelled = await at.caller.get(f"/api/v1/tasks/{task['id']}", "DELETE")
        assert cancelled.status == 200
        over = await ended(at, cancelled.json)
        assert (over["state"], over["message"]) == ("cancelled", "It was cancelled after 0 of 2.")
        gone = await at.caller.get(f"/api/v1/tasks/task_{'0' * 32}")
        assert (gone.status, gone.error["code"]) == (404, "task_not_found")
        assert (await at.caller.get("/api/v1/tasks/x")).status == 400
        async with Caller(at.gateway.port, CLIENT_SECRET) as caller:
            assert (await caller.get("/api/v1/tasks")).status == 403


async def test_a_rotated_key_serves_with_the_new_secret_under_its_old_name(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add(notes="kept", priority=1)
        for label in ("work", "home"):
            await at.send(f"/groq/{label}/disable")
        rotated = await at.send("/groq/mine/rotate", {"secret": OTHER, "drain_s": 1.0})
        assert (rotated["reached"], rotated["validation"]["outcome"]) == ("switched", "valid")
        key = rotated["key"]
        assert (key["tail"], key["notes"], key["priority"], key["rotation"]) == (OTHER[-4:], "kept", 1, "draining")
        assert key["rotated_at"] is not None
        answered = await at.gateway.ask(chat(f"groq/{MODEL}"))
        assert (answered.is_good(), answered.headers["x-keyrelay-key"]) == (True, "mine")
        beside = await at.get("/groq/mine.old")
        assert (beside["state"], beside["replaces"], beside["way_back"]) == ("disabled", "mine", "")
        retired_at = beside["retires_at"]
        assert (
            beside["message"] == f"The old secret of groq/mine, out of use since the rotation; retired at {retired_at}."
        )
        administration = at.gateway.application.administration
        assert administration is not None
        await until(lambda: administration.state.get(KeyEntry, "groq/mine.old") is None, "it is retired", 5.0)
        assert (await at.get("/groq/mine"))["rotation"] == ""


async def test_a_rotation_goes_on_where_it_was_cut_off_and_can_be_taken_back(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        before = (await at.add())["key"]["fingerprint"]
        begun = await at.send("/groq/mine/rotate", {"secret": OTHER, "step": "add"})
        assert (begun["reached"], begun["key"]["rotation"], begun["key"]["fingerprint"]) == ("added", "adding", before)
        again = await at.send("/groq/mine/rotate", {"secret": OTHER, "step": "add"})
        assert again["reached"] == "added"
        assert (await at.get("/groq/mine.next"))["message"] == "The new secret of groq/mine, not in use yet."
        other = await at.ask("/groq/mine/rotate", {"secret": POOR})
        assert (other.status, other.error["code"]) == (409, "rotation_under_way")
        assert (await at.send("/groq/mine/rotate", {"step": "test"}))["validation"]["outcome"] == "valid"
        switched = await at.send("/groq/mine/rotate", {})
        assert (switched["reached"], switched["validation"]) == ("switched", None)
        assert switched["key"]["fingerprint"] != before
        blocked = await at.ask("/groq/mine/rotate", {"secret": POOR})
        assert (blocked.status, blocked.error["code"]) == (409, "rotation_under_way")
        back = await at.send("/groq/mine/rotate", {"step": "abort"})
        assert (back["reached"], back["key"]["fingerprint"], back["key"]["rotation"]) == ("aborted", before, "")
        await at.send("/groq/mine/rotate", {"secret": OTHER, "step": "add"})
        assert (await at.send("/groq/mine/rotate", {"step": "abort"}))["key"]["fingerprint"] == before
        done = await at.send("/groq/mine/rotate", {"secret": OTHER, "drain_s": 0, "validate": False})
        assert (done["reached"], done["key"]["rotation"]) == ("retired", "")
        await at.send("/groq/mine/rotate", {"secret": GOOD})
        assert (await at.send("/groq/mine/rotate", {"step": "retire"}))["reached"] == "retired"
        assert sorted(await at.states()) == ["groq/home", "groq/mine", "groq/work"]


async def test_a_new_key_that_is_refused_leaves_the_old_one(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        before = (await at.add())["key"]
        refused = await at.ask("/groq/mine/rotate", {"secret": BAD})
        assert (refused.status, refused.error["code"]) == (422, "key_invalid")
        after = await at.get("/groq/mine")
        assert (after["fingerprint"], after["rotation"], after["state"]) == (before["fingerprint"], "", "ready")
        await at.send("/groq/mine/rotate", {"secret": OTHER})


WRONG: list[tuple[str, dict[str, object], int, str]] = [
    ("work", {"secret": OTHER}, 409, "not_here"),
    ("mine", {}, 409, "no_rotation"),
    ("mine", {"step": "add"}, 400, "invalid_parameter"),
    ("mine", {"step": "retire"}, 409, "no_rotation"),
    ("mine", {"step": "abort"}, 409, "no_rotation"),
    ("mine", {"step": "jump"}, 400, "invalid_parameter"),
    ("mine", {"secret": GOOD}, 409, "key_exists"),
    ("mine", {"secret": "sim-groq-a"}, 409, "key_exists"),
    ("mine", {"secret": "a b"}, 400, "invalid_parameter"),
    ("mine", {"secret": OTHER, "drain_s": -1}, 400, "invalid_parameter"),
    ("none", {"secret": OTHER}, 404, "key_not_found"),
]


async def test_what_cannot_be_rotated(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add()
        for label, body, status, code in WRONG:
            refused = await at.ask(f"/groq/{label}/rotate", body)
            assert (refused.status, refused.error["code"]) == (status, code), refused.body
