"""A configuration that is read again with what its files held, whatever has become of them."""

from pathlib import Path

import pytest

from keyrelay.configuration import Configuration, load_configuration, with_clients
from keyrelay.configuration.first_run import add_client, remove_client
from keyrelay.configuration.remembered import Files
from keyrelay.core.administered import NOTHING, KeyEntry, ProviderEntry
from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.secrets import Secret

FILES = {
    ".env": "GROQ_API_KEY_FILE=groq.key\nKEYRELAY_CONFIG_FILE=own.toml\n",
    "own.toml": "[settings]\npolicy = 'priority'\n",
    "groq.key": "gsk_0123456789abcdef",
}
WITH_KEY = NOTHING.put(KeyEntry(provider="gemini", label="more"), Secret("AIza_test_0123456789"))


def read(directory: Path) -> Configuration:
    return load_configuration({"HOME": str(directory)}, directory=directory, overrides={"data_dir": "data"})


def keys_of(configuration: Configuration) -> set[str]:
    return {key.provider_id for key in configuration.snapshot.keys}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    add_client(tmp_path / "data", "mine")
    add_client(tmp_path / "data", "other")
    return tmp_path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", [b"\xff\xfe=\n", b"= [", None])
def test_files_that_are_gone_or_broken_are_as_they_were(directory: Path, name: str, text: bytes | None) -> None:
    before = read(directory)
    assert (keys_of(before), before.settings.policy) == ({"groq"}, "priority")
    assert before.again is not None
    if text is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(text)
    again = before.again(WITH_KEY)
    assert (keys_of(again), again.settings.policy) == ({"groq", "gemini"}, "priority")
    assert again.again is not None
    assert keys_of(again.again(NOTHING)) == {"groq"}
    assert "0123456789" not in repr(again)


def test_clients_of_the_data_directory_are_those_of_now_unless_their_file_is_broken(directory: Path) -> None:
    before = read(directory)
    assert before.again is not None
    (directory / ".env").write_text("=")
    remove_client(directory / "data", "mine")
    again = before.again(NOTHING)
    assert [client.label for client in again.snapshot.clients.values()] == ["other"]
    (directory / "data" / "clients.json").write_text("{")
    assert again.again is not None
    assert [client.label for client in again.again(NOTHING).snapshot.clients.values()] == ["other"]


def test_what_is_not_valid_with_the_files_of_before_is_not_taken(directory: Path) -> None:
    before = read(directory)
    assert before.again is not None
    with pytest.raises(ConfigurationError, match="GROQ_TIER"):
        before.again(NOTHING.put(ProviderEntry(id="groq", tier="gold")))


def test_clients_that_were_let_in_beside_the_files_still_are(directory: Path) -> None:
    made = with_clients(read(directory), (Client("first-run", b"0" * 32),), source="first start")
    assert made.again is not None
    again = made.again(WITH_KEY)
    assert {client.label for client in again.snapshot.clients.values()} == {"mine", "other", "first-run"}
    assert again.again is not None
    assert b"0" * 32 in again.again(NOTHING).snapshot.clients


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path, files = tmp_path / "file", Files()
    with pytest.raises(FileNotFoundError, match="No such file"):
        files.read(path, 10)
    path.write_bytes(b"one")
    with pytest.raises(FileNotFoundError):
        files.read(path, 10)
    assert (Files().read(path, 2), repr(files)) == (b"on", "<Files: 1 read>")
    later = files.copy()
    (tmp_path / "new").write_bytes(b"new")
    assert later.read(tmp_path / "new", 10) == b"new"
    assert repr(files) == "<Files: 1 read>"
