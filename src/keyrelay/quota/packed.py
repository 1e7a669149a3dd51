"""Amounts of all units in one integer, so that windows add and compare them in one step.

Each unit of `Unit` has BITS binary digits of its own, its *place*, the lowest being that of requests: an amount of
requests alone is that number itself. An amount of one unit is at most MOST (usage as reported: below 2**53), and tokens
are the sum of two, so what is added to a place is below 2**55, and a place is not full before 2**24 of them. A
difference may be below zero at a place; it then borrows from the places above, and the highest bit of its place is set.
So `packed & BELOW_ZERO` tells of all places at once whether one is below zero.

The units most used have the lowest places: a number is no longer than its highest place that is not 0.
"""

from collections.abc import Mapping
from typing import Final

from keyrelay.core.limits import Unit

BITS: Final = 80

MOST: Final = (1 << 54) - 1
"""The highest amount of one unit that is added at once."""

PLACES: Final[Mapping[Unit, int]] = {
    Unit.REQUESTS: 0,
    Unit.INPUT_TOKENS: BITS,
    Unit.OUTPUT_TOKENS: 2 * BITS,
    Unit.TOKENS: 3 * BITS,
    Unit.USD_MICROS: 4 * BITS,
    Unit.UNITS: 5 * BITS,
}
"""By how many bits the amount of a unit is shifted."""

INPUT_TOKEN: Final = (1 << PLACES[Unit.INPUT_TOKENS]) + (1 << PLACES[Unit.TOKENS])
"""One input token: amounts are packed as `requests + input_tokens * INPUT_TOKEN + output_tokens * OUTPUT_TOKEN`."""

OUTPUT_TOKEN: Final = (1 << PLACES[Unit.OUTPUT_TOKENS]) + (1 << PLACES[Unit.TOKENS])

USD_MICRO: Final = 1 << PLACES[Unit.USD_MICROS]

UNIT: Final = 1 << PLACES[Unit.UNITS]

EVERY: Final = sum(1 << place for place in PLACES.values())
"""One of each."""

BELOW_ZERO: Final = EVERY << BITS - 1

_ALL_ONES: Final = (1 << BITS) - 1
_HIGHEST: Final = _ALL_ONES >> 1


def amount_at(packed: int, place: int) -> int:
    """The amount at one place, when none is below zero."""
    return packed >> place & _ALL_ONES


def packed_limits(amounts: Mapping[Unit, int]) -> int:
    """Limits to subtract from: a unit that is not named has as much as its place holds."""
    return sum(min(amounts.get(unit, _HIGHEST), _HIGHEST) << place for unit, place in PLACES.items())


def at_least_zero(packed: int) -> int:
    """The same, but 0 at each place that is below zero."""
    result = 0
    for place in PLACES.values():
        amount = packed & _ALL_ONES
        if amount > _HIGHEST:
            packed += 1 << BITS  # gives back what was borrowed
        else:
            result += amount << place
        packed >>= BITS
    return result


def written(packed: int) -> str:
    """For people: requests, input, output and all tokens, money, units, as far as the last group has anything."""
    amounts = [str(amount_at(packed, place)) for place in PLACES.values()]
    if packed < USD_MICRO:
        amounts = amounts[:4] if packed >> BITS else amounts[:1]
    return "/".join(amounts)
