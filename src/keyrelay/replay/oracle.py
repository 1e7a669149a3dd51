"""What could have been answered at most: the yardstick of the yield.

The oracle is a dispatcher that knows every request's true size and every limit's exact state, and that loses no time.
It serves in order of arrival; a request goes to the key that has room for all of it in every limit at once, at the
first moment in which there is one before the request's deadline. A window never holds more than its limit, wherever it
starts, and input and output count together from that moment. Keys that do not work serve nobody.

So this is the quota that the demand could use. A gateway reaches it when it never wastes a place: by a refusal, by a
reservation larger than the truth, by a key left idle while somebody waits.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from keyrelay.core.limits import Unit
from keyrelay.replay.trace import TraceRequest
from keyrelay.simulator.limits import Log, Meter, Scope

_LEAST_STEP_S = 1e-6
_NOBODY = (float("inf"), float("inf"), float("inf"))

Lanes = tuple[tuple[Unit, Log], ...]


class Place(msgspec.Struct, frozen=True):
    """A key for a model at a provider: who calls, and from when on (epoch seconds; infinity: never)."""

    caller: Scope
    from_s: float = 0.0
    context_tokens: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """A request that waits: its place in the trace, tokens in and out, and until when (epoch seconds)."""

    number: int
    tokens: tuple[int, int]
    until_s: float


class Oracle:
    """Decides for a whole trace which requests could have been answered.

    `meters` are the true limits by provider; `places` names the candidates for a model and operation.
    """

    def __init__(
        self,
        meters: Mapping[str, Sequence[Meter]],
        places: Callable[[TraceRequest], Sequence[Place]],
        *,
        longest_wait_s: float,
    ) -> None:
        self._meters = meters
        self._places = places
        self._longest_wait_s = longest_wait_s
        self._lanes: dict[Place, Lanes] = {}

    def answerable(self, requests: Iterable[TraceRequest], start_s: float) -> list[bool]:
        """For each request, whether it could have been answered."""
        listed = list(requests)
        answered = [False] * len(listed)
        queues: dict[tuple[str, str], list[Waiting]] = {}
        wake_ups: list[tuple[float, int, tuple[str, str]]] = []
        for number, request in enumerate(listed):
            heapq.heappush(wake_ups, (start_s + request.at_s, number, (request.model, request.operation)))
        scheduled = dict[tuple[str, str], float]()
        later = itertools.count(len(listed))
        while wake_ups:  # each one serves somebody, sends somebody away, or comes at a later moment
            now_s, number, group = heapq.heappop(wake_ups)
            queue = queues.setdefault(group, [])
            if number < len(listed):
                request = listed[number]
                wait_s = self._longest_wait_s if request.deadline_s is None else request.deadline_s
                queue.append(Waiting(number, (request.input_tokens, request.output_tokens), now_s + wait_s))
            elif scheduled.get(group) != now_s:
                continue  # an earlier wake-up took its place
            next_s = self._serve(queue, self._places(listed[queue[0].number]) if queue else (), answered, now_s)
            if next_s is not None:
                scheduled[group] = next_s
                heapq.heappush(wake_ups, (next_s, next(later), group))
        return answered

    def _serve(self, queue: list[Waiting], places: Sequence[Place], answered: list[bool], now_s: float) -> float | None:
        """Serve whom there is room for now, send the late away, and say when to look again; None: nobody waits."""
        left: list[Waiting] = []
        least_in, least_all, least_free_s = _NOBODY
        next_s = float("inf")
        for waiting in queue:
            tokens_in, tokens_all = waiting.tokens[0], sum(waiting.tokens)
            if tokens_in >= least_in and tokens_all >= least_all:
                free_s = least_free_s  # no smaller than one for whom there was no room
            else:
                free_s = self._place(places, waiting.tokens, now_s)
                if free_s > now_s:
                    least_in, least_all, least_free_s = tokens_in, tokens_all, free_s
            if free_s <= now_s:
                answered[waiting.number] = True
            elif free_s <= waiting.until_s:
                left.append(waiting)
                next_s = min(next_s, free_s)
        queue[:] = left
        return max(next_s, now_s + _LEAST_STEP_S) if left else None

    def _place(self, places: Sequence[Place], tokens: tuple[int, int], now_s: float) -> float:
        """Take room at the first place that has it and return now; else the time at which one may have it."""
        soonest_s = float("inf")
        for place in places:
            if 0 < place.context_tokens < tokens[0]:
                continue
            free_s = max(now_s, place.from_s)
            if free_s <= now_s:
                free_s = self._free_at(place, tokens, now_s)
            if free_s <= now_s:
                for unit, log in self._path(place):
                    log.add(_amount(unit, tokens), now_s)
                return now_s
            soonest_s = min(soonest_s, free_s)
        return soonest_s

    def _free_at(self, place: Place, tokens: tuple[int, int], now_s: float) -> float:
        free_s = now_s
        for unit, log in self._path(place):
            needed = _amount(unit, tokens)
            if not log.fits(needed, now_s):
                free_s = max(free_s, log.free_at(needed, now_s))
        return free_s

    def _path(self, place: Place) -> Lanes:
        lanes = self._lanes.get(place)
        if lanes is None:
            caller = place.caller
            counting = [meter for meter in self._meters[caller.provider] if meter.counts(caller.model)]
            lanes = tuple((m.limit.unit, m.log(m.scope_of(caller))) for m in counting)
            self._lanes[place] = lanes
        return lanes

    def __repr__(self) -> str:
        return f"<Oracle over {len(self._meters)} providers, {len(self._lanes)} places used>"


def _amount(unit: Unit, tokens: tuple[int, int]) -> int:
    tokens_in, tokens_out = tokens
    if unit in {Unit.REQUESTS, Unit.UNITS}:
        return 1
    if unit is Unit.INPUT_TOKENS:
        return tokens_in
    if unit is Unit.OUTPUT_TOKENS:
        return tokens_out
    return tokens_in + tokens_out
