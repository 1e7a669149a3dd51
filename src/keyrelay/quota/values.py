"""The values that go into the ledger and come out of it."""

import msgspec

from keyrelay.core.limits import Limit, Unit


class Amounts(msgspec.Struct, frozen=True):
    """What a request takes from its limits: estimated at `reserve`, true at `settle`."""

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0

    def of(self, unit: Unit) -> int:
        """The amount that counts for one unit."""
        if unit is Unit.REQUESTS:
            return self.requests
        if unit is Unit.INPUT_TOKENS:
            return self.input_tokens
        if unit is Unit.OUTPUT_TOKENS:
            return self.output_tokens
        return self.input_tokens + self.output_tokens


class LimitKey(msgspec.Struct, frozen=True, cache_hash=True):
    """Identity of one count: the limit and what it binds, for example `("acct:gemini/a", "model:flash")`.

    The hash is computed once, so that a tuple of these, made once per candidate, is a cheap key (0.05 µs).
    """

    limit: Limit
    bound: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation that did not fit. `until_s` (epoch) is when it would, as far as is known; None: never.

    `firm` is False when only a belief stands in the way.
    """

    limit: LimitKey
    used: int
    until_s: float | None
    firm: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one count stands. `reset_s` (epoch) is when something comes back, None when nothing is used."""

    limit: LimitKey
    amount: int
    used: int
    reserved: int
    reset_s: float | None
