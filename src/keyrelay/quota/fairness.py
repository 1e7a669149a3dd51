"""A fair queue: who of all who wait comes next, and who may still join them.

Two levels of self-clocked fair queueing. Classes share what comes free in proportion to their weights, and within a
class the clients do; what one client sends in one class is served in the order in which it came. Every class, and
every client in it, has a tag: the virtual time at which its oldest ticket is due. The smallest tag is served, the
clock moves to it, and the tag moves on by 1 / weight. Whoever begins to wait starts one step after the clock, so
nobody saves up by having been away, and nothing has to be remembered of those who have gone.

Of two who wait all the time, with weights v and w, the numbers served differ by less than what the weights say:
|served_v / v - served_w / w| <= 1 / v + 1 / w over any stretch. So a class of the smallest weight is never starved,
and a thousand tickets of one client do not stand before the one of another.

Entering, leaving, looking and serving cost O(log n) amortised.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

_REBUILD_ABOVE = 64
"""Entries of clients who have left are cleared out when there are more of them than of those who wait, and this."""

_LEAST_WEIGHT = 1e-6

GREED = 4
"""One holder may have this many times what is left free: alone four fifths of all, of two each four ninths."""


class Priority(StrEnum):
    """Class of a request: somebody is watching, an agent is working, or it only has to be done some time."""

    INTERACTIVE = "interactive"
    AGENT = "agent"
    BATCH = "batch"


WEIGHTS: Mapping[Priority, float] = MappingProxyType(
    {Priority.INTERACTIVE: 8.0, Priority.AGENT: 3.0, Priority.BATCH: 1.0}
)
"""How many of each class are served in the time of one of the last."""

ItemT = TypeVar("ItemT")


def may_join(size: int, *, held: int, free: int) -> bool:
    """Whether a holder of `held` may take `size` more of what is `free`.

    The nearer the end, the less each may hold: so the greedy run against their bound while there is still room for
    those who hold little.
    """
    return size <= free and held <= GREED * free


class Ticket(Generic[ItemT]):
    """A place in a queue, and what holds it."""

    __slots__ = ("flow", "item")

    def __init__(self, item: ItemT, flow: "_Flow[ItemT]") -> None:
        self.item = item
        self.flow = flow

    def __repr__(self) -> str:
        return f"<Ticket of {self.flow.client} in {self.flow.lane.priority}>"


class _Flow(Generic[ItemT]):
    """What one client has waiting in one class, the oldest first. `order` decides between equal tags."""

    __slots__ = ("client", "lane", "order", "stride", "tag", "tickets")

    def __init__(self, client: str, lane: "_Lane[ItemT]", *, stride: float, order: int) -> None:
        self.client = client
        self.lane = lane
        self.stride = stride
        self.tag = lane.clock + stride
        self.order = order
        self.tickets: OrderedDict[Ticket[ItemT], None] = OrderedDict()


class _Lane(Generic[ItemT]):
    """One class: its clients in a heap by tag.

    An entry may be out of date: the client has been served since (its tag is larger by now), or has left. That is
    put right when the entry comes to the top.
    """

    __slots__ = ("clock", "count", "flows", "heap", "priority", "stride", "tag")

    def __init__(self, priority: Priority, weight: float) -> None:
        self.priority = priority
        self.stride = 1.0 / _sound_weight(weight)
        self.tag = 0.0
        self.clock = 0.0
        self.count = 0
        self.flows: dict[str, _Flow[ItemT]] = {}
        self.heap: list[tuple[float, int, _Flow[ItemT]]] = []

    def first(self) -> Ticket[ItemT]:
        """The ticket that is due; there has to be one."""
        heap = self.heap
        while True:
            tag, order, flow = heap[0]
            if not flow.tickets:
                heapq.heappop(heap)
            elif flow.tag > tag:
                heapq.heapreplace(heap, (flow.tag, order, flow))
            else:
                return next(iter(flow.tickets))

    def drop(self, flow: _Flow[ItemT]) -> None:
        """Forget a client who has nothing waiting any more."""
        del self.flows[flow.client]
        if len(self.heap) > 2 * len(self.flows) + _REBUILD_ABOVE:
            self.heap = [(other.tag, other.order, other) for other in self.flows.values()]
            heapq.heapify(self.heap)


class FairQueue(Generic[ItemT]):
    """All that wait for one thing. Raises ValueError for a weight that is no positive number."""

    __slots__ = ("_clock", "_lanes", "_orders")

    def __init__(self, weights: Mapping[Priority, float] = WEIGHTS) -> None:
        self._lanes: dict[Priority, _Lane[ItemT]] = {
            priority: _Lane(priority, weights[priority]) for priority in Priority
        }
        self._clock = 0.0
        self._orders = 0

    def enter(self, item: ItemT, *, priority: Priority, client: str, weight: float = 1.0) -> Ticket[ItemT]:
        """Join behind what this client has waiting in this class.

        `weight` is the client's share among those of its class; it counts from when the client begins to wait.
        """
        lane = self._lanes[priority]
        flow = lane.flows.get(client)
        if flow is None:
            self._orders += 1
            flow = _Flow(client, lane, stride=1.0 / _sound_weight(weight), order=self._orders)
            lane.flows[client] = flow
            heapq.heappush(lane.heap, (flow.tag, flow.order, flow))
        if not lane.count:
            lane.tag = self._clock + lane.stride
        lane.count += 1
        ticket = Ticket(item, flow)
        flow.tickets[ticket] = None
        return ticket

    def head(self) -> Ticket[ItemT] | None:
        """The ticket that is due; None when nobody waits."""
        waiting = [lane for lane in self._lanes.values() if lane.count]
        return min(waiting, key=_tag_of).first() if waiting else None

    def served(self, ticket: Ticket[ItemT]) -> None:
        """Take out a ticket that got what it waited for, head or not: client and class are charged for it.

        Raise KeyError when it is not in the queue.
        """
        self._remove(ticket)
        flow = ticket.flow
        lane = flow.lane
        self._clock = max(self._clock, lane.tag)
        lane.tag += lane.stride
        lane.clock = max(lane.clock, flow.tag)
        flow.tag += flow.stride

    def leave(self, ticket: Ticket[ItemT]) -> bool:
        """Take out a ticket that got nothing, wherever it stands; False when it is not in the queue any more."""
        if ticket not in ticket.flow.tickets:
            return False
        self._remove(ticket)
        return True

    def waiting(self, priority: Priority) -> int:
        """How many wait in one class."""
        return self._lanes[priority].count

    def __len__(self) -> int:
        return sum(lane.count for lane in self._lanes.values())

    def _remove(self, ticket: Ticket[ItemT]) -> None:
        flow = ticket.flow
        del flow.tickets[ticket]
        flow.lane.count -= 1
        if not flow.tickets:
            flow.lane.drop(flow)

    def __repr__(self) -> str:
        counts = ", ".join(f"{lane.count} {priority}" for priority, lane in self._lanes.items() if lane.count)
        return f"<FairQueue {counts or 'empty'}>"


def _tag_of(lane: _Lane[ItemT]) -> float:
    return lane.tag


def _sound_weight(weight: float) -> float:
    if not (math.isfinite(weight) and weight >= _LEAST_WEIGHT):
        raise ValueError(f"a weight is a number of {_LEAST_WEIGHT} or more, not {weight}")
    return weight
