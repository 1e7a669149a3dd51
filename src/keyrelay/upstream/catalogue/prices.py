"""The price list that ships with Keyrelay: `prices.json`, made from genai-prices by `scripts/prices`.

genai-prices itself takes 67 MB and a fifth of a second to import, so its data are kept here in a form of their own, and
only the providers in use are read. Sizes of prompts, days and hours on which a price depends are kept. Left out are
prices of searches, storage, sound, pictures and of writing to a provider's cache: Keyrelay does not see how much of
these a request used. A model that can be paid for in no other way stands there without rates, and so has no price.
"""

import datetime as dt
import math
from collections.abc import Mapping
from importlib.resources import files

import msgspec

from keyrelay.core.prices import LOCAL, NO_PRICES, Period, Price, PriceList, Rates, Tier, simple_price
from keyrelay.core.providers import ProviderRow

FILE = "prices.json"


class ListedPeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rates that hold from a day on (in UTC), or between two times (`HH:MM`, UTC) of each day."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    since: dt.date | None = None
    between: tuple[str, str] | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Names and patterns of a model with its rates, None where none are known, and those that hold at times instead."""

    names: tuple[str, ...]
    rates: Rates | None = None
    tiers: tuple[Tier, ...] = ()
    later: tuple[ListedPeriod, ...] = ()


class ListedProvider(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's models; what is not among them is looked up with those named in `borrows`."""

    borrows: tuple[str, ...] = ()
    models: tuple[ListedModel, ...]


class PriceFile(msgspec.Struct, frozen=True):
    """What the file holds: where it comes from, and providers by their ids in genai-prices, not decoded yet."""

    version: str
    providers: dict[str, msgspec.Raw]

    @property
    def names(self) -> int:
        """How many names and patterns the file holds."""
        return sum(len(model.names) for name in self.providers for model in self._decode(name).models)

    def prices_of(self, genai_id: str, below: PriceList = NO_PRICES) -> PriceList:
        """The prices of a provider, with `below` for what is missing; just that for one that is not in the file."""
        if genai_id not in self.providers:
            return below
        provider = self._decode(genai_id)
        for borrowed in reversed(provider.borrows):
            below = PriceList(self._listed(self._decode(borrowed)), below)
        return PriceList(self._listed(provider), below)

    def list_prices(self, row: ProviderRow, *, private: bool) -> PriceList:
        """The list prices of a provider's models: those of the file, else those of its row.

        The file goes first, since it knows of sizes and times. `private` says that its address is: a server of the
        operator's own costs nothing there.
        """
        free = PriceList({"*": simple_price(LOCAL, Rates(0.0))}) if row.price.unbilled and private else None
        noted: dict[str, Price | None] = {
            model.id: simple_price(model.price_source, Rates(price, model.price_output_usd_per_mtok or 0.0))
            for model in row.models
            if (price := model.price_input_usd_per_mtok) is not None
        }
        return self.prices_of(row.price.genai_prices_id, PriceList(noted, free))

    def _decode(self, genai_id: str) -> ListedProvider:
        return msgspec.json.decode(self.providers[genai_id], type=ListedProvider)

    def _listed(self, provider: ListedProvider) -> Mapping[str, Price | None]:
        priced = ((model.names, _price(self.version, model)) for model in provider.models)
        return {name: price for names, price in priced for name in names}


def load_price_file() -> PriceFile:
    """Read the file that ships with Keyrelay."""
    return msgspec.json.decode((files(__package__ or __name__) / FILE).read_bytes(), type=PriceFile)


def _price(version: str, model: ListedModel) -> Price | None:
    if model.rates is None:
        return None
    first = Period(rates=model.rates, tiers=model.tiers)
    return Price(version, (first, *(_period(listed) for listed in model.later)))


def _period(listed: ListedPeriod) -> Period:
    since_s = -math.inf
    if listed.since is not None:
        since_s = dt.datetime.combine(listed.since, dt.time(), dt.UTC).timestamp()
    hours = None if listed.between is None else (_second(listed.between[0]), _second(listed.between[1]))
    return Period(rates=listed.rates, tiers=listed.tiers, since_s=since_s, hours=hours)


def _second(text: str) -> int:
    """A time of the day as seconds since midnight."""
    moment = dt.time.fromisoformat(text)
    return moment.hour * 3600 + moment.minute * 60
