"""Every key that there is, wherever it stands: in the environment, in the store, serving or not."""

from collections.abc import Iterator

import msgspec

from keyrelay.configuration.stored import STORE
from keyrelay.configuration.values import Configuration
from keyrelay.core.administered import Administered, KeyEntry
from keyrelay.core.configuration import Key, Withheld
from keyrelay.core.errors import CallerError

_KEYS = "providers.{provider}.keys.{label}"


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key and what is administered of it.

    `source` says where it stands, as the configuration does. `owned`: its secret is in the store, and so can be changed
    here. `withheld`: it takes no requests. `note` says in a sentence what is special about it.
    """

    key: Key
    source: str
    owned: bool
    entry: KeyEntry | None = None
    withheld: Withheld | None = None
    note: str = ""

    @property
    def said(self) -> KeyEntry:
        """What is administered of it, or an entry that says nothing."""
        if self.entry is not None:
            return self.entry
        return KeyEntry(provider=self.key.provider_id, label=self.key.label, referenced=True)


def known_keys(configuration: Configuration, state: Administered) -> dict[str, KnownKey]:
    """All keys by their ids, in the order of ids."""
    found = {each.key.id: each for each in _configured(configuration, state)}
    for entry in state.all(KeyEntry):
        if entry.id not in found:
            found[entry.id] = _idle(entry, state)
    return dict(sorted(found.items()))


def find_key(known: dict[str, KnownKey], provider: str, label: str) -> KnownKey:
    """One of them. Raise CallerError (404)."""
    found = known.get(f"{provider}/{label}")
    if found is None:
        message = f"There is no key {f'{provider}/{label}'[:100]!a}; GET /api/v1/keys lists what there is."
        raise CallerError(404, message, param="label", code="key_not_found")
    return found


def _configured(configuration: Configuration, state: Administered) -> Iterator[KnownKey]:
    """The keys that the configuration knows, serving or withheld."""
    snapshot = configuration.snapshot
    sources = {value.name: value.source for value in configuration.values}
    listed = [*((key, None) for key in snapshot.keys), *((each.key, each) for each in snapshot.withheld)]
    for key, withheld in listed:
        entry = state.get(KeyEntry, key.id)
        source = sources.get(_KEYS.format(provider=key.provider_id, label=key.label), "")
        owned = source == STORE
        yield KnownKey(
            key=key,
            source=source,
            owned=owned,
            entry=entry,
            withheld=withheld,
            note="" if owned else _note(source, shadowing=entry is not None and ("key", key.id) in state.secrets),
        )


def _note(source: str, *, shadowing: bool) -> str:
    """What is special about a key that is not the store's."""
    if shadowing:
        return f"{source} holds it and wins over the copy in the store; once it is gone there, the copy serves."
    return f"Its secret stands in {source}: change or remove it there. Everything else can be said here."


def _idle(entry: KeyEntry, state: Administered) -> KnownKey:
    """An entry behind which the configuration has no key."""
    secret = state.secrets.get(("key", entry.id))
    key = Key(provider_id=entry.provider, label=entry.label, account=entry.account or entry.label, secret=secret)
    if secret is None:
        note = "The environment does not hold this key any more. What is said of it here waits for its return."
    else:
        note = (
            "It does not serve: its provider is switched off or has no address, or the environment holds the same key "
            "under another label."
        )
    withheld = Withheld(key, "disabled", entry.set_by if not entry.enabled else "keyrelay")
    return KnownKey(key=key, source=STORE, owned=True, entry=entry, withheld=withheld, note=note)
