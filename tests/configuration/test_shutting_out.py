"""What takes away, and what is left of a configuration when nothing else can be taken."""

import pytest

from keyrelay.configuration.shutting_out import curtailed, only_shuts_out
from keyrelay.core.administered import (
    NOTHING,
    Administered,
    ClientEntry,
    Entry,
    EntryKind,
    KeyEntry,
    ProviderEntry,
    RouteEntry,
    TokenEntry,
    UsageEntry,
    UserEntry,
)

CLIENT = ClientEntry(label="app", digest="00", limits=("5 requests per day",))
KEY = KeyEntry(provider="groq", label="work", priority=3)
USER = UserEntry(name="bob", role="viewer", password="-")
PROVIDER = ProviderEntry(id="groq", tier="paid")
ROUTE = RouteEntry(name="fast", targets=("groq/m",))
TOKEN = TokenEntry(name="ci", role="viewer", digest="0")
USED = UsageEntry(provider="groq", label="work", at_s=1.0)


def state(*entries: Entry) -> Administered:
    administered = NOTHING
    for entry in entries:
        administered = administered.put(entry)
    return administered


ALL = state(CLIENT, KEY, USER, PROVIDER, ROUTE, TOKEN, USED)


@pytest.mark.parametrize(
    ("kind", "name", "takes_away"),
    [
        ("client", "app", True),
        ("key", "groq/work", True),
        ("user", "bob", True),
        ("token", "ci", True),
        ("usage", "groq/work", True),
        ("provider", "groq", False),
        ("route", "fast", False),
    ],
)
def test_deleting_takes_away_what_lets_somebody_in(kind: EntryKind, name: str, *, takes_away: bool) -> None:
    assert only_shuts_out(ALL, ALL.without(kind, name)) is takes_away
    assert curtailed(ALL, ALL.without(kind, name)) == (ALL.without(kind, name) if kind in KINDS else ALL)


KINDS = {"client", "key", "user", "token"}


@pytest.mark.parametrize(
    ("shut", "kept"),
    [
        (ClientEntry(label="app", digest="00", revoked_s=5.0, limits=("new",)), None),
        (ClientEntry(label="app", digest="00", enabled=False, set_by="user:bob"), None),
        (KeyEntry(provider="groq", label="work", enabled=False, limits=("new",)), None),
        (ProviderEntry(id="groq", tier="gold", enabled=False), ProviderEntry(id="groq", tier="paid", enabled=False)),
        (UserEntry(name="bob", role="viewer", password="-", enabled=False), USER),
    ],
)
def test_who_is_shut_out_stays_as_they_were_otherwise(shut: Entry, kept: Entry | None) -> None:
    after = ALL.put(shut)
    assert only_shuts_out(ALL, after)
    left = curtailed(ALL, after)
    if isinstance(shut, ClientEntry):
        entry = left.get(ClientEntry, "app")
        assert entry is not None
        assert (entry.enabled, entry.revoked_s, entry.limits) == (shut.enabled, shut.revoked_s, CLIENT.limits)
    elif isinstance(shut, KeyEntry):
        assert left.get(KeyEntry, KEY.id) == KeyEntry(provider="groq", label="work", priority=3, enabled=False)
    else:
        assert kept in left.entries.values()


@pytest.mark.parametrize(
    "after",
    [
        ALL,
        ALL.put(KeyEntry(provider="groq", label="new")),
        ALL.put(ClientEntry(label="app", digest="11")),
        ALL.put(ProviderEntry(id="groq", tier="gold")),
        ALL.without("key", "groq/work").put(ROUTE).put(RouteEntry(name="slow", targets=("groq/m",))),
    ],
)
def test_other_changes_take_nothing_away(after: Administered) -> None:
    assert not only_shuts_out(ALL, after)
    assert curtailed(state(KEY), after).entries.keys() <= state(KEY).entries.keys()
