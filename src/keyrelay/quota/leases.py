"""What is in flight: concurrency permits as leases, each with an expiry, never a bare counter.

A lease counts from `take` until it is settled, or until its time has passed: so a request whose end nobody reports
blocks a place for a while only. Its answer renews it, since a stream may be long. What ends after its lease has passed
changes nothing.

The methods are those of the windows in `quota.windows`. Leases are kept in order of expiry, and as all of them last
equally long, a new or renewed one is the last; so each method costs O(1) amortised, apart from `free_at`, `reset_at`
and `step_back`, which walk.
"""

import math
from collections import OrderedDict
from typing import Final

from keyrelay.quota.packed import amount_at, written
from keyrelay.quota.rolling import Counted, Slot

LEASE_S: Final = 900.0
"""How long a lease counts after `take`, and again after the answer's head has come, if nobody ends it."""

_ENDED: Final = -math.inf


class LeaseWindow(Counted):
    """The calls in flight. A slot holds one lease; its `bound_s` is the expiry (epoch seconds)."""

    __slots__ = ("_lease_s", "_leases")

    def __init__(self, lease_s: float = LEASE_S) -> None:
        super().__init__()
        self._lease_s = lease_s
        self._leases: OrderedDict[Slot, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<LeaseWindow used={written(self.used)} leases={len(self._leases)}>"

    def advance(self, now_s: float) -> None:
        """Let go of the leases whose time has passed; no other will pass before `due_s`."""
        leases = self._leases
        while leases:
            lease = next(iter(leases))
            if lease.bound_s > now_s:
                self.due_s = lease.bound_s
                return
            self._end(lease)
        self.due_s = math.inf

    def take(self, amount: int, now_s: float) -> Slot:
        """Count `amount` as in flight; return its lease."""
        self.used += amount
        self.reserved += amount
        lease = Slot(now_s, now_s + self._lease_s, amount, 1)
        self._leases[lease] = None
        self.due_s = min(self.due_s, lease.bound_s)
        return lease

    def answered(self, slot: Slot, taken: int, now_s: float, change: int | None = None) -> Slot:  # noqa: ARG002
        """Renew the lease; end it when a `change` says that the call is settled in the same step."""
        if change is not None:
            self._end(slot)
        elif slot.bound_s > now_s:
            slot.bound_s = now_s + self._lease_s
            self._leases.move_to_end(slot)
        return slot

    def settle(self, slot: Slot, taken: int, amount: int) -> None:  # noqa: ARG002 - all windows are called alike
        """End the lease, whatever was used."""
        self.reserved -= taken
        self._end(slot)

    def add(self, amount: int, now_s: float) -> None:
        """Nothing: what others have in flight ends at a time that nobody tells."""

    def free_at(self, amount: int, limit: int, now_s: float, place: int = 0) -> float | None:
        """When `amount` more fits below `limit`, at the latest: calls that end make it earlier. None: never."""
        if amount > limit:
            return None
        self.advance(now_s)
        excess = self.used_at(place) + amount - limit
        free_s = now_s
        leases = iter(self._leases)
        while excess > 0:
            lease = next(leases)
            excess -= amount_at(lease.amount, place)
            free_s = lease.bound_s
        return free_s

    def reset_at(self, now_s: float, place: int = 0) -> float | None:
        """When something comes back at the latest; None when nothing is in flight."""
        self.advance(now_s)
        return next((lease.bound_s for lease in self._leases if amount_at(lease.amount, place)), None)

    def idle(self, now_s: float) -> bool:
        """Whether nothing is in flight; what is settled late changes nothing."""
        self.advance(now_s)
        return not self._leases

    def step_back(self, by_s: float, now_s: float) -> None:
        """Follow a clock that was set back by `by_s` and says `now_s`: leases keep their age."""
        for lease in self._leases:
            lease.bound_s -= by_s
        self.advance(now_s)

    def _end(self, lease: Slot) -> None:
        if lease.bound_s != _ENDED:
            del self._leases[lease]
            self.used -= lease.amount
            lease.bound_s = _ENDED
