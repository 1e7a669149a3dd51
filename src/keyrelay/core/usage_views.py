"""What may be asked of kept usage, filters, groupings and ranges of time, and which sums cover such a range.

Usage is kept as single requests and as sums per minute, hour and day (UTC). A range of time is widened to whole
minutes, and is then covered exactly by the coarsest sums that fit: days in its middle, hours beside them, minutes at
its edges. Sums per minute are not kept for ever; where they are gone, an edge is widened to the hour, and where those
are gone, to the day.
"""

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

MAX_POINTS = 2_000
"""Most intervals that one range may be cut into."""

_AUTO_POINTS = 200
"""As many intervals as a chart can show."""

CALLER_GONE = "caller_gone"
"""The category of a request whose caller left before the end: no failure."""


class Dimension(StrEnum):
    """What usage may be grouped by. `category` is the kind of failure."""

    PROVIDER = "provider"
    MODEL = "model"
    KEY = "key"
    CLIENT = "client"
    CATEGORY = "category"


class Interval(StrEnum):
    """The lengths of time that sums are kept for, in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        """Its length."""
        return _SECONDS[self]


_SECONDS: Mapping[Interval, int] = {Interval.MINUTE: MINUTE_S, Interval.HOUR: HOUR_S, Interval.DAY: DAY_S}


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests count: None leaves a field open, an empty text wants those without one.

    `clients` are those whose requests count, where it is some; only sums are looked up by that.
    """

    provider: str | None = None
    model: str | None = None
    key: str | None = None
    client: str | None = None
    category: str | None = None
    clients: tuple[str, ...] | None = None

    def wanted(self) -> Iterator[tuple[Dimension, str]]:
        """The fields that are not open, and what they have to be."""
        for dimension in Dimension:
            value: str | None = getattr(self, dimension)
            if value is not None:
                yield dimension, value


class Span(msgspec.Struct, frozen=True):
    """From one epoch second up to, and without, another."""

    from_s: int
    to_s: int

    @property
    def length_s(self) -> int:
        """Seconds in it."""
        return self.to_s - self.from_s


class Piece(msgspec.Struct, frozen=True):
    """A part of a range that sums of one length cover."""

    interval: Interval
    span: Span


class Oldest(msgspec.Struct, frozen=True, kw_only=True):
    """When (epoch seconds) the oldest sums of each length begin; None where there are none."""

    minute_s: int | None
    hour_s: int | None
    day_s: int | None


class Kept(msgspec.Struct, frozen=True):
    """Since when (epoch seconds) sums per minute and per hour are kept without a gap; those per day always are."""

    minutes_from_s: float
    hours_from_s: float

    def finest(self, moment_s: float) -> Interval:
        """The shortest sums that are kept of a moment, and of all that came after it."""
        if math.floor(moment_s / DAY_S) * DAY_S < self.hours_from_s:
            return Interval.DAY
        return Interval.HOUR if math.floor(moment_s / HOUR_S) * HOUR_S < self.minutes_from_s else Interval.MINUTE


class Group(msgspec.Struct, frozen=True):
    """The requests of a sum: those with this value of what was grouped by, which may be empty.

    `name` is None where nothing was grouped by. A key's label is a name within its `provider` only; for all else
    `provider` is empty.
    """

    name: str | None = None
    provider: str = ""


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of the requests in `pieces` that pass the filter: of all together, by group, by interval or by both.

    `among` leaves out all other groups.
    """

    pieces: tuple[Piece, ...]
    fields: UsageFilter = UsageFilter()
    group_by: Dimension | None = None
    interval: Interval | None = None
    among: tuple[Group, ...] | None = None


def kept_of(oldest: Oldest, minutes_from_s: float, hours_from_s: float) -> Kept:
    """Since when sums are complete, by what there is and by the times before which they may have been deleted.

    What there is counts too, because a store may have been told to keep less before.
    """
    return Kept(
        max(minutes_from_s, _complete_from(oldest.minute_s, MINUTE_S, oldest.hour_s, HOUR_S)),
        max(hours_from_s, _complete_from(oldest.hour_s, HOUR_S, oldest.day_s, DAY_S)),
    )


def _complete_from(fine_s: int | None, fine_length_s: int, coarse_s: int | None, coarse_length_s: int) -> float:
    """Since when fine sums have all that coarse ones have; of the oldest fine interval some may be gone."""
    if coarse_s is None or (fine_s is not None and fine_s < coarse_s + coarse_length_s):
        return -math.inf
    return math.inf if fine_s is None else fine_s + fine_length_s


def widened(from_s: float, to_s: float, kept: Kept) -> Span:
    """The range in whole minutes that holds these two moments; in whole hours or days where minutes are gone."""
    first, last = kept.finest(from_s).seconds, kept.finest(to_s).seconds
    return Span(math.floor(from_s / first) * first, math.ceil(to_s / last) * last)


def cover(span: Span, coarsest: Interval) -> tuple[Piece, ...]:
    """Whole minutes cut, in order, into pieces of the coarsest sums that fit, none of them longer than `coarsest`."""
    return tuple(_cover(span, [each for each in reversed(Interval) if each.seconds <= coarsest.seconds]))


def _cover(span: Span, intervals: list[Interval]) -> Iterator[Piece]:
    if not span.length_s:
        return
    coarsest, *finer = intervals
    if not finer:
        yield Piece(coarsest, span)
        return
    length_s = coarsest.seconds
    inner = Span(-(-span.from_s // length_s) * length_s, span.to_s // length_s * length_s)
    if inner.length_s <= 0:
        yield from _cover(span, finer)
        return
    yield from _cover(Span(span.from_s, inner.from_s), finer)
    yield Piece(coarsest, inner)
    yield from _cover(Span(inner.to_s, span.to_s), finer)


def fitting_interval(span: Span, kept: Kept) -> Interval:
    """The finest interval that makes a readable chart of a range and is kept for all of it."""
    finest = kept.finest(span.from_s).seconds
    fitting = (each for each in Interval if each.seconds >= finest and points(span, each) <= _AUTO_POINTS)
    return next(fitting, Interval.DAY)


def points(span: Span, interval: Interval) -> int:
    """How many intervals a range touches."""
    return -(-span.to_s // interval.seconds) - span.from_s // interval.seconds
