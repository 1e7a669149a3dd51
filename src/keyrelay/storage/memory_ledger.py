"""The ledger of a single process: the arithmetic of `quota.ledger` behind the port, and nothing else.

Atomic because nothing in it awaits: all calls come from one event loop.
"""

from keyrelay.ports import Reservation
from keyrelay.quota.ledger import MAX_COUNTS, LedgerBook
from keyrelay.quota.ledger import Reservation as Taken
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing


class MemoryLedger:
    """Implements `ports.Ledger` in process; `transit_skew_s` is explained in `quota.windows`."""

    def __init__(self, *, transit_skew_s: float = TRANSIT_SKEW_S, max_counts: int = MAX_COUNTS) -> None:
        self._book = LedgerBook(transit_skew_s=transit_skew_s, max_counts=max_counts)

    def __repr__(self) -> str:
        return f"<MemoryLedger {self._book!r}>"

    def reserve(
        self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float, *, beyond_belief: bool = False
    ) -> Reservation | Refusal:
        """Take `amounts` from every limit at once, or from none."""
        return self._book.reserve(path, amounts, now_s, beyond_belief=beyond_belief)

    def settle(self, reservation: Reservation, amounts: Amounts, now_s: float, *, arrived: bool = False) -> None:
        """Correct the reservation to what was really used. A second call changes nothing."""
        self._book.settle(_own(reservation), amounts, now_s, arrived=arrived)

    def answered(self, reservation: Reservation, now_s: float) -> None:
        """Note that the provider has seen the request by now. A second call changes nothing."""
        self._book.answered(_own(reservation), now_s)

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """How each limit stands; `used` includes `reserved`."""
        return self._book.peek(path, now_s)

    def raise_belief(self, reservation: Reservation) -> None:
        """A request that went beyond a belief succeeded: the belief doubles."""
        self._book.raise_belief(_own(reservation))

    def confirm_belief(self, key: LimitKey, now_s: float) -> None:
        """The provider refused for this limit: for a day it is firm."""
        self._book.confirm_belief(key, now_s)


def _own(reservation: Reservation) -> Taken:
    if isinstance(reservation, Taken):
        return reservation
    raise TypeError(f"{reservation!r} is not a reservation of this ledger")
