"""The values that go into the ledger and come out of it."""

from collections.abc import Mapping

import msgspec

from keyrelay.core.limits import Limit, LimitSource, Unit
from keyrelay.quota.packed import INPUT_TOKEN, OUTPUT_TOKEN, UNIT, USD_MICRO


class Amounts(msgspec.Struct, frozen=True):
    """What a request takes from its limits: estimated at `reserve`, true at `settle`.

    `usd_micros` is what it costs in millionths of a US dollar, `units` what it takes of the provider's own measure.
    """

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    usd_micros: int = 0
    units: int = 0

    @property
    def packed(self) -> int:
        """All of it in one integer, as windows count (see `quota.packed`)."""
        tokens = self.input_tokens * INPUT_TOKEN + self.output_tokens * OUTPUT_TOKEN
        return self.requests + tokens + self.usd_micros * USD_MICRO + self.units * UNIT

    def of(self, unit: Unit) -> int:
        """The amount that counts for one unit."""
        if unit is Unit.REQUESTS:
            return self.requests
        if unit is Unit.INPUT_TOKENS:
            return self.input_tokens
        if unit is Unit.OUTPUT_TOKENS:
            return self.output_tokens
        if unit is Unit.USD_MICROS:
            return self.usd_micros
        if unit is Unit.UNITS:
            return self.units
        return self.input_tokens + self.output_tokens


class LimitKey(msgspec.Struct, frozen=True, cache_hash=True):
    """Identity of one count: the limit and what it binds, for example `("acct:gemini/a", "model:flash")`.

    The hash is computed once, so that a tuple of these, made once per candidate, is a cheap key (0.05 µs).
    """

    limit: Limit
    bound: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation that did not fit. `until_s` (epoch) is when it would, as far as is known; None: never.

    `amount` is the limit's in force, which need not be the one written down. `firm` is False when only a belief stands
    in the way. `paced` says that `limit` has room, but that its amount is being spread over its window.
    """

    limit: LimitKey
    used: int
    amount: int
    until_s: float | None
    firm: bool
    paced: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one count stands.

    `amount` is the one in force now, 0 for a quota that has expired; `source` is where that amount comes from, and
    `firm` whether nothing goes beyond it now. `used` includes `reserved`, what is in flight. `reset_s` (epoch) is when
    something comes back, None when nothing is used or nothing ever will. Until `paced_until_s` (epoch) pacing holds
    back the next request, one that takes as much as the last did; None when it does not.
    """

    limit: LimitKey
    amount: int
    used: int
    reserved: int
    reset_s: float | None
    source: LimitSource
    firm: bool
    paced_until_s: float | None = None


class RawEstimate(msgspec.Struct, frozen=True, gc=False):
    """Input tokens before a model is known: those of the text, and those of pictures, sounds and files.

    `exact` holds those of the text as vocabularies, by name, count them; None when none does.
    """

    text_tokens: int
    media_tokens: int = 0
    exact: Mapping[str, int] | None = None

    @property
    def input_tokens(self) -> int:
        """Text and media together."""
        return self.text_tokens + self.media_tokens

    def exact_input_tokens(self, vocabulary: str) -> int | None:
        """Text as this vocabulary counts it, and media; None when it did not."""
        tokens = None if self.exact is None else self.exact.get(vocabulary)
        return None if tokens is None else tokens + self.media_tokens


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tally it is: a model, for a key of an account, at a provider."""

    provider_id: str
    account: str
    key_label: str
    model: str
