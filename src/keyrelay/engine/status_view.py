"""How everything stands, put together from the pool, the ledger, the forecasts and what everything hangs on.

It is made when somebody asks, at most once in KEPT_S, in turns with what else there is to do.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping

from keyrelay.core.configuration import Key
from keyrelay.core.failures import FailureKind
from keyrelay.core.limits import CALENDAR_KINDS, WindowKind
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_view import QuotaView, Wanted, in_turns
from keyrelay.ports import Clock, Ledger
from keyrelay.quota.forecast import Outlook
from keyrelay.routing.candidates import Candidate, gate
from keyrelay.routing.drops import DropReason
from keyrelay.routing.key_states import KeyState
from keyrelay.routing.resolve import AUTO
from keyrelay.routing.status import BRIEF_S, Choice, Part, Service, Shortage, Status, status_of

KEPT_S = 1.0
"""A status that is no older is given again."""

MAX_MODELS = 500
"""Models that are looked at; routes all are."""

_SERVING = frozenset({KeyState.READY, KeyState.UNKNOWN})
_WAITED_FOR = frozenset({DropReason.RESTING, DropReason.EXHAUSTED, DropReason.LIMITED})
_QUOTAS = frozenset({*CALENDAR_KINDS, WindowKind.ONCE})


class StatusView:
    """Says how everything stands. `parts` are what everything hangs on, as of now."""

    __slots__ = ("_clock", "_keys", "_ledger", "_made", "_made_at", "_making", "_parts", "_pool", "_quota")

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        *,
        keys: KeyHealth,
        quota: QuotaView,
        parts: Callable[[], Iterable[Part]],
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._keys = keys
        self._quota = quota
        self._parts = parts
        self._clock = clock
        self._made: Status | None = None
        self._made_at = -math.inf
        self._making = asyncio.Lock()

    async def status(self) -> Status:
        """How everything stands now, or stood KEPT_S ago."""
        async with self._making:
            if self._made is None or self._clock.monotonic_s() - self._made_at >= KEPT_S:
                self._made = await self._make()
                self._made_at = self._clock.monotonic_s()
            return self._made

    async def _make(self) -> Status:
        now_s = self._clock.epoch_s()
        services = await self._services(now_s)
        candidates = self._keys.candidates()
        keys = [self._of_key(key, candidates, now_s) async for key in in_turns(self._pool.snapshot.keys)]
        return status_of(keys, services, await self._shortages(now_s), self._parts())

    async def _services(self, now_s: float) -> list[Service]:
        """The routes, and the models that have been used."""
        wanted = list[tuple[str, str, list[Candidate]]]()
        for name in dict.fromkeys((AUTO, *self._pool.snapshot.routes)):
            plan = self._pool.plan(name)
            if name != AUTO or plan is not None:
                wanted.append((name, "route", [] if plan is None else list(plan.candidates())))
        models = dict[str, list[Candidate]]()
        for candidate in self._pool.candidates():
            models.setdefault(candidate.model, []).append(candidate)
        models = {model: those for model, those in models.items() if _may_exist(those)}
        wanted += [(model, "model", models[model]) for model in sorted(models)[:MAX_MODELS]]
        known = dict[str, Choice]()
        async for each in in_turns(list({each.id: each for _, _, those in wanted for each in those}.values())):
            known[each.id] = self._choice(each, now_s)
        return [
            Service(name=name, kind=kind, choices=tuple(known[each.id] for each in those))
            for name, kind, those in wanted
        ]

    def _choice(self, candidate: Candidate, now_s: float) -> Choice:
        """Whether a candidate could serve a request now, or soon."""
        why, until_s = "", None
        failing = next((circuit for circuit in candidate.circuits if not circuit.closed), None)
        dropped = gate(candidate, now_s)
        if dropped is not None and dropped.reason is not DropReason.UNPROVEN:
            brief = dropped.reason in _WAITED_FOR and _is_soon(dropped.until_s, now_s)
            if not brief:
                why, until_s = f"{dropped.text.rstrip('.')}.", dropped.until_s
        elif failing is not None:  # one request may find out, but nobody should count on it
            why = f"{failing.name} kept failing: {failing.reason.rstrip('.')}."
        if not why:
            for standing in self._ledger.peek(candidate.path, now_s):
                limit = standing.limit.limit
                full = standing.used >= standing.amount and limit.window.kind is not WindowKind.CONCURRENT
                if full and not _is_soon(standing.reset_s, now_s):
                    why = f"{standing.used} of {standing.amount} {limit.unit} per {limit.window.words} are used."
                    until_s = standing.reset_s
        return Choice(
            provider=candidate.provider_id,
            key=candidate.key.id,
            model=candidate.model,
            serves=not why,
            why=why,
            until_s=until_s if until_s is not None and math.isfinite(until_s) else None,
        )

    def _of_key(self, key: Key, candidates: Mapping[str, list[Candidate]], now_s: float) -> Choice:
        """Whether a key could serve anything."""
        condition, _ = self._keys.condition(key, None, candidates.get(key.id, ()))
        circuits = (self._pool.health.circuit(name) for name in (f"provider:{key.provider_id}", f"key:{key.id}"))
        failing = next((circuit for circuit in circuits if not circuit.closed), None)
        brief = condition.state is KeyState.RESTING and _is_soon(condition.until_s, now_s)
        provider = self._pool.snapshot.providers.get(key.provider_id)
        return Choice(
            provider=key.provider_id,
            key=key.id,
            model="" if provider is None else provider.default_model,
            serves=failing is None and (condition.state in _SERVING or brief),
            why=condition.message if failing is None else f"Calls kept failing: {failing.reason.rstrip('.')}.",
            until_s=condition.until_s,
        )

    async def _shortages(self, now_s: float) -> list[Shortage]:
        """The quotas of which the forecast says that they run out before they come back."""
        bounds = [bound for bound in await self._quota.bounds(Wanted()) if bound.candidates]
        found = []
        async for bound in in_turns(bounds):
            if bound.limit_key.limit.window.kind not in _QUOTAS:
                continue
            line = self._quota.line(bound, now_s)
            if line.forecast.kind is Outlook.RUNS_OUT:
                keys = frozenset(key.id for key in bound.keys.values())
                text = f"{', '.join(sorted(keys))}: {line.forecast.reason}"
                found.append(Shortage(keys=keys, model=line.model or "", text=text))
        return found

    def __repr__(self) -> str:
        return f"<StatusView {'not asked yet' if self._made is None else self._made.level}>"


def _may_exist(candidates: Iterable[Candidate]) -> bool:
    """Whether a model is listed anywhere, has answered, or was not denied: a name that callers mistype is none."""
    there = denied = False
    for each in candidates:
        answered = each.key.secret is not None and each.proofs[1].proven
        there = there or answered or each.model_row is not None
        denied = denied or any(
            cell.failure is not None and cell.failure.kind is FailureKind.MODEL for cell in each.cells
        )
    return there or not denied


def _is_soon(until_s: float | None, now_s: float) -> bool:
    return until_s is not None and until_s - now_s <= BRIEF_S
