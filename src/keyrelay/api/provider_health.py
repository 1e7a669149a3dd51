"""Providers and their keys as the health of each is shown: state, last probe, last answer, last error, circuit."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from keyrelay.api.administration.key_lines import QUESTION
from keyrelay.api.siblings import Siblings
from keyrelay.core.configuration import Key, Withheld
from keyrelay.core.failures import ADVICE, FailureKind
from keyrelay.core.moments import known_moment, past_moment
from keyrelay.core.probes import ProbeOutcome
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import together
from keyrelay.engine.monitor import Monitor, ProbePlan
from keyrelay.engine.pasts import Past
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_view import in_turns
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.circuit import Circuit
from keyrelay.routing.key_states import KeyState

_PLANS = "probe plans"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, ProbePlan])


class CircuitLine(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit: `closed`, `open` until then, or `half_open`: one request may find out. `reason`: the last failure."""

    state: Literal["closed", "open", "half_open"]
    until: str | None = None
    reason: str = ""


class ProbeLine(msgspec.Struct, frozen=True, kw_only=True):
    """The probes of a key: the last one, and how many were sent today (UTC) of at most `per_day`.

    `next` is when the next one is due unless traffic shows the same before, null when none is.
    """

    at: str | None
    outcome: ProbeOutcome | None
    message: str
    ms: float
    today: int
    per_day: int
    next: str | None


class ErrorLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last call that failed, and what to do about it."""

    at: str
    kind: FailureKind | None
    status: int
    message: str
    advice: str


class KeyHealthLine(msgspec.Struct, frozen=True, kw_only=True):
    """How a key is. `latency_ms` is the recent mean time to an answer or to a stream's first content, null for none."""

    key: str
    label: str
    state: KeyState
    until: str | None
    message: str
    way_back: str
    last_success_at: str | None
    last_error: ErrorLine | None
    probe: ProbeLine
    circuit: CircuitLine
    latency_ms: float | None


class ProviderHealthLine(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider is: `down` when its circuit is not closed or no key serves, else `degraded` or `operational`."""

    provider: str
    name: str
    state: Literal["operational", "degraded", "down"]
    circuit: CircuitLine
    latency_ms: float | None
    last_success_at: str | None
    keys: tuple[KeyHealthLine, ...]


class ProviderHealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every provider with its keys; the one that is asked first stands first."""

    providers: tuple[ProviderHealthLine, ...]


class _Known(msgspec.Struct, frozen=True):
    """What is known of all keys, by their ids."""

    pasts: Mapping[str, Past]
    plans: Mapping[str, ProbePlan]
    candidates: Mapping[str, list[Candidate]]


class ProviderHealth:
    """Makes the lines. The worker that probes tells the others of its plans."""

    __slots__ = ("_epoch_s", "_keys", "_monitor", "_pool", "_siblings")

    def __init__(
        self, pool: Pool, keys: KeyHealth, monitor: Monitor, siblings: Siblings, epoch_s: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._monitor = monitor
        self._siblings = siblings
        self._epoch_s = epoch_s
        siblings.answer(_PLANS, self._packed)

    async def report(self) -> ProviderHealthReport:
        """All of it, with what the other workers know of calls."""
        pasts = together(self._keys.history.all(), await self._siblings.ask(QUESTION))
        plans = self._monitor.plans(pasts)
        for packed in await self._siblings.ask(_PLANS):
            for name, plan in _decoder.decode(packed).items():
                plans[name] = _both(plans[name], plan) if name in plans else plan
        known, snapshot = _Known(pasts, plans, self._keys.candidates()), self._pool.snapshot
        everything = [*((key, None) for key in snapshot.keys), *((each.key, each) for each in snapshot.withheld)]
        lines = dict[str, list[KeyHealthLine]]()
        async for key, withheld in in_turns(everything):
            lines.setdefault(key.provider_id, []).append(self._key(key, withheld, known))
        providers = sorted(snapshot.providers.values(), key=lambda each: (each.priority, each.id))
        return ProviderHealthReport(
            providers=tuple(self._provider(each.id, each.row.name, lines.get(each.id, ())) for each in providers)
        )

    async def _packed(self, payload: bytes) -> bytes | None:
        del payload
        monitor = self._monitor
        return _encoder.encode(monitor.plans(self._keys.history.all())) if monitor.rules.per_day else None

    def _key(self, key: Key, withheld: Withheld | None, known: _Known) -> KeyHealthLine:
        past = known.pasts.get(key.id) or Past()
        condition, _ = self._keys.condition(key, withheld, known.candidates.get(key.id, ()))
        return KeyHealthLine(
            key=key.id,
            label=key.label,
            state=condition.state,
            until=known_moment(condition.until_s),
            message=condition.message,
            way_back=condition.way_back,
            last_success_at=past_moment(past.success_s),
            last_error=_error(past),
            probe=_probe(past, known.plans.get(key.id)),
            circuit=self._circuit(f"key:{key.id}"),
            latency_ms=round(past.ms, 1) if past.answered else None,
        )

    def _provider(self, provider: str, name: str, keys: Iterable[KeyHealthLine]) -> ProviderHealthLine:
        lines = tuple(keys)
        circuit = self._circuit(f"provider:{provider}")
        wanted = [line for line in lines if line.state not in {KeyState.DISABLED, KeyState.EXPIRED}]
        serving = [line for line in wanted if line.state in {KeyState.READY, KeyState.UNKNOWN}]
        state: Literal["operational", "degraded", "down"] = "operational"
        if circuit.state != "closed" or not serving:
            state = "down"
        elif len(serving) < len(wanted):
            state = "degraded"
        latencies = [line.latency_ms for line in lines if line.latency_ms is not None]
        return ProviderHealthLine(
            provider=provider,
            name=name,
            state=state,
            circuit=circuit,
            latency_ms=round(sum(latencies) / len(latencies), 1) if latencies else None,
            last_success_at=max((line.last_success_at for line in lines if line.last_success_at), default=None),
            keys=lines,
        )

    def _circuit(self, name: str) -> CircuitLine:
        circuit: Circuit = self._pool.health.circuit(name)
        if circuit.closed:
            return CircuitLine(state="closed")
        waiting = circuit.open_until_s > self._epoch_s()
        return CircuitLine(
            state="open" if waiting else "half_open",
            until=known_moment(circuit.open_until_s) if waiting else None,
            reason=circuit.reason,
        )

    def __repr__(self) -> str:
        return f"<ProviderHealth of {self._pool!r}>"


def _probe(past: Past, plan: ProbePlan | None) -> ProbeLine:
    test = past.test
    return ProbeLine(
        at=past_moment(past.tested_s),
        outcome=None if test is None else test.outcome,
        message="" if test is None else test.message,
        ms=0.0 if test is None else test.ms,
        today=0 if plan is None else plan.today,
        per_day=0 if plan is None else plan.per_day,
        next=None if plan is None else known_moment(plan.next_s),
    )


def _both(one: ProbePlan, other: ProbePlan) -> ProbePlan:
    """The plans of two workers for a key: of several hosts each has one that asks."""
    nexts = [plan.next_s for plan in (one, other) if plan.next_s is not None]
    return ProbePlan(
        today=one.today + other.today, per_day=one.per_day + other.per_day, next_s=min(nexts, default=None)
    )


def _error(past: Past) -> ErrorLine | None:
    at, failure = past_moment(past.error_s), past.error
    if at is None:
        return None
    if failure is None:
        return ErrorLine(at=at, kind=None, status=0, message="", advice="")
    return ErrorLine(
        at=at, kind=failure.kind, status=failure.status, message=failure.message, advice=ADVICE[failure.kind]
    )
