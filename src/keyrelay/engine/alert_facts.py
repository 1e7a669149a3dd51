"""What alerts go by: quotas, keys, providers, clients' budgets and Keyrelay's own parts, as this process knows them."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

import msgspec

from keyrelay.alerting.levels import Fact
from keyrelay.core.alerts import RuleName
from keyrelay.core.configuration import Key, Provider, Withheld
from keyrelay.core.failures import FailureScope
from keyrelay.core.limits import CALENDAR_KINDS, Limit, Unit, WindowKind
from keyrelay.core.moments import duration_words, rfc3339
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_view import CountLine, QuotaView, Wanted, in_turns
from keyrelay.ports import Ledger
from keyrelay.quota.client_limits import is_budget, limit_words
from keyrelay.quota.forecast import Outlook, amount_words
from keyrelay.routing.health import cell_names
from keyrelay.routing.key_states import KeyCondition, KeyState

LONG_WINDOW_S = 86_400.0
"""Windows that roll for a shorter time fill up and empty all day long: nobody wants to be told."""

LONGEST_DETAIL = 300
EXPIRED_FOR_S = 7 * 86_400.0
"""How long after a key's expiry that is still worth telling."""

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_SERVING = frozenset({KeyState.READY, KeyState.UNKNOWN})
_RULE_OF_STATE: Mapping[KeyState, RuleName] = {
    KeyState.INVALID: RuleName.KEY_INVALID,
    KeyState.OUT_OF_CREDIT: RuleName.KEY_CREDIT,
}
_RULE_OF_PART: Mapping[str, RuleName] = {
    "store": RuleName.STORE,
    "journal": RuleName.JOURNAL,
    "redis": RuleName.REDIS,
}


FOREIGN = frozenset({*_RULE_OF_STATE.values(), *_RULE_OF_PART.values(), RuleName.PROVIDER_DOWN})
"""Rules whose facts repeat what a provider, a database or the system has said."""


class Condition(msgspec.Struct, frozen=True):
    """How one of Keyrelay's own parts (`store`, `journal`, `redis`) is, with a sentence on it."""

    part: str
    ok: bool
    degraded: bool
    detail: str


class Situation:
    """Looks it up. `expiries` gives when keys expire (epoch seconds) by their ids, `conditions` those of parts."""

    __slots__ = ("_conditions", "_expiries", "_keys", "_ledger", "_pool", "_quota")

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        *,
        quota: QuotaView,
        keys: KeyHealth,
        expiries: Callable[[], Mapping[str, float]],
        conditions: Callable[[], Iterable[Condition]],
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._quota = quota
        self._keys = keys
        self._expiries = expiries
        self._conditions = conditions

    async def facts(self, now_s: float) -> list[Fact]:
        """All of it; others get their turns in between."""
        found = [fact async for fact in self._of_quotas(now_s)]
        found += [fact async for fact in self._of_keys(now_s)]
        found += self._of_providers(now_s)
        found += self._of_clients(now_s)
        found += map(_of_condition, self._conditions())
        return found

    async def _of_quotas(self, now_s: float) -> AsyncIterator[Fact]:
        async for bound in in_turns(await self._quota.bounds(Wanted())):
            if not _is_long(bound.limit_key.limit):
                continue
            standing = self._quota.standing(bound, now_s)
            if standing.amount > 0 and standing.used > 0:
                for fact in quota_facts(self._quota.line(bound, now_s), now_s):
                    yield fact

    async def _of_keys(self, now_s: float) -> AsyncIterator[Fact]:
        snapshot = self._pool.snapshot
        candidates, expiries = self._keys.candidates(), self._expiries()
        known: list[tuple[Key, Withheld | None]] = [(key, None) for key in snapshot.keys]
        known += [(each.key, each) for each in snapshot.withheld]
        serving = 0
        async for key, withheld in in_turns(known):
            expires_s = expiries.get(key.id, 0.0)
            condition, _ = self._keys.condition(key, withheld, candidates.get(key.id, ()), expires_s=expires_s)
            serving += withheld is None and condition.state in _SERVING
            for fact in key_facts(key, condition, expires_s, now_s):
                yield fact
        if snapshot.keys:
            detail = f"none of {len(snapshot.keys)} keys can serve a request just now."
            yield Fact(rule=RuleName.NOTHING_SERVES, subject="all keys", value=float(not serving), detail=detail)

    def _of_providers(self, now_s: float) -> Iterator[Fact]:
        health = self._pool.health
        for provider in self._pool.snapshot.providers.values():
            cell = health.cell(cell_names(provider.id, "", "", "")[FailureScope.PROVIDER])
            circuit = health.circuit(f"provider:{provider.id}")
            why = ""
            if not circuit.closed:
                why = circuit.reason
            elif cell.failure is not None and cell.until_s > now_s:
                why = cell.failure.message
            yield _of_provider(provider, why)

    def _of_clients(self, now_s: float) -> Iterator[Fact]:
        for allowance in self._pool.allowances.values():
            for standing in self._ledger.peek(allowance.path, now_s):
                limit = standing.limit.limit
                if not is_budget(limit) or standing.amount <= 0 or not standing.used:
                    continue
                used, whole = (amount_words(each, limit.unit) for each in (standing.used, standing.amount))
                yield Fact(
                    rule=RuleName.CLIENT_BUDGET,
                    subject=f"{allowance.label} {limit_words(limit)}",
                    value=standing.used / standing.amount,
                    detail=f"{used} of {whole} are used{_until(standing.reset_s)}.",
                    cause=allowance.label,
                )

    def __repr__(self) -> str:
        return f"<Situation of {self._pool!r}>"


def quota_facts(line: CountLine, now_s: float) -> Iterator[Fact]:
    """What a count says: which share is used, and in how many hours it runs out."""
    who = f"key {line.key}" if line.key else f"account {line.account}" if line.account else ""
    which = line.model or ", ".join(line.models)
    subject = " ".join(filter(None, (line.provider, who, which, f"{_unit_words(line.unit)} per {line.window}")))
    used, whole = amount_words(line.used, line.unit), amount_words(line.amount, line.unit)
    reset = f", more come back at {line.reset_at}" if line.reset_at else ""
    yield Fact(
        rule=RuleName.QUOTA,
        subject=subject,
        value=line.used_share,
        detail=f"{used} of {whole} ({line.used_share:.0%}) are used{reset}.",
        cause=line.provider,
    )
    outlook = line.forecast
    if outlook.kind in {Outlook.RUNS_OUT, Outlook.EXHAUSTED}:
        at_s = dt.datetime.fromisoformat(outlook.at).timestamp() if outlook.at else now_s
        yield Fact(
            rule=RuleName.EXHAUSTION,
            subject=subject,
            value=max(0.0, at_s - now_s) / _HOUR_S,
            detail=outlook.reason,
            cause=line.provider,
            keeps=outlook.kind is Outlook.EXHAUSTED,  # what was foretold has come: it is not over
        )


def key_facts(key: Key, condition: KeyCondition, expires_s: float, now_s: float) -> Iterator[Fact]:
    """What the state of a key says, and its expiry."""
    rule = _RULE_OF_STATE.get(condition.state)
    if rule is not None:
        yield Fact(rule=rule, subject=key.id, value=1.0, detail=_sentence(condition.message), cause=key.provider_id)
    left_s = expires_s - now_s
    if expires_s and condition.state is not KeyState.DISABLED and left_s > -EXPIRED_FOR_S:
        when = (
            f"it expires in {duration_words(left_s)}, at" if left_s > 0 else "it takes no requests since its expiry at"
        )
        yield Fact(
            rule=RuleName.KEY_EXPIRING,
            subject=key.id,
            value=max(0.0, left_s) / _DAY_S,
            detail=f"{when} {rfc3339(expires_s)}.",
            cause=key.provider_id,
        )


def _of_provider(provider: Provider, why: str) -> Fact:
    return Fact(
        rule=RuleName.PROVIDER_DOWN,
        subject=provider.id,
        value=float(bool(why)),
        detail=_sentence(why or "calls succeed"),
    )


def _of_condition(condition: Condition) -> Fact:
    value = 0.0 if condition.ok and not condition.degraded else 1.0 if condition.ok else 2.0
    rule = _RULE_OF_PART[condition.part]
    return Fact(rule=rule, subject=condition.part, value=value, detail=_sentence(condition.detail))


def _is_long(limit: Limit) -> bool:
    window = limit.window
    return window.kind in CALENDAR_KINDS or window.kind is WindowKind.ONCE or window.length_s >= LONG_WINDOW_S


def _until(reset_s: float | None) -> str:
    return "" if reset_s is None else f", more come back at {rfc3339(reset_s)}"


def _unit_words(unit: Unit) -> str:
    return "money" if unit is Unit.USD_MICROS else unit.replace("_", " ")


def _sentence(text: str) -> str:
    """A text as one line that is not too long, with a full stop."""
    line = " ".join(text.split())[:LONGEST_DETAIL].rstrip(".")
    return f"{line}."
