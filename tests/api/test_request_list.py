import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyrelay.core.records import RequestRecord
from keyrelay.core.stored_requests import came_ms
from tests.api.kept import NOW_MS, kept, some_records
from tests.api.served import MODEL, OPERATOR_SECRET, look
from tests.e2e.harness import CLIENT_SECRET, Embedded, chat

PATH = "/api/v1/requests"
RECORDS = some_records(120)
OWN = [each for each in RECORDS if each.client == "tests"]


async def listed(gateway: Embedded, query: str = "", secret: str = OPERATOR_SECRET) -> Any:
    reply = await look(gateway, f"{PATH}?{query}", secret)
    assert reply.status == 200, reply.body
    return reply.json


def ids(document: Any) -> list[str]:
    return [line["request_id"] for line in document["requests"]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return url


async def test_pages_lead_through_all_requests_the_newest_first(tmp_path: Path, database_url: str) -> None:
    async with kept(tmp_path, RECORDS, database_url=database_url) as gateway:
        first = await listed(gateway)
        found, cursor = [], ""
        while cursor is not None:
            page = await listed(gateway, f"limit=17&cursor={cursor}")
            found += ids(page)
            cursor = page["next"]
        own = await listed(gateway, "limit=500", CLIENT_SECRET)
        with_calls = await listed(gateway, "limit=30&attempts=true")
    assert found == [each.id for each in RECORDS]
    assert ids(first) == found[:50]
    assert (ids(own), own["next"]) == ([each.id for each in OWN], None)
    assert "calls" not in first["requests"][0]
    for line, record in zip(with_calls["requests"], RECORDS, strict=False):
        assert (line["client"], line["ms"], line["category"]) == (record.client, record.ms, record.category)
        assert [(call["provider"], call["kind"]) for call in line["calls"]] == [
            (attempt.provider, attempt.failure.kind if attempt.failure else "") for attempt in record.attempts
        ]


async def test_filters(tmp_path: Path) -> None:
    from_s, to_s = NOW_MS / 1000 - 36_000, NOW_MS / 1000 - 7_200
    wanted: dict[str, Callable[[RequestRecord], bool]] = {
        "provider=groq&key=work": lambda each: (each.provider, each.key) == ("groq", "work"),
        "model=gpt-oss": lambda each: each.model == "gpt-oss",
        "client=other": lambda each: each.client == "other",
        "category=rate": lambda each: each.category == "rate",
        "category=none": lambda each: not each.category,
        "provider=none": lambda each: not each.provider,
        "failed=true": lambda each: each.category in {"rate", "timeout"},
        "status=429": lambda each: each.status == 429,
        "status=5xx": lambda each: each.status >= 500,
        "status=200-299": lambda each: each.status == 200,
        "min_ms=1000": lambda each: each.ms >= 1000,
        f"from={from_s}&to={to_s}": lambda each: from_s <= came_ms(each.id) / 1000 < to_s,
        f"from={from_s}&failed=true&client=tests": lambda each: (
            each in OWN and each.category in {"rate", "timeout"} and came_ms(each.id) / 1000 >= from_s
        ),
        "client=nobody": lambda _: False,
        "provider=&client=": lambda _: True,
    }
    async with kept(tmp_path, RECORDS) as gateway:
        found = {query: ids(await listed(gateway, f"limit=500&{query}")) for query in wanted}
    assert found == {query: [each.id for each in RECORDS if passes(each)] for query, passes in wanted.items()}


async def test_what_was_just_answered_is_listed(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        replies = []
        for _ in range(3):
            replies.append(await gateway.ask(chat(MODEL)))
            await asyncio.sleep(0.002)  # those of one millisecond have no order
        for _ in range(200):
            document = await listed(gateway, secret=CLIENT_SECRET)
            if len(document["requests"]) == 3:
                break
            await asyncio.sleep(0.02)
    assert ids(document) == [reply.headers["x-request-id"] for reply in reversed(replies)]
    first = document["requests"][0]
    assert (first["client"], first["provider"], first["model"], first["status"]) == ("tests", "groq", MODEL, 200)
    assert (first["attempts"], first["category"], first["cached"]) == (1, "", "")


WRONG = (
    ("limit=0", "limit", "is not at least 1"),
    ("limit=501", "limit", "is not at most 500"),
    ("limit=x", "limit", "whole number"),
    ("cursor=2", "cursor", "must be the `next` of an earlier page"),
    ("status=teapot", "status", "a class such as 4xx, or a range such as 500-504"),
    ("status=99", "status", "must be an HTTP status"),
    ("status=500-400", "status", "must be an HTTP status"),
    ("status=6xx", "status", "must be an HTTP status"),
    ("failed=maybe", "failed", "is not true or false"),
    ("min_ms=-1", "min_ms", "is not at least 0"),
    ("min_ms=nan", "min_ms", "is not at most"),
    ("from=1h&to=1h", "from", "must lie before `to`"),
    ("to=soon", "to", "must be a time such as"),
)
"""Queries, the parameter that is wrong in them, and words of the answer."""


async def test_what_is_wrong_is_named_with_what_would_be_right(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        for query, param, words in WRONG:
            reply = await look(gateway, f"{PATH}?{query}", OPERATOR_SECRET)
            assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, "invalid_parameter"), query
            assert words in reply.error["message"]
