import asyncio
from pathlib import Path

import pytest

from tests.api.kept import kept, some_records
from tests.api.served import MODEL, OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Caller, chat

PATH = "/api/v1/requests"


async def test_a_request_is_explained_as_document_and_as_text(tmp_path: Path) -> None:
    async with served(tmp_path, GROQ_RPM="30") as gateway:
        reply = await gateway.ask(chat(MODEL))
        path = f"{PATH}/{reply.headers['x-request-id']}"
        found = await look(gateway, path)
        text = await look(gateway, path, accept="text/plain")
    document = found.json
    assert found.headers["cache-control"] == "no-store"
    assert document["request_id"] == reply.headers["x-request-id"]
    assert document["key"] == reply.headers["x-keyrelay-key"]
    assert [line["outcome"] for line in document["stages"][0]["candidates"]] == ["answered", "not_reached"]
    usage = reply.json["usage"]
    assert (document["input_tokens"], document["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    debit = {line["unit"]: line for line in document["debit"] if line["window"] == "60s"}
    assert (debit["requests"]["amount"], debit["requests"]["reserved"], debit["requests"]["settled"]) == (30, 1, 1)
    assert debit["tokens"]["settled"] == usage["total_tokens"]
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body.decode().startswith(document["summary"])


class TestWhoSeesWhat:
    async def test_a_client_sees_its_own_requests_and_the_operator_all(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway:
            async with Caller(gateway.port, OTHER_SECRET) as caller:
                others = (await caller.post("/v1/chat/completions", chat(MODEL))).headers["x-request-id"]
            own = await look(gateway, f"{PATH}/{(await gateway.ask(chat(MODEL))).headers['x-request-id']}")
            not_ours = await look(gateway, f"{PATH}/{others}")
            operators = await look(gateway, f"{PATH}/{others}", OPERATOR_SECRET)
        assert (own.status, own.json["client"]) == (200, "tests")
        assert (not_ours.status, not_ours.error["code"]) == (404, "request_not_found")
        assert (operators.status, operators.json["client"]) == (200, "other")

    @pytest.mark.parametrize(("secret", "code"), [("", "missing_api_key"), ("nonsense", "invalid_api_key")])
    async def test_nobody_else_sees_anything(self, tmp_path: Path, secret: str, code: str) -> None:
        async with served(tmp_path) as gateway:
            header = {"authorization": ""} if not secret else {}
            for path in (PATH, f"{PATH}/x", "/api/v1/quota", "/api/v1/quota/lifespan?tokens_per_day=1"):
                reply = await look(gateway, path, secret, **header)
                assert (reply.status, reply.error["code"]) == (401, code)
                assert reply.headers["www-authenticate"] == "Bearer"
                for way in ("ign in", "krt-", "KEYRELAY_OPERATOR_SECRET", "local.secret", "client's"):
                    assert way in reply.error["message"], "a client's secret is not the only one that would do"

    async def test_the_operators_secret_serves_no_request(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as caller:
            reply = await caller.post("/v1/chat/completions", chat(MODEL))
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")

    @pytest.mark.parametrize("header", ["x-api-key", "x-goog-api-key"])
    async def test_the_secret_may_come_as_on_the_data_plane(self, tmp_path: Path, header: str) -> None:
        async with served(tmp_path) as gateway:
            assert (await look(gateway, PATH, **{"authorization": "", header: OPERATOR_SECRET})).status == 200
            assert (await look(gateway, f"{PATH}?key={CLIENT_SECRET}", authorization="")).status == 200


class TestOlderOnes:
    """What is in the store alone."""

    RECORDS = some_records(60)

    @pytest.mark.parametrize("served_by", ["groq", ""])
    async def test_are_told_with_answer_and_calls(self, tmp_path: Path, served_by: str) -> None:
        record = next(
            each
            for each in self.RECORDS
            if each.client == "tests" and each.provider == served_by and any(call.failure for call in each.attempts)
        )
        async with kept(tmp_path, self.RECORDS) as gateway:
            document = (await look(gateway, f"{PATH}/{record.id}")).json
            text = (await look(gateway, f"{PATH}/{record.id}", accept="text/plain")).body.decode()
            not_theirs = await look(gateway, f"{PATH}/{record.id}", OTHER_SECRET)
            operators = await look(gateway, f"{PATH}/{record.id}", OPERATOR_SECRET)
        for name in ("client", "provider", "key", "model", "status", "category", "ms", "cost_usd"):
            assert document[name] == getattr(record, name), name
        failed = [call.failure for call in record.attempts if call.failure]
        assert [line["message"] for line in document["attempts"] if line["kind"]] == [each.message for each in failed]
        beginning = f"groq's key {record.key!r} answered" if served_by else f"Nobody answered ({record.status}, "
        assert document["summary"].startswith(beginning)
        assert document["summary"].endswith("Which other candidates there were is no longer known.")
        assert (document["stages"], document["debit"]) == ([], [])
        assert text.startswith(document["summary"])
        assert (not_theirs.status, operators.status) == (404, 200)

    @pytest.mark.parametrize("name", ["req_" + "0" * 32, "nonsense", "req_%00"])
    async def test_what_is_nowhere_is_said_with_how_long_requests_are_kept(self, tmp_path: Path, name: str) -> None:
        async with kept(tmp_path) as gateway:
            reply = await look(gateway, f"{PATH}/{name}")
        assert (reply.status, reply.error["param"]) == (404, "id")
        assert "KEYRELAY_KEEP_REQUESTS_DAYS" in reply.error["message"]


async def test_what_has_fallen_out_of_memory_is_in_the_store(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_KEPT_REQUESTS="1") as gateway:
        first = (await gateway.ask(chat(MODEL))).headers["x-request-id"]
        in_memory = await look(gateway, f"{PATH}/{first}")
        await gateway.ask(chat(MODEL))
        found = await look(gateway, f"{PATH}/{first}")
        for _ in range(200):
            if found.status == 200 and not found.json["stages"]:
                break
            await asyncio.sleep(0.02)
            found = await look(gateway, f"{PATH}/{first}")
    assert in_memory.json["stages"], "looking ends a page of lines"
    assert found.json["request_id"] == first
    for name in ("provider", "key", "model", "input_tokens", "output_tokens", "ms"):
        assert found.json[name] == in_memory.json[name]


OPEN_TO_ALL = {
    ("get", "/api/v1/setup"),
    ("post", "/api/v1/setup"),
    ("post", "/api/v1/session"),
    ("get", "/api/v1/local-proof"),
}


async def test_the_openapi_document_has_it_all_with_examples(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        document = (await look(gateway, "/openapi.json")).json
    schemas = document["components"]["schemas"]
    views = {path: operations for path, operations in document["paths"].items() if path.startswith("/api/v1/")}
    assert {PATH, f"{PATH}/export", f"{PATH}/{{id}}", f"{PATH}/{{id}}/text", "/api/v1/usage", "/api/v1/keys"} <= set(
        views
    )
    for path, operations in views.items():
        for method, operation in operations.items():
            if (method, path) not in OPEN_TO_ALL:
                assert operation["security"] == [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}], path
            assert "401" in operation["responses"], path
            good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            content = good.get("content", {}).get("application/json")
            if content is None:
                continue  # a stream of events
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert content["example"].keys() <= schemas[name]["properties"].keys(), path
            assert schemas[name]["description"], name
    assert "HTTPValidationError" not in schemas
