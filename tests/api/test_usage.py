import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyrelay.administration.service import KEYRELAY
from keyrelay.core.administered import Administered, ClientEntry
from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS
from keyrelay.core.moments import rfc3339
from keyrelay.core.stored_requests import came_ms
from tests.api.kept import HOUR_MS, NOW_MS, kept, some_records
from tests.api.served import MODEL, OPERATOR_SECRET, OTHER_SECRET, look
from tests.e2e.harness import CLIENT_SECRET, Embedded, chat
from tests.servers.fault_proxy import FaultProxy

PATH = "/api/v1/usage"
RECORDS = some_records(300)


async def usage(gateway: Embedded, query: str = "", secret: str = OPERATOR_SECRET) -> Any:
    reply = await look(gateway, f"{PATH}?{query}", secret)
    assert reply.status == 200, reply.body
    return reply.json


def counted(field: str, **fields: str) -> Counter[str]:
    """How many of the records have each value of a field."""
    wanted = [each for each in RECORDS if all(getattr(each, name) == value for name, value in fields.items())]
    return Counter(getattr(each, field) for each in wanted)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return url


async def test_totals_groups_and_series_agree_with_what_was_written(tmp_path: Path, database_url: str) -> None:
    async with kept(tmp_path, RECORDS, database_url=database_url) as gateway:
        whole = await usage(gateway)
        grouped = {
            name: await usage(gateway, f"group_by={name}&interval=auto") for name in ("provider", "key", "category")
        }
        one = await usage(gateway, "client=tests&provider=groq&group_by=model")
        nobody = await usage(gateway, "provider=none&group_by=category")
    totals = whole["totals"]
    assert totals["requests"] == len(RECORDS)
    assert totals["failed"] == sum(each.category in {"rate", "timeout"} for each in RECORDS)
    assert totals["cancelled"] == counted("category")["caller_gone"]
    assert totals["attempts"] == sum(len(each.attempts) for each in RECORDS)
    assert totals["cost_usd"] == pytest.approx(sum(each.cost_usd or 0 for each in RECORDS))
    assert totals["failure_rate"] == totals["failed"] / totals["requests"]
    assert (whole["groups"], whole["series"], whole["group_by"], whole["interval"]) == ([], [], None, None)
    for name, document in grouped.items():
        assert document["totals"] == totals
        assert document["interval"] == "hour"
        assert sum(group["totals"]["requests"] for group in document["groups"]) == len(RECORDS)
        assert sum(point["totals"]["requests"] for point in document["series"]) == len(RECORDS)
        for group in document["groups"]:
            wanted = {"provider": group["provider"] or ""} if name == "key" else {}
            assert group["totals"]["requests"] == counted(name, **wanted)[group["name"] or ""]
            assert sum(point["totals"]["requests"] for point in group["series"]) == group["totals"]["requests"]
    labels = [(group["name"], group["provider"]) for group in grouped["key"]["groups"]]
    assert ("work", "groq") in labels
    assert ("work", "gemini") in labels
    assert {group["name"]: group["totals"]["requests"] for group in one["groups"]} == counted(
        "model", client="tests", provider="groq"
    )
    assert {group["name"] for group in nobody["groups"]} == {"rate", "timeout"}


async def test_requests_that_were_just_answered_are_in_it(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        replies = [await gateway.ask(chat(MODEL)) for _ in range(3)]
        for _ in range(200):
            document = await usage(gateway, "group_by=client", CLIENT_SECRET)
            if document["totals"]["requests"] == 3:
                break
            await asyncio.sleep(0.02)
    totals = document["totals"]
    assert totals["requests"] == 3
    assert totals["input_tokens"] == sum(reply.json["usage"]["prompt_tokens"] for reply in replies)
    assert totals["output_tokens"] == sum(reply.json["usage"]["completion_tokens"] for reply in replies)
    assert totals["latency_ms"]["p50"] > 0
    assert [(group["name"], group["totals"]["requests"]) for group in document["groups"]] == [("tests", 3)]


class TestRange:
    async def test_is_a_day_back_by_default_and_widened_to_minutes(self, tmp_path: Path) -> None:
        async with kept(tmp_path, RECORDS) as gateway:
            document = await usage(gateway)
            part = await usage(gateway, f"from={NOW_MS / 1000 - 7200.5}&to={NOW_MS / 1000 - 3600.5}")
        assert document["from"].endswith(":00Z")
        assert document["buckets"] == {"latency_ms": list(LATENCY_MS), "first_token_ms": list(FIRST_TOKEN_MS)}
        from_s, to_s = (NOW_MS // 1000 - 7201) // 60 * 60, -(-(NOW_MS / 1000 - 3600.5) // 60) * 60
        assert (part["from"], part["to"]) == (rfc3339(from_s), rfc3339(to_s))
        inside = [each for each in RECORDS if from_s <= came_ms(each.id) / 1000 < to_s]
        assert part["totals"]["requests"] == len(inside) > 0

    async def test_where_minutes_are_gone_is_widened_to_hours(self, tmp_path: Path) -> None:
        day_ms = 24 * HOUR_MS
        old = [each for days in (1, 3) for each in some_records(20, spread_ms=days * day_ms, seed=days)]
        async with kept(tmp_path, old, KEYRELAY_KEEP_MINUTES_DAYS="1") as gateway:
            document = await usage(gateway, "from=50h&to=1h&interval=hour")
            refused = await look(gateway, f"{PATH}?from=50h&to=1h&interval=minute", OPERATOR_SECRET)
            auto = await usage(gateway, "from=30h&to=29h&interval=auto")
        assert document["from"].endswith(":00:00Z")
        assert (refused.status, refused.error["param"]) == (400, "interval")
        assert "ask for hour" in refused.error["message"]
        assert auto["interval"] == "hour"


WRONG = (
    ("from=yesterday", "from", "must be a time such as 2026-11-21T12:00:00Z"),
    ("to=%20", "to", "must be a time such as"),
    ("from=1h&to=2h", "from", "must lie before `to`, which is '2h'"),
    ("from=2999-01-01", "from", "must lie before `to`, which is now"),
    ("group_by=colour", "group_by", "is not one of none, provider, model, key, client, category"),
    ("interval=week", "interval", "is not one of none, auto, minute, hour, day"),
    ("limit=0", "limit", "is not at least 1"),
    ("limit=1001", "limit", "is not at most 1000"),
    ("provider=" + "x" * 257, "provider", "at most 256 characters"),
    ("from=13d&interval=minute", "interval", "ask for longer ones, for a shorter range, or for an export"),
    ("from=12h&interval=minute&group_by=key&limit=1000", "limit", "ask for fewer groups"),
)
"""Queries, the parameter that is wrong in them, and words of the answer."""


async def test_what_is_wrong_is_named_with_what_would_be_right(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        for query, param, words in WRONG:
            reply = await look(gateway, f"{PATH}?{query}", OPERATOR_SECRET)
            assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, "invalid_parameter"), query
            assert words in reply.error["message"]


async def test_only_the_largest_groups_are_listed(tmp_path: Path) -> None:
    async with kept(tmp_path, RECORDS) as gateway:
        document = await usage(gateway, "group_by=model&limit=2")
    ranked = counted("model").most_common()
    assert document["groups_total"] == len(ranked)
    assert [group["totals"]["requests"] for group in document["groups"]] == [count for _, count in ranked[:2]]


class TestWhoSeesWhat:
    async def test_a_client_sees_its_own_and_the_operator_all(self, tmp_path: Path) -> None:
        async with kept(tmp_path, RECORDS) as gateway:
            seen = {
                secret: (await usage(gateway, "group_by=client", secret))["groups"]
                for secret in (CLIENT_SECRET, OTHER_SECRET, OPERATOR_SECRET)
            }
            same = await usage(gateway, "client=tests", CLIENT_SECRET)
            refused = [
                await look(gateway, f"{path}?client=other", CLIENT_SECRET)
                for path in (PATH, f"{PATH}/export", "/api/v1/requests", "/api/v1/requests/export")
            ]
        names = {secret: {group["name"] for group in groups} for secret, groups in seen.items()}
        assert names == {CLIENT_SECRET: {"tests"}, OTHER_SECRET: {"other"}, OPERATOR_SECRET: {*counted("client")}}
        assert same["totals"]["requests"] == counted("client")["tests"]
        assert {(reply.status, reply.error["code"]) for reply in refused} == {(403, "operator_only")}

    async def test_clients_with_a_tag_are_found_by_it(self, tmp_path: Path) -> None:
        async with kept(tmp_path, RECORDS) as gateway:
            for label, tags in (("tests", ("team-a", "dev")), ("other", ("team-a",)), ("absent", ("team-b",))):
                entry = ClientEntry(label=label, digest="00", tags=tags)
                change = gateway.application.administration.change
                await change(partial(Administered.put, entry=entry), KEYRELAY, "add client")
            found = {tag: await usage(gateway, f"tag={tag}") for tag in ("team-a", "dev", "team-b", "none")}
            own = await usage(gateway, "tag=team-a&group_by=client", CLIENT_SECRET)
            exported = await look(gateway, f"{PATH}/export?format=json&group_by=client&tag=dev", OPERATOR_SECRET)
        requests = {tag: document["totals"]["requests"] for tag, document in found.items()}
        both = counted("client")["tests"] + counted("client")["other"]
        assert requests == {"team-a": both, "dev": counted("client")["tests"], "team-b": 0, "none": 0}
        assert [group["name"] for group in own["groups"]] == ["tests"]
        assert {line["client"] for line in exported.json["usage"]} == {"tests"}

    async def test_nobody_else_sees_anything(self, tmp_path: Path) -> None:
        async with kept(tmp_path) as gateway:
            for path in (PATH, f"{PATH}/export", "/api/v1/requests", "/api/v1/requests/export"):
                reply = await look(gateway, path, "nonsense")
                assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("mode", ["refuse", "blackhole"])
async def test_a_store_that_is_away_is_said_to_be_soon(tmp_path: Path, postgres_url: str, mode: Any) -> None:
    port = int(postgres_url.rpartition("@")[2].partition("/")[0].rpartition(":")[2])
    async with FaultProxy(port) as proxy:
        url = proxy.url(postgres_url)
        async with kept(tmp_path, RECORDS, database_url=url, KEYRELAY_DRAIN_TIMEOUT_S="0") as gateway:
            before = await usage(gateway)
            await proxy.set(mode)
            proxy.reset()
            paths = (PATH, "/api/v1/requests", f"{PATH}/export", f"/api/v1/requests/{RECORDS[0].id}")
            replies = await asyncio.gather(*(look(gateway, path, OPERATOR_SECRET) for path in paths))
            answered = await gateway.ask(chat(MODEL))
            await proxy.set("pass")
            again = await look(gateway, PATH, OPERATOR_SECRET)
            for _ in range(50):
                if again.status == 200:
                    break
                again = await look(gateway, PATH, OPERATOR_SECRET)
    assert before["totals"]["requests"] == len(RECORDS)
    assert {(reply.status, reply.error["code"]) for reply in replies} == {(503, "store_unavailable")}
    assert all(int(reply.headers["retry-after"]) >= 1 and reply.seconds < 3 for reply in replies)
    assert "127.0.0.1" not in replies[0].error["message"]
    assert answered.status == 200
    assert again.status == 200
