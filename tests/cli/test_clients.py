import hashlib
import re

from tests.cli.helpers import Keyrelay


def test_a_client_is_made_listed_and_removed(keyrelay: Keyrelay) -> None:
    made = keyrelay("clients", "new", "my-app")
    secret = made.out.strip()
    assert made.code == 0
    assert re.fullmatch(r"kr-[A-Za-z0-9_-]{43}", secret)
    assert "my-app" in made.err
    assert secret not in made.err

    (client,) = keyrelay("clients", "list", "--json").document["clients"]
    assert client["label"] == "my-app"
    assert client["fingerprint"] == hashlib.sha256(secret.encode()).hexdigest()[:8]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", client["created_at"])
    assert keyrelay("clients", "list").out.splitlines()[1].startswith("my-app")

    removed = keyrelay("clients", "remove", "my-app")
    assert (removed.code, removed.out) == (0, "")
    assert keyrelay("clients", "list", "--json").document["clients"] == []


def test_a_label_is_found_when_none_is_given(keyrelay: Keyrelay) -> None:
    for label in ("client-1", "client-2"):
        assert f"Client {label} is in" in keyrelay("clients", "new").err


def test_what_cannot_be_done_is_code_2(keyrelay: Keyrelay) -> None:
    assert keyrelay("clients", "new", "a/b").code == 2
    ended = keyrelay("clients", "remove", "nobody")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("keyrelay: label: no client in ")


def test_the_first_client_can_be_made_where_its_lack_forbids_to_start(keyrelay: Keyrelay) -> None:
    exposed = {"KEYRELAY_HOST": "0.0.0.0", "KEYRELAY_DATA_DIR": "data"}
    assert keyrelay("config", "check", **exposed).code == 3
    assert keyrelay("clients", "new", **exposed).code == 0
    assert keyrelay("config", "check", **exposed).code == 0
