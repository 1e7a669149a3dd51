"""From what was found to what is administered then: a pure function, with a line about each thing.

What is administered already stays as it is. What the environment of this Keyrelay holds is taken over all the same, so
that it may be taken out there: until then the environment wins.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from keyrelay.administration.client_edits import Change, ClientFields, adding_client
from keyrelay.administration.importing.found import (
    Found,
    FoundClient,
    FoundKey,
    FoundProvider,
    FoundRoute,
    FoundSetting,
    FoundUsage,
    shortened,
)
from keyrelay.administration.key_edits import tail_of
from keyrelay.administration.provider_edits import check_address, check_id
from keyrelay.configuration.setting_values import BY_NAME
from keyrelay.configuration.stored_clients import pepper_of
from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.administered import (
    Administered,
    ClientEntry,
    KeyEntry,
    ProviderEntry,
    RouteEntry,
    SettingEntry,
    UsageEntry,
)
from keyrelay.core.configuration import Key, Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret, keyed_digest
from keyrelay.core.words import counted

Outcome = Literal["new", "copied", "changed", "duplicate", "left", "unreadable"]
Kind = Literal["key", "provider", "route", "client", "setting", "usage", ""]

MAX_LINES = 20_000
_LONGEST_LABEL = 32


class ImportLine(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one thing of a file, which stands there at `source`.

    `outcome`: `new`; `copied` (the environment holds it too, and wins until it is taken out there); `changed` (more is
    said of what is there); `duplicate` (it is there already); `left` (it stays behind, `message` says why);
    `unreadable` (nothing of the whole file can be read, `message` says why, and nothing is imported with it). `tail`
    are the last characters of a secret.
    """

    file: str
    source: str
    kind: Kind
    id: str
    outcome: Outcome
    tail: str = ""
    message: str = ""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made in: the configuration in force, the rows of providers, and what addresses may be named."""

    snapshot: Snapshot
    catalogue: Mapping[str, ProviderRow]
    addresses: AddressPolicy
    author: str
    now_s: float
    pepper: Secret

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys of the configuration."""
        return (*self.snapshot.keys, *(each.key for each in self.snapshot.withheld))


class Plan(msgspec.Struct, frozen=True):
    """The state after an import, and what becomes of each thing."""

    state: Administered
    lines: tuple[ImportLine, ...]


def planned(files: Iterable[Found], state: Administered, around: Surroundings) -> Plan:
    """Take over what was found, in a state. Never raises for what was found."""
    planner = _Planner(state, around)
    lines = list[ImportLine]()
    for found in files:
        lines += planner.take(found)
    return Plan(planner.state, tuple(lines[:MAX_LINES]))


class _Planner:
    def __init__(self, state: Administered, around: Surroundings) -> None:
        self.state = state
        self._around = around
        self._first = dict[str, str]()
        self._known = {key.secret: key for key in around.keys if key.secret is not None}

    def take(self, found: Found) -> Iterator[ImportLine]:
        """Take over one file."""
        refused = set[str]()
        for provider in found.providers:
            line = self._provider(found.name, provider)
            if line.outcome == "left":
                refused.add(provider.entry.id)
            yield line
        for key in found.keys:
            yield self._key(found.name, key, refused)
        for route in found.routes:
            yield self._route(found.name, route)
        for setting in found.settings:
            yield self._setting(found.name, setting)
        for client in found.clients:
            yield self._client(found.name, client)
        for usage in found.usage:
            yield self._usage(found.name, usage)
        if found.unreadable:
            line = _line(found.name, "the file", "", "")
            yield _left(line, found.unreadable, outcome="unreadable")
        for left in found.left:
            yield ImportLine(file=found.name, source=left.source, kind="", id="", outcome="left", message=left.reason)

    # Providers

    def _provider(self, file: str, found: FoundProvider) -> ImportLine:
        wanted = found.entry
        line = _line(file, found.source, "provider", wanted.id)
        try:
            check_id(wanted.id, self._around.catalogue)
            if wanted.base_url:
                check_address(wanted.base_url, self._around.addresses)
        except CallerError as error:
            return _left(line, f"{error.message} Say so in the environment, if that is what you want.")
        known = self.state.get(ProviderEntry, wanted.id)
        if known is None:
            if wanted == ProviderEntry(id=wanted.id):
                return _left(line, "It says nothing that is not so already.", outcome="duplicate")
            self.state = self.state.put(wanted)
            return msgspec.structs.replace(line, message=_words(wanted))
        empty = msgspec.structs.asdict(ProviderEntry(id=wanted.id))
        said = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value != empty[name]}
        before = msgspec.structs.asdict(known)
        kept = [name for name in said if before[name] not in {empty[name], said[name]}]
        more = {name: value for name, value in said.items() if before[name] == empty[name] and name != "id"}
        message = f"What is administered of it stays: {', '.join(kept)}." if kept else ""
        if not more:
            return _left(line, message or "It is there already.", outcome="left" if kept else "duplicate")
        self.state = self.state.put(msgspec.structs.replace(known, **more))
        changed = f"{_words(wanted)}. {message}".strip() if message else _words(wanted)
        return msgspec.structs.replace(line, outcome="changed", message=changed)

    # Keys

    def _key(self, file: str, found: FoundKey, refused: set[str]) -> ImportLine:
        tail = tail_of(found.secret)
        line = _line(file, found.source, "key", found.provider, tail)
        if found.provider in refused and found.provider not in self._around.catalogue:
            return _left(line, "Its provider stays behind.")
        secrets = self.state.secrets.items()
        in_store = next((name for (kind, name), each in secrets if kind == "key" and each == found.secret), "")
        if in_store:
            self._first.setdefault(found.provider, in_store.partition("/")[2])
            entry = self.state.get(KeyEntry, in_store)
            limits = tuple(dict.fromkeys((*(entry.limits if entry else ()), *found.limits)))
            if entry is None or limits == entry.limits or entry.provider != found.provider:
                return _left(msgspec.structs.replace(line, id=in_store), "It is there already.", outcome="duplicate")
            self.state = self.state.put(msgspec.structs.replace(entry, limits=limits))
            return msgspec.structs.replace(line, id=in_store, outcome="changed", message="It gets more limits.")
        held = self._known.get(found.secret)
        if held is not None and held.provider_id != found.provider:
            return _left(line, f"It is there already, as {held.id}.", outcome="duplicate")
        label = held.label if held is not None else self._free_label(found)
        self._first.setdefault(found.provider, label)
        entry = self._entry(found, label, tail)
        self.state = self.state.put(entry, found.secret)
        if held is None:
            return msgspec.structs.replace(line, id=entry.id)
        message = "The environment holds it too, and wins until it is taken out there."
        return msgspec.structs.replace(line, id=entry.id, outcome="copied", message=message)

    def _free_label(self, found: FoundKey) -> str:
        label = found.label or found.secret.fingerprint
        taken = {key.label for key in self._around.keys if key.provider_id == found.provider}
        if label not in taken and self.state.get(KeyEntry, f"{found.provider}/{label}") is None:
            return label
        return f"{label[: _LONGEST_LABEL - 9]}-{found.secret.fingerprint}"

    def _entry(self, found: FoundKey, label: str, tail: str) -> KeyEntry:
        base = self.state.get(KeyEntry, f"{found.provider}/{label}") or KeyEntry(
            provider=found.provider, label=label, account=found.account, weight=found.weight
        )
        return msgspec.structs.replace(
            base,
            referenced=False,
            limits=tuple(dict.fromkeys((*base.limits, *found.limits))),
            fingerprint=found.secret.fingerprint,
            tail=tail,
            created_s=base.created_s or self._around.now_s,
            set_by=base.set_by or self._around.author,
        )

    # Routes, settings, clients

    def _route(self, file: str, found: FoundRoute) -> ImportLine:
        line = _line(file, found.source, "route", found.entry.name)
        known = self.state.get(RouteEntry, found.entry.name)
        if known is not None:
            same = msgspec.structs.replace(known, notes="") == found.entry
            reason = "It is there already." if same else "There is a route of this name already, which stays."
            return _left(line, reason, outcome="duplicate" if same else "left")
        if found.entry.name in self._around.snapshot.routes:
            return _left(line, "There is a route of this name already, which stays.")
        if not all(self._is_provider(target) for target in (*found.entry.targets, *(found.entry.fallback or ()))):
            return _left(line, "One of its targets is at a provider that stays behind.")
        self.state = self.state.put(found.entry)
        return msgspec.structs.replace(line, message=", ".join(found.entry.targets)[:200])

    def _is_provider(self, target: str) -> bool:
        provider_id = target.partition("/")[0]
        known = provider_id in self._around.catalogue or provider_id in self._around.snapshot.providers
        return known or self.state.get(ProviderEntry, provider_id) is not None

    def _setting(self, file: str, found: FoundSetting) -> ImportLine:
        line = _line(file, found.source, "setting", found.name)
        known = self.state.get(SettingEntry, found.name)
        if known is not None:
            same = known.text == found.text
            reason = "It is there already." if same else "It is administered already, and stays as it is."
            return _left(line, reason, outcome="duplicate" if same else "left")
        if found.text == BY_NAME[found.name].default:
            return _left(line, "This is its default.", outcome="duplicate")
        self.state = self.state.put(SettingEntry(name=found.name, text=found.text))
        return line

    def _client(self, file: str, found: FoundClient) -> ImportLine:
        around = self._around
        line = _line(file, found.source, "client", found.label, tail_of(found.secret))
        pepper = pepper_of(self.state)
        digest = hashlib.sha256(found.secret.reveal().encode()).digest()
        keyed = "" if pepper is None else keyed_digest(pepper, digest).hex()
        known = next((each for each in self.state.all(ClientEntry) if keyed and each.digest == keyed), None)
        if known is not None:
            return _left(line, f"It is there already, as {known.label}.", outcome="duplicate")
        change = Change(now_s=around.now_s, author=around.author)
        try:
            edit = adding_client(found.label, ClientFields(), change, secret=found.secret, pepper=around.pepper)
            self.state = edit(self.state)
        except CallerError as error:
            return _left(line, error.message)
        if digest in around.snapshot.clients:
            message = "The environment holds it too, and wins until it is taken out there."
            return msgspec.structs.replace(line, outcome="copied", message=message)
        return line

    # Usage

    def _usage(self, file: str, found: FoundUsage) -> ImportLine:
        """What was used counts for the first key of its provider: the one that the old system had."""
        line = _line(file, found.source, "usage", found.provider)
        labels = [self._first[found.provider]] if found.provider in self._first else []
        labels += [key.label for key in self._around.keys if key.provider_id == found.provider and key.secret]
        labels += [
            each.label for each in self.state.all(KeyEntry) if each.provider == found.provider and not each.referenced
        ]
        if not labels:
            return _left(line, "There is no key that it could count for: import or add that first.")
        entry = UsageEntry(
            provider=found.provider,
            label=labels[0],
            at_s=found.at_s,
            requests=found.requests,
            tokens=found.tokens,
            source=shortened(file),
        )
        known = self.state.get(UsageEntry, entry.id)
        line = msgspec.structs.replace(line, id=entry.id)
        if known is not None and msgspec.structs.replace(known, source=entry.source) == entry:
            return _left(line, "It is there already.", outcome="duplicate")
        if known is not None and known.at_s > entry.at_s:
            return _left(line, "Later usage was taken over already.", outcome="duplicate")
        self.state = self.state.put(entry)
        words = counted(found.requests, "request") if found.requests else counted(found.tokens, "token")
        beside = f", for the first of {len(set(labels))} keys" if len(set(labels)) > 1 else ""
        outcome: Outcome = "new" if known is None else "changed"
        return msgspec.structs.replace(line, outcome=outcome, message=f"{words}{beside}")


def _line(file: str, source: str, kind: Kind, entry_id: str, tail: str = "") -> ImportLine:
    return ImportLine(file=shortened(file), source=shortened(source), kind=kind, id=entry_id, outcome="new", tail=tail)


def _left(line: ImportLine, message: str, outcome: Outcome = "left") -> ImportLine:
    return msgspec.structs.replace(line, outcome=outcome, message=message)


def _value_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _words(entry: ProviderEntry) -> str:
    """What is said of a provider, without its address, in which somebody may have put a secret."""
    said = msgspec.structs.asdict(entry)
    empty = msgspec.structs.asdict(ProviderEntry(id=entry.id))
    shown = [name for name, value in said.items() if name != "base_url" and value != empty[name]]
    words = [f"{name} {_value_words(said[name])}" for name in shown]
    return "; ".join([*(["its address"] if entry.base_url else []), *words])[:300]
