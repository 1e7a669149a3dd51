from pathlib import Path

import msgspec
import pytest

from keyrelay.core.errors import StoreError
from keyrelay.storage.journal import rejects
from keyrelay.storage.journal.rejects import RejectedRows
from tests.storage.journal.entries import line


async def test_rows_are_kept_as_they_were_with_the_reason(tmp_path: Path) -> None:
    rejected = RejectedRows(tmp_path)
    rows = [line(1), b'{"half', b"\xff\xfe\n"]
    for row in rows:
        await rejected.keep(row, "no record")
    path = tmp_path / "rejected.jsonl"
    found = [msgspec.json.decode(text) for text in path.read_bytes().splitlines()]
    assert [each["row"] for each in found] == [line(1).decode(), '{"half', "\\xff\\xfe\n"]
    assert {each["reason"] for each in found} == {"no record"}
    assert all(each["time"].endswith("Z") for each in found)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_full_file_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects, "MAX_REJECTED_BYTES", 1000)
    rejected = RejectedRows(tmp_path)
    await rejected.keep(b"x" * 500, "first")
    with pytest.raises(StoreError, match="is full"):
        await rejected.keep(b"x" * 500, "second")
    assert (tmp_path / "rejected.jsonl").read_bytes().count(b"\n") == 1


async def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        await RejectedRows(tmp_path / "none").keep(b"row", "reason")
