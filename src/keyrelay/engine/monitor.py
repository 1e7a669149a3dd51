"""Asks providers how their keys and they themselves are, where traffic does not show it, by calls that cost nothing.

`routing.probing` says when. What is found goes into the health as what traffic finds: a provider that answers again is
back for everybody at once, and those who wait for it may go. A probe that fails opens a circuit, yet never keeps one
open for longer: what a probe asks may be broken where calls would work, so the one request that a half-open circuit
lets through decides.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.failures import FAULT_KINDS, FailureKind, FailureScope
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.pasts import Past
from keyrelay.engine.pool import Pool
from keyrelay.engine.probing import probe_place
from keyrelay.engine.quota_view import in_turns
from keyrelay.ports import Clock
from keyrelay.routing.health import cell_names
from keyrelay.routing.probing import ProbeRules, Subject, choose, day_of, due_s

LOOK_EVERY_S = 1.0
MAX_UNDER_WAY = 8

_OF_PROVIDER = "provider:"
_FAULTS = frozenset({*FAULT_KINDS, FailureKind.ADDRESS})


class Prober(Protocol):
    """Asks a provider what a key is worth, at no cost; never raises for what the other side does."""

    async def probe(self, provider: Provider, key: Key) -> Probed:
        """What it says."""
        ...


class ProbePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The probes of a key: `today` of `per_day` are used; `next_s` (epoch) is when the next is due, None for none."""

    today: int
    per_day: int
    next_s: float | None


class _Track(msgspec.Struct, eq=False):
    """What is remembered of the probes about one subject; times are epoch seconds, `failing` as of the last look."""

    since_s: float
    chance: float
    failing: bool = False
    probed_s: float = 0.0
    revived_s: float = 0.0
    failures: int = 0


class Monitor:
    """Looks every LOOK_EVERY_S for what is to be asked, and asks, at most one call under way to a provider.

    `pasts` gives what all workers know of calls; `found` is called when something may be back.
    """

    def __init__(
        self,
        pool: Pool,
        prober: Prober,
        keys: KeyHealth,
        *,
        rules: ProbeRules,
        clock: Clock,
        random: Callable[[], float],
        pasts: Callable[[], Awaitable[Mapping[str, Past]]],
        found: Callable[[], None],
    ) -> None:
        self.rules = rules
        self._pool = pool
        self._prober = prober
        self._keys = keys
        self._clock = clock
        self._random = random
        self._all_pasts = pasts
        self._found = found
        self._tracks: dict[str, _Track] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Ask what is due. Returns at once; what is under way goes on."""
        chosen = await self._due(self._keys.history.all()) if self.rules.per_day else []
        if chosen:  # the other workers may know better
            chosen = await self._due(await self._all_pasts())
        for subject in chosen:
            key = next((key for key in self._pool.snapshot.keys if key.id == subject.key), None)
            provider = self._pool.snapshot.providers.get(subject.provider)
            if key is not None and provider is not None and subject.provider not in self._busy:
                self._start(subject, provider, key)

    def plans(self, pasts: Mapping[str, Past]) -> dict[str, ProbePlan]:
        """What is planned for the keys that take requests, by their ids, as far as their traffic does not change it."""
        snapshot, planned = self._pool.snapshot, dict[str, ProbePlan]()
        for key in snapshot.keys:
            provider = snapshot.providers.get(key.provider_id)
            next_s = None
            if provider is not None and _is_free(provider):
                next_s = due_s(self._of_key(key, pasts.get(key.id) or Past()), self.rules)
            planned[key.id] = ProbePlan(today=self._today(key.id), per_day=self.rules.per_day, next_s=next_s)
        return planned

    async def stop(self) -> None:
        """End what is under way."""
        under_way = list(self._busy.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _due(self, pasts: Mapping[str, Past]) -> list[Subject]:
        subjects = [subject async for subject in in_turns(list(self._subjects(pasts)))]
        most = MAX_UNDER_WAY - len(self._busy)
        return choose(subjects, self.rules, self._clock.epoch_s(), busy=self._busy, most=most)

    def _subjects(self, pasts: Mapping[str, Past]) -> Iterator[Subject]:
        """What may be asked about: of a provider that fails the provider alone, else each of its keys."""
        snapshot, health = self._pool.snapshot, self._pool.health
        idle = self.rules.every_s > 0
        failing = {circuit.name for circuit in health.circuits() if not circuit.closed}
        for name, track in self._tracks.items():
            track.failing = track.failing and name in failing
        if not failing and not idle:
            return
        for provider in snapshot.providers.values():
            name = f"{_OF_PROVIDER}{provider.id}"
            if not _is_free(provider) or (not idle and name not in failing and not _any_key_of(provider.id, failing)):
                continue
            keys = [key for key in snapshot.keys if key.provider_id == provider.id]
            if name in failing:
                if keys and probe_place(provider)[0] == provider.origin:
                    yield self._of_provider(provider, keys, pasts)
                continue
            for key in keys:
                if idle or f"key:{key.id}" in failing:
                    yield self._of_key(key, pasts.get(key.id) or Past())

    def _of_provider(self, provider: Provider, keys: list[Key], pasts: Mapping[str, Past]) -> Subject:
        """A provider that fails, asked with the key that was asked longest ago, one that is not known to be bad."""
        cell = self._pool.health.cell
        good = [key for key in keys if not math.isinf(cell(f"key:{key.id}").until_s)] or keys
        known = {each.id: pasts.get(each.id) or Past() for each in keys}
        key = min(good, key=lambda each: (self._today(each.id), known[each.id].tested_s))
        seen_s = max(past.success_s for past in known.values())
        return self._subject(f"{_OF_PROVIDER}{provider.id}", key, seen_s=seen_s, failing=True)

    def _of_key(self, key: Key, past: Past) -> Subject:
        failing = not self._pool.health.circuit(f"key:{key.id}").closed
        return self._subject(f"key:{key.id}", key, seen_s=past.success_s, failing=failing, tested_s=past.tested_s)

    def _subject(self, name: str, key: Key, *, seen_s: float, failing: bool, tested_s: float = 0.0) -> Subject:
        track = self._track(name)
        if failing and not track.failing:
            track.since_s, track.failures = self._clock.epoch_s(), 0
        track.failing = failing
        return Subject(
            name=name,
            provider=key.provider_id,
            key=key.id,
            failing=failing,
            today=self._today(key.id),
            seen_s=seen_s,
            probed_s=max(track.probed_s, tested_s),
            since_s=track.since_s,
            revived_s=track.revived_s,
            failures=track.failures,
            chance=track.chance,
        )

    def _start(self, subject: Subject, provider: Provider, key: Key) -> None:
        day = day_of(self._clock.epoch_s())
        if key.id not in self._sent and len(self._sent) >= 2 * len(self._pool.snapshot.keys):
            self._sent = {key_id: sent for key_id, sent in self._sent.items() if sent[0] == day}
        self._sent[key.id] = day, self._today(key.id) + 1
        task = asyncio.create_task(self._ask(subject, provider, key), name=f"probe of {key.id}")
        self._busy[provider.id] = task
        task.add_done_callback(lambda _: self._busy.pop(provider.id, None))

    async def _ask(self, subject: Subject, provider: Provider, key: Key) -> None:
        probed = await self._prober.probe(provider, key)
        now_s = self._clock.epoch_s()
        track = self._track(subject.name)
        track.probed_s, track.chance = now_s, self._random()
        track.failures = 0 if probed.outcome is ProbeOutcome.VALID else track.failures + 1
        if not any(each.id == key.id and each.secret == key.secret for each in self._pool.snapshot.keys):
            return  # it is gone, or another one
        if self._note(provider, key, probed, now_s):
            track.revived_s = now_s
        self._keys.tested(provider, key, probed)
        self._found()

    def _note(self, provider: Provider, key: Key, probed: Probed, now_s: float) -> bool:
        """Have known what a probe says of the provider; whether it has brought something back."""
        health = self._pool.health
        if probe_place(provider)[0] != provider.origin:
            return False  # another host was asked
        health.changes += 1
        circuits = health.circuit(f"{_OF_PROVIDER}{provider.id}"), health.circuit(f"key:{key.id}")
        fault = probed.fault
        if fault is not None:
            for circuit in circuits:
                if circuit.closed and fault.kind in FAULT_KINDS:
                    circuit.failed(now_s, f"{fault.kind}: {fault.message}", self._random)
            return False
        revived = any(not circuit.closed for circuit in circuits)
        for circuit in circuits:
            if circuit.bad or not circuit.closed:
                circuit.succeeded()
        cell = health.cell(cell_names(provider.id, key.account, key.label, "")[FailureScope.PROVIDER])
        if cell.failure is not None and cell.failure.kind in _FAULTS:
            cell.wake()
        return revived

    def _today(self, key_id: str) -> int:
        day, count = self._sent.get(key_id, (0, 0))
        return count if day == day_of(self._clock.epoch_s()) else 0

    def _track(self, name: str) -> _Track:
        track = self._tracks.get(name)
        if track is None:
            if len(self._tracks) >= 2 * (len(self._pool.snapshot.keys) + len(self._pool.snapshot.providers)):
                self._tracks.clear()  # most are about keys that are gone
            track = self._tracks[name] = _Track(self._clock.epoch_s(), self._random())
        return track

    def __repr__(self) -> str:
        return f"<Monitor {self.rules.every_s:g} s, {len(self._busy)} probes under way>"


def _is_free(provider: Provider) -> bool:
    return provider.row.probe.method != "none"


def _any_key_of(provider_id: str, failing: set[str]) -> bool:
    return any(name.startswith(f"key:{provider_id}/") for name in failing)
