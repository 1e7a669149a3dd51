import pytest

from keyrelay.quota.values import Amounts
from keyrelay.storage.memory_ledger import MemoryLedger


def test_another_ledgers_reservation_is_refused() -> None:
    ledger = MemoryLedger()
    with pytest.raises(TypeError, match="is not a reservation of this ledger"):
        ledger.settle(object(), Amounts(), 0.0)
    with pytest.raises(TypeError, match="is not a reservation of this ledger"):
        ledger.answered(object(), 0.0)
    with pytest.raises(TypeError, match="is not a reservation of this ledger"):
        ledger.raise_belief(object())


def test_repr_tells_what_it_holds() -> None:
    ledger = MemoryLedger(transit_skew_s=0.5, max_counts=10)
    assert repr(ledger) == "<MemoryLedger <LedgerBook counts=0 paths=0 now=-inf>>"
