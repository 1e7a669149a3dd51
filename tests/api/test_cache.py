from pathlib import Path
from typing import Any

import pytest

from keyrelay.api.cache import CacheReport
from tests.api.served import MODEL, OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply, chat

SURE: dict[str, Any] = {"temperature": 0}


async def ask(gateway: Embedded, secret: str = CLIENT_SECRET, *, text: str = "Say hello.", **headers: str) -> Reply:
    async with Caller(gateway.port, secret) as caller:
        return await caller.post("/v1/chat/completions", chat(MODEL, text=text, **SURE), headers=headers)


async def cache_of(gateway: Embedded, secret: str = CLIENT_SECRET, **more: str) -> str:
    return (await ask(gateway, secret, **more)).headers["x-keyrelay-cache"]


async def purge(gateway: Embedded, secret: str, whose: str = "") -> Reply:
    return await look(gateway, f"/api/v1/cache{whose}", secret, "DELETE")


async def test_the_report_says_what_the_cache_did(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_CACHE="deterministic") as gateway:
        assert [await cache_of(gateway) for _ in range(3)] == ["miss", "hit", "hit"]
        reply = await look(gateway, "/api/v1/cache")
        assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
        report = reply.json
        assert set(report) == set(CacheReport.__struct_fields__)
        assert (report["hits"], report["misses"], report["shared"], report["stored"]) == (2, 1, 0, 1)
        assert (report["entries"], report["evicted"], report["under_way"]) == (1, 0, 0)
        assert report["bytes"] > 400
        assert report["saved"]["output_tokens"] > 0
        metrics = (await look(gateway, "/metrics")).body.decode()
    for line in (
        'keyrelay_cache_requests_total{result="hit"} 2.0',
        'keyrelay_cache_requests_total{result="miss"} 1.0',
        'keyrelay_cache_answers_total{outcome="stored"} 1.0',
        'keyrelay_cache_wrong_total{reason="other_scope"} 0.0',
        "keyrelay_cache_entries 1.0",
        "keyrelay_cache_evicted_total 0.0",
    ):
        assert line in metrics
    assert f'keyrelay_attempts_total{{model="{MODEL}",outcome="answered",provider="groq"}} 1.0' in metrics


async def test_an_answer_that_is_not_kept_is_counted_by_reason(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_CACHE_MAX_ANSWER_BYTES="10") as gateway:
        assert [await cache_of(gateway) for _ in range(2)] == ["miss", "miss"]
        assert (await look(gateway, "/api/v1/cache")).json["not_kept"] == {"too_large": 2}
        metrics = (await look(gateway, "/metrics")).body.decode()
    assert 'keyrelay_cache_answers_total{outcome="too_large"} 2.0' in metrics


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_strangers_see_and_do_nothing(method: str, tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        assert (await look(gateway, "/api/v1/cache", "wrong", method)).status == 401


async def test_a_client_forgets_its_own_and_the_operator_everything(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        for secret in (CLIENT_SECRET, OTHER_SECRET):
            for text in ("a", "b"):
                await ask(gateway, secret, text=text)
        assert (await purge(gateway, CLIENT_SECRET)).json == {"purged": 2}
        assert await cache_of(gateway, text="a") == "miss"
        assert await cache_of(gateway, OTHER_SECRET, text="a") == "hit"
        assert (await purge(gateway, OPERATOR_SECRET, "?client=tests")).json == {"purged": 1}
        assert (await purge(gateway, OPERATOR_SECRET)).json == {"purged": 2}
        assert (await purge(gateway, OPERATOR_SECRET, "?client=*")).json == {"purged": 0}


@pytest.mark.parametrize("whose", ["?client=other", "?client=*"])
async def test_what_others_have_is_not_a_clients_to_forget(whose: str, tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        await ask(gateway, OTHER_SECRET)
        refused = await purge(gateway, CLIENT_SECRET, whose)
        assert (refused.status, refused.error["code"]) == (403, "not_permitted")
        assert await cache_of(gateway, OTHER_SECRET) == "hit"
        assert (await purge(gateway, CLIENT_SECRET, "?client=tests")).status == 200


async def test_without_an_operator_any_client_is_trusted_with_that(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        await ask(gateway, OTHER_SECRET)
        assert (await purge(gateway, CLIENT_SECRET)).json == {"purged": 0}
        assert (await purge(gateway, CLIENT_SECRET, "?client=*")).json == {"purged": 1}


async def test_what_all_share_is_the_operators_to_forget(tmp_path: Path) -> None:
    async with served(tmp_path, KEYRELAY_CACHE_SCOPE="shared") as gateway:
        await ask(gateway, CLIENT_SECRET)
        assert await cache_of(gateway, OTHER_SECRET) == "hit"
        assert (await purge(gateway, CLIENT_SECRET)).status == 403
        assert (await purge(gateway, OPERATOR_SECRET, "?client=tests")).json == {"purged": 1}
