"""Metrics of all workers of an instance as one: whoever is asked answers for all.

Each worker counts for itself. What it has counted is its *sample*; the supervisor keeps the latest one of each, adds
them up, and folds those of workers that have ended into one, so that no counter goes back when a worker is replaced.
Counters and histograms are summed. A gauge says how something stands: summed, unless `GAUGES` says otherwise, over the
workers that answered just now.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import msgspec

MAX_FOLDED = 100_000
"""Values kept of workers that have ended, in each family; beyond them their labels are `other`."""

_OTHER = "other"
_BOUND = "le"
_GAUGE = "gauge"

GAUGES: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "keyrelay_build_info": max,
        "keyrelay_journal_full": max,
        "keyrelay_key_state": max,  # 1 for each state that a worker sees the key in
        "keyrelay_quota_remaining_ratio": min,  # the most careful of them
        "keyrelay_redis_apart": max,
        "keyrelay_redis_connected": min,
        "keyrelay_redis_workers": max,  # each counts all of them
        "keyrelay_store_degraded_seconds": max,
    }
)
"""How gauges are joined that it would make no sense to add up."""

Place = tuple[str, tuple[tuple[str, str], ...]]
"""A value's name in the exposition, and its labels in their order."""


class Family(msgspec.Struct, array_like=True):
    """A metric's values; `kind` is Prometheus' word for its type, `help` the sentence that describes it."""

    kind: str
    help: str
    values: dict[Place, float]


class Sample(msgspec.Struct, array_like=True):
    """All metrics of one worker, or of several as one: families by name."""

    families: dict[str, Family] = {}

    def add(self, other: "Sample", *, gauges: bool = True, most: float = math.inf) -> None:
        """Add another one's values; without `gauges` only what never goes back, in at most `most` places a family."""
        for name, theirs in other.families.items():
            if theirs.kind == _GAUGE and not gauges:
                continue
            ours = self.families.setdefault(name, Family(theirs.kind, theirs.help, {}))
            join = GAUGES.get(name, _plus) if theirs.kind == _GAUGE else _plus
            values = ours.values
            for place, value in theirs.values.items():
                if place in values:
                    values[place] = join(values[place], value)
                elif len(values) < most:
                    values[place] = value
                else:
                    rest = _other(place)
                    values[rest] = values.get(rest, 0.0) + value


def _plus(one: float, other: float) -> float:
    return one + other


def _other(place: Place) -> Place:
    """The place of what does not fit any more; a histogram's bound stays."""
    name, labels = place
    return name, tuple((label, text if label == _BOUND else _OTHER) for label, text in labels)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Sample)


def encode_sample(sample: Sample) -> bytes:
    """A sample as it is sent to the supervisor."""
    return _encoder.encode(sample)


def decode_sample(data: bytes) -> Sample:
    """A sample as it came. Raise ValueError."""
    return _decoder.decode(data) if data else Sample()


class Totals:
    """The latest sample of each worker by a number that is never used again, and one of all that have ended."""

    def __init__(self) -> None:
        self._latest: dict[int, Sample] = {}
        self._ended = Sample()

    def note(self, worker: int, data: bytes) -> None:
        """Keep a worker's sample in place of its last one; one that cannot be read is left out."""
        try:
            self._latest[worker] = decode_sample(data)
        except ValueError:  # of another version
            return

    def end(self, worker: int) -> None:
        """A worker has ended: what it has counted stays."""
        last = self._latest.pop(worker, None)
        if last is not None:
            self._ended.add(last, gauges=False, most=MAX_FOLDED)

    def others(self, asking: int, answered: Iterable[int]) -> Sample:
        """All workers but the one that asks, as one; gauges only of those that answered."""
        total = Sample()
        total.add(self._ended)
        fresh = frozenset(answered)
        for worker, sample in self._latest.items():
            if worker != asking:
                total.add(sample, gauges=worker in fresh)
        return total

    def __repr__(self) -> str:
        return f"<Totals of {len(self._latest)} workers, {len(self._ended.families)} families of ended ones>"
