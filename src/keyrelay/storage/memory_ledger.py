"""The ledger of a single process: the arithmetic of `quota.ledger` behind the port, and nothing else.

Atomic because nothing in it awaits: all calls come from one event loop.
"""

from keyrelay.quota.ledger import LedgerBook


class MemoryLedger(LedgerBook):
    """Implements `ports.Ledger` in process; `transit_skew_s` is explained in `quota.windows`.

    It inherits instead of wrapping because the port's methods and the book's are the same, and a frame less counts.
    """

    def __repr__(self) -> str:
        return f"<MemoryLedger {super().__repr__()}>"
