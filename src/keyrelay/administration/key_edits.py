"""Changes of keys, each a pure function from one state of what is administered to the next."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.administration.known_keys import KnownKey
from keyrelay.configuration.keys import is_name, is_placeholder, is_usable
from keyrelay.configuration.providers import prefix_of
from keyrelay.core.administered import Administered, KeyEntry
from keyrelay.core.configuration import Key
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret

Edit = Callable[[Administered], Administered]

MAX_NOTES = 2_000
MAX_PRIORITY = 100_000
MAX_WEIGHT = 999_999.0
MAX_LIMITS = 50
_LONGEST_LIMIT = 200
_LONGEST_SECRET = 4_096
_TAIL = 4
_SHORTEST_WITH_TAIL = 12

NEXT, OLD = ".next", ".old"
"""What the labels of the two keys end in that stand beside one while it is rotated."""


class KeyFields(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of a key; what is UNSET stays as it is. `expires_s` is in epoch seconds, 0: never."""

    label: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    weight: float | UnsetType | None = UNSET
    limits: tuple[str, ...] | UnsetType = UNSET
    expires_s: float | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    backup: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WantedKey(msgspec.Struct, frozen=True):
    """A key to be added, with what is said of it; without a label it gets one of its own digest."""

    provider: str
    secret: Secret
    fields: KeyFields = KeyFields()

    @property
    def label(self) -> str:
        """Its label."""
        return self.fields.label or self.secret.fingerprint

    @property
    def id(self) -> str:
        """Its id."""
        return f"{self.provider}/{self.label}"


def wrong(param: str, problem: str) -> CallerError:
    """The answer to a field that is wrong; `problem` goes on from its name."""
    return CallerError(400, f"{param}: {problem}.", param=param, code="invalid_parameter")


def check_fields(fields: KeyFields, now_s: float) -> None:
    """Raise CallerError (400) for what cannot be said of a key."""
    for name, text in (("label", fields.label), ("account", fields.account)):
        if text and not is_name(text):
            raise wrong(name, "up to 32 letters, digits and . _ @ -, beginning with a letter or a digit")
    if fields.label and fields.label.endswith((NEXT, OLD)):
        raise wrong("label", f"{NEXT} and {OLD} are what keys end in while they are rotated")
    if fields.priority is not UNSET and not 0 <= fields.priority <= MAX_PRIORITY:
        raise wrong("priority", f"from 0 to {MAX_PRIORITY}, the lowest is taken first")
    if isinstance(fields.weight, float) and not 0.0 < fields.weight <= MAX_WEIGHT:
        raise wrong("weight", f"above 0, up to {MAX_WEIGHT:g}")
    if fields.limits and (len(fields.limits) > MAX_LIMITS or max(map(len, fields.limits)) > _LONGEST_LIMIT):
        raise wrong("limits", f"at most {MAX_LIMITS}, each of at most {_LONGEST_LIMIT} characters")
    if fields.notes and len(fields.notes) > MAX_NOTES:
        raise wrong("notes", f"at most {MAX_NOTES} characters")
    if fields.expires_s and fields.expires_s <= now_s:
        raise wrong("expires_at", "lies in the past; disable the key instead")


def check_secret(secret: Secret, param: str = "secret") -> None:
    """Raise CallerError (400) for what cannot be a key."""
    if not secret:
        raise wrong(param, "is empty")
    if len(secret.reveal()) > _LONGEST_SECRET:
        raise wrong(param, f"longer than {_LONGEST_SECRET} characters")
    if not is_usable(secret):
        raise wrong(param, "holds spaces or characters that cannot stand in an HTTP header")
    if is_placeholder(secret):
        raise wrong(param, "is a placeholder, not a key")


def tail_of(secret: Secret | None) -> str:
    """The last four characters of a secret; nothing of a short one."""
    text = "" if secret is None else secret.reveal()
    return text[-_TAIL:] if len(text) >= _SHORTEST_WITH_TAIL else ""


def holder_of(secret: Secret, keys: Sequence[Key], state: Administered) -> str:
    """The id of the key that has this secret already, wherever; empty when none has."""
    return holders_of(keys, state).get(secret, "")


def holders_of(keys: Sequence[Key], state: Administered) -> dict[Secret, str]:
    """The ids of the keys by their secrets; those of the configuration come before those that are idle."""
    held = dict[Secret, str]()
    for key in keys:
        if key.secret is not None:
            held.setdefault(key.secret, key.id)
    for (kind, name), secret in state.secrets.items():
        if kind == "key":
            held.setdefault(secret, name)
    return held


def _held_words(holder: str, provider: str) -> str:
    message = f"This key is there already, as {holder}."
    if holder.partition("/")[0] == provider:
        return message
    variable = f"{prefix_of(provider)}_API_KEY"
    return f"{message} If both providers are to get it, say so in the environment: {variable}."


def adding(wanted: Sequence[WantedKey], keys: Sequence[Key], author: str, now_s: float) -> Edit:
    """Add keys; `keys` are those of the configuration. The edit raises CallerError (409)."""

    def edit(state: Administered) -> Administered:
        taken, held = {key.id for key in keys}, holders_of(keys, state)
        for each in wanted:
            holder = held.get(each.secret)
            if holder:
                raise CallerError(409, _held_words(holder, each.provider), param="secret", code="key_exists")
            known = state.get(KeyEntry, each.id)
            if each.id in taken or (known is not None and not known.referenced):
                message = f"There is a key {each.id} already. Choose another label, or rotate that one."
                raise CallerError(409, message, param="label", code="label_exists")
            state = state.put(with_fields(_new_entry(each, author, now_s), each.fields, author), each.secret)
            held[each.secret] = each.id
        return state

    return edit


def _new_entry(wanted: WantedKey, author: str, now_s: float) -> KeyEntry:
    return KeyEntry(
        provider=wanted.provider,
        label=wanted.label,
        fingerprint=wanted.secret.fingerprint,
        tail=tail_of(wanted.secret),
        created_s=now_s,
        set_by=author,
    )


def with_fields(entry: KeyEntry, fields: KeyFields, author: str) -> KeyEntry:
    """An entry with what is said of it; the label is not touched."""
    said = {
        name: value for name, value in msgspec.structs.asdict(fields).items() if value is not UNSET and name != "label"
    }
    if "enabled" in said and said["enabled"] != entry.enabled:
        said["set_by"] = author
    return msgspec.structs.replace(entry, **said)


def editing(known: KnownKey, fields: KeyFields, author: str, now_s: float) -> Edit:
    """Say something else of a key. Raise CallerError (400, 409), as the edit does."""
    key_id = known.key.id
    label = known.key.label if fields.label is UNSET else fields.label
    if not label:
        raise wrong("label", "is empty")
    if label != known.key.label and not known.owned:
        raise CallerError(409, f"Its label stands in {known.source}: change it there.", param="label", code="not_here")

    def edit(state: Administered) -> Administered:
        entry = state.get(KeyEntry, key_id)
        if entry is None:
            if known.owned:
                raise _gone(key_id)
            entry = msgspec.structs.replace(known.said, created_s=now_s)
        changed = with_fields(entry, fields, author)
        if label == entry.label:
            return state.put(changed)
        moved = msgspec.structs.replace(changed, label=label)
        if state.get(KeyEntry, moved.id) is not None:
            raise CallerError(409, f"There is a key {moved.id} already.", param="label", code="label_exists")
        return state.without("key", key_id).put(moved, state.secrets.get(("key", key_id)))

    return edit


def removing(known: KnownKey) -> Edit:
    """Forget a key of the store. Raise CallerError (409) for one that stands elsewhere."""
    key_id = known.key.id
    if not known.owned and (known.entry is None or known.entry.referenced):
        message = f"It stands in {known.source}: take it out there, or disable it here."
        raise CallerError(409, message, code="not_here")

    def edit(state: Administered) -> Administered:
        if state.get(KeyEntry, key_id) is None:
            raise _gone(key_id)
        beside = (f"{key_id}{NEXT}", f"{key_id}{OLD}")
        for each in (key_id, *(name for name in beside if state.get(KeyEntry, name) is not None)):
            state = state.without("key", each)
        return state

    return edit


def counting_anew(wanted: Sequence[KnownKey], from_s: float) -> Edit:
    """Leave out what was used of keys before a time; nothing of it is deleted."""

    def edit(state: Administered) -> Administered:
        for each in wanted:
            entry = state.get(KeyEntry, each.key.id) or each.said
            state = state.put(msgspec.structs.replace(entry, counted_from_s=from_s))
        return state

    return edit


def importing(wanted: Sequence[KnownKey], author: str, now_s: float) -> Edit:
    """Copy keys of the environment into the store, where they serve once the environment holds them no more."""

    def edit(state: Administered) -> Administered:
        for each in wanted:
            secret = each.key.secret
            if secret is None or ("key", each.key.id) in state.secrets:
                continue
            entry = state.get(KeyEntry, each.key.id) or each.said
            copied = msgspec.structs.replace(
                entry,
                referenced=False,
                account=entry.account or ("" if each.key.account == each.key.label else each.key.account),
                fingerprint=secret.fingerprint,
                tail=tail_of(secret),
                created_s=entry.created_s or now_s,
                set_by=entry.set_by or author,
            )
            state = state.put(copied, secret)
        return state

    return edit


def _gone(key_id: str) -> CallerError:
    return CallerError(404, f"There is no key {key_id} any more.", code="key_not_found")
