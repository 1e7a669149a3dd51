import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keyrelay.quota.fairness import GREED, WEIGHTS, FairQueue, Priority, Ticket, may_join

EQUAL = dict.fromkeys(Priority, 1.0)
INTERACTIVE, AGENT, BATCH = Priority.INTERACTIVE, Priority.AGENT, Priority.BATCH
SIGN = {"i": INTERACTIVE, "a": AGENT, "b": BATCH}


def take(queue: FairQueue[str]) -> str:
    head = queue.head()
    assert head is not None
    queue.served(head)
    return head.item


def take_all(queue: FairQueue[str]) -> list[str]:
    return [take(queue) for _ in range(len(queue))]


class TestClasses:
    def test_what_comes_free_is_shared_by_weight(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for priority in Priority:
            for _ in range(200):
                queue.enter(priority, priority=priority, client="one")
        assert Counter(take(queue) for _ in range(120)) == {INTERACTIVE: 80, AGENT: 30, BATCH: 10}

    def test_the_heavier_class_comes_first(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for sign in "bai":
            queue.enter(sign, priority=SIGN[sign], client="one")
        assert take_all(queue) == ["i", "a", "b"]

    def test_a_class_does_not_save_up_while_it_is_away(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for _ in range(1000):
            queue.enter("b", priority=BATCH, client="one")
        for _ in range(500):
            take(queue)
        for _ in range(100):
            queue.enter("i", priority=INTERACTIVE, client="two")
        assert Counter(take(queue) for _ in range(90)) == {"i": 80, "b": 10}

    @given(
        weights=st.tuples(*[st.floats(0.5, 20)] * 3),
        clients=st.integers(1, 4),
        before=st.integers(0, 60),
        stretch=st.integers(1, 200),
    )
    def test_over_any_stretch_two_busy_classes_differ_by_one_step_of_each(
        self, weights: tuple[float, float, float], clients: int, before: int, stretch: int
    ) -> None:
        shares = dict(zip(Priority, weights, strict=True))
        queue: FairQueue[str] = FairQueue(shares)
        for priority in Priority:
            for number in range(before + stretch):
                queue.enter(priority, priority=priority, client=f"c{number % clients}")
        for _ in range(before):
            take(queue)
        served = Counter(take(queue) for _ in range(stretch))
        for one in Priority:
            for other in Priority:
                apart = abs(served[one] / shares[one] - served[other] / shares[other])
                assert apart <= 1 / shares[one] + 1 / shares[other] + 1e-9


class TestClients:
    def test_one_with_a_thousand_does_not_stand_before_one_with_one(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for number in range(1000):
            queue.enter(f"noisy {number}", priority=BATCH, client="noisy")
        for _ in range(400):
            take(queue)
        queue.enter("quiet", priority=BATCH, client="quiet")
        assert "quiet" in [take(queue), take(queue)]

    def test_coming_again_and_again_gains_nothing_over_waiting(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for _ in range(100):
            queue.enter("patient", priority=AGENT, client="patient")
        served = Counter[str]()
        queue.enter("restless", priority=AGENT, client="restless")
        for _ in range(100):
            name = take(queue)
            served[name] += 1
            if name == "restless":
                queue.enter("restless", priority=AGENT, client="restless")
        assert served == {"patient": 50, "restless": 50}

    def test_a_client_may_weigh_more(self) -> None:
        queue: FairQueue[str] = FairQueue()
        for _ in range(100):
            queue.enter("big", priority=AGENT, client="big", weight=3)
            queue.enter("small", priority=AGENT, client="small")
        assert Counter(take(queue) for _ in range(80)) == {"big": 60, "small": 20}

    @given(
        weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=6),
        before=st.integers(0, 50),
        stretch=st.integers(1, 150),
    )
    def test_over_any_stretch_two_busy_clients_differ_by_one_step_of_each(
        self, weights: list[float], before: int, stretch: int
    ) -> None:
        queue: FairQueue[int] = FairQueue()
        for client, weight in enumerate(weights):
            for _ in range(before + stretch):
                queue.enter(client, priority=BATCH, client=str(client), weight=weight)
        served: Counter[int] = Counter()
        for turn in range(before + stretch):
            head = queue.head()
            assert head is not None
            queue.served(head)
            served[head.item] += turn >= before
        for one, one_weight in enumerate(weights):
            for other, other_weight in enumerate(weights):
                apart = abs(served[one] / one_weight - served[other] / other_weight)
                assert apart <= 1 / one_weight + 1 / other_weight + 1e-9

    @pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e-320])
    def test_a_weight_is_a_positive_number(self, weight: float) -> None:
        queue: FairQueue[str] = FairQueue()
        with pytest.raises(ValueError, match="a weight is a number"):
            queue.enter("x", priority=AGENT, client="x", weight=weight)
        assert (len(queue), queue.head()) == (0, None)
        with pytest.raises(ValueError, match="a weight is a number"):
            FairQueue({**WEIGHTS, BATCH: weight})


class TestLeaving:
    def test_a_ticket_leaves_once(self) -> None:
        queue: FairQueue[str] = FairQueue()
        ticket = queue.enter("x", priority=AGENT, client="x")
        assert [queue.leave(ticket), queue.leave(ticket), len(queue)] == [True, False, 0]
        with pytest.raises(KeyError):
            queue.served(ticket)

    def test_who_leaves_is_not_charged(self) -> None:
        queue: FairQueue[str] = FairQueue()
        tickets = [queue.enter(f"a{number}", priority=AGENT, client="a") for number in range(10)]
        for number in range(2):
            queue.enter(f"b{number}", priority=AGENT, client="b")
        for ticket in tickets[:9]:
            queue.leave(ticket)
        assert take_all(queue) == ["a9", "b0", "b1"]

    def test_one_who_is_not_the_head_may_be_served(self) -> None:
        queue: FairQueue[str] = FairQueue()
        second = [queue.enter(f"a{number}", priority=AGENT, client="a") for number in range(4)][1]
        for number in range(3):
            queue.enter(f"b{number}", priority=AGENT, client="b")
        queue.served(second)
        assert take_all(queue) == ["b0", "a0", "b1", "a2", "b2", "a3"], "and its client has had its turn"

    def test_those_who_left_are_cleared_out(self) -> None:
        queue: FairQueue[str] = FairQueue()
        queue.enter("stays", priority=BATCH, client="stays")
        for number in range(10_000):
            queue.leave(queue.enter("goes", priority=BATCH, client=str(number)))
        assert len(queue._lanes[BATCH].heap) < 100
        assert take_all(queue) == ["stays"]

    def test_repr_counts(self) -> None:
        queue: FairQueue[str] = FairQueue()
        assert repr(queue) == "<FairQueue empty>"
        ticket = queue.enter("x", priority=AGENT, client="ann")
        assert repr(queue) == "<FairQueue 1 agent>"
        assert repr(ticket) == "<Ticket of ann in agent>"


class AnyOrder(RuleBasedStateMachine):
    """Whatever enters, leaves and is served: nothing is lost, and each client of a class is served in order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.lists: dict[tuple[Priority, str], list[Ticket[int]]] = {}
        self.entered = 0

    @property
    def present(self) -> list[Ticket[int]]:
        return sorted((ticket for tickets in self.lists.values() for ticket in tickets), key=lambda ticket: ticket.item)

    @rule(priority=st.sampled_from(Priority), client=st.sampled_from("abc"), weight=st.sampled_from([0.5, 1.0, 4.0]))
    def enter(self, priority: Priority, client: str, weight: float) -> None:
        self.entered += 1
        ticket = self.queue.enter(self.entered, priority=priority, client=client, weight=weight)
        self.lists.setdefault((priority, client), []).append(ticket)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.present))
        assert self.queue.leave(ticket)
        self._forget(ticket)

    @precondition(lambda self: self.present)
    @rule()
    def serve(self) -> None:
        head = self.queue.head()
        assert head is not None
        assert head in [tickets[0] for tickets in self.lists.values() if tickets]
        self.queue.served(head)
        self._forget(head)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def serve_anyone(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.present))
        self.queue.served(ticket)
        self._forget(ticket)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.present)
        for priority in Priority:
            expected = sum(len(tickets) for (lane, _), tickets in self.lists.items() if lane is priority)
            assert self.queue.waiting(priority) == expected
        assert (self.queue.head() is None) == (not self.present)

    def _forget(self, ticket: Ticket[int]) -> None:
        for tickets in self.lists.values():
            if ticket in tickets:
                tickets.remove(ticket)

    def teardown(self) -> None:
        order = []
        while (head := self.queue.head()) is not None:
            order.append(head)
            self.queue.served(head)
        assert set(order) == set(self.present), "nobody starves"
        for tickets in self.lists.values():
            places = [order.index(ticket) for ticket in tickets]
            assert all(earlier < later for earlier, later in pairwise(places))


TestAnyOrder = AnyOrder.TestCase


@given(entries=st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from("abcde")), min_size=1, max_size=120))
def test_nobody_waits_for_more_than_the_weights_say(entries: list[tuple[Priority, str]]) -> None:
    """With equal weights the n-th of a client, of 3 classes with 5 clients each, comes within n rounds of all."""
    queue: FairQueue[tuple[Priority, str, int]] = FairQueue(EQUAL)
    counts: Counter[tuple[Priority, str]] = Counter()
    for priority, client in entries:
        counts[priority, client] += 1
        queue.enter((priority, client, counts[priority, client]), priority=priority, client=client)
    turn = 0
    while (head := queue.head()) is not None:
        queue.served(head)
        turn += 1
        assert turn <= 15 * head.item[2]


def test_ten_thousand_clients_cost_no_more_each_than_a_few() -> None:
    """A queue that walks would take 10,000 times 10,000 steps: minutes, where this takes a tenth of a second."""
    queue: FairQueue[int] = FairQueue()
    started_s = time.process_time()
    tickets = [
        queue.enter(number, priority=list(Priority)[number % 3], client=f"c{number * 7919 % 10_007}")
        for number in range(20_000)
    ]
    for ticket in tickets[::2]:
        queue.leave(ticket)
    while (head := queue.head()) is not None:
        queue.served(head)
    assert time.process_time() - started_s < 3


class TestMayJoin:
    @pytest.mark.parametrize(
        ("size", "held", "free", "allowed"),
        [
            (1, 0, 1, True),
            (1, 0, 0, False),
            (1, 4, 1, True),
            (1, 5, 1, False),
            (10, 0, 9, False),
            (0, 0, 0, True),
            (0, 1, 0, False),
        ],
    )
    def test_table(self, size: int, held: int, free: int, allowed: bool) -> None:
        assert may_join(size, held=held, free=free) is allowed

    @given(bound=st.integers(1, 500), noisy=st.integers(1, 5))
    def test_the_greedy_leave_room_for_others(self, bound: int, noisy: int) -> None:
        held = [0] * noisy
        moved = True
        while moved:
            moved = False
            for who in range(noisy):
                if may_join(1, held=held[who], free=bound - sum(held)):
                    held[who] += 1
                    moved = True
        assert sum(held) <= bound
        if bound >= 2 * (GREED * noisy + 1):
            assert may_join(1, held=0, free=bound - sum(held)), "somebody new still gets in"
        assert max(held) - min(held) <= 1
