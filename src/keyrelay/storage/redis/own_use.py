"""What a worker has used of one window without asking Redis, and what of that Redis has not been told yet.

Amounts are packed (see `quota.packed`), times microseconds by Redis's clock. Slots are numbered as the scripts number
them: number n ends at n spans, so what is reported comes to lie in the slot in which it was kept here.
"""

from keyrelay.quota.packed import amount_at, at_least_zero


def slot_of(bound_us: int, span_us: int) -> int:
    """The number of the slot that counts what arrived at `bound_us` at the latest."""
    return bound_us // span_us + 1


class OwnUse:
    """One window's. `span_us` is the length of a slot."""

    __slots__ = ("_counted", "_span_us", "_untold")

    def __init__(self, span_us: int) -> None:
        self._span_us = span_us
        self._counted: dict[int, int] = {}
        self._untold: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<OwnUse slots={len(self._counted)} untold={len(self._untold)}>"

    def __bool__(self) -> bool:
        return bool(self._counted)

    @property
    def untold(self) -> bool:
        """Whether Redis has to be told something."""
        return bool(self._untold)

    def used(self, since_us: int) -> int:
        """What is counted that may have arrived after `since_us`; what arrived before is forgotten."""
        gone = [number for number in self._counted if number * self._span_us <= since_us]
        for number in gone:
            del self._counted[number]
            self._untold.pop(number, None)
        return at_least_zero(sum(self._counted.values()))

    def add(self, bound_us: int, amount: int) -> None:
        """Count `amount` as arrived by `bound_us` at the latest."""
        number = slot_of(bound_us, self._span_us)
        for slots in (self._counted, self._untold):
            slots[number] = slots.get(number, 0) + amount

    def correct(self, bound_us: int, taken: int, new_bound_us: int, used: int, *, told: bool) -> None:
        """Make `used`, arrived by `new_bound_us`, of what was `taken`. `told`: Redis knows of it, and is told apart."""
        number, new = slot_of(bound_us, self._span_us), slot_of(new_bound_us, self._span_us)
        for slots in (self._counted,) if told else (self._counted, self._untold):
            if number in slots:
                slots[number] -= taken
                slots[new] = slots.get(new, 0) + used

    def forget(self) -> None:
        """Redis counts all of it."""
        self._counted.clear()
        self._untold.clear()

    def take_untold(self) -> list[tuple[int, int]]:
        """What Redis is to be told: (bound, amount) of each slot. It is told from here on."""
        untold, self._untold = self._untold, {}
        return [(number * self._span_us - 1, at_least_zero(amount)) for number, amount in untold.items() if amount]

    def free_at_us(self, excess: int, place: int, length_us: int) -> int | None:
        """When `excess` of the unit at `place` will have left a rolling window; None when so much is not there."""
        for number in sorted(self._counted):
            excess -= amount_at(at_least_zero(self._counted[number]), place)
            if excess <= 0:
                return number * self._span_us + length_us
        return None
