"""Administered entries as they are kept: their documents, what differs between two states, and what the audit shows."""

from collections.abc import Iterable
from typing import Any

import msgspec

from keyrelay.core.administered import ENTRY_KINDS, ENTRY_TYPES, Administered, Entry, EntryKind, Place
from keyrelay.core.secrets import Secret
from keyrelay.ports import StoredEntry, Vault

TABLE = "entries"
COLUMN = "sealed"

HIDDEN_FIELDS = frozenset({"digest", "password", "previous"})
"""What nobody needs to see of a document: it would help who wants to find the secret out."""

_HIDDEN = "…"


class Difference(msgspec.Struct, frozen=True):
    """One entry that is new, gone, or another now; `sealed_again` when its secret is."""

    place: Place
    before: Entry | None
    after: Entry | None
    secret: Secret | None = None


def differences(before: Administered, after: Administered) -> tuple[Difference, ...]:
    """What to do to make the second of the first, in order of kind and id."""
    places = sorted(before.entries.keys() | after.entries.keys())
    found = list[Difference]()
    for place in places:
        old, new = before.entries.get(place), after.entries.get(place)
        secret = after.secrets.get(place)
        changed = secret is not None and secret != before.secrets.get(place)
        if old != new or changed:
            found.append(Difference(place, old, new, secret if changed else None))
    return tuple(found)


def row_of(place: Place) -> str:
    """The name of a row for the vault: a value sealed for one opens in no other."""
    kind, entry_id = place
    return f"{kind}/{entry_id}"


def to_stored(difference: Difference, sealed_before: bytes, vault: Vault | None) -> StoredEntry:
    """An entry as it is to be kept; without a new secret it keeps the sealed one."""
    kind, entry_id = difference.place
    sealed = sealed_before
    if difference.secret is not None:
        if vault is None:
            raise ValueError("a secret needs a vault")
        secret = difference.secret.reveal().encode()
        sealed = vault.seal(secret, table=TABLE, row=row_of(difference.place), column=COLUMN)
    return StoredEntry(kind, entry_id, msgspec.json.encode(difference.after), sealed)


def shown(entry: Entry | None) -> bytes:
    """A document as people may see it, empty for none."""
    if entry is None:
        return b""
    document: dict[str, Any] = msgspec.to_builtins(entry)
    shown = {name: _HIDDEN if name in HIDDEN_FIELDS and value else value for name, value in document.items()}
    return msgspec.json.encode(shown)


def read_entry(stored: StoredEntry) -> tuple[Place, Entry]:
    """An entry of its document. Raise ValueError for one of a kind, or in a form, that this version does not know."""
    kind = next((known for known in ENTRY_KINDS if known == stored.kind), None)
    if kind is None:
        raise ValueError(f"there is an entry of kind {stored.kind!r}, which this Keyrelay does not know")
    entry: Entry = msgspec.json.decode(stored.document, type=ENTRY_TYPES[kind])
    return (kind, stored.id), entry


def read_all(stored: Iterable[StoredEntry], vault: Vault | None) -> tuple[dict[Place, Entry], dict[Place, Secret]]:
    """Entries and their secrets. Raise ValueError, and VaultError for a secret that does not open."""
    entries, secrets = dict[Place, Entry](), dict[Place, Secret]()
    for each in stored:
        place, entry = read_entry(each)
        entries[place] = entry
        if each.sealed:
            if vault is None:
                raise ValueError("a sealed secret needs a vault")
            plain = vault.open(each.sealed, table=TABLE, row=row_of(place), column=COLUMN)
            secrets[place] = Secret(plain.decode())
    return entries, secrets


def kind_of(name: str) -> EntryKind | None:
    """A kind by its name; None when there is none."""
    return next((kind for kind in ENTRY_KINDS if kind == name), None)
