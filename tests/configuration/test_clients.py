import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration import InvalidConfiguration
from keyrelay.configuration.clients import digest_of, is_loopback, read_clients, weakness_of
from keyrelay.configuration.environment import Environment, Layer
from keyrelay.configuration.findings import Findings
from keyrelay.core.configuration import Client
from tests.configuration.helpers import Load

GOOD = "9f86d081884c7d659a2feaa0c55ad015"

_secrets = st.from_regex(r"[A-Za-z0-9_:.=+/-]{16,40}", fullmatch=True)
_labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True)


def test_the_example_of_the_requirements(load: Load) -> None:
    configuration = load(CLIENT_API_KEYS_MAP="secret1:App1,secret2:App2")
    assert configuration.snapshot.clients == {
        hashlib.sha256(b"secret1").digest(): Client("App1", hashlib.sha256(b"secret1").digest()),
        hashlib.sha256(b"secret2").digest(): Client("App2", hashlib.sha256(b"secret2").digest()),
    }
    assert len(configuration.warnings) == 2
    assert "secret1" not in str(configuration.values) + str(configuration.warnings)


@given(st.dictionaries(_secrets, _labels, min_size=1))
def test_the_last_colon_divides(entries: dict[str, str]) -> None:
    findings = Findings()
    variables = {"CLIENT_API_KEYS_MAP": ",".join(f"{secret}:{label}" for secret, label in entries.items())}
    environment = Environment((Layer("environment", variables),), directory=Path(), findings=findings)
    clients = read_clients(environment, findings)
    assert {each.client.digest: each.client.label for each in clients} == {
        digest_of(secret): label for secret, label in entries.items()
    }
    assert not findings.problems


def test_clients_may_stand_in_a_file_one_per_line(load: Load, tmp_path: Path) -> None:
    (tmp_path / "clients").write_text(f"{GOOD}:App One\n{GOOD[::-1]}:App2\n")
    configuration = load(CLIENT_API_KEYS_MAP_FILE="clients")
    assert [client.label for client in configuration.snapshot.clients.values()] == ["App2", "App One"]
    sources = {value.source for value in configuration.values if value.name.startswith("clients.")}
    assert sources == {"environment CLIENT_API_KEYS_MAP_FILE"}
    assert tmp_path / "clients" in configuration.files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD, "entry 1: has no label, or not a good one, behind its last colon."),
        (f"{GOOD}:", "entry 1: has no label"),
        (f"{GOOD}:a/b", "entry 1: has no label, or not a good one"),
        (f"x{GOOD}:ok,:App", "entry 2: has no secret before the label App. Write secret:label."),
        (f"{GOOD} x:App", "entry 1: the secret holds spaces"),
        (f"{GOOD}:One,{GOOD}:Two", "entry 2: the secret stands there already."),
    ],
)
def test_wrong_entries_are_named_by_place_only(text: str, problem: str, load: Load) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load(CLIENT_API_KEYS_MAP=text)
    assert str(caught.value.problems[0]).startswith(f"environment CLIENT_API_KEYS_MAP {problem}")
    assert GOOD not in str(caught.value)


def test_there_is_a_bound(load: Load) -> None:
    entries = ",".join(f"{GOOD}{number}:App" for number in range(10_001))
    with pytest.raises(InvalidConfiguration, match="CLIENT_API_KEYS_MAP: names more than 10000 clients"):
        load(CLIENT_API_KEYS_MAP=entries)


def test_an_empty_map_is_a_warning(load: Load) -> None:
    assert load(CLIENT_API_KEYS_MAP=" ").warnings == ("CLIENT_API_KEYS_MAP: is empty and therefore ignored.",)


@pytest.mark.parametrize(
    "secret",
    [
        "secret",
        "sk-1234",
        "password",
        "changeme-changeme",
        "change-this-secret",
        "test-key-test-key-test",
        "a" * 32,
        "sk-1234567890abcdef",
        "your-secret-key-here",
        "Password123456789",
    ],
)
class TestWeakSecrets:
    def test_are_known(self, secret: str) -> None:
        assert weakness_of(secret)

    def test_are_refused_beyond_this_machine(self, secret: str, load: Load) -> None:
        with pytest.raises(InvalidConfiguration) as caught:
            load(CLIENT_API_KEYS_MAP=f"{secret}:App", KEYRELAY_HOST="0.0.0.0")
        assert str(caught.value.problems[0]).startswith("environment CLIENT_API_KEYS_MAP entry 1: the secret is ")
        assert f"{secret}:" not in str(caught.value)

    def test_are_a_warning_on_this_machine(self, secret: str, load: Load) -> None:
        assert len(load(CLIENT_API_KEYS_MAP=f"{secret}:App").warnings) == 1


def test_good_secrets_are_not_called_weak() -> None:
    assert weakness_of(GOOD) == ""
    assert weakness_of("kr-bpa8W0b46r7IlXfJGJKNAcJWWKaOJ0VR8hZfg02jmi4") == ""
    assert weakness_of("correct horse battery staple") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.example"])
class TestBeyondThisMachine:
    def test_nobody_listens_without_clients(self, host: str, load: Load) -> None:
        with pytest.raises(InvalidConfiguration) as caught:
            load({"host": host})
        text = str(caught.value)
        assert f"command line host: {host} is reached from other machines, and no client is configured." in text
        assert "Set CLIENT_API_KEYS_MAP=" in text

    def test_a_good_client_is_enough(self, host: str, load: Load) -> None:
        assert load({"host": host}, CLIENT_API_KEYS_MAP=f"{GOOD}:App").settings.host == host


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


class TestTheOperator:
    def test_a_good_secret_is_taken_and_shown_masked(self, load: Load) -> None:
        configuration = load(KEYRELAY_OPERATOR_SECRET=GOOD)
        assert configuration.settings.operator_secret.reveal() == GOOD
        assert GOOD not in str(configuration.values)
        assert not configuration.snapshot.clients

    def test_it_may_stand_in_a_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "operator").write_text(f"{GOOD}\n")
        assert load(KEYRELAY_OPERATOR_SECRET_FILE="operator").settings.operator_secret.reveal() == GOOD

    @pytest.mark.parametrize(
        ("secret", "problem"),
        [
            ("b7e23ec29af22b0", "the secret is shorter than 16 characters."),
            ("changeme-secret-1234", "the secret is a well-known default, or as easily guessed."),
        ],
    )
    def test_one_that_would_be_guessed_is_refused(self, load: Load, secret: str, problem: str) -> None:
        with pytest.raises(InvalidConfiguration) as refused:
            load(KEYRELAY_OPERATOR_SECRET=secret)
        (found,) = refused.value.problems
        assert (found.where, found.problem) == ("environment KEYRELAY_OPERATOR_SECRET", problem)
        assert secret not in str(refused.value)

    def test_a_clients_secret_is_not_the_operators_too(self, load: Load) -> None:
        with pytest.raises(InvalidConfiguration) as refused:
            load(KEYRELAY_OPERATOR_SECRET=GOOD, CLIENT_API_KEYS_MAP=f"{GOOD}:App1")
        assert [each.problem for each in refused.value.problems] == ["the secret is a client's too."]
