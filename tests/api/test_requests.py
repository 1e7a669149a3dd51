from pathlib import Path

import pytest

from tests.api.served import MODEL, OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Caller, chat

PATH = "/api/v1/requests"


async def test_the_newest_requests_come_first_and_in_short(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        replies = [await gateway.ask(chat(MODEL)) for _ in range(3)]
        everything = (await look(gateway, PATH)).json
        two = (await look(gateway, f"{PATH}?limit=2")).json
    ids = [reply.headers["x-request-id"] for reply in reversed(replies)]
    assert [line["request_id"] for line in everything["requests"]] == ids
    assert everything["most"] == 10_000
    assert [line["request_id"] for line in two["requests"]] == ids[:2]
    first = two["requests"][0]
    assert (first["client"], first["provider"], first["model"], first["status"]) == ("tests", "groq", MODEL, 200)
    assert (first["attempts"], first["passed_over"], first["category"]) == (1, 0, "")


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
            own = (await gateway.ask(chat(MODEL))).headers["x-request-id"]
            lists = {
                secret: [line["request_id"] for line in (await look(gateway, PATH, secret)).json["requests"]]
                for secret in (CLIENT_SECRET, OTHER_SECRET, OPERATOR_SECRET)
            }
            not_ours = await look(gateway, f"{PATH}/{others}")
            operators = await look(gateway, f"{PATH}/{others}", OPERATOR_SECRET)
        assert lists == {CLIENT_SECRET: [own], OTHER_SECRET: [others], OPERATOR_SECRET: [own, others]}
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

    async def test_the_operators_secret_serves_no_request(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as caller:
            reply = await caller.post("/v1/chat/completions", chat(MODEL))
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")

    @pytest.mark.parametrize("header", ["x-api-key", "x-goog-api-key"])
    async def test_the_secret_may_come_as_on_the_data_plane(self, tmp_path: Path, header: str) -> None:
        async with served(tmp_path) as gateway:
            assert (await look(gateway, PATH, **{"authorization": "", header: OPERATOR_SECRET})).status == 200
            assert (await look(gateway, f"{PATH}?key={CLIENT_SECRET}", authorization="")).status == 200


async def test_what_has_fallen_out_of_the_ring_says_how_many_are_kept(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_KEPT_REQUESTS="1") as gateway:
        first = (await gateway.ask(chat(MODEL))).headers["x-request-id"]
        assert (await look(gateway, f"{PATH}/{first}")).status == 200, "looking ends a page of lines"
        await gateway.ask(chat(MODEL))
        assert (await look(gateway, PATH)).status == 200
        reply = await look(gateway, f"{PATH}/{first}")
    assert (reply.status, reply.error["param"]) == (404, "id")
    assert "the newest 1 are kept (KEYRELAY_KEPT_REQUESTS)" in reply.error["message"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", ""])
async def test_a_wrong_limit_is_named(tmp_path: Path, limit: str) -> None:
    async with served(tmp_path) as gateway:
        reply = await look(gateway, f"{PATH}?limit={limit}")
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "limit", "invalid_parameter")


async def test_the_openapi_document_has_it_all_with_examples(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        document = (await look(gateway, "/openapi.json")).json
    schemas = document["components"]["schemas"]
    views = {path: operations for path, operations in document["paths"].items() if path.startswith("/api/v1/")}
    assert set(views) == {
        PATH, f"{PATH}/{{id}}", "/api/v1/quota", "/api/v1/quota/lifespan", "/api/v1/quota/learned",
        "/api/v1/quota/learned/{id}",
    }  # fmt: skip
    for operations in views.values():
        for operation in operations.values():
            assert operation["security"] == [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}]
            assert "422" not in operation["responses"]
            assert "401" in operation["responses"]
            content = operation["responses"]["200"]["content"]["application/json"]
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert content["example"].keys() <= schemas[name]["properties"].keys()
            assert schemas[name]["description"]
    assert "HTTPValidationError" not in schemas
