"""How every count stands, for people and programs: used, left, when it comes back, whether it lasts.

A count is a limit on what it binds: one row, whichever keys and models share it. All configured keys are there, used or
not. Of limits that count each model apart there is a row for the models in use, for those that a limit names literally
and for the provider's default model. There may be thousands of them: they are gone through in turns, so that nobody's
request waits for a view.
"""

import asyncio
import datetime as dt
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import msgspec

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.limits import LimitSource, ScopePart, Unit
from keyrelay.core.moments import known_moment
from keyrelay.engine.learner import Learner
from keyrelay.engine.pool import Pool
from keyrelay.ports import Ledger
from keyrelay.quota import forecast as forecasts
from keyrelay.quota.forecast import Outlook, Pace
from keyrelay.quota.learning import Fact, FactSource, identity_of
from keyrelay.quota.lifespan import Demand, Lifespan, Quota, Verdict, lifespan
from keyrelay.quota.limits import limits_on_path
from keyrelay.quota.values import LimitKey, Standing
from keyrelay.routing.candidates import Candidate

Item = TypeVar("Item")

_AT_ONCE = 50
_10_MIN_S = 600.0
_HOUR_S = 3600.0
_PATTERN_SIGNS = frozenset("*?[")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which counts to show; an empty text shows all."""

    provider: str = ""
    account: str = ""
    key: str = ""
    model: str = ""


class ForecastLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected: `lasts`, `runs_out`, `exhausted` or `unknown`, and why.

    `at` (RFC 3339) is when it will be gone if it runs out, when something comes back if it is exhausted.
    """

    kind: Outlook
    at: str | None
    reason: str


class CountLine(msgspec.Struct, frozen=True, kw_only=True):
    """How one count stands.

    It binds what is not null of `account`, `key` and `model`; `keys` are the labels of all that draw on it, `models`
    the patterns of the models that share it, empty for all or for one. `amount` is in force now, of which `used`
    includes `reserved`; `used_share` is from 0 to 1, and above it when more was used than is allowed. `reset_at`
    (RFC 3339) and `reset_in_s` say when something comes back, null when nothing is used or nothing ever will.
    `rate_per_h` is the present pace. `source` is where the amount comes from, `source_at` (RFC 3339) when that was last
    seen to be so and `source_age_s` how long ago, null for what the operator configured; `learned` is the id of the
    fact behind it, if there is one. Nothing goes beyond a `firm` limit; one that is not is a belief. Until
    `paced_until` (RFC 3339) pacing holds the next request back.
    """

    provider: str
    account: str | None
    key: str | None
    keys: tuple[str, ...]
    model: str | None
    models: tuple[str, ...]
    unit: Unit
    window: str
    scope: tuple[ScopePart, ...]
    amount: int
    used: int
    reserved: int
    remaining: int
    used_share: float
    reset_at: str | None
    reset_in_s: float | None
    rate_per_h: float | None
    forecast: ForecastLine
    source: LimitSource
    source_at: str | None
    source_age_s: float | None
    learned: str | None
    firm: bool
    paced_until: str | None


class LearnedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as learned from a provider's answers.

    `evidence` is what it was learned from, redacted; `source` is `header`, `refusal` or `inferred`. It was learned
    `times` times, from `first_at` to `seen_at`; `confidence` (0 to 1) halves with age. `reset_at` is when it resets, as
    far as was said. `followed` facts correct a limit that was known before.
    """

    id: str
    provider: str
    limit: str
    bound: tuple[str, ...]
    amount: int
    source: FactSource
    evidence: str
    first_at: str | None
    seen_at: str | None
    confidence: float
    times: int
    reset_at: str | None
    followed: bool


class KeyLine(msgspec.Struct, frozen=True):
    """A key for which no limit is known."""

    provider: str
    key: str


class LifespanLine(msgspec.Struct, frozen=True, kw_only=True):
    """How long one provider, alone, carries the use; all together when `provider` is empty.

    `verdict`: `lasts`, `runs_out`, `partly` or `unknown`. `share` (0 to 1) is the part of the use that is carried for
    ever, `tokens_per_day` what comes back each day (null: no limit is known), `days` and `until` (RFC 3339) for how
    long the whole use is carried, null unless it runs out.
    """

    provider: str
    verdict: Verdict
    reason: str
    share: float
    tokens_per_day: float | None
    days: float | None
    until: str | None


class LifespanReport(msgspec.Struct, frozen=True, kw_only=True):
    """How long the quotas carry a use, by provider and all together."""

    tokens_per_day: float
    tokens_per_request: float
    providers: tuple[LifespanLine, ...]
    total: LifespanLine


class Bound(msgspec.Struct, eq=False):
    """One count before it is looked up: the limit and what it binds, whose keys draw on it, who used it so far."""

    limit_key: LimitKey
    provider: Provider
    account: str
    model: str
    keys: dict[str, Key] = {}
    candidates: list[Candidate] = []

    def is_wanted(self, wanted: Wanted) -> bool:
        """Whether it is to be shown. A count that several share is shown for each of them."""
        return (
            wanted.provider in {"", self.provider.id}
            and (not wanted.account or any(key.account == wanted.account for key in self.keys.values()))
            and (not wanted.key or wanted.key in self.keys)
            and (not wanted.model or self._counts_model(wanted.model))
        )

    def _counts_model(self, model: str) -> bool:
        limit = self.limit_key.limit
        if ScopePart.MODEL in limit.scope:
            return self.model == model
        return not limit.models or any(fnmatchcase(model, pattern) for pattern in limit.models)

    def __repr__(self) -> str:
        return f"<Bound {self.limit_key.limit} {'/'.join(self.limit_key.bound)} of {len(self.keys)} keys>"


class QuotaView:
    """Looks up how counts stand. Times are epoch seconds."""

    __slots__ = ("_learner", "_ledger", "_pool")

    def __init__(self, pool: Pool, ledger: Ledger, learner: Learner) -> None:
        self._pool = pool
        self._ledger = ledger
        self._learner = learner

    def without_limits(self, wanted: Wanted, bounds: Iterable[Bound]) -> Iterator[KeyLine]:
        """The keys on which no limit at all is known, when `bounds` are all that are wanted."""
        if wanted.model:
            return
        limited = {(bound.provider.id, label) for bound in bounds for label in bound.keys}
        for key in self._pool.snapshot.keys:
            named = wanted.provider in {"", key.provider_id} and wanted.key in {"", key.label}
            if named and wanted.account in {"", key.account} and (key.provider_id, key.label) not in limited:
                yield KeyLine(key.provider_id, key.label)

    def learned(self, wanted: Wanted, now_s: float) -> tuple[LearnedLine, ...]:
        """What was learned, of one provider or all, the surest first."""
        facts = [fact for fact in self._learner.book.facts(now_s) if wanted.provider in {"", fact.provider_id}]
        lines = (_learned_line(fact, now_s) for fact in facts)
        return tuple(sorted(lines, key=lambda line: (-line.confidence, line.id)))

    def forget(self, now_s: float, fact_id: str | None = None) -> int:
        """Forget one fact, or all; how many were forgotten."""
        return len(self._learner.clear(now_s, fact_id=fact_id))

    async def bounds(self, wanted: Wanted) -> list[Bound]:
        """The counts that are wanted, not looked up yet: provider by provider in order of priority."""
        found: list[Bound] = []
        for provider in self._providers():
            if wanted.provider in {"", provider.id}:
                found += [bound for bound in await self._bounds_of(provider) if bound.is_wanted(wanted)]
        return found

    def standing(self, bound: Bound, now_s: float) -> Standing:
        """How one count stands."""
        return self._ledger.peek((bound.limit_key,), now_s)[0]

    async def lifespan(self, demand: Demand, now_s: float) -> LifespanReport:
        """How long all quotas carry a use. What a request costs is taken from the models' list prices."""
        everything = Wanted()
        bounds = await self.bounds(everything)
        quotas = [self._quota(bound, demand, now_s) async for bound in in_turns(bounds)]
        known = {quota.provider for quota in quotas}
        unlimited = {line.provider for line in self.without_limits(everything, bounds)} - known
        found = lifespan(quotas, demand, now_s, unlimited=unlimited)
        per_request = demand.tokens_of(Unit.REQUESTS)
        return LifespanReport(
            tokens_per_day=demand.tokens_per_day,
            tokens_per_request=demand.tokens_per_request if per_request is None else per_request,
            providers=tuple(map(_lifespan_line, found.providers)),
            total=_lifespan_line(found.total),
        )

    def _providers(self) -> list[Provider]:
        return sorted(self._pool.snapshot.providers.values(), key=lambda provider: (provider.priority, provider.id))

    async def _bounds_of(self, provider: Provider) -> Iterable[Bound]:
        """The counts of one provider, each once, in the order of its limits for each key and model."""
        used = {(each.key.id, each.model): each for each in self._pool.candidates() if each.provider_id == provider.id}
        models = sorted(_shown_models(provider) | {model for _, model in used}) or [""]
        bounds: dict[LimitKey, Bound] = {}
        async for key in in_turns([key for key in self._pool.snapshot.keys if key.provider_id == provider.id]):
            for model in models:
                candidate = used.get((key.id, model))
                for limit_key in _path(provider, key, model) if candidate is None else candidate.path:
                    limit = limit_key.limit
                    if not model and (limit.models or ScopePart.MODEL in limit.scope):
                        continue
                    bound = bounds.get(limit_key)
                    if bound is None:
                        bound = bounds[limit_key] = Bound(limit_key, provider, key.account, model)
                    bound.keys[key.label] = key
                    if candidate is not None:
                        bound.candidates.append(candidate)
        return bounds.values()

    def line(self, bound: Bound, now_s: float) -> CountLine:
        """How one count stands, and what is to be expected of it."""
        standing = self.standing(bound, now_s)
        limit, pace = bound.limit_key.limit, self.pace(bound, now_s)
        outlook = forecasts.forecast(
            forecasts.Count(
                unit=limit.unit,
                window=limit.window,
                amount=standing.amount,
                used=standing.used,
                reset_s=standing.reset_s,
            ),
            pace,
            now_s,
        )
        of_key = ScopePart.KEY in limit.scope
        fact = self._learner.book.find(identity_of(bound.limit_key))
        known_s = _known_since_s(bound, standing.source, fact)
        return CountLine(
            provider=bound.provider.id,
            account=bound.account if of_key or ScopePart.ACCOUNT in limit.scope else None,
            key=next(iter(bound.keys)) if of_key else None,
            keys=tuple(bound.keys),
            model=bound.model if ScopePart.MODEL in limit.scope else None,
            models=() if ScopePart.MODEL in limit.scope else limit.models,
            unit=limit.unit,
            window=str(limit.window),
            scope=limit.scope,
            amount=standing.amount,
            used=standing.used,
            reserved=standing.reserved,
            remaining=forecasts.headroom(standing.amount, standing.used).remaining,
            used_share=used_share(standing),
            reset_at=known_moment(standing.reset_s),
            reset_in_s=None if standing.reset_s is None else max(0.0, round(standing.reset_s - now_s, 3)),
            rate_per_h=None if pace.rate_per_h is None else round(pace.rate_per_h, 3),
            forecast=ForecastLine(kind=outlook.kind, at=known_moment(outlook.at_s), reason=outlook.reason),
            source=standing.source,
            source_at=known_moment(known_s),
            source_age_s=None if known_s is None else max(0.0, round(now_s - known_s)),
            learned=None if fact is None else fact.id,
            firm=standing.firm,
            paced_until=known_moment(standing.paced_until_s),
        )

    def pace(self, bound: Bound, now_s: float) -> Pace:
        """What was used of a count lately, by all that draw on it."""
        unit = bound.limit_key.limit.unit
        find = self._learner.tallies.find
        tallies = [tally for candidate in bound.candidates if (tally := find(candidate.id)) is not None]
        typical = [each for tally in tallies if (each := tally.typical_per_h(now_s, unit)) is not None]
        since_s = min((tally.since_s for tally in tallies), default=math.inf)
        return Pace(
            last_10_min=sum(tally.amount_since(now_s - _10_MIN_S, unit, now_s) for tally in tallies),
            last_hour=sum(tally.amount_since(now_s - _HOUR_S, unit, now_s) for tally in tallies),
            typical_hour=sum(typical) if typical else None,
            watched_s=max(0.0, now_s - since_s),
        )

    def _quota(self, bound: Bound, demand: Demand, now_s: float) -> Quota:
        limit, standing = bound.limit_key.limit, self.standing(bound, now_s)
        owned = ScopePart.KEY in limit.scope or ScopePart.ACCOUNT in limit.scope
        return Quota(
            provider=bound.provider.id,
            account=bound.account if owned else "",
            model=bound.model if ScopePart.MODEL in limit.scope else "",
            unit=limit.unit,
            window=limit.window,
            amount=standing.amount,
            remaining=max(0, standing.amount - standing.used),
            tokens_per_unit=_tokens_per_micro(bound, demand, now_s) if limit.unit is Unit.USD_MICROS else None,
        )

    def __repr__(self) -> str:
        return f"<QuotaView of {self._pool!r}>"


async def in_turns(items: Sequence[Item]) -> AsyncIterator[Item]:
    """The items one after another; every so many, others get a turn."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % _AT_ONCE:
            await asyncio.sleep(0)


def used_share(standing: Standing) -> float:
    """The share of its amount that a count has used; all of an amount of 0."""
    return round(standing.used / standing.amount, 4) if standing.amount > 0 else 1.0


def _path(provider: Provider, key: Key, model: str) -> tuple[LimitKey, ...]:
    return limits_on_path(
        provider.limits, provider_id=provider.id, account=key.account, key_label=key.label, model=model
    )


def _shown_models(provider: Provider) -> set[str]:
    """Models that have a row although nobody used them yet."""
    named = {pattern for limit in provider.limits for pattern in limit.models if not _PATTERN_SIGNS & set(pattern)}
    return named | ({provider.default_model} if provider.default_model else set())


def _known_since_s(bound: Bound, source: LimitSource, fact: Fact | None) -> float | None:
    """When the amount in force was last seen to be so: the fact's time, or the day of the catalogue's last check."""
    if fact is not None and source is LimitSource.LEARNED:
        return fact.seen_s
    if source is not LimitSource.CATALOGUE:
        return None
    return dt.datetime.combine(bound.provider.row.verified_at, dt.time(), dt.UTC).timestamp()


def _learned_line(fact: Fact, now_s: float) -> LearnedLine:
    return LearnedLine(
        id=fact.id,
        provider=fact.provider_id,
        limit=str(msgspec.structs.replace(fact.key.limit, amount=fact.amount)),
        bound=fact.key.bound,
        amount=fact.amount,
        source=fact.source,
        evidence=fact.evidence,
        first_at=known_moment(fact.first_s),
        seen_at=known_moment(fact.seen_s),
        confidence=round(fact.confidence_at(now_s), 3),
        times=fact.times,
        reset_at=known_moment(fact.reset_s),
        followed=fact.followed,
    )


def _tokens_per_micro(bound: Bound, demand: Demand, now_s: float) -> float | None:
    """How many tokens a millionth of a dollar buys of the model, else of the provider's default one."""
    price = bound.provider.prices.find(bound.model or bound.provider.default_model)
    if price is None:
        return None
    rates = price.base(now_s)
    per_token = rates.input * demand.input_share + rates.output * (1 - demand.input_share)
    return 1 / per_token if per_token > 0 else None


def _lifespan_line(found: Lifespan) -> LifespanLine:
    return LifespanLine(
        provider=found.provider,
        verdict=found.verdict,
        reason=found.reason,
        share=round(found.share, 4),
        tokens_per_day=found.tokens_per_day,
        days=None if found.days is None else round(found.days, 2),
        until=known_moment(found.until_s),
    )
