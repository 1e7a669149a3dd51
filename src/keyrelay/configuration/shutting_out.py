"""Shutting somebody out while what is administered cannot be taken as a whole.

What the store holds may not fit the files of this machine. It is not taken then, and what was in force before stays;
but nobody who was shut out since, and no key that was taken away, is to serve on for that reason.
"""

import msgspec

from keyrelay.core.administered import Administered, ClientEntry, Entry, KeyEntry, ProviderEntry, UserEntry

_LETS_IN = frozenset({"client", "key", "token", "user"})
"""What lets somebody in, or may be used, as long as it is there."""

_GOES_ALONG = frozenset({"usage"})
"""What is removed together with such an entry."""


def only_shuts_out(before: Administered, after: Administered) -> bool:
    """Whether a change removes, disables or revokes, and does nothing else."""
    entries, changed = before.entries, after.entries
    places = [place for place in entries.keys() | changed.keys() if entries.get(place) != changed.get(place)]
    return bool(places) and all(
        place[0] in _LETS_IN | _GOES_ALONG if place not in changed else _is_shut(changed[place]) for place in places
    )


def curtailed(in_force: Administered, administered: Administered) -> Administered:
    """What is in force, without those who are shut out by what is administered by now."""
    kept = in_force
    for place, entry in in_force.entries.items():
        now = administered.entries.get(place)
        if now is None and place[0] in _LETS_IN:
            kept = kept.without(*place)
        elif now is not None and _is_shut(now):
            kept = kept.put(_shut(entry, now))
    return kept


def _is_shut(entry: Entry) -> bool:
    match entry:
        case ClientEntry():
            return not entry.enabled or bool(entry.revoked_s)
        case KeyEntry() | UserEntry():
            return not entry.enabled
        case ProviderEntry():
            return entry.enabled is False
        case _:
            return False


def _shut(entry: Entry, now: Entry) -> Entry:
    """An entry of old, as far as it is shut out now."""
    match entry, now:
        case ClientEntry(), ClientEntry():
            return msgspec.structs.replace(entry, enabled=now.enabled, revoked_s=now.revoked_s)
        case (KeyEntry(), KeyEntry()) | (ProviderEntry(), ProviderEntry()):
            return msgspec.structs.replace(entry, enabled=False)
        case _:
            return entry
