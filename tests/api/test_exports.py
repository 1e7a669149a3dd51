import asyncio
import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyrelay.api.exports import PAGE_ROWS, REQUEST_COLUMNS, USAGE_COLUMNS
from keyrelay.storage.request_queries import RequestQueries
from tests.api.kept import kept, some_records
from tests.api.served import OPERATOR_SECRET, look
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, until
from tests.house.sources import ROOT

REQUESTS, USAGE = "/api/v1/requests/export", "/api/v1/usage/export"
RECORDS = some_records(3 * PAGE_ROWS + 50)


def cells(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return url


async def test_all_requests_come_out_in_every_form(tmp_path: Path, database_url: str) -> None:
    async with kept(tmp_path, RECORDS, database_url=database_url) as gateway:
        as_csv = await look(gateway, REQUESTS, OPERATOR_SECRET)
        as_json = await look(gateway, f"{REQUESTS}?format=json&attempts=true", OPERATOR_SECRET)
        as_lines = await look(gateway, f"{REQUESTS}?format=jsonl", OPERATOR_SECRET)
        own = await look(gateway, f"{REQUESTS}?failed=true", CLIENT_SECRET)
    assert as_csv.whole
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert as_csv.headers["content-disposition"].startswith('attachment; filename="keyrelay-requests-2')
    assert as_csv.headers["cache-control"] == "no-store"
    ids = [each.id for each in RECORDS]
    lines = cells(as_csv.body)
    assert tuple(lines[0]) == REQUEST_COLUMNS
    assert [line["request_id"] for line in lines] == ids
    assert {line["client"] for line in lines} == {"tests", "other", "'=evil()"}
    document = as_json.json["requests"]
    assert [row["request_id"] for row in document] == ids
    assert sum(len(row["calls"]) for row in document) == sum(len(each.attempts) for each in RECORDS)
    assert [msgspec.json.decode(line)["request_id"] for line in as_lines.body.splitlines()] == ids
    failed = [each.id for each in RECORDS if each.client == "tests" and each.category in {"rate", "timeout"}]
    assert [line["request_id"] for line in cells(own.body)] == failed


async def test_usage_comes_out_by_interval_and_group(tmp_path: Path, database_url: str) -> None:
    async with kept(tmp_path, RECORDS, database_url=database_url) as gateway:
        by_key = await look(gateway, f"{USAGE}?group_by=key&interval=minute", OPERATOR_SECRET)
        whole = await look(gateway, f"{USAGE}?format=json", OPERATOR_SECRET)
        by_client = await look(gateway, f"{USAGE}?format=jsonl&group_by=client", CLIENT_SECRET)
    lines = cells(by_key.body)
    assert tuple(lines[0]) == USAGE_COLUMNS
    assert len(lines) > PAGE_ROWS
    assert [line["start"] for line in lines] == sorted(line["start"] for line in lines)
    places = [(line["start"], line["provider"], line["key"]) for line in lines]
    assert len(places) == len(set(places))
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        counts[line["provider"], line["key"]] += int(line["requests"])
    assert counts == Counter((each.provider, each.key) for each in RECORDS)
    (row,) = whole.json["usage"]
    assert (row["requests"], row["provider"], row["key"]) == (len(RECORDS), "", "")
    (own,) = [msgspec.json.decode(line) for line in by_client.body.splitlines()]
    assert (own["client"], own["requests"]) == ("tests", sum(each.client == "tests" for each in RECORDS))


async def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    wrong = {
        f"{REQUESTS}?format=xml": "format",
        f"{REQUESTS}?attempts=true": "attempts",
        f"{REQUESTS}?from=never": "from",
        f"{USAGE}?group_by=x": "group_by",
    }
    async with kept(tmp_path) as gateway:
        for path, param in wrong.items():
            reply = await look(gateway, path, OPERATOR_SECRET)
            assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, "invalid_parameter")


async def test_of_nothing_the_frame_is_left(tmp_path: Path) -> None:
    frames = {
        REQUESTS: ",".join(REQUEST_COLUMNS) + "\r\n",
        f"{REQUESTS}?format=json": '{"requests":[\n]}\n',
        f"{USAGE}?format=jsonl": "",
    }
    async with kept(tmp_path) as gateway:
        found = {path: (await look(gateway, path, OPERATOR_SECRET)).body.decode() for path in frames}
    assert found == frames


@pytest.mark.parametrize("columns", [REQUEST_COLUMNS, USAGE_COLUMNS], ids=["requests", "usage"])
def test_every_column_is_documented(columns: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    assert not [column for column in columns if f"`{column}`" not in page]


def pages_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the pages that are read from now on."""
    read: list[int] = []
    page = RequestQueries.page

    async def counted(self: RequestQueries, *args: Any, **options: Any) -> Any:
        rows = await page(self, *args, **options)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(RequestQueries, "page", counted)
    return read


async def reading_nothing(gateway: Embedded) -> Caller:
    """A caller that asks for a large export and takes nothing of it beyond its head."""
    caller = Caller(gateway.port, OPERATOR_SECRET)
    _, writer = await caller.streams()
    writer.write(
        f"GET {REQUESTS}?format=json&attempts=true HTTP/1.1\r\nhost: gateway\r\n"
        f"authorization: Bearer {OPERATOR_SECRET}\r\n\r\n".encode()
    )
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
    return caller


async def test_no_more_is_read_than_is_taken_and_nothing_for_a_caller_who_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = some_records(12_000)
    async with kept(tmp_path, many) as gateway:
        read = pages_read(monkeypatch)
        caller = await reading_nothing(gateway)
        await until(lambda: read, "the first page is read")
        before = -1
        while before != len(read):
            before = len(read)
            await asyncio.sleep(0.3)
        taken = sum(read)
        await caller.close()
        await asyncio.sleep(0.2)
        after = sum(read)
    assert taken < len(many)
    assert after <= taken + PAGE_ROWS
