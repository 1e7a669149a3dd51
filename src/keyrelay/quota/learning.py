"""Limits that nobody wrote down: what providers' answers teach, kept with its evidence until it fades.

A fact is one limit on what it binds. What headers and refusals say in so many words is taken as it is; what a refusal
leaves unsaid is inferred from what was accepted before it. Trust halves with age, faster for what was only inferred,
and a fact below FORGOTTEN is gone. An inferred limit is a belief: should it be too low, requests that have nowhere else
to go find that out.

**Inference.** The wait that the provider asks for gives the shortest window that may be behind a refusal: up to a
second and a half that of a second, up to a minute that of a minute, up to an hour that of an hour, else a day; a marker
in the text (per day, monthly) decides before any wait. The amount is what was accepted in that window. When clearly
more was accepted in another window of that length, this cannot be the limit, and the next longer window is taken: the
limit of a minute too tells a short wait when its oldest request is about to leave. No day is guessed like that. Where
nothing was accepted, within a minute or more, nothing is inferred: somebody else has used the key.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import combinations

import msgspec

from keyrelay.core.limits import CALENDAR_KINDS, Limit, Unit, Window, WindowKind
from keyrelay.quota.calendars import next_reset, period_start
from keyrelay.quota.limits import limits_on_path
from keyrelay.quota.tally import Tally, busiest
from keyrelay.quota.values import LimitKey

FORGOTTEN = 0.05
"""Below this confidence a fact is gone."""

MAX_FACTS = 10_000
"""Beyond so many facts the one that was seen longest ago is forgotten."""

MAX_LIMITS = 16
"""The most learned limits that one candidate is put under: those held most surely."""

MAX_EVIDENCE = 200
MAX_ORGANISATIONS = 10_000

_DAY_S = 86_400.0
_SECOND, _MINUTE, _HOUR = (Window(WindowKind.ROLLING, length_s) for length_s in (1.0, 60.0, 3600.0))
_LONGEST_WAITS_S = (1.5, 60.0, 3600.0)
_USUAL_STEP = 1
_MORE = 1.25  # accepted elsewhere so many times as much (and one more): this was not the limit
_ID_BYTES = 6
_COUNTED = frozenset({Unit.REQUESTS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.TOKENS})


class FactSource(StrEnum):
    """How a fact came to be known."""

    HEADER = "header"
    REFUSAL = "refusal"
    INFERRED = "inferred"


HALF_LIFE_S = {FactSource.HEADER: 7 * _DAY_S, FactSource.REFUSAL: 3 * _DAY_S, FactSource.INFERRED: _DAY_S}
_CONFIDENCE = {FactSource.HEADER: 0.95, FactSource.REFUSAL: 0.9, FactSource.INFERRED: 0.5}

Identity = tuple[tuple[str, ...], Unit, Window]
"""What one fact is about: what is bound, the unit and the window."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One limit as learned.

    `key` is the limit in the ledger; with `followed` it is one that was configured or stands in the catalogue, else it
    is known from here alone. `amount` is the one believed now. `evidence` is what it was learned from, redacted.
    `times` it was learned, first at `first_s`, last at `seen_s`; `reset_s` is when it resets, as far as was said (all
    epoch). `confidence` is from 0 to 1.
    """

    provider_id: str
    key: LimitKey
    amount: int
    source: FactSource
    evidence: str
    first_s: float
    seen_s: float
    confidence: float
    times: int = 1
    reset_s: float | None = None
    followed: bool = False

    @property
    def identity(self) -> Identity:
        """What it is about."""
        return identity_of(self.key)

    @property
    def id(self) -> str:
        """A short name for it, the same whenever the same is learned."""
        bound, unit, window = self.identity
        text = "\n".join((*bound, unit, str(window)))
        return hashlib.blake2s(text.encode(), digest_size=_ID_BYTES).hexdigest()

    def confidence_at(self, now_s: float) -> float:
        """How sure it is now; a clock set back makes it no surer than it was."""
        age_s = max(0.0, now_s - self.seen_s)
        return float(self.confidence * 0.5 ** (age_s / HALF_LIFE_S[self.source]))


def identity_of(key: LimitKey) -> Identity:
    """What a limit is about, whatever its amount."""
    return key.bound, key.limit.unit, key.limit.window


class LearnedBook:
    """All facts. `changes` rises whenever `limits_for` may answer otherwise than before."""

    __slots__ = ("_bound", "_facts", "_max_facts", "changes")

    def __init__(self, *, max_facts: int = MAX_FACTS) -> None:
        self._max_facts = max_facts
        self._facts: dict[Identity, Fact] = {}  # the one seen longest ago first
        self._bound: dict[tuple[str, ...], dict[Identity, Fact]] = {}
        self.changes = 0

    def __repr__(self) -> str:
        return f"<LearnedBook {len(self._facts)} facts, {self.changes} changes>"

    def note(
        self,
        key: LimitKey,
        source: FactSource,
        now_s: float,
        *,
        provider_id: str,
        evidence: str,
        amount: int,
        reset_s: float | None = None,
        followed: bool = False,
    ) -> Fact:
        """Learn a limit, or learn it again: then the key first noted stays, so that what it has counted stays.

        Words overrule what stood there. An inference lowers an inferred amount or leaves it, and changes nothing of
        what was said in words; an inferred limit of another amount gets the new key.
        """
        old = self.find(identity_of(key))
        confidence = _CONFIDENCE[source]
        if old is None:
            fact = Fact(
                provider_id=provider_id,
                key=key,
                amount=amount,
                source=source,
                evidence=evidence[:MAX_EVIDENCE],
                first_s=now_s,
                seen_s=now_s,
                confidence=confidence,
                reset_s=reset_s,
                followed=followed,
            )
            self.changes += not followed
            return self._put(fact)
        if source is FactSource.INFERRED and old.source is not FactSource.INFERRED:
            return old
        lowered = source is FactSource.INFERRED and amount < old.amount
        if source is FactSource.INFERRED:
            amount = min(amount, old.amount)
        self.changes += lowered or followed != old.followed
        return self._put(
            msgspec.structs.replace(
                old,
                key=key if lowered or followed or old.followed else old.key,
                amount=amount,
                source=source,
                evidence=evidence[:MAX_EVIDENCE],
                seen_s=now_s,
                confidence=1 - (1 - old.confidence_at(now_s)) * (1 - confidence),
                times=old.times + 1,
                reset_s=reset_s,
                followed=followed,
            )
        )

    def lift(self, fact: Fact, key: LimitKey, amount: int) -> Fact:
        """More was accepted than an inferred fact says: it is `amount`, under `key`."""
        self.changes += not fact.followed
        return self._put(msgspec.structs.replace(fact, key=key, amount=amount))

    def take_over(self, fact: Fact) -> bool:
        """Know a fact as another worker knows it, or as it was known before a restart; False when that is no news.

        Words overrule inferences, and otherwise what was seen later what was seen before.
        """
        old = self.find(fact.identity)
        if old is not None and (fact == old or not _overrules(fact, old)):
            return False
        self.changes += not fact.followed or (old is not None and not old.followed)
        self._put(fact)
        return True

    def forget(self, identity: Identity) -> tuple[Fact, ...]:
        """Forget what is known about exactly this; return it."""
        fact = self.find(identity)
        return () if fact is None else self._drop((fact,))

    def find(self, identity: Identity) -> Fact | None:
        """The fact about exactly this, as it was last noted."""
        return self._facts.get(identity)

    def facts(self, now_s: float) -> tuple[Fact, ...]:
        """Every fact with its confidence of now, the latest first."""
        faded = (
            msgspec.structs.replace(fact, confidence=fact.confidence_at(now_s))
            for fact in reversed(self._facts.values())
        )
        return tuple(fact for fact in faded if fact.confidence >= FORGOTTEN)

    def noted(self, now_s: float) -> tuple[Fact, ...]:
        """Every fact as it was noted, for `take_over` elsewhere; the one seen longest ago first."""
        return tuple(fact for fact in self._facts.values() if fact.confidence_at(now_s) >= FORGOTTEN)

    def limits_for(
        self,
        provider_id: str,
        account: str,
        key_label: str,
        model: str,
        now_s: float,
        *,
        path: tuple[LimitKey, ...] = (),
    ) -> tuple[LimitKey, ...]:
        """The learned limits that bind a candidate, the surest first, without those that its `path` holds already."""
        names = (
            f"key:{provider_id}/{key_label}",
            f"acct:{provider_id}/{account}",
            f"prov:{provider_id}",
            f"model:{model}",
        )
        held = {identity_of(key) for key in path}
        binding = [
            (fact.confidence_at(now_s), fact)
            for size in range(1, len(names) + 1)
            for bound in combinations(names, size)
            for identity, fact in self._bound.get(bound, {}).items()
            if identity not in held and not fact.followed and fact.provider_id == provider_id
        ]
        alive = [pair for pair in binding if pair[0] >= FORGOTTEN]
        alive.sort(key=lambda pair: -pair[0])
        return tuple(fact.key for _, fact in alive[:MAX_LIMITS])

    def windows_known(self, bound: tuple[str, ...], unit: Unit) -> frozenset[Window]:
        """The windows of which a limit on exactly this is known."""
        return frozenset(window for _, of_unit, window in self._bound.get(bound, {}) if of_unit is unit)

    def siblings(self, fact_identity: Identity, now_s: float, age_s: float) -> tuple[Fact, ...]:
        """Inferred facts of the same owner, unit and window on other models that are not older than `age_s`."""
        bound, unit, window = fact_identity
        return tuple(
            fact
            for identity, fact in self._facts.items()
            if identity != fact_identity
            and fact.source is FactSource.INFERRED
            and identity[0][:-1] == bound[:-1] != ()
            and identity[1:] == (unit, window)
            and now_s - fact.seen_s <= age_s
        )

    def clear(self, *, fact_id: str | None = None, provider_id: str | None = None) -> tuple[Fact, ...]:
        """Forget one fact, those of a provider, or without either all; return what is forgotten."""
        return self._drop(
            fact
            for fact in self._facts.values()
            if fact_id in (None, fact.id) and provider_id in (None, fact.provider_id)
        )

    def sweep(self, now_s: float) -> tuple[Fact, ...]:
        """Forget what has faded; return it."""
        return self._drop(fact for fact in self._facts.values() if fact.confidence_at(now_s) < FORGOTTEN)

    def _put(self, fact: Fact) -> Fact:
        identity = fact.identity
        self._facts.pop(identity, None)
        if len(self._facts) >= self._max_facts:
            self._drop([next(iter(self._facts.values()))])
        self._facts[identity] = fact
        self._bound.setdefault(fact.key.bound, {})[identity] = fact
        return fact

    def _drop(self, facts: Iterable[Fact]) -> tuple[Fact, ...]:
        dropped = tuple(facts)
        for fact in dropped:
            identity = fact.identity
            del self._facts[identity]
            of_bound = self._bound[fact.key.bound]
            del of_bound[identity]
            if not of_bound:
                del self._bound[fact.key.bound]
        self.changes += bool(dropped)
        return dropped


def _overrules(fact: Fact, old: Fact) -> bool:
    """Whether another worker's fact counts rather than the own one about the same."""
    inferred, was_inferred = fact.source is FactSource.INFERRED, old.source is FactSource.INFERRED
    return was_inferred if inferred is not was_inferred else fact.seen_s >= old.seen_s


def learned_key(limit: Limit, *, provider_id: str, account: str, key_label: str, model: str) -> LimitKey:
    """A learned limit with what it binds of a candidate."""
    (key,) = limits_on_path((limit,), provider_id=provider_id, account=account, key_label=key_label, model=model)
    return key


def day_window(zone: str, *, rolls: bool) -> Window:
    """What a provider calls a day: the calendar day of its zone, or the last 24 hours."""
    return Window(WindowKind.ROLLING, _DAY_S) if rolls else Window(WindowKind.DAY, zone=zone)


def window_start(window: Window, now_s: float) -> float:
    """When what counts in a window now began (epoch seconds)."""
    return period_start(now_s, window) if window.kind in CALENDAR_KINDS else now_s - window.length_s


def reset_at(window: Window, hint_s: float | None, now_s: float) -> float | None:
    """When a full window comes back: at its calendar's reset whatever the hint, else when the provider says."""
    if window.kind in CALENDAR_KINDS:
        return next_reset(now_s, window)
    return None if hint_s is None else now_s + hint_s


class Inference(msgspec.Struct, frozen=True):
    """What a refusal that does not name its limit shows: so much was accepted in this window.

    It is not `sure` when the provider asked for a shorter wait, and only the count speaks for this window.
    """

    unit: Unit
    window: Window
    amount: int
    sure: bool = True


def infer(
    tallies: Sequence[Tally],
    now_s: float,
    *,
    day: Window,
    unit: Unit = Unit.REQUESTS,
    hint_s: float | None = None,
    window: Window | None = None,
    known: frozenset[Window] = frozenset(),
) -> Inference | None:
    """The limit behind a refusal that names no amount, from what was accepted at its scope; None when nothing was.

    `hint_s` is the wait that the provider asks for, `window` one that the text names, `day` what this provider calls a
    day. `known` are windows of which a limit is known already: one that is not full is not what refuses.
    """
    if unit not in _COUNTED:
        return None
    guessing = False
    for candidate in (window,) if window else _windows(hint_s, day):
        amount = accepted_in(tallies, candidate, unit, now_s)
        unknown = candidate not in known
        if (not amount and unknown and candidate != _SECOND) or (guessing and candidate == day):
            return None
        most = busiest(tallies, int(candidate.length_s), unit)
        # What is refused beyond a known limit of a second is another limit, since that is never too large.
        if amount and (unknown or candidate != _SECOND) and (window or most <= _MORE * amount + 1):
            return Inference(unit, candidate, shown_by(tallies, candidate, unit, now_s), sure=not guessing)
        guessing = guessing or unknown
    return None


def accepted_in(tallies: Iterable[Tally], window: Window, unit: Unit, now_s: float) -> int:
    """What was accepted in the window that holds `now_s`, until then."""
    start_s = window_start(window, now_s)
    return sum(tally.amount_since(start_s, unit, now_s) for tally in tallies)


def shown_by(tallies: Sequence[Tally], window: Window, unit: Unit, now_s: float) -> int:
    """What a limit on this window is, when it refuses now: what was accepted in it.

    Times are known to the second only, so of a window as short as that it is the most that any second took.
    """
    return busiest(tallies, 1, unit) if window == _SECOND else accepted_in(tallies, window, unit, now_s)


def _windows(hint_s: float | None, day: Window) -> Sequence[Window]:
    """The windows that may be behind a wait, the shortest first."""
    windows = (_SECOND, _MINUTE, _HOUR, day)
    if hint_s is None:
        return windows[_USUAL_STEP:]
    first = sum(hint_s > longest_s for longest_s in _LONGEST_WAITS_S)
    return windows[first:]


class Merge(msgspec.Struct, frozen=True):
    """Two accounts of a provider that are one: the answers to `account` name the organisation of `into`."""

    provider_id: str
    into: str
    account: str
    organisation: str

    def __str__(self) -> str:
        return (
            f"{self.provider_id}: the answers to accounts {self.into} and {self.account} name the same organisation, "
            f"{self.organisation}; they share one quota"
        )


class Organisations:
    """Which accounts are the same, by the organisation that the provider's answers name."""

    __slots__ = ("_accounts", "_into", "_organisation_of")

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], str] = {}  # (provider, organisation) → the account that named it first
        self._into: dict[tuple[str, str], str] = {}  # (provider, account) → the account that it is part of
        self._organisation_of: dict[tuple[str, str], str] = {}  # of each account in `_into`

    def __repr__(self) -> str:
        return f"<Organisations {len(self._accounts)} known, {len(self._into)} accounts merged>"

    def note(self, provider_id: str, key_label: str, account: str, organisation: str) -> Merge | None:
        """An answer to a key of `account` names its organisation; a Merge the first time two accounts prove to be one.

        `key_label` is for keys without account, which are one each.
        """
        if not organisation:
            return None
        own = self.account_of(provider_id, account or key_label)
        first = self._accounts.get((provider_id, organisation))
        if first is None:
            if len(self._accounts) < MAX_ORGANISATIONS:
                self._accounts[provider_id, organisation] = own
            return None
        return self._join(provider_id, first, own, organisation)

    def take_over(self, merge: Merge) -> Merge | None:
        """Know of a merge that another worker found; return what it means here, None when it changes nothing."""
        return self._join(merge.provider_id, merge.into, merge.account, merge.organisation)

    def _join(self, provider_id: str, one: str, other: str, organisation: str) -> Merge | None:
        """Make two accounts one: that whose name is the smaller, so that all workers come to the same."""
        into, own = sorted((self.account_of(provider_id, one), self.account_of(provider_id, other)))
        if into == own:
            return None
        self._into[provider_id, own] = into
        self._organisation_of[provider_id, own] = organisation
        return Merge(provider_id, into, own, organisation)

    def merges(self) -> tuple[Merge, ...]:
        """All merges so far."""
        return tuple(
            Merge(provider_id, into, account, self._organisation_of[provider_id, account])
            for (provider_id, account), into in self._into.items()
        )

    def account_of(self, provider_id: str, account: str) -> str:
        """The account that counts for one: itself, or that which it is part of."""
        while (into := self._into.get((provider_id, account))) is not None:
            account = into
        return account

    def forget(self, provider_id: str) -> None:
        """Forget what is known of a provider's accounts, as when its keys have changed."""
        self._accounts = {name: account for name, account in self._accounts.items() if name[0] != provider_id}
        self._into = {name: into for name, into in self._into.items() if name[0] != provider_id}
        self._organisation_of = {name: text for name, text in self._organisation_of.items() if name[0] != provider_id}
