"""What models cost: prices as values, and finding the one for a model's name.

A price is a rate per million tokens, in US dollars or in a provider's own units. It may depend on the size of the
prompt, on the day from which it holds and on the time of the day, so what a request cost is asked with the time at
which it was sent. A model without a price has none: nothing here ever stands in a zero for what is not known.

Names are compared without regard to case. A price may be listed under a pattern (`claude-opus-4-5*`, `*moderation*`):
an exact name goes before any of them, then the longest. A dated variant (`gpt-5-mini-2026-08-06`, in Gemini's form
`models/…`) that is not listed itself costs what the model without the date does.
"""

import math
import re
from collections.abc import Iterator, Mapping

import msgspec

MILLION = 1_000_000

MAX_FOUND = 1_000
"""So many names are remembered with what was found for them."""

LOCAL = "local"
OVERRIDE = "override"
"""Versions of prices that stand in no list: a server of the operator's own, and what the operator says."""

_WILD = "*"
_GEMINI_FORM = "models/"
_DATE = re.compile(r"[-@](20\d\d)(-?)(0[1-9]|1[0-2])(-?)(0[1-9]|[12]\d|3[01])(?=$|[:@])")
_DAY_S = 86_400


class Rates(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """Amounts per million tokens, and per request. `cached` is that of input which the provider had cached, if said."""

    input: float
    output: float = 0.0
    cached: float | None = None
    request: float = 0.0

    def millionths(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> float:
        """What a request costs in millionths; `cached_tokens` are part of `input_tokens`."""
        amount = input_tokens * self.input + output_tokens * self.output + self.request * MILLION
        if cached_tokens and self.cached is not None:
            amount -= cached_tokens * (self.input - self.cached)
        return amount


class Tier(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rates for all tokens of a request with more than `above_tokens` of input."""

    above_tokens: int
    rates: Rates


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Rates with the time for which they hold: from `since_s` (epoch) on, and between `hours` of each UTC day.

    `hours` are seconds since midnight, the second one beyond; a period may go over midnight. `tiers` are in order.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    since_s: float = -math.inf
    hours: tuple[int, int] | None = None

    def holds(self, at_s: float) -> bool:
        """Whether these rates are meant for a request that is sent at this time (epoch)."""
        if at_s < self.since_s:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        second = at_s % _DAY_S
        return start <= second < end if start <= end else second >= start or second < end

    def rates_of(self, input_tokens: int) -> Rates:
        """The rates for a prompt of this size."""
        rates = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above_tokens:
                rates = tier.rates
        return rates


class Price(msgspec.Struct, frozen=True):
    """What a model costs. Of its `periods` the last one that holds counts; the first one always does.

    `version` says where it was read: `genai-prices 0.2.3`, the source named in the catalogue, `override`, `local`.
    """

    version: str
    periods: tuple[Period, ...]

    def millionths(
        self, input_tokens: int, output_tokens: int, at_s: float | None = None, *, cached_tokens: int = 0
    ) -> float:
        """What a request sent at `at_s` (epoch) costs, in millionths of a dollar or unit; unsaid: the dearest."""
        periods = self.periods
        if len(periods) == 1 and not periods[0].tiers:
            return periods[0].rates.millionths(input_tokens, output_tokens, cached_tokens)
        if at_s is None:
            return max(
                period.rates_of(input_tokens).millionths(input_tokens, output_tokens, cached_tokens)
                for period in periods
            )
        rates = next(period for period in reversed(periods) if period.holds(at_s)).rates_of(input_tokens)
        return rates.millionths(input_tokens, output_tokens, cached_tokens)

    def base(self, at_s: float) -> Rates:
        """The rates of a short prompt at this time (epoch)."""
        return next(period for period in reversed(self.periods) if period.holds(at_s)).rates

    def scaled(self, factor: float) -> "Price":
        """The same in another currency, of which so many are worth one of this."""

        def converted(rates: Rates) -> Rates:
            cached = None if rates.cached is None else rates.cached * factor
            return Rates(rates.input * factor, rates.output * factor, cached, rates.request * factor)

        return Price(
            self.version,
            tuple(
                msgspec.structs.replace(
                    period,
                    rates=converted(period.rates),
                    tiers=tuple(Tier(tier.above_tokens, converted(tier.rates)) for tier in period.tiers),
                )
                for period in self.periods
            ),
        )


def simple_price(version: str, rates: Rates) -> Price:
    """A price that holds always and for every size."""
    return Price(version, (Period(rates=rates),))


def rounded_up(amount: float) -> int:
    """An amount as a ledger counts it: a part of one is one, but not what floating point adds to a whole number."""
    return math.ceil(round(amount, 6))


class PriceList:
    """Prices by model names and patterns of one provider, with another list `below` that is asked for what is missing.

    A name with None says that a pattern which would match it is not meant.
    """

    __slots__ = ("_exact", "_found", "_patterns", "below")

    def __init__(self, prices: Mapping[str, Price | None], below: "PriceList | None" = None) -> None:
        self._exact = {name.lower(): price for name, price in prices.items() if _WILD not in name}
        patterns = sorted((name for name in prices if _WILD in name), key=lambda name: -len(name.replace(_WILD, "")))
        self._patterns = [(name.lower().split(_WILD), prices[name]) for name in patterns]
        self._found: dict[str, Price | None] = {}
        self.below = below

    def find(self, model: str) -> Price | None:
        """The price of a model; None when there is none."""
        try:
            return self._found[model]
        except KeyError:
            price = self._search(model.lower())
        if price is None and self.below is not None:
            price = self.below.find(model)
        if len(self._found) >= MAX_FOUND:
            self._found.clear()
        self._found[model] = price
        return price

    def scaled(self, factor: float) -> "PriceList":
        """The same prices in another currency, those below too."""
        listed = [*self._exact.items(), *((_WILD.join(parts), price) for parts, price in self._patterns)]
        prices = {name: None if price is None else price.scaled(factor) for name, price in listed}
        return PriceList(prices, None if self.below is None else self.below.scaled(factor))

    def _search(self, name: str) -> Price | None:
        for variant in dict.fromkeys(_variants(name)):
            if variant in self._exact:
                return self._exact[variant]
            for parts, price in self._patterns:
                if _matches(parts, variant):
                    return price
        return None

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns or self.below)

    def __repr__(self) -> str:
        below = "" if self.below is None else f" over {self.below!r}"
        return f"<PriceList of {len(self._exact) + len(self._patterns)}{below}>"


NO_PRICES = PriceList({})


def _variants(name: str) -> Iterator[str]:
    """The names under which a model may be listed, the truest first."""
    bare = name.removeprefix(_GEMINI_FORM)
    yield name
    yield bare
    yield _DATE.sub(r"-\1-\3-\5", bare)
    yield _DATE.sub(r"-\1\3\5", bare)
    yield _DATE.sub("", bare)


def _matches(parts: list[str], name: str) -> bool:
    """Whether a name is made of these parts with anything in between; the first begins it, the last ends it."""
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
