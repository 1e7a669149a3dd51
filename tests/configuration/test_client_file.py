import datetime as dt
import os
import stat
from pathlib import Path

import pytest

from keyrelay.configuration.client_file import StoredClient, path_in, read_stored, write_stored
from keyrelay.core.errors import ConfigurationError

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
ONE = StoredClient("one", "ab" * 32, NOW)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_stored(tmp_path / "deep" / "data", (ONE,))
    assert read_stored(tmp_path / "deep" / "data") == (ONE,)
    assert ONE.client.digest == b"\xab" * 32


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_stored(tmp_path / "data", (ONE,))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE(path_in(tmp_path / "data").stat().st_mode) == 0o600


def test_nothing_is_left_lying_about(tmp_path: Path) -> None:
    write_stored(tmp_path, (ONE,))
    write_stored(tmp_path, ())
    assert [path.name for path in tmp_path.iterdir()] == ["clients.json"]
    assert read_stored(tmp_path) == ()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path_in(tmp_path).mkdir()
    with pytest.raises(OSError, match="directory"):
        write_stored(tmp_path, (ONE,))
    assert [path.name for path in tmp_path.iterdir()] == ["clients.json"]


def test_no_file_is_no_clients(tmp_path: Path) -> None:
    assert read_stored(tmp_path / "nowhere") == ()
    (tmp_path / "file").write_text("")
    assert read_stored(tmp_path / "file") == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"version": 1}',
        '{"version": 1, "clients": [{"label": "a", "sha256": "hunter2", "created_at": "2026-11-21T00:00:00Z"}]}',
        '{"version": 1, "clients": [{"label": "a", "sha256": "abcd", "created_at": "2026-11-21T00:00:00Z"}]}',
    ],
)
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path_in(tmp_path).write_text(content)
    with pytest.raises(ConfigurationError, match="is not a list of clients as Keyrelay writes it") as caught:
        read_stored(tmp_path)
    assert caught.value.where == str(path_in(tmp_path))
    assert "hunter2" not in str(caught.value)


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path_in(tmp_path).write_text('{"version": 2, "clients": []}')
    with pytest.raises(ConfigurationError, match="is of version 2"):
        read_stored(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path_in(tmp_path).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_stored(tmp_path)
