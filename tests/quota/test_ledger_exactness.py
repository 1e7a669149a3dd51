"""The ledger against a simulated provider that counts calls when they arrive, at any time it likes."""

import copy
import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyrelay.core.limits import Limit, ScopePart, Unit, WindowKind, parse_window
from keyrelay.quota.calendars import next_reset, period_start
from keyrelay.quota.ledger import LedgerBook, Reservation
from keyrelay.quota.limits import limits_on_path
from keyrelay.quota.values import Amounts, LimitKey, Refusal

TICK_S = 1 / 64  # exact in binary
SKEW_S = 1.0
MIDNIGHT_S = dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC).timestamp()
MODELS = ("flash", "pro")
PER_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
SHARED = (ScopePart.ACCOUNT,)


class Call:
    """One call as ledger and provider see it: `arrived_s` is the provider's secret."""

    def __init__(
        self, path: tuple[LimitKey, ...], reservation: Reservation, *, sent_s: float, arrived_s: float
    ) -> None:
        self.path = path
        self.reservation = reservation
        self.arrived_s = arrived_s
        self.bound_s = sent_s + SKEW_S
        self.amounts = Amounts()
        self.true = Amounts()
        self.answered = False
        self.settled = False


def assert_never_above(limit: Limit, arrivals: list[tuple[float, int]]) -> None:
    """No window of the provider's, wherever it lies, holds more than the limit."""
    arrivals = sorted(arrivals)
    for index, (end_s, _) in enumerate(arrivals):
        if limit.window.kind is WindowKind.ROLLING:
            start_s = end_s - limit.window.length_s
            held = sum(amount for arrived_s, amount in arrivals[: index + 1] if arrived_s > start_s)
        elif limit.window.kind is WindowKind.DAY:
            start_s = period_start(end_s, limit.window)
            held = sum(amount for arrived_s, amount in arrivals[: index + 1] if arrived_s >= start_s)
        else:
            held = sum(amount for _, amount in arrivals)
        assert held <= limit.amount, (str(limit), arrivals)


class LedgerAgainstAProvider(RuleBasedStateMachine):
    """Any interleaving of calls: never above any limit at the provider, never refused without need."""

    @initialize(
        per_second=st.integers(1, 4),
        tokens=st.integers(5, 20),
        group=st.integers(1, 5),
        per_day=st.integers(1, 12),
        before_ticks=st.integers(0, 256),
    )
    def begin(self, per_second: int, tokens: int, group: int, per_day: int, before_ticks: int) -> None:
        rows: tuple[tuple[Unit, int, str, tuple[ScopePart, ...], tuple[str, ...]], ...] = (
            (Unit.REQUESTS, per_second, "1s", PER_MODEL, ()),
            (Unit.TOKENS, tokens, "5s", PER_MODEL, ()),
            (Unit.INPUT_TOKENS, tokens, "4s", SHARED, ()),
            (Unit.REQUESTS, group, "2s", SHARED, ("fl*", "pr*")),
            (Unit.REQUESTS, per_day, "day@America/Los_Angeles", SHARED, ()),
            (Unit.OUTPUT_TOKENS, 60, "once", SHARED, ()),
        )
        limits = tuple(
            Limit(unit=unit, amount=amount, window=parse_window(window), scope=scope, models=models)
            for unit, amount, window, scope, models in rows
        )
        self.paths = {
            model: limits_on_path(limits, provider_id="gemini", account="a", key_label="k", model=model)
            for model in MODELS
        }
        self.now_s = MIDNIGHT_S - before_ticks * TICK_S
        self.book = LedgerBook(transit_skew_s=SKEW_S)
        self.calls: list[Call] = []

    def used(self, key: LimitKey) -> int:
        """What the ledger must count: everything whose arrival may still matter."""
        window = key.limit.window
        calls = [call for call in self.calls if key in call.path]
        if window.kind is WindowKind.ROLLING:
            calls = [call for call in calls if call.bound_s + window.length_s > self.now_s]
        elif window.kind is WindowKind.DAY:
            calls = [call for call in calls if call.bound_s >= period_start(self.now_s, window)]
        return sum(call.amounts.of(key.limit.unit) for call in calls)

    @rule(ticks=st.one_of(st.integers(0, 8), st.integers(0, 400), st.just(64 * 86_400)))
    def wait(self, ticks: int) -> None:
        self.now_s += ticks * TICK_S

    @rule(
        model=st.sampled_from(MODELS),
        tokens=st.tuples(st.integers(0, 6), st.integers(0, 6)),
        transit=st.integers(0, 64),
    )
    def send(self, model: str, tokens: tuple[int, int], transit: int) -> None:
        path, amounts = self.paths[model], Amounts(input_tokens=tokens[0], output_tokens=tokens[1])
        before = self.book.peek(path, self.now_s)
        expected = [key for key in path if self.used(key) + amounts.of(key.limit.unit) > key.limit.amount]
        outcome = self.book.reserve(path, amounts, self.now_s)
        if isinstance(outcome, Refusal):
            assert outcome.limit in expected
            assert self.book.peek(path, self.now_s) == before
            self.check_when_it_frees(outcome, amounts, path)
            return
        assert not expected
        call = Call(path, outcome, sent_s=self.now_s, arrived_s=self.now_s + transit * TICK_S)
        call.amounts = call.true = amounts
        self.calls.append(call)

    def check_when_it_frees(self, refusal: Refusal, amounts: Amounts, path: tuple[LimitKey, ...]) -> None:
        carried = any(
            call.bound_s >= next_reset(self.now_s, parse_window("day@America/Los_Angeles")) for call in self.calls
        )
        if refusal.until_s is None or carried:
            return
        then = copy.deepcopy(self.book)
        assert isinstance(then.reserve(path, amounts, refusal.until_s - TICK_S), Refusal)
        assert isinstance(then.reserve(path, amounts, refusal.until_s), Reservation)

    @precondition(lambda self: any(not call.answered for call in self.calls))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.answered]))
        self.now_s = max(self.now_s, call.arrived_s)
        self.book.answered(call.reservation, self.now_s)
        self.book.answered(call.reservation, self.now_s + 1)
        call.answered = True
        call.bound_s = min(call.bound_s, self.now_s)
        self.now_s += 1

    @precondition(lambda self: any(not call.settled for call in self.calls))
    @rule(data=st.data(), rejected=st.booleans())
    def settle(self, data: st.DataObject, *, rejected: bool) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.settled]))
        self.now_s = max(self.now_s, call.arrived_s)
        call.true = Amounts(
            requests=0 if rejected else 1,
            input_tokens=0 if rejected else data.draw(st.integers(0, call.amounts.input_tokens)),
            output_tokens=0 if rejected else data.draw(st.integers(0, call.amounts.output_tokens)),
        )
        call.amounts = call.true
        call.settled = True
        for amounts in (call.true, Amounts(requests=9, input_tokens=99)):
            self.book.settle(call.reservation, amounts, self.now_s)

    @invariant()
    def counts_agree(self) -> None:
        for path in self.paths.values():
            for standing in self.book.peek(path, self.now_s):
                assert standing.used == self.used(standing.limit)
                assert 0 <= standing.reserved <= standing.used

    def teardown(self) -> None:
        for key in {key for path in getattr(self, "paths", {}).values() for key in path}:
            calls = [call for call in self.calls if key in call.path]
            assert_never_above(key.limit, [(call.arrived_s, call.true.of(key.limit.unit)) for call in calls])


LedgerAgainstAProvider.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedgerAgainstAProvider = LedgerAgainstAProvider.TestCase


def rolling(amount: int, window: str) -> tuple[LimitKey, ...]:
    return (LimitKey(Limit(unit=Unit.REQUESTS, amount=amount, window=parse_window(window)), ("acct:a",)),)


@settings(max_examples=150, deadline=None)
@given(
    amount=st.integers(1, 5),
    window=st.sampled_from(("1s", "5s", "300s")),
    events=st.lists(
        st.tuples(
            st.floats(0, 4),  # how long nothing happens
            st.sampled_from((0.0, 0.0, 0.0, 0.5, 5.0, 59.0, 61.0, 3600.0, 86_400.0)),  # how far the clock is set back
            st.floats(0, SKEW_S),  # transit
        ),
        max_size=80,
    ),
)
def test_a_clock_that_steps_back_never_lets_more_through(
    amount: int, window: str, events: list[tuple[float, float, float]]
) -> None:
    book, path = LedgerBook(transit_skew_s=SKEW_S), rolling(amount, window)
    real_s, behind_s = MIDNIGHT_S, 0.0
    arrivals: list[tuple[float, int]] = []
    for gap_s, back_s, transit_s in events:
        real_s += gap_s
        behind_s += back_s
        if isinstance(book.reserve(path, Amounts(), real_s - behind_s), Reservation):
            arrivals.append((real_s + transit_s, 1))
    # Adding and taking away seconds since 1970 rounds by some 0.2 µs.
    length_s = parse_window(window).length_s - 1e-5
    for end_s, _ in arrivals:
        assert sum(end_s - length_s < arrived_s <= end_s for arrived_s, _ in arrivals) <= amount


@settings(max_examples=150, deadline=None)
@given(
    moments=st.lists(
        st.one_of(
            st.floats(-1e9, 1e9),
            st.sampled_from((0.0, 1.0, -5.0, 3600.0, -3600.0, 86_400.0, -86_400.0, 31_536_000.0)),
        ),
        max_size=60,
    ),
    data=st.data(),
)
def test_no_clock_however_mad_makes_a_count_negative(moments: list[float], data: st.DataObject) -> None:
    book = LedgerBook()
    path = (*rolling(3, "60s"), *rolling(9, "day@Europe/Berlin"), *rolling(30, "month@UTC"), *rolling(40, "once"))
    open_calls: list[Reservation] = []
    for moment in moments:
        now_s = MIDNIGHT_S + moment
        outcome = book.reserve(path, Amounts(), now_s)
        if isinstance(outcome, Reservation):
            open_calls.append(outcome)
        index = data.draw(st.integers(0, 2 * len(open_calls)), label="the call that ends, if there is one")
        if index < len(open_calls):
            call = open_calls.pop(index)
            book.answered(call, now_s + data.draw(st.floats(-100, 100)))
            book.settle(call, Amounts(requests=data.draw(st.integers(0, 2))), now_s)
        for standing in book.peek(path, now_s):
            assert standing.used >= standing.reserved >= 0


@settings(max_examples=30, deadline=None)
@given(amount=st.integers(15, 60), transit=st.lists(st.floats(0.01, 0.9), min_size=1, max_size=20))
def test_a_busy_window_is_used_to_99_percent(amount: int, transit: list[float]) -> None:
    book, path = LedgerBook(), rolling(amount, "60s")
    now_s, end_s, served = MIDNIGHT_S, MIDNIGHT_S + 600, 0
    while now_s < end_s:
        outcome = book.reserve(path, Amounts(), now_s)
        if isinstance(outcome, Refusal):
            assert outcome.until_s is not None
            now_s = outcome.until_s
            continue
        served += 1
        book.answered(outcome, now_s + transit[served % len(transit)] / amount)
        now_s += transit[served % len(transit)] / amount
    assert served >= 0.99 * amount * 10
