"""What was accepted at one candidate, whether or not any limit counts it.

Limits that nobody knows yet are learned from it, and forecasts take their rates from it. So it is kept for every key
and model that is used, and must cost next to nothing: within one second a note is one addition of packed integers. When
the second is over it goes into three sparse tables, of seconds, minutes and hours, which forget what is older than they
are long. Where a question begins inside a bucket, the bucket counts in proportion.

A note may be late: the requests of an earlier second, known to be accepted only now. A clock that was set back is the
same, and of a time that has not come nothing is counted.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from keyrelay.core.limits import Unit
from keyrelay.quota.values import Place

SECONDS: Final = 120
MINUTES: Final = 120
HOURS: Final = 8 * 24

MAX_TALLIES: Final = 50_000
"""Beyond so many tallies, that which was opened first is forgotten."""

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_HOURS: Final = 24
_FEWEST_DAYS: Final = 2
_LEAST_KNOWN_S: Final = 60.0

_BITS: Final = 64
_INPUT: Final = 1 << _BITS
_OUTPUT: Final = 1 << 2 * _BITS
_ONES: Final = _INPUT - 1


class Tally:
    """Counts of requests, input and output tokens in time. Times are epoch seconds."""

    __slots__ = ("_hours", "_minutes", "_now", "_second", "_seconds", "since_s")

    def __init__(self) -> None:
        self._second = -1
        self._now = 0  # packed amounts of the present second
        self._seconds: dict[int, int] = {}
        self._minutes: dict[int, int] = {}
        self._hours: dict[int, int] = {}
        self.since_s = math.inf
        """From when on this tally knows what was accepted: infinity before the first note."""

    def __repr__(self) -> str:
        return f"<Tally {self._total(self._hours.values()) & _ONES} requests since {self.since_s}>"

    def note(self, now_s: float, requests: int = 1, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Count what was accepted."""
        second = int(now_s)
        if second != self._second:
            self._turn(second)
        self._now += requests + input_tokens * _INPUT + output_tokens * _OUTPUT

    def requests_within(self, length_s: float, now_s: float) -> int:
        """Requests accepted in the last `length_s` seconds."""
        return self.amount_since(now_s - length_s, Unit.REQUESTS, now_s)

    def amount_since(self, start_s: float, unit: Unit, now_s: float) -> int:
        """What was accepted from `start_s` on, in one unit; 0 for money and the provider's own units.

        Exact to the second for the last two minutes, to the minute for two hours, to the hour for eight days.
        """
        return _of(self._since(start_s, now_s), unit)

    def buckets(self, length_s: int) -> Mapping[int, int]:
        """The packed amounts of each second, minute or hour that is remembered, by its number since 1970."""
        self._keep()
        return {1: self._seconds, _MINUTE_S: self._minutes, _HOUR_S: self._hours}.get(length_s, {})

    def rate_per_s(self, length_s: float, unit: Unit, now_s: float) -> float:
        """How much per second was accepted in the last `length_s` seconds, or since there is anything known."""
        known_s = min(length_s, max(now_s - self.since_s, _LEAST_KNOWN_S))
        return self.amount_since(now_s - length_s, unit, now_s) / known_s

    def typical_per_h(self, now_s: float, unit: Unit = Unit.REQUESTS) -> float | None:
        """What this hour brings: the mean of the same hour on former days; None when fewer than 2 are known."""
        self._keep()
        hour = int(now_s) // _HOUR_S
        hours = [
            former
            for former in range(hour - _DAY_HOURS, hour - HOURS, -_DAY_HOURS)
            if former * _HOUR_S >= self.since_s - _HOUR_S
        ]
        if len(hours) < _FEWEST_DAYS:
            return None
        return sum(_of(self._hours.get(former, 0), unit) for former in hours) / len(hours)

    def _since(self, start_s: float, now_s: float) -> int:
        self._keep()
        for buckets, size, number in ((self._seconds, 1, SECONDS), (self._minutes, _MINUTE_S, MINUTES)):
            if now_s - start_s <= (number - 1) * size:
                return _sum(buckets, size, start_s, now_s)
        return _sum(self._hours, _HOUR_S, start_s, now_s)

    def _turn(self, second: int) -> None:
        """Another second than the last noted: put that one away."""
        self._keep()
        self._second = second
        self.since_s = min(self.since_s, second)
        for buckets, bucket, number in (
            (self._seconds, second, SECONDS),
            (self._minutes, second // _MINUTE_S, MINUTES),
            (self._hours, second // _HOUR_S, HOURS),
        ):
            if len(buckets) > 2 * number:
                for old in [key for key in buckets if not -number < key - bucket < number]:
                    del buckets[old]

    def _keep(self) -> None:
        """Put what is noted of the present second into the tables."""
        packed, second = self._now, self._second
        if packed:
            self._now = 0
            for buckets, bucket in (
                (self._seconds, second),
                (self._minutes, second // _MINUTE_S),
                (self._hours, second // _HOUR_S),
            ):
                buckets[bucket] = buckets.get(bucket, 0) + packed

    def _total(self, packed: Iterable[int]) -> int:
        return sum(packed) + self._now


class Tallies:
    """A tally for every candidate, by name."""

    __slots__ = ("_max_tallies", "_places", "_tallies")

    def __init__(self, *, max_tallies: int = MAX_TALLIES) -> None:
        self._max_tallies = max_tallies
        self._tallies: dict[str, Tally] = {}
        self._places: dict[str, Place] = {}

    def __repr__(self) -> str:
        return f"<Tallies {len(self._tallies)} of at most {self._max_tallies}>"

    def find(self, name: str) -> Tally | None:
        """The tally of this name; None when it has not been opened, or is forgotten."""
        return self._tallies.get(name)

    def open(self, name: str, place: Place) -> Tally:
        """The tally of this name, an empty one when there is none yet."""
        tally = self._tallies.get(name)
        if tally is None:
            if len(self._tallies) >= self._max_tallies:
                oldest = next(iter(self._tallies))
                del self._tallies[oldest], self._places[oldest]
            tally = self._tallies[name] = Tally()
            self._places[name] = place
        return tally

    def within(self, belongs: Callable[[Place], bool]) -> dict[str, Tally]:
        """The tallies, by name, of all places that belong."""
        return {name: self._tallies[name] for name, place in self._places.items() if belongs(place)}


def busiest(tallies: Iterable[Tally], length_s: int, unit: Unit) -> int:
    """The most that was accepted at all of them in one second, minute or hour (0 for another length)."""
    together: dict[int, int] = {}
    for tally in tallies:
        for bucket, packed in tally.buckets(length_s).items():
            together[bucket] = together.get(bucket, 0) + packed
    return max((_of(packed, unit) for packed in together.values()), default=0)


def _of(packed: int, unit: Unit) -> int:
    if unit is Unit.REQUESTS:
        return packed & _ONES
    input_tokens, output_tokens = packed >> _BITS & _ONES, packed >> 2 * _BITS
    if unit is Unit.INPUT_TOKENS:
        return input_tokens
    if unit is Unit.OUTPUT_TOKENS:
        return output_tokens
    return input_tokens + output_tokens if unit is Unit.TOKENS else 0


def _sum(buckets: dict[int, int], size: int, start_s: float, now_s: float) -> int:
    """Packed amounts from `start_s` to now, of the bucket in which the start lies the share behind it."""
    first, last = math.floor(start_s / size), int(now_s) // size
    total = sum(packed for bucket, packed in buckets.items() if first < bucket <= last)
    edge = buckets.get(first, 0) if first <= last else 0
    if edge:
        share = min(1.0, (first + 1) - start_s / size)
        parts = (edge & _ONES, edge >> _BITS & _ONES, edge >> 2 * _BITS)
        requests, input_tokens, output_tokens = (math.floor(part * share) for part in parts)
        total += requests + input_tokens * _INPUT + output_tokens * _OUTPUT
    return total
