import datetime as dt
from pathlib import Path

import pytest

from keyrelay.configuration import InvalidConfiguration, make_first_client, with_clients
from keyrelay.configuration.client_file import StoredClient, path_in, read_stored, write_stored
from keyrelay.configuration.clients import MAX_CLIENTS, digest_of
from keyrelay.configuration.first_run import add_client, new_secret, remove_client
from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError
from tests.configuration.helpers import Load


def test_the_first_client_is_kept_by_a_digest_alone(tmp_path: Path) -> None:
    secret = make_first_client(tmp_path / "data").reveal()
    assert secret.startswith("kr-")
    assert len(secret) == 46
    assert [each.client for each in read_stored(tmp_path / "data")] == [Client("first-run", digest_of(secret))]
    assert secret not in path_in(tmp_path / "data").read_text()


def test_secrets_differ() -> None:
    assert new_secret() != new_secret()


def test_a_damaged_file_locks_nobody_out_silently(tmp_path: Path) -> None:
    path_in(tmp_path).write_text("{")
    with pytest.raises(ConfigurationError):
        make_first_client(tmp_path)


class TestAddAndRemove:
    def test_a_client_comes_and_goes(self, tmp_path: Path) -> None:
        secret = add_client(tmp_path, "app").reveal()
        add_client(tmp_path, "other")
        assert next(each.client for each in read_stored(tmp_path)) == Client("app", digest_of(secret))
        remove_client(tmp_path, "app")
        assert [each.label for each in read_stored(tmp_path)] == ["other"]

    def test_labels_are_single(self, tmp_path: Path) -> None:
        add_client(tmp_path, "app")
        with pytest.raises(ConfigurationError, match="'app' is taken"):
            add_client(tmp_path, "app")

    @pytest.mark.parametrize("label", ["", "a/b", " a", "x" * 65, "a\n"])
    def test_labels_are_checked(self, label: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="will not do"):
            add_client(tmp_path, label)

    def test_what_is_not_there_cannot_be_removed(self, tmp_path: Path) -> None:
        add_client(tmp_path, "app")
        with pytest.raises(ConfigurationError, match="There are: app"):
            remove_client(tmp_path, "ap")

    def test_there_is_a_bound(self, tmp_path: Path) -> None:
        one = StoredClient("one", "ab" * 32, dt.datetime(2026, 11, 21, tzinfo=dt.UTC))
        write_stored(tmp_path, (one,) * MAX_CLIENTS)
        with pytest.raises(ConfigurationError, match="holds 10000 clients"):
            add_client(tmp_path, "app")

    def test_a_directory_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="Choose a directory that you may write"):
            add_client(tmp_path / "file", "app")


class TestInTheConfiguration:
    def test_kept_clients_are_let_in(self, load: Load, tmp_path: Path) -> None:
        digest = digest_of(add_client(tmp_path / "data", "app").reveal())
        configuration = load(KEYRELAY_DATA_DIR="data", KEYRELAY_HOST="0.0.0.0")
        assert configuration.snapshot.clients == {digest: Client("app", digest)}
        assert ("clients.app", "clients.json") in [(value.name, value.source) for value in configuration.values]

    def test_a_damaged_file_is_one_of_the_problems(self, load: Load, tmp_path: Path) -> None:
        path_in(tmp_path).write_text("{")
        with pytest.raises(InvalidConfiguration, match="2 problems"):
            load({"data_dir": str(tmp_path)}, KEYRELAY_PORT="x")

    def test_more_clients_may_be_added(self, load: Load) -> None:
        configuration = load(CLIENT_API_KEYS_MAP="a-good-enough-one:App")
        known = next(iter(configuration.snapshot.clients.values()))
        new = Client("first-run", b"\1" * 32)
        more = with_clients(configuration, (known, new), source="first run")
        assert list(more.snapshot.clients.values()) == [known, new]
        assert more.values[-1].name == "clients.first-run"
        assert more.values[-1].source == "first run"
        assert len(configuration.snapshot.clients) == 1
