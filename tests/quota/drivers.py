"""A machine that drives any window through calls and time, next to a plain list of all calls."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keyrelay.quota.rolling import Slot
from keyrelay.quota.windows import AnyWindow

TICK_S = 1 / 64  # exact in binary, and longer than the slots' spans of the windows tested
SKEW_S = 1.0


def room(window: AnyWindow, limit: int, now_s: float) -> int:
    """How many requests more fit below `limit` now."""
    window.advance(now_s)
    return max(0, window.amount_in_force(limit) - window.used_at(0))


class Call:
    """A call as the naive model sees it. `bound_s` is when it has arrived at the latest."""

    def __init__(self, slot: Slot, sent_s: float, amount: int) -> None:
        self.slot = slot
        self.sent_s = sent_s
        self.bound_s = sent_s + SKEW_S
        self.amount = amount
        self.answered = False
        self.settled = False


class WindowAgainstAList(RuleBasedStateMachine):
    """The window and the list agree at all times. Machines that extend this one begin, and say when a call leaves."""

    keeps_age = True  # whether the window's calls keep their age when the clock is set back

    def begin_with(self, window: AnyWindow, now_s: float) -> None:
        self.window = window
        self.now_s = now_s
        self.calls: list[Call] = []

    def leaves_s(self, call: Call) -> float:
        raise NotImplementedError

    def note_answer(self, call: Call) -> None:
        call.bound_s = min(call.bound_s, self.now_s)

    def note_settlement(self, call: Call, amount: int) -> None:
        call.amount = amount

    def note_addition(self, amount: int) -> None:
        call = Call(Slot(0.0, 0.0, 0, 0), self.now_s, amount)
        call.bound_s, call.answered, call.settled = self.now_s, True, True
        self.calls.append(call)

    def used_at(self, now_s: float) -> int:
        return sum(call.amount for call in self.calls if self.leaves_s(call) > now_s)

    def free_at(self, amount: int, limit: int) -> float | None:
        moments = sorted(self.leaves_s(call) for call in self.calls)
        fits = (at for at in (self.now_s, *moments) if at >= self.now_s and self.used_at(at) + amount <= limit)
        return None if amount > limit else next(fits)

    def reset_at(self) -> float | None:
        leaving = (self.leaves_s(call) for call in self.calls if call.amount)
        return min((at for at in leaving if at > self.now_s), default=None)

    @rule(ticks=st.one_of(st.integers(0, 8), st.integers(0, 200)))
    def wait(self, ticks: int) -> None:
        self.now_s += ticks * TICK_S

    @rule(amount=st.integers(0, 5))
    def take(self, amount: int) -> None:
        self.window.advance(self.now_s)
        self.calls.append(Call(self.window.take(amount, self.now_s), self.now_s, amount))

    @rule(amount=st.integers(0, 5))
    def add(self, amount: int) -> None:
        self.window.add(amount, self.now_s)
        self.note_addition(amount)

    @precondition(lambda self: any(not call.answered for call in self.calls))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.answered]))
        self.window.advance(self.now_s)
        call.slot = self.window.answered(call.slot, call.amount, self.now_s)
        self.note_answer(call)
        call.answered = True

    @precondition(lambda self: any(not call.settled for call in self.calls))
    @rule(data=st.data(), amount=st.integers(0, 9), arrived=st.booleans())
    def settle(self, data: st.DataObject, amount: int, *, arrived: bool) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.settled]))
        self.window.advance(self.now_s)
        if arrived and not call.answered:
            self.window.reserved -= call.amount
            self.window.answered(call.slot, call.amount, self.now_s, amount - call.amount)
            self.note_answer(call)
            call.answered = True
        else:
            self.window.settle(call.slot, call.amount, amount)
        call.settled = True
        self.note_settlement(call, amount)

    @precondition(lambda self: self.keeps_age)
    @rule(ticks=st.integers(1, 100_000))
    def step_back(self, ticks: int) -> None:
        self.window.advance(self.now_s)
        self.calls = [call for call in self.calls if self.leaves_s(call) > self.now_s or not call.settled]
        self.now_s -= ticks * TICK_S
        self.window.step_back(ticks * TICK_S, self.now_s)
        for call in self.calls:
            call.sent_s -= ticks * TICK_S
            call.bound_s -= ticks * TICK_S

    @rule(amount=st.integers(0, 6), limit=st.integers(0, 20))
    def ask_when_it_frees(self, amount: int, limit: int) -> None:
        assert self.window.free_at(amount, limit, self.now_s) == self.free_at(amount, limit)

    @invariant()
    def agree(self) -> None:
        used = self.used_at(self.now_s)
        assert room(self.window, 10, self.now_s) == max(0, 10 - used)
        assert self.window.used == used
        assert self.window.due_s > self.now_s
        assert self.window.reset_at(self.now_s) == self.reset_at()
        if self.window.idle(self.now_s):
            assert not used
