"""Health: is the process up, and can it serve."""

from collections.abc import Callable

import msgspec

from keyrelay.engine.pool import Pool
from keyrelay.routing.candidates import gate
from keyrelay.routing.drops import DropReason
from keyrelay.routing.resolve import AUTO


class Check(msgspec.Struct, frozen=True):
    """One condition of readiness. With one that is `degraded` requests are served, but a person should know."""

    name: str
    ok: bool
    detail: str
    degraded: bool = False


class Health:
    """Says whether Keyrelay should get requests. `draining` is set when it is about to stop.

    `leaving` is set when this process is, though another one serves on: what would go on for ever has to end.
    """

    def __init__(self, pool: Pool, epoch_s: Callable[[], float], further: tuple[Callable[[], Check], ...] = ()) -> None:
        self._pool = pool
        self._epoch_s = epoch_s
        self._further = further
        self.draining = False
        self.leaving = False

    def checks(self) -> list[Check]:
        """All conditions; ready when each holds."""
        return [
            Check("accepting", not self.draining, "draining" if self.draining else "accepting requests"),
            self._routable_key(),
            *(check() for check in self._further),
        ]

    def _routable_key(self) -> Check:
        """A key that rests or is limited comes back by itself and is no reason to send callers elsewhere."""
        now_s = self._epoch_s()
        plan = self._pool.plan(AUTO)
        candidates = list(plan.candidates()) if plan is not None else []
        dropped = [gate(candidate, now_s) for candidate in candidates]
        alive = sum(drop is None or drop.reason is not DropReason.DEAD for drop in dropped)
        ready = sum(drop is None for drop in dropped)
        total = len(self._pool.snapshot.keys)
        if not candidates:  # only servers whose models Keyrelay does not know: their keys count as they are
            return Check("routable_key", total > 0, f"{total} keys configured")
        return Check("routable_key", alive > 0, f"{ready} of {len(candidates)} default candidates ready")

    def __repr__(self) -> str:
        return f"<Health {'draining' if self.draining else 'accepting'}>"
