"""Policies: in which order the candidates of one stage are tried. One tiny type each, one verb, one table.

A plan is a list of stages; a later stage is tried only when no candidate of an earlier one can serve. The order
is made lazily: nearly every request takes the first.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, Protocol

from keyrelay.core.configuration import PolicyName
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import LASTING_REASONS, Dropped

PARKED_S: Final = 3.0
"""So long a candidate is left out at most before it is looked at again: what is known of it may change."""

_HALF_LIFE_S: Final = 60.0
_FEW: Final = 32
"""So many candidates are copied sooner than a generator is made."""


class Stage:
    """Candidates of equal rank. `turn` is where round robin goes on.

    Candidates that will be out of service for longer than PARKED_S are `parked` for that time, with the reason, so that
    not every request looks at each of a thousand spent keys. All others are `ready`. Whoever finds nobody among these
    looks at those parked all the same. `parked` is replaced, never changed.
    """

    __slots__ = ("_parked_s", "candidates", "parked", "policy", "ready", "turn")

    def __init__(self, candidates: Sequence[Candidate], policy: PolicyName, turn: int = 0) -> None:
        self.candidates = tuple(candidates)
        self.policy = POLICIES[policy]
        self.turn = turn
        self.ready: Sequence[Candidate] = self.candidates
        self.parked: dict[Candidate, Dropped] = {}
        self._parked_s = 0.0
        if policy is PolicyName.LEAST_USED:
            for candidate in self.candidates:
                candidate.tracked = True

    def order(self, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Those that are ready, in the order in which to try them; `random` returns a number in [0, 1)."""
        if self.parked and not 0.0 <= now_s - self._parked_s < PARKED_S:
            self.parked = {}
            self.ready = self.candidates
        return self.policy.order(self, now_s, random)

    def park(self, dropped: Mapping[Candidate, Dropped], now_s: float) -> None:
        """Leave out for a moment those whose reasons last, and hold for requests of any size."""
        returns_s = now_s + PARKED_S
        lasting = {
            candidate: drop
            for candidate, drop in dropped.items()
            if drop.until_s is not None
            and drop.until_s >= returns_s
            and drop.reason in LASTING_REASONS
            and not drop.sized
        }
        if lasting:
            self._parked_s = self._parked_s if self.parked else now_s
            self.parked = self.parked | lasting
            self.ready = [candidate for candidate in self.ready if candidate not in lasting]

    def subset(self, candidates: Sequence[Candidate], random: Callable[[], float]) -> "Stage":
        """A stage of some of the candidates with the same policy, beginning anywhere."""
        part = Stage(candidates, PolicyName.PRIORITY, turn=int(random() * len(candidates)))
        part.policy = self.policy
        return part

    def expected(self, now_s: float) -> tuple[Candidate, ...]:
        """The order in which the next request would find them, those parked last; nothing changes.

        Where it would be drawn at random, that of the weights.
        """
        again = bool(self.parked) and not 0.0 <= now_s - self._parked_s < PARKED_S
        ready = self.candidates if again else self.ready
        return (*self.policy.expected(ready, self.turn, now_s), *(() if again else self.parked))

    def __repr__(self) -> str:
        parked = f", {len(self.parked)} parked" if self.parked else ""
        return f"<Stage {type(self.policy).__name__} of {len(self.candidates)}{parked}>"


class Policy(Protocol):
    """Puts a stage's candidates in order, and says which order that would be."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield each candidate once."""
        ...

    def expected(self, ready: Sequence[Candidate], turn: int, now_s: float) -> Sequence[Candidate]:
        """The order that the next request would find; nothing changes."""
        ...


class Priority:
    """As configured: the first that can serve."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield in the order of configuration."""
        del now_s, random
        return iter(stage.ready)

    def expected(self, ready: Sequence[Candidate], turn: int, now_s: float) -> Sequence[Candidate]:
        """As configured."""
        del turn, now_s
        return ready


class RoundRobin:
    """Each request begins one further on."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """From the stage's turn on, once around; nearly always only the first is asked for."""
        del now_s, random
        candidates, start = stage.ready, stage.turn
        if start == 0 or start >= len(candidates):
            stage.turn = 1
            return iter(candidates)
        stage.turn = start + 1
        if len(candidates) <= _FEW:
            return chain(candidates[start:], candidates[:start])
        return chain(candidates[start : start + 1], _around(candidates, start))

    def expected(self, ready: Sequence[Candidate], turn: int, now_s: float) -> Sequence[Candidate]:
        """From the turn on, once around."""
        del now_s
        start = turn if turn < len(ready) else 0
        return [*ready[start:], *ready[:start]]


def _around(candidates: Sequence[Candidate], start: int) -> Iterator[Candidate]:
    """Those behind `start`, then those before it; nothing is done before somebody asks for the first of them."""
    yield from islice(candidates, start + 1, None)
    yield from islice(candidates, start)


class Weighted:
    """At random, in proportion to the keys' weights."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield in an order drawn without replacement (exponential clocks: the smallest -ln(u)/w rings first)."""
        del now_s
        clocks = [(-math.log(1.0 - random()) / candidate.key.weight, candidate) for candidate in stage.ready]
        clocks.sort(key=_first)
        return (candidate for _, candidate in clocks)

    def expected(self, ready: Sequence[Candidate], turn: int, now_s: float) -> Sequence[Candidate]:
        """The likeliest first."""
        del turn, now_s
        return sorted(ready, key=lambda candidate: -candidate.key.weight)


class LeastUsed:
    """The one with the fewest recent uses; uses count half after each minute."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield from the least used to the most used."""
        del random
        return iter(self.expected(stage.ready, stage.turn, now_s))

    def expected(self, ready: Sequence[Candidate], turn: int, now_s: float) -> Sequence[Candidate]:
        """From the least used to the most used."""
        del turn
        return sorted(ready, key=lambda candidate: recent_use(candidate, now_s))


def _first(pair: tuple[float, Candidate]) -> float:
    return pair[0]


def recent_use(candidate: Candidate, now_s: float) -> float:
    """Uses of a candidate, halved for each minute since."""
    return candidate.used * math.exp2(-max(0.0, now_s - candidate.used_at_s) / _HALF_LIFE_S)


def note_use(candidate: Candidate, now_s: float) -> None:
    """Count one use."""
    candidate.used = recent_use(candidate, now_s) + 1.0
    candidate.used_at_s = now_s


POLICIES: Final[dict[PolicyName, Policy]] = {
    PolicyName.PRIORITY: Priority(),
    PolicyName.ROUND_ROBIN: RoundRobin(),
    PolicyName.WEIGHTED: Weighted(),
    PolicyName.LEAST_USED: LeastUsed(),
}
"""Every policy by the name that routes and settings use."""
