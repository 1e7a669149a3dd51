"""How long the quotas last at a given use per day.

What comes back (rolling and calendar windows) carries a certain use for ever. Credit that is given once is used for
what is beyond that, in the way in which it lasts longest, and some day it is gone. So a use is carried for ever, or for
a number of days, or not at all; then the answer is which part of it is carried.

All limits are taken as tokens per day, also those on requests, by the average tokens of a request. Of several limits on
the same requests the smallest counts; models of a key, keys of an account and accounts of a provider add up: it is
presumed that any of them would do. A month is taken as 31 days, so that a short one holds more than is said here. It is
the steady state that is described: what is left of the present day or month plays no part, what is left of credit does.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

import msgspec

from keyrelay.core.limits import Unit, Window, WindowKind
from keyrelay.core.moments import duration_words
from keyrelay.quota.calendars import expiry_s
from keyrelay.quota.forecast import number_words

TOKENS_PER_REQUEST = 1_000.0
"""Tokens of a request, prompt and answer together, when nobody says."""

INPUT_SHARE = 0.75
"""Share of the tokens that are of prompts, when nobody says."""

MAX_DAYS = 36_500.0
"""What lasts longer is said to last for so many days."""

_DAY_S = 86_400.0
_PERIOD_DAYS = {WindowKind.DAY: 1.0, WindowKind.WEEK: 7.0, WindowKind.MONTH: 31.0, WindowKind.ANNIVERSARY: 31.0}
_ROUNDING = 1e-9
"""What is nearer than this share of it counts as equal: sums of fractions of days."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The use to be carried. `requests_per_day`, if given, decides over `tokens_per_request`.

    Raise ValueError for what is not above zero, and for an `input_share` that is not between 0 and 1.
    """

    tokens_per_day: float
    requests_per_day: float | None = None
    tokens_per_request: float = TOKENS_PER_REQUEST
    input_share: float = INPUT_SHARE

    def __post_init__(self) -> None:
        for name in ("tokens_per_day", "requests_per_day", "tokens_per_request"):
            number = getattr(self, name)
            if number is not None and not 0 < number < math.inf:
                raise ValueError(f"{name} is {number}; it has to be above zero")
        if not 0 < self.input_share < 1:
            raise ValueError(f"input_share is {self.input_share}; it has to be between 0 and 1")

    def tokens_of(self, unit: Unit) -> float | None:
        """How many tokens can be used with one of a unit; None when that does not follow."""
        if unit is Unit.REQUESTS:
            if self.requests_per_day is None:
                return self.tokens_per_request
            return self.tokens_per_day / self.requests_per_day
        if unit is Unit.INPUT_TOKENS:
            return 1 / self.input_share
        if unit is Unit.OUTPUT_TOKENS:
            return 1 / (1 - self.input_share)
        return 1.0 if unit is Unit.TOKENS else None


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: `amount` in force, of which `remaining` is left now.

    It binds one model of one key of one account; an empty name stands for all of them together.
    `tokens_per_unit` is how many tokens one of the unit buys: needed for money and a provider's own units, and for
    requests better than an average.
    """

    provider: str
    unit: Unit
    window: Window
    amount: int
    remaining: int
    account: str = ""
    key: str = ""
    model: str = ""
    tokens_per_unit: float | None = None


class Verdict(StrEnum):
    """Whether quotas carry a use."""

    LASTS = "lasts"  # for ever
    RUNS_OUT = "runs_out"  # for a while
    PARTLY = "partly"  # not one day, only a part of it
    UNKNOWN = "unknown"


class Lifespan(msgspec.Struct, frozen=True, kw_only=True):
    """How long one provider, alone, or all of them together (an empty `provider`) carry the use.

    `days` and `until_s` (epoch) say until when it is carried in whole, None unless it runs out. `share` is the part of
    the use, at most 1, that is carried for ever; `tokens_per_day` is what comes back each day, None when no limit is
    known. `reason` is a sentence for people.
    """

    provider: str
    verdict: Verdict
    reason: str
    share: float = 0.0
    tokens_per_day: float | None = None
    days: float | None = None
    until_s: float | None = None


class Lifespans(msgspec.Struct, frozen=True, kw_only=True):
    """Of each provider, in order of names, and of all together."""

    providers: tuple[Lifespan, ...]
    total: Lifespan


class _Pot(msgspec.Struct, frozen=True):
    """Tokens that are there once: at most `per_day` of the `left` ones, until that day from now."""

    per_day: float
    left: float
    expires_day: float


class _Flow(msgspec.Struct, frozen=True):
    """Tokens per day that come back, and those that are there once."""

    recurring: float
    pots: tuple[_Pot, ...] = ()

    @property
    def per_day(self) -> float:
        """The most that one day can take."""
        return self.recurring + sum(pot.per_day for pot in self.pots)


_UNLIMITED = _Flow(math.inf)


def lifespan(quotas: Iterable[Quota], demand: Demand, now_s: float, *, unlimited: Iterable[str] = ()) -> Lifespans:
    """How long the quotas carry the use; `unlimited` names providers without any known limit."""
    by_provider = {name: list[Quota]() for name in unlimited}
    for quota in quotas:
        by_provider.setdefault(quota.provider, []).append(quota)
    flows = {
        name: _flow(limits, _LEVELS, demand, now_s) if limits else _UNLIMITED
        for name, limits in sorted(by_provider.items())
    }
    known = [flow for flow in flows.values() if flow is not None]
    total = _life("", _together(known) if known else None, demand, now_s)
    if known and (left_out := [name for name, flow in flows.items() if flow is None]):
        reason = f"{total.reason} Not counted: {', '.join(left_out)}, with no limit that can be taken as tokens."
        total = msgspec.structs.replace(total, reason=reason)
    return Lifespans(
        providers=tuple(_life(name, flow, demand, now_s) for name, flow in flows.items()),
        total=total,
    )


_LEVELS: tuple[Callable[[Quota], str], ...] = (
    lambda quota: quota.account,
    lambda quota: quota.key,
    lambda quota: quota.model,
)


def _flow(
    quotas: Sequence[Quota], levels: tuple[Callable[[Quota], str], ...], demand: Demand, now_s: float
) -> _Flow | None:
    """What quotas give together: the sum of their accounts', keys' or models', within what binds all of these."""
    if not levels:
        return _smallest(quotas, demand, now_s)
    groups: dict[str, list[Quota]] = {}
    for quota in quotas:
        groups.setdefault(levels[0](quota), []).append(quota)
    for_all = _flow(groups.pop("", []), levels[1:], demand, now_s)
    flows = [flow for group in groups.values() if (flow := _flow(group, levels[1:], demand, now_s)) is not None]
    if not flows:
        return for_all
    return _together(flows) if for_all is None else _within(for_all, _together(flows))


def _smallest(quotas: Iterable[Quota], demand: Demand, now_s: float) -> _Flow | None:
    """What several limits on the same requests leave; None when none of them can be taken as tokens per day."""
    per_day = left = expires_day = math.inf
    for quota in quotas:
        tokens = quota.tokens_per_unit or demand.tokens_of(quota.unit)
        if tokens is None or quota.window.kind is WindowKind.CONCURRENT:
            continue
        if quota.window.kind is WindowKind.ONCE:
            left = min(left, max(0, quota.remaining) * tokens)
            expires_day = min(expires_day, (expiry_s(quota.window) - now_s) / _DAY_S)
        else:
            days = _PERIOD_DAYS.get(quota.window.kind, quota.window.length_s / _DAY_S)
            per_day = min(per_day, max(0, quota.amount) * tokens / days)
    if left < math.inf:
        return _Flow(0.0, (_Pot(per_day, left, expires_day),))
    return _Flow(per_day) if per_day < math.inf else None


def _together(flows: Iterable[_Flow]) -> _Flow:
    flows = tuple(flows)
    return _Flow(sum(flow.recurring for flow in flows), tuple(pot for flow in flows for pot in flow.pots))


def _within(bound: _Flow, flow: _Flow) -> _Flow:
    """What `flow` gives when no more than `bound` may be used in all."""
    per_day = min(bound.per_day, flow.per_day)
    if bound.pots and not bound.recurring:
        left = sum(pot.left for pot in bound.pots)
        if not flow.recurring:
            left = min(left, sum(pot.left for pot in flow.pots))
        return _Flow(0.0, (_Pot(per_day, left, max(pot.expires_day for pot in bound.pots)),))
    if per_day == math.inf:
        return flow
    recurring = min(flow.recurring, per_day)
    room = per_day - recurring
    pots = []
    for pot in flow.pots:
        pots.append(_Pot(min(pot.per_day, room), pot.left, pot.expires_day))
        room -= pots[-1].per_day
    return _Flow(recurring, tuple(pots))


def _life(provider: str, flow: _Flow | None, demand: Demand, now_s: float) -> Lifespan:
    """How long that carries the use."""
    if flow is None:
        reason = "Unknown: no limit is known that can be taken as tokens per day."
        return Lifespan(provider=provider, verdict=Verdict.UNKNOWN, reason=reason)
    use, recurring = demand.tokens_per_day, flow.recurring
    if recurring == math.inf:
        return Lifespan(provider=provider, verdict=Verdict.LASTS, reason="Lasts: no limit is known.", share=1.0)
    share = min(1.0, recurring / use)
    until_s = days = None
    if recurring >= use * (1 - _ROUNDING):
        verdict = Verdict.LASTS
        reason = f"Lasts: it takes {number_words(use)} of the {number_words(recurring)} tokens that come back each day."
    elif days := _days(use - recurring, flow.pots):
        verdict = Verdict.RUNS_OUT
        until_s = now_s + days * _DAY_S
        after = f"{_part_words(recurring, use)} come back" if recurring else "nothing is left"
        reason = f"Lasts for {duration_words(days * _DAY_S)}, while there is credit; after that {after}."
    else:
        verdict, days = Verdict.PARTLY, None
        reason = f"Carries {_part_words(recurring, use)}."
        if credit := sum(pot.per_day for pot in flow.pots if _is_live(pot)):
            reason += f" Credit makes that {_part_words(recurring + credit, use)} for a time."
    return Lifespan(
        provider=provider,
        verdict=verdict,
        reason=reason,
        share=share,
        tokens_per_day=recurring,
        days=days,
        until_s=until_s,
    )


def _part_words(part: float, use: float) -> str:
    return f"{number_words(part)} of {number_words(use)} tokens a day ({part / use:.0%})"


def _days(use: float, pots: Iterable[_Pot]) -> float:
    """For how many days, MAX_DAYS at most, pots can carry a use per day when each is drawn on as is best."""
    live = [msgspec.structs.replace(pot, per_day=min(pot.per_day, use)) for pot in pots if _is_live(pot)]
    if sum(pot.per_day for pot in live) < use * (1 - _ROUNDING):
        return 0.0
    days = min(MAX_DAYS, sum(pot.left for pot in live) / use)
    if _carry(use, live, days):
        return days
    carried = min(min(pot.left / pot.per_day, pot.expires_day) for pot in live)  # until then all of them give
    while days - carried > _ROUNDING * days:
        middle = (carried + days) / 2
        if _carry(use, live, middle):
            carried = middle
        else:
            days = middle
    return carried


def _carry(use: float, pots: Iterable[_Pot], days: float) -> bool:
    """Whether pots can carry a use per day for so many days.

    They can if for each time until the end of the last day they have enough for what is then still to come: of any
    times of equal length the latest have the fewest pots. So one goes back from the last day, each pot giving at its
    rate from its expiry back until it is empty.
    """
    changes = []
    for pot in pots:
        end = min(pot.expires_day, days)
        changes += [(end, pot.per_day), (max(0.0, end - pot.left / pot.per_day), -pot.per_day)]
    surplus, rate, at = 0.0, -use, days
    for day, change in sorted(changes, reverse=True):
        surplus += rate * (at - day)
        if surplus < -use * days * _ROUNDING:
            return False
        rate, at = rate + change, day
    return surplus + rate * at >= -use * days * _ROUNDING


def _is_live(pot: _Pot) -> bool:
    """Whether it gives anything."""
    return pot.left > 0 and pot.per_day > 0 and pot.expires_day > 0
