"""The ledger that several workers and hosts share through Redis.

Two steps. `reserve` stays what it is, a synchronous look at this worker's own counts, which know what it has used and
which limits Redis has lately refused. `confirm` then asks Redis to admit the reservation at all its scopes at once, and
takes it back if it does not fit. What becomes of a request is told in the background. Where Redis does not answer, the
worker goes by its own word (see `partition`), and no limit is exceeded all the same.

Beliefs, what the provider says of amounts, and pacing are each worker's own; the amount in force is part of the
question.
"""

import asyncio
import contextlib
import math
import secrets
from collections.abc import Callable, Iterable
from typing import Final
from zlib import crc32

import msgspec

from keyrelay.quota.client_limits import CLIENT
from keyrelay.quota.ledger import Count, LedgerBook, Reservation, WindowKey
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing
from keyrelay.quota.windows import AnyWindow
from keyrelay.storage.redis.entries import Entry, Origin, PathPlan
from keyrelay.storage.redis.link import Link, parse_address
from keyrelay.storage.redis.own_word import admit_by_own_word
from keyrelay.storage.redis.partition import BARRIER_S, Partition
from keyrelay.storage.redis.rebuilding import Rebuild, Rebuilder
from keyrelay.storage.redis.scripts import read_scripts
from keyrelay.storage.redis.terms import Spent, State, Terms
from keyrelay.storage.redis.values import Block, RedisStatus
from keyrelay.storage.redis.window_hold import (
    CALENDAR,
    CONCURRENT,
    LEASE_S,
    MICROS,
    ROLLING,
    UNIT_INDEX,
    UNIT_ORDER,
    WindowHold,
    window_identity,
)

BEAT_S: Final = 0.5
"""How often a worker gives a sign of life, and refreshes what it knows of others."""

SILENT_S: Final = 3.0
"""After so long without one, Redis holds a worker's whole share free."""

MOST_BLOCKED_S: Final = 1.0
"""A limit that Redis refused is asked for again after so long at the latest: others may have given something back."""

LEAST_BLOCKED_S: Final = 0.05
"""And at least so long: whoever is refused does not ask again in the same moment."""

SHOWN_S: Final = 5.0
"""What Redis said of a window's use is shown for so long."""

MAX_PLANS: Final = 100_000

CLIENT_PARTITIONS: Final = tuple(f"client:{number}" for number in range(4))
"""Partitions for the limits of clients; a provider has no such name."""

_CLIENT: Final = CLIENT.rstrip(":")


class SharedLedger(LedgerBook):
    """Implements `ports.Ledger` and `confirm`. It belongs to the event loop in which it was started.

    `worker` names this process among all that live and share the Redis, and whoever takes its place after it was
    killed: `host-1/0`. `epoch_s` is the
    clock that `now_s` comes from. `report` gets a sentence when Redis is lost and when it is back. `rebuild` is asked
    for when Redis has lost the counts; without it only what living workers used is known. `predecessor` is what the
    journal says that earlier processes of this name sent of late; without it all that they had set aside counts as
    used.
    """

    def __init__(  # noqa: PLR0913 - what a shared ledger depends on, all of it by keyword
        self,
        url: str,
        *,
        prefix: str,
        worker: str,
        epoch_s: Callable[[], float],
        random: Callable[[], float],
        report: Callable[[str], None],
        timeout_s: float = 0.1,
        worker_expiry_s: float = 600.0,
        rebuild: Rebuild | None = None,
        predecessor: Iterable[Spent] | None = None,
        transit_skew_s: float = TRANSIT_SKEW_S,
        silent_s: float = SILENT_S,
        barrier_s: float = BARRIER_S,
        beat_s: float = BEAT_S,
    ) -> None:
        super().__init__(transit_skew_s=transit_skew_s)
        self._address = parse_address(url)
        self._epoch_s = epoch_s
        self._random = random
        self._report = report
        self._beat_s = beat_s
        self._timeout_s = timeout_s
        scripts = read_scripts()
        self._terms = Terms(
            prefix=prefix,
            member=f"{worker}#{int(epoch_s() * 1000):012x}-{secrets.token_hex(4)}",
            slot=f"{worker}#",
            scripts=scripts,
            timeout_s=timeout_s,
            skew_us=math.ceil((transit_skew_s + timeout_s) * MICROS),
            silent_s=silent_s,
            expiry_s=worker_expiry_s,
            barrier_s=barrier_s,
            predecessor_told=predecessor is not None,
            new_epoch=lambda: secrets.token_hex(8),
            report=report,
        )
        self._links: dict[tuple[str, int], Link] = {}
        self._partitions: dict[str, Partition] = {}
        self._plans: dict[tuple[LimitKey, ...], tuple[Partition, PathPlan]] = {}
        self._entries: dict[object, Entry] = {}
        self._blocks: dict[LimitKey, Block] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rebuilder = Rebuilder(
            windows=self._window,
            entries=self._entries,
            steady_s=lambda: self._steady(epoch_s()),
            hold=self._hold,
            rebuild=rebuild,
            predecessor=predecessor or (),
            report=report,
        )

    def __repr__(self) -> str:
        return f"<SharedLedger {self._terms.member} {self._address!r} partitions={len(self._partitions)}>"

    async def start(self, providers: Iterable[str] = ()) -> None:
        """Begin to connect, and make itself known for these providers; others follow when they are first used."""
        self._link(self._address.host, self._address.port)
        for provider in providers:
            self._partition(provider)
        self._tick()

    async def stop(self) -> None:
        """Leave: what is still to be told is told, if Redis answers, and nothing is set aside any more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._rebuilder.stop()
        leaving = [call.answer for call in map(Partition.leave, self._partitions.values()) if call is not None]
        if leaving:
            await asyncio.wait(leaving)
        for link in self._links.values():
            await link.stop()

    def status(self) -> RedisStatus:
        """For readiness and metrics."""
        partitions = self._partitions.values()
        return RedisStatus(
            connected=all(link.connection is not None for link in self._links.values()),
            openings=sum(link.openings for link in self._links.values()),
            workers=max((len(partition.members) for partition in partitions), default=0),
            apart=tuple(name for name, part in self._partitions.items() if part.state is not State.SERVING),
            unsent=sum(partition.unsent for partition in partitions),
        )

    async def serving(self, *providers: str, within_s: float = 10.0) -> bool:
        """Wait until Redis's word counts for these providers; False when it does not within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for provider in providers:
                    await self._partition(provider).served()
                return True
        return False

    # The port's verbs

    def reserve(
        self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float, *, beyond_belief: bool = False
    ) -> Reservation | Refusal:
        """Take `amounts` as far as this worker knows; `confirm` then asks Redis."""
        probing: tuple[Count, ...] = ()
        if self._blocks:
            blocked = self._blocked(path, amounts, now_s)
            probing = tuple(self._count(block.refusal.limit) for block in blocked)
            asked = any(block.probed for block in blocked)
            if blocked and (asked or not (beyond_belief and all(count.may_probe(now_s) for count in probing))):
                return max((block.refusal for block in blocked), key=_freed_last)
        outcome = super().reserve(path, amounts, now_s, beyond_belief=beyond_belief)
        if path and type(outcome) is Reservation:
            self._entries[outcome] = Entry(path, amounts)
            if probing:
                outcome.probed = (*outcome.probed, *(count for count in probing if count not in outcome.probed))
                for count in probing:
                    count.probe = outcome
        return outcome

    async def confirm(self, reservation: object, now_s: float) -> Refusal | None:
        """Ask Redis to admit a reservation at all its scopes; None: it may be sent.

        A Refusal: it was taken back, and its limit is refused by `reserve` from now on until the refusal says, or for
        MOST_BLOCKED_S. Takes no longer than the timeout, and no time at all while Redis is known to be away: then the
        answer comes from what this worker may use by itself. Cancelled, it takes the reservation back.
        """
        entry = self._entries.get(reservation)
        if entry is None or entry.origin is not Origin.UNASKED:
            return None
        found = self._plans.get(entry.path)
        partition = self._partition(_partition_of(entry.path[0])) if found is None else found[0]
        try:
            if partition.state is State.RETURNING:
                await partition.returned()
            self._plan(entry, partition, found)
            if isinstance(reservation, Reservation) and reservation.probed:
                entry.probes = entry.plan.probes(reservation.probed)
            outcome = await partition.ask(entry) if partition.state is State.SERVING else entry
        except asyncio.CancelledError:
            self.settle(reservation, Amounts(requests=0), now_s)
            raise
        if outcome is None:
            return None
        refusal = self._refusal(entry, outcome, partition, now_s)
        if refusal is not None:
            self.settle(reservation, Amounts(requests=0), now_s)
        return refusal

    def answered(self, reservation: object, now_s: float) -> None:
        """Note that the provider has seen the request by now. A second call changes nothing."""
        super().answered(reservation, now_s)
        entry = self._entries.get(reservation)
        if entry is not None and not entry.answered:
            entry.answered = True
            if entry.origin is not Origin.UNASKED:
                entry.home.arrived(entry)

    def settle(self, reservation: object, amounts: Amounts, now_s: float, *, arrived: bool = False) -> None:
        """Correct the reservation to what was really used; Redis is told in the background."""
        super().settle(reservation, amounts, now_s, arrived=arrived)
        entry = self._entries.pop(reservation, None)
        if entry is None or entry.origin is Origin.UNASKED:
            return
        entry.home.ended(entry, amounts, arrived=arrived)
        if self._blocks and amounts != entry.amounts:
            for key in entry.path:
                self._blocks.pop(key, None)

    def follow(self, key: LimitKey, now_s: float, *, amount: int | None = None, used: int | None = None) -> bool:
        """The provider says that this limit is `amount`, and that `used` of it are used by now, by all workers."""
        if used is not None:
            partition = self._partition(_partition_of(key))
            hold = self._hold(key, partition)
            unit = UNIT_INDEX[key.limit.unit]
            if used > self._shown(hold, unit) or self._shown_too_long(hold):
                partition.observe(hold, [used if index == unit else 0 for index in range(len(UNIT_ORDER))])
        return super().follow(key, now_s, amount=amount)

    def confirm_belief(self, key: LimitKey, now_s: float) -> None:
        """The provider refused for this limit: it is firm for a while, and what all workers had used is its amount."""
        count = self._count(key)
        believed = count.amount
        super().confirm_belief(key, now_s)
        partition = self._partition(_partition_of(key))
        shown = self._shown(self._hold(key, partition), UNIT_INDEX[key.limit.unit])
        if not key.limit.firm and shown > count.amount:
            self._believe(count, max(count.floor, min(believed, shown)))

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """How each limit stands, with what others have used as of the last sign of life."""
        return tuple(self._with_others(standing, now_s) for standing in super().peek(path, now_s))

    # What others have used

    def _with_others(self, standing: Standing, now_s: float) -> Standing:
        key = standing.limit
        partition = self._partition(_partition_of(key))
        hold = self._hold(key, partition)
        hold.touched_at = partition.now_at()
        used = self._shown(hold, UNIT_INDEX[key.limit.unit])
        if used <= standing.used:
            return standing
        reset_s = standing.reset_s
        if reset_s is None and hold.kind == ROLLING:
            reset_s = now_s + hold.length_us / MICROS
        elif reset_s is None and hold.kind == CALENDAR:
            reset_s = hold.end_us / MICROS
        elif reset_s is None and hold.kind == CONCURRENT:
            reset_s = now_s + LEASE_S
        return msgspec.structs.replace(standing, used=used, reset_s=reset_s)

    def _shown(self, hold: WindowHold, unit: int) -> int:
        return 0 if self._shown_too_long(hold) else hold.shared[unit]

    def _shown_too_long(self, hold: WindowHold) -> bool:
        return asyncio.get_running_loop().time() - hold.shared_at > SHOWN_S

    # Refusals

    def _blocked(self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float) -> list[Block]:
        found = []
        for key in path:
            block = self._blocks.get(key)
            if block is None:
                continue
            if not now_s < block.until_s <= now_s + MOST_BLOCKED_S:
                del self._blocks[key]
            elif amounts.of(key.limit.unit) >= block.amount:
                found.append(block)
        return found

    def _refusal(self, entry: Entry, outcome: list[int] | Entry, partition: Partition, now_s: float) -> Refusal | None:
        """What the script's refusal means, or what the worker's own word is when there was no answer."""
        if isinstance(outcome, list):
            _, time_us, place, unit, used, until_us = outcome
            where = place - 1, unit - 1
            until_s = None if until_us < 0 else now_s + max(0.0, (until_us - time_us) / MICROS)
        elif partition.state is State.SERVING:  # it answered too late, and is there again
            where, used, until_s = next(iter(entry.plan.counts)), 0, now_s
        else:
            own = admit_by_own_word(partition, entry)
            if own is None:
                return None
            where, used = (own.window, own.unit), own.used
            until_s = now_s + max(0.0, (own.until_us - partition.now_us()) / MICROS)
        count = entry.plan.counts[where]
        refusal = Refusal(
            limit=count.key, used=used, amount=count.amount, until_s=until_s, firm=now_s < count.firm_until_s
        )
        free_s = now_s + MOST_BLOCKED_S if until_s is None else until_s
        blocked_s = min(max(free_s, now_s + LEAST_BLOCKED_S), now_s + MOST_BLOCKED_S)
        amount = entry.amounts.of(count.key.limit.unit)
        self._blocks[count.key] = Block(blocked_s, amount, refusal, bool(entry.probes))
        return refusal

    # Plans

    def _plan(self, entry: Entry, partition: Partition, found: tuple[Partition, PathPlan] | None) -> None:
        """Plan a request for the present epoch and period; `found` is the path's last plan."""
        path = entry.path
        if found is None or partition.now_us() >= found[1].until_us:
            resolved = self._paths.get(path) or self._resolve(path, self._now_s)
            holds = tuple(dict.fromkeys(self._hold(key, partition) for key in path))
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            found = self._plans[path] = partition, PathPlan(resolved, holds)
        plan = found[1]
        if plan.epoch != partition.epoch:
            partition.planned(plan)
        now_at = partition.now_at()
        for hold in plan.holds:
            hold.touched_at = now_at
        entry.home, entry.plan = partition, plan

    def _window(self, identity: WindowKey) -> AnyWindow | None:
        return self._windows.get(identity)

    def _believe(self, count: Count, amount: int) -> None:
        """Change what a belief allows; plans hold the old amount."""
        if amount != count.amount:
            self._plans.clear()
        super()._believe(count, amount)

    def _sweep(self, now_s: float) -> None:
        """Forget what holds nothing, and plans with it."""
        self._plans.clear()
        super()._sweep(now_s)
        for partition in self._partitions.values():
            partition.keep_only(self._windows)

    def _hold(self, key: LimitKey, partition: Partition) -> WindowHold:
        identity = window_identity(key)
        hold = partition.holds.get(identity)
        if hold is None:
            hold = partition.holds[identity] = WindowHold(identity)
        hold.turn(partition.now_us())
        return hold

    def _partition(self, provider: str) -> Partition:
        partition = self._partitions.get(provider)
        if partition is None:
            link = self._link(self._address.host, self._address.port)
            partition = self._partitions[provider] = Partition(
                provider,
                self._terms,
                link,
                build=self._rebuilder.build,
                uploaded=self._rebuilder.uploaded,
                inherited=self._rebuilder.inherited,
                moved=self._moved,
            )
        return partition

    # Links

    def _link(self, host: str, port: int) -> Link:
        link = self._links.get((host, port))
        if link is None:
            link = self._links[host, port] = Link(
                self._address.elsewhere(host, port),
                self._terms.scripts,
                timeout_s=self._timeout_s,
                random=self._random,
                report=self._report,
            )
            link.start()
        return link

    def _moved(self, partition: Partition, error: str) -> None:
        """A node of a cluster says where the keys are: `MOVED 3999 127.0.0.1:6381`."""
        host, _, port = error.split()[2].rpartition(":")
        partition.follow_to(self._link(host or partition.link.address.host, int(port)))

    def _tick(self) -> None:
        """Give signs of life; ask another node about what is at one that is gone."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._beat_s, self._tick)
        self._rebuilder.sample(self._partitions.values(), loop.time())
        if self._blocks:
            now_s = self._epoch_s()
            self._blocks = {key: block for key, block in self._blocks.items() if block.until_s > now_s}
        up = [link for link in self._links.values() if link.connection is not None]
        for partition in self._partitions.values():
            if partition.link.connection is None and up:
                partition.follow_to(up[int(self._random() * len(up))])
            else:
                partition.beat()


def client_partition(label: str) -> str:
    """The partition that has a client's limits: a few for all of them, since each takes signs of life all the time."""
    return CLIENT_PARTITIONS[crc32(label.encode()) % len(CLIENT_PARTITIONS)]


def _partition_of(key: LimitKey) -> str:
    """The provider that a limit is about: what is bound names it, as in `acct:gemini/a`; a client's has another one."""
    kind, _, name = key.bound[0].partition(":")
    return client_partition(name) if kind == _CLIENT else name.partition("/")[0]


def _freed_last(refusal: Refusal) -> float:
    return math.inf if refusal.until_s is None else refusal.until_s
