"""Providers, as people administer them: what is said of them, in which order they are tried, what they have."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from keyrelay.administration.known_keys import KnownKey, known_keys
from keyrelay.administration.provider_edits import (
    MAX_MODELS,
    ProviderFields,
    check_address,
    check_fields,
    check_id,
    ordering,
    putting,
    refuse_held,
    removing,
    said,
    wrong,
)
from keyrelay.administration.service import Administration, Author
from keyrelay.configuration.findings import nearest
from keyrelay.configuration.providers import prefix_of
from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.administered import ProviderEntry
from keyrelay.core.configuration import Key, Provider, Tier
from keyrelay.core.errors import CallerError
from keyrelay.core.origins import Origin
from keyrelay.core.probes import Listing, Probed
from keyrelay.core.providers import ProviderDialect, ProviderRow
from keyrelay.core.secrets import Secret

_VERSION_PATH = "/v1"
"""What a base URL of OpenAI's dialect usually ends in, and what people forget."""

_PREVIEWED = "preview"
_NO_SUCH = frozenset({404, 405})
Generic = Callable[[str, str], ProviderRow]
"""Makes the row of a provider that the catalogue does not know, of its id and base URL."""


class ModelLister(Protocol):
    """Asks a provider for its models; never raises for what the other side does."""

    async def models(self, provider: Provider, key: Key) -> Listing:
        """What it lists for this key."""
        ...


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a provider lists. `known`: it could be asked for before. `priced`: what it costs is known."""

    id: str
    known: bool
    priced: bool


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider lists, asked with a key; `added` are the names that it has got by this."""

    key: str
    listing: Listing
    models: tuple[FoundModel, ...]
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


class Previewed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at an address; `base_url` is the one that works, or the one given."""

    compatible: bool
    base_url: str
    listing: Listing


class Providers:
    """The providers. Everything raises CallerError, and StoreError when it cannot be kept.

    `catalogue` are the rows that need no address; `policy` says where addresses of the store may lead; `test` tries a
    key out and has that known.
    """

    __slots__ = ("_administration", "_generic", "_lister", "_policy", "_test", "catalogue")

    def __init__(
        self,
        administration: Administration,
        catalogue: Mapping[str, ProviderRow],
        generic: Generic,
        *,
        policy: AddressPolicy,
        lister: ModelLister,
        test: Callable[[KnownKey], Awaitable[Probed]],
    ) -> None:
        self._administration = administration
        self._generic = generic
        self._policy = policy
        self._lister = lister
        self._test = test
        self.catalogue = catalogue

    @property
    def administration(self) -> Administration:
        """What changes are made through."""
        return self._administration

    def ids(self, *, everything: bool) -> list[str]:
        """Those in use, first priority first, then those that are administered; `everything`: then the catalogue's."""
        snapshot, state = self._administration.configuration.snapshot, self._administration.state
        in_use = sorted(snapshot.providers.values(), key=lambda each: (each.priority, each.id))
        named = (entry.id for entry in state.all(ProviderEntry))
        rest = sorted(self.catalogue.values(), key=lambda row: (row.priority, row.id)) if everything else ()
        return list(dict.fromkeys((*(each.id for each in in_use), *named, *(row.id for row in rest))))

    def check(self, provider_id: str) -> None:
        """Raise CallerError (404) for a provider that nobody knows."""
        known = self.ids(everything=True)
        if provider_id not in known:
            near = nearest(provider_id, known)
            message = f"There is no provider {provider_id[:64]!a}. {near}".strip()
            raise CallerError(404, message, param="id", code="provider_not_found")

    def row_of(self, entry: ProviderEntry) -> ProviderRow | None:
        """What stands for a provider as long as nobody says otherwise; None for one without an address."""
        row = self.catalogue.get(entry.id)
        return self._generic(entry.id, entry.base_url) if row is None and entry.base_url else row

    def keys_of(self, provider_id: str) -> list[KnownKey]:
        """All keys of a provider, serving or not."""
        known = known_keys(self._administration.configuration, self._administration.state)
        return [each for each in known.values() if each.key.provider_id == provider_id]

    async def put(
        self, provider_id: str, fields: ProviderFields, author: Author, *, whole: bool, confirm_keys: str | None = None
    ) -> None:
        """Say this of a provider, new or known; `whole`: and nothing else. What is new needs a base URL."""
        check_id(provider_id, self.catalogue)
        check_fields(fields, self._policy)
        configuration, row = self._administration.configuration, self.catalogue.get(provider_id)
        before = self._administration.state.get(ProviderEntry, provider_id) or ProviderEntry(id=provider_id)
        after = said(before, fields, whole=whole)
        if row is None and not after.base_url and provider_id not in configuration.snapshot.providers:
            raise wrong("base_url", "a provider that the catalogue does not know needs one")
        refuse_held(row, before, after, configuration.variables)
        edit = putting(after, row, confirmed=confirm_keys)
        action = "edit provider" if confirm_keys is None else f"edit provider, keys confirmed for {confirm_keys[:200]}"
        await self._administration.change(edit, author, action)

    async def switch(self, provider_id: str, author: Author, *, enabled: bool) -> None:
        """Switch a provider on or off."""
        self.check(provider_id)
        fields = ProviderFields(enabled=enabled)
        before = self._administration.state.get(ProviderEntry, provider_id) or ProviderEntry(id=provider_id)
        after, row = said(before, fields, whole=False), self.catalogue.get(provider_id)
        refuse_held(row, before, after, self._administration.configuration.variables)
        action = "enable provider" if enabled else "disable provider"
        await self._administration.change(putting(after, row), author, action)

    async def remove(self, provider_id: str, author: Author, *, with_keys: bool) -> None:
        """Forget what is said of a provider, and its keys in the store."""
        await self._administration.change(removing(provider_id, with_keys=with_keys), author, "remove provider")

    async def order(self, ids: Sequence[str], author: Author) -> list[str]:
        """Try these first, in this order, and the others in use behind them, as they stand. The order of then."""
        if len(set(ids)) < len(ids):
            raise wrong("order", "names a provider twice")
        for provider_id in ids:
            self.check(provider_id)
        configuration = self._administration.configuration
        in_use = [each for each in self.ids(everything=False) if each in configuration.snapshot.providers]
        whole = [*ids, *(each for each in in_use if each not in ids)]
        for each in whole:
            variable = f"{prefix_of(each)}_PRIORITY"
            if variable in configuration.variables:
                message = f"order: {variable} in the {configuration.variables[variable]} fixes that of {each}."
                raise CallerError(409, message, param="order", code="set_in_environment")
        await self._administration.change(ordering(whole), author, "order providers")
        return whole

    async def test(self, provider_id: str, label: str) -> tuple[KnownKey, Probed]:
        """Try one of its keys out, the first that serves when none is named."""
        known = self._key(provider_id, label)
        return known, await self._test(known)

    async def discover(self, provider_id: str, label: str) -> Found:
        """Which models the provider lists."""
        known = self._key(provider_id, label)
        provider = self._administration.configuration.snapshot.providers[provider_id]
        listing = await self._lister.models(provider, known.key)
        models = tuple(
            FoundModel(id=name, known=name in provider.models, priced=provider.prices.find(name) is not None)
            for name in listing.models
        )
        missing = tuple(sorted(provider.models.keys() - set(listing.models))) if listing.models else ()
        return Found(key=known.key.label, listing=listing, models=models, missing=missing)

    async def apply(self, provider_id: str, found: Found, wanted: Sequence[str] | None, author: Author) -> Found:
        """Have what was found be known: those `wanted`, or all that are new."""
        if found.listing.problem:
            raise CallerError(502, found.listing.problem, kind="api_error", code="models_not_listed")
        listed = {model.id for model in found.models}
        strange = next((name for name in wanted or () if name not in listed), None)
        if strange is not None:
            raise wrong("models", f"{strange[:100]!r} is not among those that the provider lists")
        names = [model.id for model in found.models if not model.known] if wanted is None else list(wanted)
        entry = self._administration.state.get(ProviderEntry, provider_id) or ProviderEntry(id=provider_id)
        provider = self._administration.configuration.snapshot.providers[provider_id]
        # The first one is the default model: that stays the one that it is.
        first = entry.models or ((provider.default_model,) if provider.default_model else ())
        models = tuple(dict.fromkeys((*first, *names)))
        added = tuple(name for name in models if name not in provider.models)
        if added:
            fields = ProviderFields(models=models[:MAX_MODELS])
            await self.put(provider_id, fields, author, whole=False)
        return msgspec.structs.replace(found, added=added[:MAX_MODELS])

    async def preview(self, base_url: str, dialect: ProviderDialect | None, secret: Secret | None) -> Previewed:
        """Whether something that lists models in a dialect, OpenAI's by default, is at an address."""
        origin, path = check_address(base_url, self._policy)
        paths = [path] if dialect is not None or path.endswith(_VERSION_PATH) else [path, path + _VERSION_PATH]
        listing = Listing(problem="nobody was asked")
        for each in paths:
            provider = self._unsaved(origin, each, dialect)
            key = Key(provider_id=_PREVIEWED, label=_PREVIEWED, account=_PREVIEWED, secret=secret)
            found = await self._lister.models(provider, key)
            listing = listing if found.status in _NO_SUCH and listing.status else found
            if found.models:
                return Previewed(compatible=True, base_url=f"{origin}{each}", listing=found)
            if not found.status:
                break
        return Previewed(compatible=False, base_url=base_url, listing=listing)

    def _unsaved(self, origin: Origin, path: str, dialect: ProviderDialect | None) -> Provider:
        row = msgspec.structs.replace(self._generic(_PREVIEWED, f"{origin}{path}"), name=origin.host)
        if dialect is not None:
            row = msgspec.structs.replace(row, dialect=dialect, native_dialect=dialect)
        return Provider(row=row, origin=origin, base_path=path, priority=0, tier=Tier.UNKNOWN, limits=(), models={})

    def _key(self, provider_id: str, label: str) -> KnownKey:
        """A key to ask with, that may be sent to where its provider is. Raise CallerError (404, 409)."""
        self.check(provider_id)
        if provider_id not in self._administration.configuration.snapshot.providers:
            message = f"{provider_id} is switched off, or has no key or no address: there is nothing to ask with."
            raise CallerError(409, message, code="provider_off")
        keys = self.keys_of(provider_id)
        serving = {key.id for key in self._administration.configuration.snapshot.keys}
        named = [each for each in keys if each.key.label == label] if label else keys
        if label and not named:
            raise CallerError(404, f"There is no key {label[:64]!a}.", param="key", code="key_not_found")
        chosen = next((each for each in named if each.key.id in serving), None)
        if chosen is None:
            why = next((each.withheld.detail for each in named if each.withheld and each.withheld.detail), "")
            message = f"No key of {provider_id} may be used{': ' + why if why else ', all of them are disabled'}."
            raise CallerError(409, message, param="key", code="no_key_to_use")
        return chosen

    def __repr__(self) -> str:
        return f"<Providers of {self._administration!r}>"
