from pathlib import Path

import pytest

from tests.api.served import MODEL, OPERATOR_SECRET, look, served
from tests.e2e.harness import chat

PATH = "/api/v1/quota"


async def test_what_was_asked_is_counted_and_what_was_not_is_there(tmp_path: Path) -> None:
    async with served(tmp_path, GROQ_RPM="20") as gateway:
        replies = [await gateway.ask(chat(MODEL)) for _ in range(4)]
        document = (await look(gateway, f"{PATH}?model={MODEL}")).json
    minute = [line for line in document["counts"] if (line["unit"], line["window"]) == ("requests", "60s")]
    assert [(line["account"], line["keys"], line["used"], line["amount"]) for line in minute] == [
        ("work", ["work"], 2, 20),
        ("home", ["home"], 2, 20),
    ]
    assert {line["remaining"] for line in minute} == {18}
    assert {line["source"] for line in minute} == {"configured"}
    tokens = sum(reply.json["usage"]["total_tokens"] for reply in replies)
    assert (
        sum(line["used"] for line in document["counts"] if (line["unit"], line["window"]) == ("tokens", "60s"))
        == tokens
    )
    assert document["total"] == len(document["counts"])
    assert document["keys_without_limits"] == []


@pytest.mark.parametrize(("query", "keys"), [("key=home", {"home"}), ("account=work", {"work"}), ("provider=x", set())])
async def test_filters(tmp_path: Path, query: str, keys: set[str]) -> None:
    async with served(tmp_path) as gateway:
        document = (await look(gateway, f"{PATH}?{query}")).json
    assert {key for line in document["counts"] for key in line["keys"]} == keys


async def test_a_limit_cuts_the_list_and_not_the_total(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        whole = (await look(gateway, PATH)).json
        cut = (await look(gateway, f"{PATH}?limit=3")).json
    assert cut["counts"] == whole["counts"][:3]
    assert cut["total"] == whole["total"] == len(whole["counts"]) > 3


async def test_many_counts_let_others_in_between(tmp_path: Path) -> None:
    keys = ",".join(f"k{number}=sim-groq-{number}" for number in range(60))
    async with served(tmp_path, GROQ_API_KEYS=keys) as gateway:
        document = (await look(gateway, PATH)).json
    assert len({line["account"] for line in document["counts"]}) == 60


class TestLifespan:
    async def test_at_a_use_per_day(self, tmp_path: Path) -> None:
        async with served(tmp_path, GROQ_TPD="30000") as gateway:
            path = f"{PATH}/lifespan?tokens_per_day=1000000000&tokens_per_request=2000"
            document = (await look(gateway, path)).json
        assert (document["tokens_per_day"], document["tokens_per_request"]) == (1e9, 2000)
        assert [line["provider"] for line in document["providers"]] == ["groq"]
        assert document["total"]["verdict"] == "partly"
        assert 0 < document["total"]["share"] < 1

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("", "tokens_per_day"),
            ("?tokens_per_day=0", "tokens_per_day"),
            ("?tokens_per_day=-1", "tokens_per_day"),
            ("?tokens_per_day=nan", "tokens_per_day"),
            ("?tokens_per_day=inf", "tokens_per_day"),
            ("?tokens_per_day=many", "tokens_per_day"),
            ("?tokens_per_day=1&tokens_per_request=0", "tokens_per_request"),
        ],
    )
    async def test_a_wrong_number_is_named_in_openais_shape(self, tmp_path: Path, query: str, param: str) -> None:
        async with served(tmp_path) as gateway:
            reply = await look(gateway, f"{PATH}/lifespan{query}")
        assert (reply.status, reply.error["param"]) == (400, param)
        assert reply.error["type"] == "invalid_request_error"
        assert reply.error["message"].startswith(f"{param}: ")


async def test_what_the_answers_taught_is_listed_and_can_be_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        await gateway.ask(chat(MODEL))
        document = (await look(gateway, f"{PATH}?key=work")).json
        first, *rest = document["learned"]
        one = await look(gateway, f"{PATH}/learned/{first['id']}", OPERATOR_SECRET, "DELETE")
        again = await look(gateway, f"{PATH}/learned/{first['id']}", OPERATOR_SECRET, "DELETE")
        left = (await look(gateway, PATH)).json["learned"]
        everything = await look(gateway, f"{PATH}/learned", OPERATOR_SECRET, "DELETE")
    assert rest, "the simulated provider names requests and tokens in its headers"
    assert {fact["source"] for fact in document["learned"]} == {"header"}
    assert all(fact["evidence"].startswith("headers: ") for fact in document["learned"])
    behind = {line["learned"] for line in document["counts"]} - {None}
    assert behind == {fact["id"] for fact in document["learned"]}
    assert (one.json, again.status) == ({"forgotten": 1}, 404)
    assert [fact["id"] for fact in left] == [fact["id"] for fact in rest]
    assert everything.json == {"forgotten": len(rest)}


class TestForgetting:
    async def test_takes_the_operator_when_there_is_one(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway:
            refused = await look(gateway, f"{PATH}/learned", method="DELETE")
            allowed = await look(gateway, f"{PATH}/learned", OPERATOR_SECRET, "DELETE")
        assert (refused.status, refused.error["code"]) == (403, "not_permitted")
        assert (allowed.status, allowed.json) == (200, {"forgotten": 0})

    async def test_any_client_may_when_there_is_none(self, tmp_path: Path) -> None:
        async with served(tmp_path, operator=False) as gateway:
            everything = await look(gateway, f"{PATH}/learned", method="DELETE")
            unknown = await look(gateway, f"{PATH}/learned/123", method="DELETE")
        assert everything.json == {"forgotten": 0}
        assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "fact_not_found", "id")

    async def test_another_method_is_refused(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway:
            reply = await look(gateway, f"{PATH}/learned")
        assert (reply.status, reply.headers["allow"], reply.error["code"]) == (405, "DELETE", "method_not_allowed")
        assert reply.error["message"] == "GET is not possible here; use DELETE."
