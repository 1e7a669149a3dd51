"""Changes of clients, each a pure function from one state of what is administered to the next."""

import hashlib
from collections.abc import Callable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.configuration.clients import LABEL, LABEL_RULE, MAX_CLIENTS
from keyrelay.configuration.stored_clients import MAX_MODELS, PEPPER, limits_of, pepper_of
from keyrelay.core.administered import Administered, ClientEntry, CountMark, PepperEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.limits import Limit, WindowKind
from keyrelay.core.secrets import Secret, keyed_digest
from keyrelay.quota.client_limits import count_name, limit_words
from keyrelay.quota.fairness import Priority
from keyrelay.quota.values import Amounts

Edit = Callable[[Administered], Administered]

MAX_NOTES = 2_000
MAX_TAGS = 50
LONGEST_NAME = 200
LONGEST_GRACE_S = 30 * 86_400.0
_TAIL = 4
_NOT_THERE = Amounts(requests=0)


class ClientFields(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of a client; what is UNSET stays as it is. `expires_s` is in epoch seconds, 0: never."""

    enabled: bool | UnsetType = UNSET
    limits: tuple[str, ...] | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    priority: str | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    expires_s: float | UnsetType = UNSET

    @property
    def given(self) -> dict[str, object]:
        """What is said."""
        said = msgspec.structs.asdict(self)
        return {name: value for name, value in said.items() if value is not UNSET}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """When something is changed (epoch seconds), by whom, and what the client had ever used by then."""

    now_s: float
    author: str
    before: Amounts = _NOT_THERE


def adding_client(label: str, fields: ClientFields, change: Change, *, secret: Secret, pepper: Secret) -> Edit:
    """A client with this secret; `pepper` is taken where there is none yet. It raises CallerError (400, 409)."""

    def edit(state: Administered) -> Administered:
        if not LABEL.fullmatch(label):
            raise wrong("label", f"{label[:LONGEST_NAME]!a} will not do. {LABEL_RULE}")
        if state.get(ClientEntry, label) is not None:
            raise taken(label)
        if len(state.all(ClientEntry)) >= MAX_CLIENTS:
            raise CallerError(409, f"There are {MAX_CLIENTS} clients: remove some first.", code="too_many_clients")
        state = _with_pepper(state, pepper, change.now_s)
        entry = ClientEntry(label=label, digest="", created_s=change.now_s, set_by=change.author)
        return state.put(_said(_with_secret(entry, state, secret), fields, change))

    return edit


def changing_client(label: str, fields: ClientFields, change: Change) -> Edit:
    """A client of which something else is said. It raises CallerError (400, 404)."""
    return lambda state: state.put(_said(_known(state, label), fields, change))


def removing_client(label: str) -> Edit:
    """Without a client. It raises CallerError (404)."""
    return lambda state: state.without("client", _known(state, label).id)


def rotating_client(label: str, change: Change, *, secret: Secret, pepper: Secret, grace_s: float) -> Edit:
    """A client with another secret; the one that it had holds for `grace_s` more. It raises CallerError (404).

    One that was revoked is let in again by the new secret, and never by the old one.
    """

    def edit(state: Administered) -> Administered:
        old = _known(state, label)
        lost = pepper_of(state) is None
        state = _with_pepper(state, pepper, change.now_s)
        keeps = grace_s > 0 and not old.revoked_s and not lost
        entry = msgspec.structs.replace(
            old,
            previous=old.digest if keeps else "",
            previous_until_s=change.now_s + grace_s if keeps else 0.0,
            rotated_s=change.now_s,
            revoked_s=0.0,
            set_by=change.author,
        )
        return state.put(_with_secret(entry, state, secret))

    return edit


def revoking_client(label: str, change: Change) -> Edit:
    """A client that no secret of its lets in any more. It raises CallerError (404)."""

    def edit(state: Administered) -> Administered:
        entry = _known(state, label)
        if entry.revoked_s:
            return state
        return state.put(msgspec.structs.replace(entry, revoked_s=change.now_s, set_by=change.author))

    return edit


def resetting_client(label: str, change: Change, limit: str = "") -> Edit:
    """A client whose counts begin anew: those of one limit as it is shown, or all. It raises CallerError (404)."""

    def edit(state: Administered) -> Administered:
        entry = _known(state, label)
        limits = {count_name(each): each for each in _limits(entry)}
        chosen = {name for name, each in limits.items() if not limit or limit in {name, limit_words(each)}}
        if not chosen:
            message = f"The client {label!r} has no limit {limit[:LONGEST_NAME]!a}; it has: {_listed(limits)}."
            raise CallerError(404, message, param="limit", code="limit_not_found")
        kept = {name: mark for name, mark in entry.marks.items() if name not in chosen}
        return state.put(_marked(msgspec.structs.replace(entry, marks=kept, set_by=change.author), change))

    return edit


def never_resets(entry: ClientEntry) -> bool:
    """Whether one of a client's limits never resets, so that it has to be known what was used before."""
    return any(isinstance(each, Limit) and each.window.kind is WindowKind.ONCE for each in limits_of(entry))


def wrong(param: str, problem: str) -> CallerError:
    """The error for something that will not do."""
    return CallerError(400, f"{param}: {problem}", param=param, code="invalid_parameter")


def taken(label: str, source: str = "the store") -> CallerError:
    """The error for a label that there is already."""
    return CallerError(409, f"{source} has a client {label!r} already.", param="label", code="client_exists")


def not_found(label: str) -> CallerError:
    """The error for a client that is not there."""
    message = f"There is no client {label[:LONGEST_NAME]!a}; GET /api/v1/clients lists them."
    return CallerError(404, message, param="label", code="client_not_found")


def _known(state: Administered, label: str) -> ClientEntry:
    entry = state.get(ClientEntry, label)
    if entry is None:
        raise not_found(label)
    return entry


def _with_pepper(state: Administered, pepper: Secret, now_s: float) -> Administered:
    if pepper_of(state) is not None:
        return state
    return state.put(PepperEntry(id=PEPPER, created_s=now_s), pepper)


def _with_secret(entry: ClientEntry, state: Administered, secret: Secret) -> ClientEntry:
    pepper, text = pepper_of(state), secret.reveal()
    if pepper is None:
        raise TypeError("a client's digest is made with a pepper")
    digest = keyed_digest(pepper, hashlib.sha256(text.encode()).digest())
    return msgspec.structs.replace(entry, digest=digest.hex(), tail=text[-_TAIL:])


def _said(entry: ClientEntry, fields: ClientFields, change: Change) -> ClientEntry:
    """A client with what is said of it. Raise CallerError (400)."""
    entry = msgspec.structs.replace(entry, **fields.given, set_by=change.author)
    if entry.priority and entry.priority not in set(Priority):
        raise wrong("priority", f"is not one of {', '.join(Priority)}.")
    if len(entry.notes) > MAX_NOTES:
        raise wrong("notes", f"are longer than {MAX_NOTES} characters.")
    for name, values, most in (("models", entry.models, MAX_MODELS), ("tags", entry.tags, MAX_TAGS)):
        if len(values) > most or any(not each.strip() or len(each) > LONGEST_NAME for each in values):
            raise wrong(name, f"may be {most} at most, none of them empty or longer than {LONGEST_NAME} characters.")
    if fields.limits is UNSET:
        return entry
    return _marked(msgspec.structs.replace(entry, limits=tuple(map(limit_words, _limits(entry)))), change)


def _limits(entry: ClientEntry) -> list[Limit]:
    """A client's limits. Raise CallerError (400)."""
    limits = list[Limit]()
    for found in limits_of(entry):
        if isinstance(found, str):
            raise wrong("limits", found)
        limits.append(found)
    return limits


def _marked(entry: ClientEntry, change: Change) -> ClientEntry:
    """A client whose new limits are counted from now on; of those that count the same as before, as before."""
    marks = dict[str, CountMark]()
    for limit in _limits(entry):
        name = count_name(limit)
        if limit.window.kind is not WindowKind.CONCURRENT:
            before = change.before.of(limit.unit) if limit.window.kind is WindowKind.ONCE else 0
            marks[name] = entry.marks.get(name) or CountMark(change.now_s, before)
    return msgspec.structs.replace(entry, marks=marks)


def _listed(limits: Mapping[str, Limit]) -> str:
    return "; ".join(map(limit_words, limits.values())) or "none"
