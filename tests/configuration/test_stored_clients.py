"""Clients of the store, beside those of the environment and of the data directory."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from keyrelay.configuration import Configuration, InvalidConfiguration, load_configuration
from keyrelay.configuration.clients import digest_of
from keyrelay.configuration.stored_clients import PEPPER, parse_client_limit
from keyrelay.core.administered import NOTHING, Administered, ClientEntry, CountMark, PepperEntry
from keyrelay.core.configuration import ClientLimit, ClientRules
from keyrelay.core.limits import ScopePart, Unit
from keyrelay.core.model_names import ModelNames
from keyrelay.core.secrets import Secret, keyed_digest

PEPPER_SECRET = Secret("00112233445566778899aabbccddeeff")
SECRET, OLD = "kr-test-0123456789abcdef", "kr-test-fedcba9876543210"
GOOD = "9f86d081884c7d659a2feaa0c55ad015"
SOON_S, LONG_AGO_S = 4_000_000_000.0, 1_000_000_000.0


def kept_digest(secret: str) -> bytes:
    return keyed_digest(PEPPER_SECRET, hashlib.sha256(secret.encode()).digest())


def client(label: str = "app", secret: str = SECRET, **more: Any) -> ClientEntry:
    return ClientEntry(label=label, digest=kept_digest(secret).hex(), **more)


def of(*entries: ClientEntry, pepper: bool = True) -> Administered:
    state = NOTHING.put(PepperEntry(id=PEPPER), PEPPER_SECRET) if pepper else NOTHING
    for entry in entries:
        state = state.put(entry)
    return state


def load(tmp_path: Path, administered: Administered, **environ: str) -> Configuration:
    environ = {"HOME": str(tmp_path / "home"), **environ}
    return load_configuration(environ, directory=tmp_path, overrides={}, catalogue={}, administered=administered)


def test_a_client_of_the_store_is_let_in_beside_others(tmp_path: Path) -> None:
    entry = client(
        limits=("60 requests per minute", "2.5 usd per month@UTC", "4 requests concurrent"),
        models=("fast", "gpt-*"),
        priority="agent",
        expires_s=SOON_S,
        marks={"usd_micros month@UTC": CountMark(LONG_AGO_S, 7), "requests concurrent": CountMark(LONG_AGO_S)},
    )
    configuration = load(tmp_path, of(entry), CLIENT_API_KEYS_MAP=f"{GOOD}:other")
    clients = configuration.snapshot.clients
    assert {found.label for found in clients.values()} == {"app", "other"}
    assert clients[digest_of(GOOD)].rules is None
    found = clients[kept_digest(SECRET)]
    limits = tuple(map(parse_client_limit, entry.limits))
    assert found.keyed
    assert found.rules == ClientRules(
        expires_s=SOON_S,
        models=ModelNames(("fast", "gpt-*")),
        limits=(ClientLimit(limits[0]), ClientLimit(limits[1], LONG_AGO_S, 7), ClientLimit(limits[2])),
        priority="agent",
    )
    assert configuration.snapshot.pepper == PEPPER_SECRET
    shown = {each.name: (each.value, each.source) for each in configuration.values if each.name.startswith("clients.")}
    assert shown["clients.app"] == (f"keyed digest {kept_digest(SECRET).hex()[:8]}…", "store")
    assert PEPPER_SECRET.reveal() not in str(configuration.values)


@pytest.mark.parametrize(
    ("more", "state"),
    [({"enabled": False}, "disabled"), ({"revoked_s": LONG_AGO_S}, "revoked"), ({"expires_s": SOON_S}, "")],
)
def test_whether_it_may_call(more: dict[str, Any], state: str, tmp_path: Path) -> None:
    (found,) = load(tmp_path, of(client(**more))).snapshot.clients.values()
    assert found.rules is not None
    assert found.rules.state == state


def test_of_a_client_that_may_do_everything_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    (found,) = load(tmp_path, of(client(tags=("a",), notes="b"))).snapshot.clients.values()
    assert found.rules is None


@pytest.mark.parametrize(
    ("until_s", "expires_s", "holds_until_s"),
    [(SOON_S, 0.0, SOON_S), (SOON_S, SOON_S - 5, SOON_S - 5), (LONG_AGO_S, 0.0, None)],
)
def test_the_secret_before_holds_for_a_while(
    until_s: float, expires_s: float, holds_until_s: float | None, tmp_path: Path
) -> None:
    entry = client(previous=kept_digest(OLD).hex(), previous_until_s=until_s, expires_s=expires_s)
    clients = load(tmp_path, of(entry)).snapshot.clients
    old = clients.get(kept_digest(OLD))
    assert kept_digest(SECRET) in clients
    assert (old and old.rules and (old.rules.expires_s, old.rules.replaced)) == (
        None if holds_until_s is None else (holds_until_s, True)
    )


@pytest.mark.parametrize("where", ["environment", "clients.json"])
def test_other_places_win_by_label_and_it_is_said(where: str, tmp_path: Path) -> None:
    environ = {"KEYRELAY_DATA_DIR": str(tmp_path / "data")}
    if where == "environment":
        environ["CLIENT_API_KEYS_MAP"] = f"{GOOD}:app"
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "clients.json").write_text(
            f'{{"version":1,"clients":[{{"label":"app","sha256":"{digest_of(GOOD).hex()}",'
            '"created_at":"2026-11-21T12:00:00Z"}]}'
        )
    configuration = load(tmp_path, of(client()), **environ)
    assert list(configuration.snapshot.clients) == [digest_of(GOOD)]
    assert any(
        text.startswith("store client app: ") and where in text and "wins" in text for text in configuration.warnings
    )


def test_without_the_pepper_nobody_is_let_in_and_it_is_said(tmp_path: Path) -> None:
    configuration = load(tmp_path, of(client(), pepper=False))
    assert configuration.snapshot.clients == {}
    assert "Rotate its secret." in configuration.warnings[-1]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"limits": ("lots",)}, "store client app limits: 'lots': it is not written like a limit. Write, for example"),
        ({"limits": ("5 requests per 60s for key",)}, "it is for the client and for nothing else"),
        ({"limits": ("5 requests per 60s of gpt-*",)}, "limits of a client count all models"),
        ({"limits": ("5 requests per day@Nowhere/Here",)}, "store client app limits: 5 requests per day@Nowhere/Here"),
        ({"limits": ("5 requests per 60s", "5 requests per minute")}, "two of them count the same"),
        ({"limits": ("5 requests per 60s", "6 requests per minute")}, "contradict each other"),
        ({"limits": tuple(f"5 requests per {n}s" for n in range(1, 34))}, "there are more than 32"),
        ({"models": ("",)}, "store client app models: are more than 200, or one of them is empty."),
        ({"priority": "first"}, "store client app priority: is not one of interactive, agent, batch."),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load(tmp_path, of(client(**more)))
    assert problem in str(caught.value)


@pytest.mark.parametrize("entry", [client(label="a/b"), ClientEntry(label="app", digest="no digest")])
def test_an_entry_that_cannot_be_is_refused(entry: ClientEntry, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=f"store client {entry.label}"):
        load(tmp_path, of(entry))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("60 requests per minute", "60 requests per 60s"),
        ("60 requests minute", "60 requests per 60s"),
        ("1_000 tokens per hour", "1000 tokens per 1h"),
        ("5 usd per day", "5 usd per day@UTC"),
        ("5 usd per week smooth", "5 usd per week@UTC smooth"),
        ("0.5 usd per month for client", "0.5 usd month@UTC"),
    ],
)
def test_everyday_words_for_windows(text: str, same: str) -> None:
    limit = parse_client_limit(text)
    assert limit == parse_client_limit(same)
    assert limit.scope == (ScopePart.CLIENT,)
    assert limit.firm
    assert limit.unit in {Unit.REQUESTS, Unit.TOKENS, Unit.USD_MICROS}


def test_limits_of_clients_are_nothing_for_a_provider(tmp_path: Path) -> None:
    environ = {
        "ACME_BASE_URL": "http://acme.example/v1",
        "ACME_API_KEYS": "sk-test-0123456789",
        "ACME_LIMITS": "5 requests per 60s for client",
    }
    with pytest.raises(InvalidConfiguration, match="limits of clients are said of each client"):
        load(tmp_path, NOTHING, **environ)
