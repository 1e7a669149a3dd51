"""The ledger, rebuilt at a start from what was written down: a restart forgets nothing that was used.

What is told of a request that nobody saw the end of counts as used when it can have arrived at the latest.
"""

from collections.abc import Iterable

from keyrelay.core.configuration import Snapshot
from keyrelay.core.limits import CALENDAR_KINDS, WindowKind
from keyrelay.core.records import OF_CLIENTS, RequestRecord, Used
from keyrelay.engine.choice import bring_up_to_date
from keyrelay.engine.pool import Pool
from keyrelay.ports import Ledger
from keyrelay.quota.calendars import period_bounds
from keyrelay.quota.client_limits import used_ever, used_since
from keyrelay.quota.learning import LearnedBook
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.quota.values import Amounts, LimitKey

Spent = tuple[tuple[LimitKey, ...], Amounts, float]
"""Limits, what was taken from all of them, and when (epoch) that was over."""

_LEARNED_S = 86_400.0
"""Limits that are learned while running are about a day at most, or about a calendar that the catalogue knows."""


def needed_since_s(snapshot: Snapshot, now_s: float) -> float:
    """From when on (epoch) usage still counts in some window of the configuration; quotas without a reset apart."""
    since_s = now_s - _LEARNED_S
    limits = [limit for provider in snapshot.providers.values() for limit in provider.limits]
    limits += [limit for key in snapshot.keys for limit in key.limits]
    limits += [each.limit for client in snapshot.clients.values() if client.rules for each in client.rules.limits]
    for window in {limit.window for limit in limits}:
        if window.kind is WindowKind.ROLLING:
            since_s = min(since_s, now_s - window.length_s)
        elif window.kind in CALENDAR_KINDS:
            since_s = min(since_s, period_bounds(now_s, window)[0])
    return since_s - TRANSIT_SKEW_S


def used_by(record: RequestRecord) -> list[Used]:
    """What the attempts of a request used, and its client of its own limits; and when each was over at the latest."""
    used = [
        Used(
            attempt.provider,
            attempt.key,
            attempt.model,
            attempt.sent_s + (attempt.ms / 1000 if attempt.ms else TRANSIT_SKEW_S),
            attempt.requests,
            attempt.input_tokens,
            attempt.output_tokens,
            attempt.usd_micros,
            attempt.units,
        )
        for attempt in record.attempts
    ]
    if record.charged is not None:
        over_s = max((each.at_s for each in used), default=0.0)
        used.append(Used(OF_CLIENTS, record.client, "", over_s, *record.charged))
    return used


def together(one: Used, other: Used) -> Used:
    """What two groups of calls of one key with one model used, as of the later one."""
    return Used(
        one.provider,
        one.key,
        one.model,
        max(one.at_s, other.at_s),
        one.requests + other.requests,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.usd_micros + other.usd_micros,
        one.units + other.units,
    )


class Rebuilding:
    """Tells a fresh ledger what was used before."""

    __slots__ = ("_book", "_ledger", "_now_s", "_pool", "limits", "unknown")

    def __init__(self, pool: Pool, ledger: Ledger, book: LearnedBook, now_s: float) -> None:
        self._pool = pool
        self._ledger = ledger
        self._book = book
        self._now_s = now_s
        self.unknown = 0
        self.limits: set[LimitKey] = set()

    def count(self, used: Iterable[Used], *, once: bool = False) -> int:
        """Count what was used, in any order, and return how many were counted; the others are of keys now gone.

        With `once`, what is told is all that was ever used, and counts for quotas without a reset alone.
        """
        used = list(used)
        spent = sorted(self.spent(used) + self.spent_by_clients(used, once=once), key=_over)
        self.limits.update(key for path, _, _ in spent for key in path)
        for path, amounts, at_s in spent:
            # Time must not run back: what is told of all time was told in order before, and counts whenever it was.
            self._ledger.restore(path, amounts, self._now_s if once else at_s, once=once)
        return len(spent)

    def raise_counts_of(self, ledger: Ledger) -> None:
        """Let a ledger that counts already know what was used before it began: none of its counts is below these.

        What is missing there counts as used now, which is later than it was.
        """
        for key in self.limits:
            (known,), (there,) = self._ledger.peek((key,), self._now_s), ledger.peek((key,), self._now_s)
            ledger.follow(key, self._now_s, used=known.used + there.reserved)

    def spent(self, used: Iterable[Used]) -> list[Spent]:
        """From which limits it was taken, in order of time."""
        spent: list[Spent] = []
        for each in sorted(used, key=_when):
            if each.provider == OF_CLIENTS:
                continue
            candidate = self._pool.candidate_of(each.provider, each.key, each.model)
            if candidate is None:
                self.unknown += 1
                continue
            bring_up_to_date(candidate, self._book, self._now_s)
            spent.append((candidate.path, _amounts(each), min(each.at_s, self._now_s)))
        return spent

    def spent_by_clients(self, used: Iterable[Used], *, once: bool) -> list[Spent]:
        """The same of the limits of clients. `once`: it is all that was ever used, of limits that never reset."""
        of_clients = [each for each in used if each.provider == OF_CLIENTS and each.key in self._pool.allowances]
        spent: list[Spent] = []
        if once:
            sums: dict[str, Used] = {}
            for each in of_clients:
                sums[each.key] = each if each.key not in sums else together(sums[each.key], each)
            for label, each in sums.items():
                allowance = self._pool.allowances[label]
                parts = used_ever(allowance.path, allowance.limits, _amounts(each))
                spent += ((path, amounts, self._now_s) for path, amounts in parts)
            return spent
        for each in sorted(of_clients, key=_when):
            allowance, at_s = self._pool.allowances[each.key], min(each.at_s, self._now_s)
            parts = used_since(allowance.path, allowance.limits, _amounts(each), each.at_s)
            spent += ((path, amounts, at_s) for path, amounts in parts)
        return spent

    def __repr__(self) -> str:
        return f"<Rebuilding {self._ledger!r}, {self.unknown} of keys that are gone>"


def _amounts(used: Used) -> Amounts:
    return Amounts(used.requests, used.input_tokens, used.output_tokens, used.usd_micros, used.units)


def _over(spent: Spent) -> float:
    return spent[2]


def _when(used: Used) -> float:
    return used.at_s
