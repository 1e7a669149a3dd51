"""Adding, changing and removing keys: what has to be asked before, what is written, and what is known after."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from keyrelay.administration.key_edits import (
    NEXT,
    KeyFields,
    WantedKey,
    adding,
    check_fields,
    check_secret,
    counting_anew,
    editing,
    holders_of,
    importing,
    removing,
)
from keyrelay.administration.known_keys import KnownKey, find_key, known_keys
from keyrelay.administration.pasting import Pasted, read_paste
from keyrelay.administration.service import Administration, Author
from keyrelay.administration.suggesting import Suggester
from keyrelay.configuration.findings import nearest
from keyrelay.configuration.values import Configuration
from keyrelay.core.administered import KeyEntry, ProviderEntry
from keyrelay.core.configuration import Key, Provider
from keyrelay.core.errors import CallerError
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret

_MINUTE_S = 60
_NOT_ASKED = Probed(outcome=ProbeOutcome.UNKNOWN, message="It was not tested.")


class Prober(Protocol):
    """Asks a provider what a key is worth, at no cost; never raises for what the other side does."""

    async def probe(self, provider: Provider, key: Key) -> Probed:
        """What it says."""
        ...


class KeyHealth(Protocol):
    """What is known of keys while they are used."""

    def tested(self, provider: Provider, key: Key, probed: Probed) -> None:
        """Note what a test found."""
        ...

    def wake(self, key: Key) -> None:
        """End every rest that keeps a key back."""
        ...


class Checks(msgspec.Struct, frozen=True):
    """How much is asked before a key is saved: `unknown` saves it also when its provider could not say."""

    validate: bool = True
    save_unknown: bool = False


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is, or would be, done with one of many keys.

    `outcome`: `new`, `duplicate` (of `duplicate_of`, a key or a line), `problem` or `ignored`.
    """

    pasted: Pasted
    outcome: str
    wanted: WantedKey | None = None
    duplicate_of: str = ""
    message: str = ""
    probed: Probed | None = None


class Keys:
    """The keys, as people change them. Everything raises CallerError, and StoreError when it cannot be kept.

    `catalogue` are the providers that need no address to be used.
    """

    __slots__ = ("_administration", "_catalogue", "_epoch_s", "health", "prober")

    def __init__(
        self,
        administration: Administration,
        catalogue: Mapping[str, ProviderRow],
        *,
        prober: Prober,
        health: KeyHealth,
        epoch_s: Callable[[], float],
    ) -> None:
        self._administration = administration
        self._catalogue = catalogue
        self._epoch_s = epoch_s
        self.prober = prober
        self.health = health

    @property
    def administration(self) -> Administration:
        """What changes are made through."""
        return self._administration

    def known(self) -> dict[str, KnownKey]:
        """All keys by their ids."""
        return known_keys(self._administration.configuration, self._administration.state)

    def find(self, provider: str, label: str) -> KnownKey:
        """One key. Raise CallerError (404)."""
        return find_key(self.known(), provider, label)

    async def add(self, wanted: WantedKey, author: Author, checks: Checks) -> Probed:
        """Add one key; what its provider says of it."""
        now_s = self._epoch_s()
        self._check_provider(wanted.provider)
        check_secret(wanted.secret)
        check_fields(wanted.fields, now_s)
        edit = adding((wanted,), self.configured(), author.name, now_s)
        configuration = await self._administration.preview(edit)
        provider, key = _made(configuration, wanted.id)
        probed = await self.prober.probe(provider, key) if checks.validate else _NOT_ASKED
        refuse_unproven(probed, checks)
        await self._administration.change(edit, author, "add key")
        if checks.validate:
            self.health.tested(provider, key, probed)
        return probed

    def read(self, text: str, provider: str = "") -> tuple[Line, ...]:
        """What pasted text would add. Raise CallerError (400)."""
        if provider:
            self._check_provider(provider)
        administered = (entry.id for entry in self._administration.state.all(ProviderEntry))
        known = (*self._administration.configuration.snapshot.providers, *administered)
        pasted = read_paste(text, Suggester(self._catalogue.values(), known), provider)
        return self.sort([(each, None) for each in pasted])

    def sort(self, given: Sequence[tuple[Pasted, KeyFields | None]]) -> tuple[Line, ...]:
        """What is new of many keys, and what is not."""
        held, now_s = holders_of(self.configured(), self._administration.state), self._epoch_s()
        seen, labels = dict[object, int](), {*self.known()}
        lines = list[Line]()
        for pasted, fields in given:
            secret = pasted.secret
            if secret is None or pasted.problem:
                outcome = "ignored" if pasted.ignored else "problem"
                lines.append(Line(pasted=pasted, outcome=outcome, message=pasted.problem))
                continue
            holder = held.get(secret)
            if secret in seen or holder:
                of = holder or f"line {seen[secret]}"
                lines.append(Line(pasted=pasted, outcome="duplicate", duplicate_of=of, message=f"It is that of {of}."))
                continue
            seen[secret] = pasted.line
            said = fields or KeyFields(label=pasted.label, account=pasted.account)
            wanted = WantedKey(pasted.provider, secret, said)
            problem = self._problem(wanted, labels, now_s)
            labels.add(wanted.id)
            outcome = "problem" if problem else "new"
            lines.append(Line(pasted=pasted, outcome=outcome, wanted=wanted, message=problem))
        return tuple(lines)

    def _problem(self, wanted: WantedKey, labels: set[str], now_s: float) -> str:
        try:
            self._check_provider(wanted.provider)
            check_secret(wanted.secret)
            check_fields(wanted.fields, now_s)
        except CallerError as error:
            return error.message
        return f"There is a key {wanted.id} already." if wanted.id in labels else ""

    async def add_many(
        self, lines: Sequence[Line], author: Author, checks: Checks, *, dry_run: bool
    ) -> tuple[tuple[Line, ...], int]:
        """Add all that are new, or none; with `dry_run` none. What became of each line, and how many were added."""
        wanted = [line.wanted for line in lines if line.outcome == "new" and line.wanted is not None]
        if not wanted:
            return tuple(lines), 0
        edit = adding(wanted, self.configured(), author.name, self._epoch_s())
        configuration = await self._administration.preview(edit)
        made = {each.id: _made(configuration, each.id) for each in wanted}
        probes = dict[str, Probed]()
        if checks.validate:
            found = await asyncio.gather(*(self.prober.probe(*made[each.id]) for each in wanted))
            probes = dict(zip(made, found, strict=True))
        lines = tuple(_judged(line, probes, checks) for line in lines)
        if dry_run or any(line.outcome == "problem" for line in lines):
            return lines, 0
        await self._administration.change(edit, author, "add keys")
        for key_id, probed in probes.items():
            self.health.tested(*made[key_id], probed)
        return lines, len(wanted)

    async def edit(self, known: KnownKey, fields: KeyFields, author: Author, action: str) -> str:
        """Say something else of a key; its id then."""
        now_s = self._epoch_s()
        check_fields(fields, now_s)
        await self._administration.change(editing(known, fields, author.name, now_s), author, action)
        label = known.key.label if not isinstance(fields.label, str) else fields.label
        return f"{known.key.provider_id}/{label}"

    async def remove(self, known: KnownKey, author: Author) -> None:
        """Forget a key of the store."""
        await self._administration.change(removing(known), author, "remove key")

    async def import_keys(self, wanted: Sequence[KnownKey], author: Author) -> None:
        """Copy keys of the environment into the store."""
        await self._administration.change(importing(wanted, author.name, self._epoch_s()), author, "import keys")

    async def validate(self, provider: str, secret: Secret) -> Probed:
        """What a provider says of a key that is not to be saved."""
        self._check_provider(provider)
        check_secret(secret)
        label = f"{secret.fingerprint}{NEXT}"
        entry = KeyEntry(provider=provider, label=label)
        configuration = await self._administration.preview(lambda state: state.put(entry, secret))
        found = _made(configuration, f"{provider}/{label}", secret)
        return await self.prober.probe(*found)

    async def count_anew(self, wanted: Sequence[KnownKey], author: Author) -> float:
        """Count what is used of keys from the next whole minute on; when that is (epoch seconds)."""
        from_s = math.ceil(self._epoch_s() / _MINUTE_S) * _MINUTE_S
        await self._administration.change(counting_anew(wanted, from_s), author, "reset credits")
        return from_s

    async def wake(self, known: KnownKey, author: Author) -> None:
        """End the rests of a key; the way back that a person takes."""
        self.health.wake(known.key)
        await self._administration.note(author, "end rest of key", kind="key", entry=known.key.id)

    def provider_of(self, known: KnownKey, key: Key | None = None) -> Provider:
        """The provider that a key, or the one that is to take its place, may be sent to.

        Raise CallerError (409) when it is switched off, or at another address than the key was entered for.
        """
        key, snapshot = key or known.key, self._administration.configuration.snapshot
        provider = snapshot.providers.get(known.key.provider_id)
        if provider is None:
            message = f"{known.key.provider_id} is switched off, or has no address."
            raise CallerError(409, message, code="provider_off")
        details = {(each.key.id, each.key.secret): each.detail for each in snapshot.withheld}
        serving = {(each.id, each.secret) for each in snapshot.keys}
        problem = details.get((key.id, key.secret), "" if (key.id, key.secret) in serving else known.note)
        if problem:
            raise CallerError(409, f"{key.id} is not sent anywhere: {problem}", code="other_host")
        return provider

    def configured(self) -> tuple[Key, ...]:
        """All keys of the configuration, serving or withheld."""
        snapshot = self._administration.configuration.snapshot
        return (*snapshot.keys, *(each.key for each in snapshot.withheld))

    def _check_provider(self, provider: str) -> None:
        administered = {entry.id for entry in self._administration.state.all(ProviderEntry)}
        known = {*self._catalogue, *self._administration.configuration.snapshot.providers, *administered}
        if provider not in known:
            near = nearest(provider, sorted(known))
            message = f"provider: there is none called {provider[:64]!a}. {near}".strip()
            raise CallerError(400, message, param="provider", code="provider_not_found")

    def __repr__(self) -> str:
        return f"<Keys of {self._administration!r}>"


def refuse_unproven(probed: Probed, checks: Checks) -> None:
    """Raise CallerError (422) for a key that is not to be saved after what its provider said."""
    if not checks.validate:
        return
    if probed.outcome is ProbeOutcome.INVALID:
        raise CallerError(422, probed.message, param="secret", code="key_invalid")
    if probed.outcome is ProbeOutcome.UNKNOWN and not checks.save_unknown:
        message = f"{probed.message} Send save_unknown to keep it all the same."
        raise CallerError(422, message, param="secret", code="key_not_verified")


def _judged(line: Line, probes: Mapping[str, Probed], checks: Checks) -> Line:
    probed = None if line.wanted is None or line.outcome != "new" else probes.get(line.wanted.id)
    if probed is None:
        return line
    try:
        refuse_unproven(probed, checks)
    except CallerError as error:
        return msgspec.structs.replace(line, outcome="problem", message=error.message, probed=probed)
    return msgspec.structs.replace(line, message=probed.message, probed=probed)


def _made(configuration: Configuration, key_id: str, secret: Secret | None = None) -> tuple[Provider, Key]:
    """A key as a configuration has it, by its id or else by its secret.

    Raise CallerError (409) when its provider is switched off or has no address.
    """
    snapshot = configuration.snapshot
    listed = (*snapshot.keys, *(each.key for each in snapshot.withheld))
    key = next((key for key in listed if key.id == key_id), None)
    if key is None and secret is not None:
        key = next((key for key in listed if key.secret == secret), None)
    if key is None or key.provider_id not in snapshot.providers:
        message = f"{key_id.partition('/')[0]} is switched off, or has no address: enable it first."
        raise CallerError(409, message, param="provider", code="provider_off")
    return snapshot.providers[key.provider_id], key
