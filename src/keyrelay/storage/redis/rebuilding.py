"""What a worker knows when Redis has lost its counts: what it used itself, and what the store says that all have used.

Workers upload what they used, exactly. What the store has beyond that was used by workers that are gone. Both know of
what living workers used and the store has already; so an upload says how much of it ended so long ago that it must be
in the store, and that much is counted once.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping

from keyrelay.core.errors import StoreError
from keyrelay.quota.ledger import Reservation, WindowKey
from keyrelay.quota.packed import at_least_zero
from keyrelay.quota.rolling import RollingWindow
from keyrelay.quota.values import LimitKey
from keyrelay.quota.windows import AnyWindow
from keyrelay.storage.redis.admissions import NO_AMOUNTS, Use
from keyrelay.storage.redis.entries import Entry
from keyrelay.storage.redis.partition import Partition
from keyrelay.storage.redis.terms import Spent
from keyrelay.storage.redis.window_hold import CONCURRENT, LEASE_S, MICROS, ROLLING, WindowHold, packed, six

Rebuild = Callable[[str], Awaitable[Iterable[Spent]]]
"""Everything that the store knows to be used of a provider's limits within their windows, whoever used it."""

STORED_AFTER_S = 30.0
"""What ended longer ago than this is in the store."""

REBUILD_AGAIN_S = 1.0
"""Wait after a store that did not answer."""

SAMPLE_S = 5.0
INHERITED_SLACK_S = 1.0


class Rebuilder:
    """Makes up counts for the partitions of one worker, from its ledger's windows and reservations."""

    def __init__(
        self,
        *,
        windows: Callable[[WindowKey], AnyWindow | None],
        entries: Mapping[object, Entry],
        steady_s: Callable[[], float],
        hold: Callable[[LimitKey, Partition], WindowHold],
        rebuild: Rebuild | None,
        predecessor: Iterable[Spent],
        report: Callable[[str], None],
    ) -> None:
        self._windows = windows
        self._entries = entries
        self._steady_s = steady_s
        self._hold = hold
        self._rebuild = rebuild
        self._predecessor = tuple(predecessor)
        self._report = report
        self._building: dict[str, asyncio.Task[None]] = {}
        self._sampled_at = -math.inf

    def __repr__(self) -> str:
        return f"<Rebuilder building={sorted(self._building)}>"

    async def stop(self) -> None:
        """Give up what is under way."""
        building = tuple(self._building.values())
        for task in building:
            task.cancel()
        if building:
            await asyncio.wait(building)

    def sample(self, partitions: Iterable[Partition], now_at: float) -> None:
        """Note now and then what has ended by now, in windows whose counts do not say when."""
        if now_at - self._sampled_at < SAMPLE_S:
            return
        self._sampled_at = now_at
        for partition in partitions:
            for hold in partition.holds.values():
                if hold.kind != ROLLING and hold.touched_at > now_at - STORED_AFTER_S - SAMPLE_S:
                    hold.ended_samples.append((now_at, self._ended_in(hold)))

    def uploaded(self, partition: Partition, hold: WindowHold) -> tuple[list[list[object]], list[int]]:
        """What this worker has used of a window: a list of (bound, amounts), and what of that is in the store."""
        window, now_us = self._windows(hold.identity), partition.now_us()
        flying = [entry for entry in partition.flying if hold in entry.plan.holds]
        if hold.kind == CONCURRENT:
            until_us = now_us + int(LEASE_S * MICROS)
            return [[until_us, entry.lease.decode()] for entry in flying], NO_AMOUNTS
        if window is None:
            return [], NO_AMOUNTS
        uses = [(entry.bound_us, packed(entry.amounts)) for entry in flying]
        if isinstance(window, RollingWindow):
            aged = self._ended_since(window, now_us)
            old_us = now_us - int(STORED_AFTER_S * MICROS)
            stored = sum(amount for bound_us, amount in aged if bound_us < old_us)
            uses += aged
        else:
            stored = self._stored_in(hold, partition.now_at())
            uses.append((now_us, self._ended_in(hold)))
        return [[bound_us, six(amount)] for bound_us, amount in uses if amount], six(stored)

    def inherited(self, partition: Partition, since_ago_s: float) -> list[Use]:
        """What predecessors used after they were last seen, as the journal has it."""
        now_s, now_us = self._steady_s(), partition.now_us()
        uses: dict[WindowHold, list[list[object]]] = {}
        for path, amounts, at_s in self._predecessor:
            ago_s = now_s - at_s
            if ago_s > since_ago_s + INHERITED_SLACK_S:
                continue
            bound_us = now_us - int(ago_s * MICROS) + partition.terms.skew_us
            for hold in self._holds_of(path, partition):
                if hold.kind != CONCURRENT:
                    uses.setdefault(hold, []).append([bound_us, six(packed(amounts))])
        return [(hold, used, NO_AMOUNTS, []) for hold, used in uses.items()]

    def build(self, partition: Partition) -> None:
        """Open a partition, with what the store knows; a second call while that is under way changes nothing."""
        name = partition.name
        if name not in self._building:
            task = self._building[name] = asyncio.create_task(self._open(partition), name=f"rebuilding {name}")
            task.add_done_callback(lambda _: self._building.pop(name, None))

    async def _open(self, partition: Partition) -> None:
        provider = partition.provider
        try:
            spent = () if self._rebuild is None else await self._rebuild(provider)
        except StoreError as error:
            self._report(f"the counts of {provider} cannot be rebuilt yet: {error}")
            await asyncio.sleep(REBUILD_AGAIN_S)
            partition.opening = False
            return
        totals: dict[WindowHold, int] = {}
        now_us = partition.now_us()
        for path, amounts, at_s in spent:
            taken, bound_us = packed(amounts), int(at_s * MICROS) + partition.terms.skew_us
            for hold in self._holds_of(path, partition):
                if hold.kind != CONCURRENT and bound_us > hold.since_us(now_us):
                    totals[hold] = totals.get(hold, 0) + taken
        partition.open_with(totals.items())

    def _holds_of(self, path: tuple[LimitKey, ...], partition: Partition) -> Iterable[WindowHold]:
        return dict.fromkeys(self._hold(key, partition) for key in path)

    def _ended_since(self, window: RollingWindow, now_us: int) -> list[tuple[int, int]]:
        """What has ended and still counts: (bound, amount) for each slot."""
        now_s = self._steady_s()
        window.advance(now_s)
        ended = {slot: slot.amount for slot in window.slots()}
        for reservation, entry in self._entries.items():
            slot = reservation.slots.get(window) if isinstance(reservation, Reservation) else None
            if slot in ended:
                ended[slot] -= packed(entry.amounts)
        aged = (
            (now_us - int((now_s - slot.bound_s) * MICROS), at_least_zero(amount)) for slot, amount in ended.items()
        )
        return [use for use in aged if use[1]]

    def _ended_in(self, hold: WindowHold) -> int:
        window = self._windows(hold.identity)
        return 0 if window is None else at_least_zero(window.used - window.reserved)

    def _stored_in(self, hold: WindowHold, now_at: float) -> int:
        before_at = now_at - STORED_AFTER_S
        if hold.touched_at < before_at:
            return self._ended_in(hold)
        return max((ended for at, ended in hold.ended_samples if at < before_at), default=0)
