import pytest

from keyrelay.core.administered import (
    ENTRY_KINDS,
    ENTRY_TYPES,
    NOTHING,
    AlertEntry,
    ClientEntry,
    Entry,
    KeyEntry,
    PepperEntry,
    ProviderEntry,
    RouteEntry,
    SettingEntry,
    TokenEntry,
    UsageEntry,
    UserEntry,
    place_of,
)
from keyrelay.core.secrets import Secret

ENTRIES: dict[tuple[str, str], Entry] = {
    ("key", "groq/work"): KeyEntry(provider="groq", label="work"),
    ("provider", "groq"): ProviderEntry(id="groq"),
    ("route", "fast"): RouteEntry(name="fast", targets=("groq",)),
    ("client", "app"): ClientEntry(label="app", digest="00"),
    ("setting", "port"): SettingEntry(name="port", text="1"),
    ("user", "alice"): UserEntry(name="alice", role="viewer", password="$argon2id$"),
    ("token", "ci"): TokenEntry(name="ci", role="operator", digest="00"),
    ("alert", "quota"): AlertEntry(id="quota"),
    ("pepper", "clients"): PepperEntry(id="clients"),
    ("usage", "groq/work"): UsageEntry(provider="groq", label="work", at_s=1.0),
}
KEY = KeyEntry(provider="groq", label="work")


@pytest.mark.parametrize(("place", "entry"), ENTRIES.items())
def test_an_entry_has_its_place(place: tuple[str, str], entry: Entry) -> None:
    assert place_of(entry) == place
    assert NOTHING.put(entry).get(type(entry), entry.id) == entry


def test_there_is_a_type_for_each_kind() -> None:
    assert tuple(ENTRY_TYPES) == ENTRY_KINDS
    assert {kind for kind, _ in ENTRIES} == set(ENTRY_KINDS)


def test_changing_makes_another_one() -> None:
    with_key = NOTHING.put(KEY, Secret("gsk-test-0001"))
    assert NOTHING.entries == {}
    assert NOTHING.get(KeyEntry, "groq/work") is None
    renamed = with_key.put(KeyEntry(provider="groq", label="work", notes="mine"))
    assert renamed.secrets == with_key.secrets == {("key", "groq/work"): Secret("gsk-test-0001")}
    assert with_key.get(KeyEntry, "groq/work") == KEY
    assert renamed.without("key", "groq/work") == NOTHING


def test_the_entries_of_a_type_come_in_order() -> None:
    both = NOTHING.put(KeyEntry(provider="groq", label="b")).put(KeyEntry(provider="groq", label="a"))
    assert [key.id for key in both.put(ProviderEntry(id="groq")).all(KeyEntry)] == ["groq/a", "groq/b"]
