"""One suite for both databases: sealed values are found, counted and replaced where they lie."""

from collections.abc import AsyncIterator

import pytest

from keyrelay.core.ids import request_id
from keyrelay.ports import EntryChanges, SealedTexts, StoredEntry
from keyrelay.storage import sealed_rows
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.sealed_rows import SqlSealedRows
from keyrelay.storage.text_store import SqlTextStore

OLD, NEW = b"\x01\x00\x00\x00\x01", b"\x01\x00\x00\x00\x02"


def texts(number: int, request: bytes | None = OLD + b"asked", answer: bytes | None = None) -> SealedTexts:
    return SealedTexts(request_id=request_id(number, number), request=request, answer=answer)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlTextStore]:
    reader = PromptReader(database)
    yield SqlTextStore(database, reader)
    await reader.close()


async def test_values_are_counted_by_how_they_begin(
    database: Database, store: SqlTextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_rows, "_PAGE", 2)
    entries = (StoredEntry("key", "a", b"{}", OLD + b"1"), StoredEntry("key", "b", b"{}", NEW + b"2"))
    await SqlEntryStore(database).commit(0, EntryChanges(put=(*entries, StoredEntry("route", "c", b"{}"))))
    await store.write_texts([texts(1), texts(2, None, NEW), texts(3, OLD, NEW), texts(4, None, None)])
    assert await SqlSealedRows(database).heads() == {OLD: 3, NEW: 3}


async def test_texts_are_read_in_order_and_replaced(database: Database, store: SqlTextStore) -> None:
    rows = SqlSealedRows(database)
    assert await rows.texts("", 10) == ()
    written = [texts(number) for number in range(1, 6)]
    await store.write_texts(written)
    assert await rows.texts("", 2) == tuple(written[:2])
    assert await rows.texts(written[1].request_id, 10) == tuple(written[2:])
    other = texts(2, NEW + b"anew", NEW)
    await rows.replace([other, texts(9)])
    await rows.replace([])
    assert await rows.texts("", 10) == (written[0], other, *written[2:])
