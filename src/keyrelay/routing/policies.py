"""Policies: in which order the candidates of one stage are tried. One tiny type each, one verb, one table.

A plan is a list of stages; a later stage is tried only when no candidate of an earlier one can serve. The order
is made lazily: nearly every request takes the first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

from keyrelay.core.configuration import PolicyName
from keyrelay.routing.candidates import Candidate

_HALF_LIFE_S = 60.0


class Stage:
    """Candidates of equal rank. `turn` is where round robin goes on."""

    __slots__ = ("candidates", "policy", "turn")

    def __init__(self, candidates: Sequence[Candidate], policy: PolicyName, turn: int = 0) -> None:
        self.candidates = tuple(candidates)
        self.policy = POLICIES[policy]
        self.turn = turn
        if policy is PolicyName.LEAST_USED:
            for candidate in self.candidates:
                candidate.tracked = True

    def order(self, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Candidates in the order in which to try them; `random` returns a number in [0, 1)."""
        return self.policy.order(self, now_s, random)

    def subset(self, candidates: Sequence[Candidate], random: Callable[[], float]) -> "Stage":
        """A stage of some of the candidates with the same policy, beginning anywhere."""
        part = Stage(candidates, PolicyName.PRIORITY, turn=int(random() * len(candidates)))
        part.policy = self.policy
        return part

    def __repr__(self) -> str:
        return f"<Stage {type(self.policy).__name__} of {len(self.candidates)}>"


class Policy(Protocol):
    """One verb: put a stage's candidates in order."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield each candidate once."""
        ...


class Priority:
    """As configured: the first that can serve."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield in the order of configuration."""
        del now_s, random
        return iter(stage.candidates)


class RoundRobin:
    """Each request begins one further on."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """From the stage's turn on, once around; nearly always only the first is asked for."""
        del now_s, random
        candidates = stage.candidates
        count = len(candidates)
        start = stage.turn
        stage.turn = (start + 1) % count if count else 0
        return chain(candidates[start : start + 1], _around(candidates, start))


def _around(candidates: Sequence[Candidate], start: int) -> Iterator[Candidate]:
    """Those behind `start`, then those before it."""
    yield from islice(candidates, start + 1, None)
    yield from islice(candidates, start)


class Weighted:
    """At random, in proportion to the keys' weights."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield in an order drawn without replacement (exponential clocks: the smallest -ln(u)/w rings first)."""
        del now_s
        clocks = [(-math.log(1.0 - random()) / candidate.key.weight, candidate) for candidate in stage.candidates]
        clocks.sort(key=_first)
        return (candidate for _, candidate in clocks)


class LeastUsed:
    """The one with the fewest recent uses; uses count half after each minute."""

    def order(self, stage: Stage, now_s: float, random: Callable[[], float]) -> Iterator[Candidate]:
        """Yield from the least used to the most used."""
        del random
        return iter(sorted(stage.candidates, key=lambda candidate: recent_use(candidate, now_s)))


def _first(pair: tuple[float, Candidate]) -> float:
    return pair[0]


def recent_use(candidate: Candidate, now_s: float) -> float:
    """Uses of a candidate, halved for each minute since."""
    return candidate.used * math.exp2(-max(0.0, now_s - candidate.used_at_s) / _HALF_LIFE_S)


def note_use(candidate: Candidate, now_s: float) -> None:
    """Count one use."""
    candidate.used = recent_use(candidate, now_s) + 1.0
    candidate.used_at_s = now_s


POLICIES: dict[PolicyName, Policy] = {
    PolicyName.PRIORITY: Priority(),
    PolicyName.ROUND_ROBIN: RoundRobin(),
    PolicyName.WEIGHTED: Weighted(),
    PolicyName.LEAST_USED: LeastUsed(),
}
"""Every policy by the name that routes and settings use."""
