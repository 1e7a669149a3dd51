"""Learning from answers: what headers and refusals say goes to the ledger, and into the book what it does not hold yet.

Limits on a candidate's path follow the provider's word (`Ledger.follow`); those that are on no path become facts of the
book, from where they come onto the paths that are made next. What refusals leave unsaid is inferred from what was
accepted, of which a tally is kept for every candidate.

Everything is synchronous, and cheap for an answer that says nothing new: making a mapping of headers costs more than
the rest of an answer's bookkeeping, so `due` tells whether it is worth it.
"""

import math
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

import msgspec

from keyrelay.core.failures import LIMIT_KINDS, Failure, FailureKind, ProviderError
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window
from keyrelay.core.redaction import Redactor
from keyrelay.engine.learning import (
    ACCOUNT,
    PAIR,
    LearningWatcher,
    Refused,
    Watch,
    held_limit,
    quota_window,
    same_event,
    scope_of,
)
from keyrelay.engine.strangers import Strangers
from keyrelay.ports import Ledger
from keyrelay.quota.learning import (
    MAX_EVIDENCE,
    Fact,
    FactSource,
    Identity,
    Inference,
    LearnedBook,
    Merge,
    Organisations,
    accepted_in,
    day_window,
    identity_of,
    infer,
    learned_key,
    reset_at,
    shown_by,
    window_start,
)
from keyrelay.quota.limits import amount_with_margin
from keyrelay.quota.tally import MAX_TALLIES, Tallies, Tally
from keyrelay.quota.values import Amounts, LimitKey, Place
from keyrelay.routing.candidates import Candidate
from keyrelay.wire.limit_errors import organisation, read_named_limits
from keyrelay.wire.limit_headers import LimitWord, read_limits

READ_EVERY_S: Final = 1.0
"""How often the headers of one candidate's answers are read while much is left."""

LOOK_AGAIN_S: Final = 60.0
"""How soon they are looked at again after an answer without any on limits."""

NEARLY_NOTHING: Final = 5
"""With so little left, or less than a twentieth, every answer's headers are read."""

SWEEP_EVERY_S: Final = 60.0
WATCH_S: Final = 600.0
"""So long after a refusal requests that were under way by then may still turn out to have been accepted."""

MAX_REPORTED: Final = 10_000
_NEARLY_SHARE: Final = 20
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_MARGINS: Final[Mapping[str, float]] = MappingProxyType({})
_MARK: Final = "ratelimit"
_CONCURRENCY: Final = re.compile(r"concurren", re.IGNORECASE)


class Learner:
    """Teaches ledger and book. `report` gets one sentence for each contradiction, `merged` each merge of accounts.

    `started_s` (epoch) is since when everything accepted has gone through here: an inference from a whole window is
    firm at once, another when it is confirmed. `margins` is by provider the share that is kept from its limits. What
    other workers learned comes in by `take_over` and `forget`, of which `watcher` hears nothing.
    """

    __slots__ = (
        "_due",
        "_ledger",
        "_merged",
        "_report",
        "_reported",
        "_started_s",
        "_sweep_s",
        "_watches",
        "book",
        "margins",
        "organisations",
        "redactor",
        "strangers",
        "tallies",
        "watcher",
    )

    def __init__(
        self,
        ledger: Ledger,
        book: LearnedBook,
        organisations: Organisations,
        *,
        redactor: Redactor,
        report: Callable[[str], None],
        merged: Callable[[Merge], None],
        started_s: float = math.inf,
        margins: Mapping[str, float] = _NO_MARGINS,
    ) -> None:
        self._ledger = ledger
        self._report = report
        self._merged = merged
        self._started_s = started_s
        self._due: dict[str, float] = {}
        self._watches: dict[str, Watch] = {}
        self._reported: dict[Identity, None] = {}
        self._sweep_s = -math.inf
        self.book = book
        self.margins = margins
        self.organisations = organisations
        self.redactor = redactor
        self.tallies, self.strangers = Tallies(), Strangers(ledger)
        self.watcher: LearningWatcher | None = None

    def __repr__(self) -> str:
        return f"<Learner {self.book!r} {self.tallies!r} {len(self._watches)} watched>"

    def tally(self, candidate: Candidate) -> Tally:
        """What was accepted at a candidate."""
        known = self.tallies.find(candidate.id)
        if known is not None:
            return known
        key = candidate.key
        place = Place(
            provider_id=candidate.provider_id, account=key.account, key_label=key.label, model=candidate.model
        )
        return self.tallies.open(candidate.id, place)

    def accepted(self, candidate: Candidate, amounts: Amounts, sent_s: float, now_s: float) -> None:
        """A request that was sent at `sent_s` has been answered, and used these amounts."""
        if now_s >= self._sweep_s:
            self._sweep(now_s)
        tally = self.tallies.find(candidate.id) or self.tally(candidate)
        tally.note(sent_s, amounts.requests, amounts.input_tokens, amounts.output_tokens)
        if self._watches:
            watch = self._watches.get(candidate.id)
            if watch is not None:
                self._recount(candidate, watch, sent_s, now_s)

    def due(self, candidate: Candidate, now_s: float) -> bool:
        """Whether the headers of an answer are worth reading now: at most once a second while much is left."""
        if not candidate.says_limits:
            return False
        due_s = self._due.get(candidate.id, 0.0)
        return now_s >= due_s or due_s - now_s > LOOK_AGAIN_S  # the latter: the clock was set back

    def answered(self, candidate: Candidate, headers: Mapping[str, str], now_s: float, *, settled: bool = True) -> None:
        """Learn from the headers (lower-case names) of an answer of any status.

        With `settled` the ledger knows already what this answer used. Otherwise what the headers say of tokens used is
        left out, lest the answer's own be counted twice.
        """
        if len(self._due) >= MAX_TALLIES:
            self._due.clear()
        self._organisation(candidate, headers, None)
        if not any(_MARK in name for name in headers):
            self._due[candidate.id] = now_s + LOOK_AGAIN_S
            return
        low = False
        for word in read_limits(headers, candidate.provider.row.limit_headers, now_s):
            amount, remaining = word.amount, word.remaining
            if remaining is not None and (
                remaining <= NEARLY_NOTHING or (amount is not None and remaining * _NEARLY_SHARE <= amount)
            ):
                low = True
            said = "" if remaining is None else f", {remaining} left"
            # Numbers only: nothing here to redact.
            evidence = f"headers: {amount} {word.unit} per {word.window}{said}"
            known = settled or word.unit is Unit.REQUESTS
            usable = word if known else msgspec.structs.replace(word, remaining=None)
            self._told(candidate, usable, FactSource.HEADER, evidence, now_s)
        self._due[candidate.id] = now_s if low else now_s + READ_EVERY_S

    def refused(
        self,
        candidate: Candidate,
        error: ProviderError,
        failure: Failure,
        now_s: float,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        said: str = "",
    ) -> tuple[Fact, ...]:
        """Learn from a refusal, once its reservation is settled; return what it taught. `said` is what may be kept."""
        if headers:
            self.answered(candidate, headers, now_s)
        self._organisation(candidate, _NO_HEADERS, error)
        limiting = failure.kind in LIMIT_KINDS
        if not limiting and failure.kind is not FailureKind.CONTEXT:
            return ()
        row = candidate.provider.row
        day = day_window(row.day_zone, rolls=row.day_rolls)
        words = read_named_limits(error, day=day, zone=row.day_zone, headers=headers)
        said = said or self.redactor.redact(f"{error.message} {error.detail}".strip())
        evidence = f"HTTP {error.status}: {said}"[:MAX_EVIDENCE]
        facts: list[Fact] = []
        for word in words:
            if word.amount is None or word.window is None:
                continue
            unit = word.unit or self._unit_of(candidate, word, now_s)
            plain = msgspec.structs.replace(word, unit=unit, remaining=word.remaining if limiting else None)
            reset_s = reset_at(word.window, error.hint_s, now_s)
            plain = msgspec.structs.replace(plain, reset_s=reset_s)
            facts += self._told(candidate, plain, FactSource.REFUSAL, evidence, now_s)
        if not facts and limiting and not _CONCURRENCY.search(error.message):
            word = words[0] if words else LimitWord(unit=None)
            by_kind = quota_window(failure, day, row.day_zone, now_s) if failure.kind is FailureKind.QUOTA else None
            refused = Refused(
                now_s,
                word.unit or Unit.REQUESTS,
                word.window or by_kind,
                scope_of(failure),
                error.hint_s,
                day,
                evidence,
            )
            facts += self._infer(candidate, refused, now_s)
        return tuple(facts)

    def clear(self, now_s: float, *, fact_id: str | None = None, provider_id: str | None = None) -> tuple[Fact, ...]:
        """Forget one fact, those of a provider, or all: what was followed is as it was configured again."""
        facts = self._undo(self.book.clear(fact_id=fact_id, provider_id=provider_id), now_s)
        if self.watcher is not None:
            self.watcher.forgot(facts)
        return facts

    def forget(self, identity: Identity, now_s: float) -> None:
        """Forget what was cleared at another worker."""
        self._undo(self.book.forget(identity), now_s)

    def take_over(self, fact: Fact, now_s: float, *, firm: bool = False) -> None:
        """Know a fact as another worker does; the ledger follows where it does there."""
        if self.book.take_over(fact):
            self.follow(fact, now_s, firm=firm)

    def follow(self, fact: Fact, now_s: float, *, firm: bool = False) -> None:
        """Let the ledger follow a fact that the book has."""
        key, amount = fact.key, fact.amount
        if fact.source is FactSource.INFERRED:
            if not fact.followed and (firm or fact.times > 1):
                self._ledger.confirm_belief(key, now_s)
            if not fact.followed or fact.times == 1:
                return
        elif key.limit.source is not LimitSource.CONFIGURED:
            amount = amount_with_margin(amount, self.margins.get(fact.provider_id, 0.0))
        self._ledger.follow(key, now_s, amount=amount)

    def _sweep(self, now_s: float) -> None:
        self._sweep_s = now_s + SWEEP_EVERY_S
        self._undo(self.book.sweep(now_s), now_s)
        self._watches = {
            name: watch for name, watch in self._watches.items() if abs(now_s - watch.refused.at_s) <= WATCH_S
        }

    def _undo(self, facts: tuple[Fact, ...], now_s: float) -> tuple[Fact, ...]:
        for fact in facts:
            if fact.followed:
                self._ledger.follow(fact.key, now_s, amount=fact.key.limit.amount)
        return facts

    def _told(
        self, candidate: Candidate, word: LimitWord, source: FactSource, evidence: str, now_s: float
    ) -> tuple[Fact, ...]:
        """A limit in the provider's own words: the ledger follows it, and the book has it with redacted `evidence`."""
        unit, window, amount = word.unit, word.window, word.amount
        if unit is None or window is None:
            return ()
        held = held_limit(candidate.path, unit, window, word.scope_hint)
        if amount is None:
            if held is not None and word.remaining is not None:
                standing = self._ledger.peek((held,), now_s)[0]
                self._ledger.follow(held, now_s, used=max(standing.amount - word.remaining, 0))
            return ()
        used = None if word.remaining is None else max(amount - word.remaining, 0)
        safe = amount_with_margin(amount, self.margins.get(candidate.provider_id, 0.0))
        key = held or self._learned(candidate, unit, window, word.scope_hint, safe, firm=True)
        configured = key.limit.source is LimitSource.CONFIGURED
        self.strangers.look(f"{candidate.provider_id}/{candidate.key.account}", key, used, now_s)
        contradicted = self._ledger.follow(key, now_s, amount=amount if configured else safe, used=used)
        followed = key.limit.source is not LimitSource.LEARNED
        if contradicted and followed and key.limit.amount != amount:
            self._contradiction(candidate, key, f"allows {amount}")
        fact = self.book.note(
            key,
            source,
            now_s,
            provider_id=candidate.provider_id,
            evidence=evidence,
            amount=amount,
            reset_s=word.reset_s,
            followed=followed,
        )
        self._tell(fact)
        return (fact,)

    def _learned(
        self, candidate: Candidate, unit: Unit, window: Window, scope: tuple[ScopePart, ...], amount: int, *, firm: bool
    ) -> LimitKey:
        """The learned limit on a scope of the candidate: the one known, else a new one."""
        limit = Limit(unit=unit, amount=amount, window=window, scope=scope, source=LimitSource.LEARNED, firm=firm)
        key = learned_key(
            limit,
            provider_id=candidate.provider_id,
            account=self.organisations.account_of(candidate.provider_id, candidate.key.account),
            key_label=candidate.key.label,
            model=candidate.model,
        )
        known = self.book.find(identity_of(key)) if firm else None
        return known.key if known is not None and not known.followed else key

    def _contradiction(self, candidate: Candidate, key: LimitKey, says: str) -> None:
        """Say once that the provider's limit is another than the one on the path."""
        identity = identity_of(key)
        if identity in self._reported:
            return
        if len(self._reported) >= MAX_REPORTED:
            del self._reported[next(iter(self._reported))]
        self._reported[identity] = None
        limit = key.limit
        theirs = "configuration" if limit.source is LimitSource.CONFIGURED else "catalogue"
        self._report(
            f"{candidate.key.id} {candidate.model}: the provider {says} {limit.unit} per {limit.window}, the {theirs} "
            f"says {limit.amount}; following the provider"
        )

    def _organisation(self, candidate: Candidate, headers: Mapping[str, str], error: ProviderError | None) -> None:
        said = organisation(headers, error, candidate.provider.row.organisation_headers)
        if said:
            key = candidate.key
            merge = self.organisations.note(candidate.provider_id, key.label, key.account, said)
            if merge is not None:
                self._report(str(merge))
                self._merged(merge)
                if self.watcher is not None:
                    self.watcher.merged(merge)

    def _unit_of(self, candidate: Candidate, word: LimitWord, now_s: float) -> Unit | None:
        """The unit of a limit named without one: the path's limit of this amount, else what fits what is used."""
        for key in candidate.path:
            if key.limit.window == word.window and key.limit.amount == word.amount:
                return key.limit.unit
        if word.window is None or word.amount is None or word.remaining is None:
            return Unit.REQUESTS
        used = word.amount - word.remaining
        tallies = self._within(candidate, PAIR, ()).values()
        counted = {unit: accepted_in(tallies, word.window, unit, now_s) for unit in (Unit.REQUESTS, Unit.TOKENS)}
        return min(counted, key=lambda unit: abs(math.log((counted[unit] + 1) / (used + 1))))

    def _within(self, candidate: Candidate, scope: tuple[ScopePart, ...], models: tuple[str, ...]) -> dict[str, Tally]:
        """The tallies of everything that a limit of this scope counts together with the candidate."""
        self.tally(candidate)
        provider_id, key, canonical = candidate.provider_id, candidate.key, self.organisations.account_of
        account = canonical(provider_id, key.account)

        def belongs(place: Place) -> bool:
            return (
                place.provider_id == provider_id
                and (ScopePart.ACCOUNT not in scope or canonical(provider_id, place.account) == account)
                and (ScopePart.KEY not in scope or place.key_label == key.label)
                and (ScopePart.MODEL not in scope or place.model == candidate.model)
                and (not models or any(fnmatchcase(place.model, pattern) for pattern in models))
            )

        return self.tallies.within(belongs)

    def _infer(self, candidate: Candidate, refused: Refused, now_s: float) -> list[Fact]:
        """What a refusal without numbers shows: the limit at its scope, and the account's where models share one."""
        unit, scope = refused.unit, refused.scope
        tallies = self._within(candidate, scope, ())
        bound = self._learned(candidate, unit, refused.day, scope, 1, firm=False).bound
        inference = infer(
            tuple(tallies.values()),
            refused.at_s,
            day=refused.day,
            unit=unit,
            hint_s=refused.hint_s,
            window=refused.window,
            known=self.book.windows_known(bound, unit),
        )
        if inference is None:
            self._watch(refused, None, tallies, firm=False)
            return []
        window = inference.window
        held = held_limit(candidate.path, unit, window, scope)
        if held is not None and held.limit.source is not LimitSource.LEARNED:
            return self._doubt(candidate, held, refused, now_s)
        facts = [self._believe(candidate, inference, refused, tallies, now_s)]
        age_s = max(refused.at_s - window_start(window, refused.at_s), LOOK_AGAIN_S)
        if scope == PAIR and self.book.siblings((bound, unit, window), now_s, age_s):
            of_account = self._within(candidate, ACCOUNT, ())
            amount = accepted_in(of_account.values(), window, unit, refused.at_s)
            wider = msgspec.structs.replace(refused, scope=ACCOUNT)
            facts.append(self._believe(candidate, Inference(unit, window, amount), wider, of_account, now_s))
        return facts

    def _believe(
        self, candidate: Candidate, inference: Inference, refused: Refused, tallies: dict[str, Tally], now_s: float
    ) -> Fact:
        """An inferred limit that is on no path: a belief, firm once it is sure."""
        unit, window = inference.unit, inference.window
        key = self._learned(candidate, unit, window, refused.scope, inference.amount, firm=False)
        old = self.book.find(identity_of(key))
        if old is not None and (old.source is not FactSource.INFERRED or same_event(old, window, refused.at_s)):
            return old
        fact = self._inferred(candidate, key, inference.amount, refused, followed=False)
        self._ledger.follow(fact.key, now_s, used=inference.amount)
        firm = fact.times > 1 or (inference.sure and self._started_s <= window_start(window, refused.at_s))
        if firm:
            self._ledger.confirm_belief(fact.key, now_s)
        self._watch(refused, fact.identity, tallies, firm=firm)
        self._tell(fact, firm=firm)
        return fact

    def _doubt(self, candidate: Candidate, held: LimitKey, refused: Refused, now_s: float) -> list[Fact]:
        """A refusal below a limit of the path: doubted at first, followed when it happens again."""
        unit, window = held.limit.unit, held.limit.window
        tallies = self._within(candidate, held.limit.scope, held.limit.models)
        amount = accepted_in(tallies.values(), window, unit, refused.at_s)
        if amount >= self._ledger.peek((held,), now_s)[0].amount:
            self._ledger.confirm_belief(held, now_s)
            return []
        old = self.book.find(identity_of(held))
        if not amount or (old is not None and same_event(old, window, refused.at_s)):
            return []
        fact = self._inferred(candidate, held, amount, refused, followed=True)
        self._tell(fact)
        if fact.source is FactSource.INFERRED:
            self._watch(refused, fact.identity, tallies, firm=True)
            if fact.times > 1 and self._ledger.follow(held, now_s, amount=fact.amount):
                self._contradiction(candidate, held, f"refuses after {fact.amount}")
        return [fact]

    def _inferred(self, candidate: Candidate, key: LimitKey, amount: int, refused: Refused, *, followed: bool) -> Fact:
        return self.book.note(
            key,
            FactSource.INFERRED,
            refused.at_s,
            provider_id=candidate.provider_id,
            evidence=refused.evidence,
            amount=amount,
            reset_s=reset_at(key.limit.window, refused.hint_s, refused.at_s),
            followed=followed,
        )

    def _tell(self, fact: Fact, *, firm: bool = False) -> None:
        if self.watcher is not None:
            self.watcher.learned(fact, firm=firm)

    def _watch(self, refused: Refused, identity: Identity | None, tallies: dict[str, Tally], *, firm: bool) -> None:
        watches = dict.fromkeys(tallies, Watch(refused, identity, tuple(tallies.values()), firm))
        # A refusal that shows nothing yet does not push out one before it, which what is under way may explain.
        self._watches = watches | self._watches if identity is None else self._watches | watches

    def _recount(self, candidate: Candidate, watch: Watch, sent_s: float, now_s: float) -> None:
        """A request that was under way at a refusal was accepted: the inferred limit is at least what it makes."""
        at_s = watch.refused.at_s
        if abs(now_s - at_s) > WATCH_S:
            del self._watches[candidate.id]
            return
        if sent_s > at_s:
            return
        if watch.identity is None:
            self._infer(candidate, watch.refused, now_s)
            return
        fact = self.book.find(watch.identity)
        if fact is None or fact.source is not FactSource.INFERRED:
            return
        limit = fact.key.limit
        amount = shown_by(watch.tallies, limit.window, limit.unit, at_s)
        if amount <= fact.amount:
            return
        if fact.followed:
            self._tell(self.book.lift(fact, fact.key, amount))
            if fact.times > 1:
                self._ledger.follow(fact.key, now_s, amount=amount)
            return
        key = LimitKey(msgspec.structs.replace(limit, amount=amount), fact.key.bound)
        self._tell(self.book.lift(fact, key, amount), firm=watch.firm)
        if watch.firm:
            self._ledger.confirm_belief(key, now_s)
