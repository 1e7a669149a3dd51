"""Whether somebody else uses a key: its provider's count of requests grows by more than was sent from here.

Only requests are compared, since tokens are counted differently everywhere, and only from the second look on: what was
used before the first one may be anybody's.
"""

import msgspec

from keyrelay.core.limits import Unit
from keyrelay.ports import Ledger
from keyrelay.quota.learning import Identity, identity_of
from keyrelay.quota.values import LimitKey

MAX_KEYS = 10_000
FORGOTTEN_S = 86_400.0
"""After so long without another contradiction the count begins anew."""

_SLACK = 3
_SLACK_SHARE = 50


class _Count(msgspec.Struct):
    times: int = 0
    last_s: float = 0.0


class Strangers:
    """Counts the contradictions of each account."""

    __slots__ = ("_counts", "_ledger", "_seen")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: dict[Identity, None] = {}
        self._counts: dict[str, _Count] = {}

    def look(self, account: str, key: LimitKey, used: int | None, now_s: float) -> None:
        """Compare what the provider says was used of a limit with what is known here, before that follows."""
        if used is None or key.limit.unit is not Unit.REQUESTS:
            return
        identity = identity_of(key)
        if identity not in self._seen:
            if len(self._seen) >= MAX_KEYS:
                del self._seen[next(iter(self._seen))]
            self._seen[identity] = None
            return
        standing = self._ledger.peek((key,), now_s)[0]
        if used - standing.used > max(_SLACK, standing.amount // _SLACK_SHARE):
            if len(self._counts) >= MAX_KEYS:
                del self._counts[next(iter(self._counts))]
            times = self.times(account, now_s)
            self._counts[account] = _Count(times + 1, now_s)

    def times(self, account: str, now_s: float) -> int:
        """How often an account (`provider/account`) was found to be used by others lately."""
        count = self._counts.get(account)
        return count.times if count is not None and now_s - count.last_s < FORGOTTEN_S else 0

    def __repr__(self) -> str:
        return f"<Strangers at {len(self._counts)} accounts>"
