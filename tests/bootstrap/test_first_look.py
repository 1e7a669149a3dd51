"""Settings of the store that only count for parts that are made with them."""

import os
from pathlib import Path

import msgspec
import pytest

from keyrelay.bootstrap.first_look import with_kept_settings
from keyrelay.configuration import Configuration, load_configuration
from keyrelay.core.administered import NOTHING, Administered, SettingEntry
from keyrelay.ports import EntryChanges, StoredEntry
from keyrelay.storage.database import FILE_NAME, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.migrating import ensure_file, ensure_schema


def load_in(directory: Path, /, administered: Administered = NOTHING, **environ: str) -> Configuration:
    settings = {"HOME": str(directory), "KEYRELAY_DATA_DIR": str(directory), **environ}
    return load_configuration(settings, directory=directory, overrides={}, administered=administered)


async def keep(directory: Path, *entries: SettingEntry) -> None:
    database = open_database("", directory)
    try:
        await ensure_file(database)
        await ensure_schema(database)
        kept = tuple(StoredEntry("setting", each.name, msgspec.json.encode(each), b"") for each in entries)
        other = StoredEntry("key", "groq/a", b'{"provider":"groq","label":"a"}', b"sealed")
        await SqlEntryStore(database).commit(0, EntryChanges(put=(*kept, other), delete=(), audit=()))
    finally:
        await database.close()


async def look(directory: Path, **environ: str) -> Configuration:
    return await with_kept_settings(
        load_in(directory, NOTHING, **environ), lambda known: load_in(directory, known, **environ)
    )


def nothing_to_load(_: Administered) -> Configuration:
    raise AssertionError("there is nothing to load")


async def test_what_is_kept_counts_from_the_start(tmp_path: Path) -> None:
    await keep(tmp_path, SettingEntry(name="circuit_failures", text="7"))
    assert (await look(tmp_path)).settings.circuit_failures == 7
    assert (await look(tmp_path, KEYRELAY_CIRCUIT_FAILURES="9")).settings.circuit_failures == 9


async def test_without_a_store_everything_is_as_it_was(tmp_path: Path) -> None:
    configuration = load_in(tmp_path)
    assert await with_kept_settings(configuration, nothing_to_load) is configuration
    assert os.listdir(tmp_path) == [], "and none is made"  # noqa: PTH208 - a path's own way counts as blocking
    await keep(tmp_path)
    assert await with_kept_settings(configuration, nothing_to_load) is configuration


@pytest.mark.parametrize("content", [b"", b"no database at all"])
async def test_a_store_that_cannot_be_read_is_done_without(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert (await look(tmp_path)).settings == load_in(tmp_path).settings


async def test_a_setting_that_is_not_valid_any_more_is_done_without(tmp_path: Path) -> None:
    await keep(tmp_path, SettingEntry(name="circuit_failures", text="many"))
    assert (await look(tmp_path)).settings == load_in(tmp_path).settings


async def test_a_database_that_does_not_answer_is_done_without(tmp_path: Path) -> None:
    url = {"DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/none"}
    assert (await look(tmp_path, **url)).settings == load_in(tmp_path, NOTHING, **url).settings
