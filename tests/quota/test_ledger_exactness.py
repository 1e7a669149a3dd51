"""The ledger against a simulated provider that counts calls when they arrive, at any time it likes."""

import copy
import datetime as dt
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyrelay.core.compiled import is_compiled
from keyrelay.core.limits import CALENDAR_KINDS, Limit, LimitSource, ScopePart, Unit, WindowKind, parse_window
from keyrelay.quota.calendars import expiry_s, next_reset, period_start
from keyrelay.quota.ledger import LedgerBook, Reservation
from keyrelay.quota.limits import limit_problems, limits_on_path
from keyrelay.quota.values import Amounts, LimitKey, Refusal

TICK_S = 1 / 64  # exact in binary
SKEW_S = 1.0
LEASE_S = 7.0
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
        self.lease_until_s = sent_s + LEASE_S
        self.amounts = Amounts()
        self.true = Amounts()
        self.answered = False
        self.settled = False


def assert_never_above(limit: Limit, amount: int, arrivals: list[tuple[float, int]]) -> None:
    """No window of the provider's, wherever it lies, holds more than `amount`."""
    arrivals = sorted(arrivals)
    for index, (end_s, _) in enumerate(arrivals):
        if limit.window.kind is WindowKind.ROLLING:
            start_s = end_s - limit.window.length_s
            held = sum(amount for arrived_s, amount in arrivals[: index + 1] if arrived_s > start_s)
        elif limit.window.kind in CALENDAR_KINDS:
            start_s = period_start(end_s, limit.window)
            held = sum(amount for arrived_s, amount in arrivals[: index + 1] if arrived_s >= start_s)
        else:
            held = sum(amount for _, amount in arrivals)
        assert held <= amount, (str(limit), arrivals)


class LedgerAgainstAProvider(RuleBasedStateMachine):
    """Any interleaving of calls: never above any limit at the provider, never refused without need.

    The model is the list of calls, and of what the provider said that others have used; every question is answered by
    counting through it.
    """

    @initialize(
        per_second=st.integers(1, 4),
        tokens=st.integers(5, 20),
        few=st.integers(1, 5),
        per_day=st.integers(1, 12),
        before_ticks=st.integers(0, 256),
    )
    def begin(self, per_second: int, tokens: int, few: int, per_day: int, before_ticks: int) -> None:
        rows: tuple[tuple[Unit, int, str, tuple[ScopePart, ...], tuple[str, ...]], ...] = (
            (Unit.REQUESTS, per_second, "1s", PER_MODEL, ()),
            (Unit.TOKENS, tokens, "5s", PER_MODEL, ()),
            (Unit.INPUT_TOKENS, tokens, "4s", SHARED, ()),
            (Unit.REQUESTS, few, "2s", SHARED, ("fl*", "pr*")),
            (Unit.REQUESTS, per_day, "day@America/Los_Angeles", SHARED, ()),
            (Unit.USD_MICROS, 3 * per_day, "week@America/Los_Angeles", (ScopePart.PROVIDER,), ()),
            (Unit.UNITS, 3 * per_day, "month:2@America/Los_Angeles", (ScopePart.KEY, ScopePart.MODEL), ()),
            (Unit.OUTPUT_TOKENS, 60, "once", SHARED, ()),
            (Unit.TOKENS, 200, "once:2026-11-03@America/Los_Angeles", (ScopePart.MODEL,), ("flash",)),
            (Unit.REQUESTS, few, "concurrent", (ScopePart.KEY,), ()),
        )
        limits = tuple(
            Limit(
                unit=unit,
                amount=amount,
                window=parse_window(window),
                scope=scope,
                models=models,
                source=LimitSource.CONFIGURED if number % 2 else LimitSource.CATALOGUE,
            )
            for number, (unit, amount, window, scope, models) in enumerate(rows)
        )
        assert not limit_problems(limits)
        self.paths = {
            model: limits_on_path(limits, provider_id="gemini", account="a", key_label="k", model=model)
            for model in MODELS
        }
        self.keys = list(dict.fromkeys(key for path in self.paths.values() for key in path))
        self.amounts = {key: key.limit.amount for key in self.keys}
        self.highest = dict(self.amounts)
        self.others: list[tuple[LimitKey, float, int]] = []
        self.now_s = MIDNIGHT_S - before_ticks * TICK_S
        self.book = LedgerBook(transit_skew_s=SKEW_S, lease_s=LEASE_S)
        self.calls: list[Call] = []

    def counts(self, key: LimitKey, bound_s: float) -> bool:
        """Whether what arrived by `bound_s` may still matter, for a window that runs by time."""
        window = key.limit.window
        if window.kind is WindowKind.ROLLING:
            return bound_s + window.length_s > self.now_s
        return window.kind not in CALENDAR_KINDS or bound_s >= period_start(self.now_s, window)

    def used(self, key: LimitKey) -> int:
        """What the ledger must count."""
        calls = [call for call in self.calls if key in call.path]
        if key.limit.window.kind is WindowKind.CONCURRENT:
            return sum(call.amounts.requests for call in calls if call.lease_until_s > self.now_s)
        own = sum(call.amounts.of(key.limit.unit) for call in calls if self.counts(key, call.bound_s))
        return own + sum(amount for of, at_s, amount in self.others if of == key and self.counts(key, at_s))

    def expired(self, key: LimitKey) -> bool:
        return self.now_s >= expiry_s(key.limit.window)

    def fits(self, key: LimitKey, amounts: Amounts) -> bool:
        return not self.expired(key) and self.used(key) + amounts.of(key.limit.unit) <= self.amounts[key]

    @rule(ticks=st.one_of(st.integers(0, 8), st.integers(0, 400), st.sampled_from((64 * 10, 64 * 86_400))))
    def wait(self, ticks: int) -> None:
        self.now_s += ticks * TICK_S

    @rule(
        model=st.sampled_from(MODELS),
        tokens=st.tuples(st.integers(0, 6), st.integers(0, 6)),
        others=st.tuples(st.integers(0, 2), st.integers(0, 2)),
        transit=st.integers(0, 64),
    )
    def send(self, model: str, tokens: tuple[int, int], others: tuple[int, int], transit: int) -> None:
        path, amounts = self.paths[model], Amounts(1, *tokens, *others)
        before = self.book.peek(path, self.now_s)
        expected = [key for key in path if not self.fits(key, amounts)]
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
        calendars = [key.limit.window for key in path if key.limit.window.kind in CALENDAR_KINDS]
        carried = any(call.bound_s >= next_reset(self.now_s, window) for call in self.calls for window in calendars)
        expires_s = min(expiry_s(key.limit.window) for key in path)
        if refusal.until_s is None or carried or self.now_s < expires_s <= refusal.until_s:
            return
        if is_compiled():
            return  # a compiled book cannot be copied; one that is not says the same
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
        self.note_answer(call)
        if call.lease_until_s > self.now_s:
            call.lease_until_s = self.now_s + LEASE_S
        self.now_s += 1

    def note_answer(self, call: Call) -> None:
        call.answered = True
        call.bound_s = min(call.bound_s, self.now_s)

    @precondition(lambda self: any(not call.settled for call in self.calls))
    @rule(data=st.data(), rejected=st.booleans(), arrived=st.booleans())
    def settle(self, data: st.DataObject, *, rejected: bool, arrived: bool) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.settled]))
        self.now_s = max(self.now_s, call.arrived_s)
        most = Amounts(0) if rejected else call.amounts
        parts = (most.input_tokens, most.output_tokens, most.usd_micros, most.units)
        call.true = Amounts(most.requests, *(data.draw(st.integers(0, part)) for part in parts))
        call.amounts = call.true
        call.settled = True
        call.lease_until_s = -math.inf
        if arrived:
            self.note_answer(call)
        for amounts in (call.true, Amounts(requests=9, input_tokens=99)):
            self.book.settle(call.reservation, amounts, self.now_s, arrived=arrived)

    @rule(
        data=st.data(),
        amount=st.one_of(st.none(), st.integers(0, 20)),
        used=st.one_of(st.none(), st.integers(0, 20)),
    )
    def follow(self, data: st.DataObject, amount: int | None, used: int | None) -> None:
        key = data.draw(st.sampled_from(self.keys))
        missing = 0 if used is None else used - self.used(key)
        if missing > 0 and key.limit.window.kind is not WindowKind.CONCURRENT:
            self.others.append((key, self.now_s, missing))
        believed = self.amounts[key]
        if amount is not None:
            configured = key.limit.source is LimitSource.CONFIGURED
            self.amounts[key] = min(amount, key.limit.amount) if configured else amount
            self.highest[key] = max(self.highest[key], self.amounts[key])
        contradicted = self.book.follow(key, self.now_s, amount=amount, used=used)
        assert contradicted == (self.amounts[key] != believed)

    @invariant()
    def counts_agree(self) -> None:
        for path in self.paths.values():
            for standing in self.book.peek(path, self.now_s):
                key = standing.limit
                assert standing.used == self.used(key)
                assert standing.amount == (0 if self.expired(key) else self.amounts[key])
                assert 0 <= standing.reserved <= standing.used

    def teardown(self) -> None:
        for key in getattr(self, "keys", ()):
            if key.limit.window.kind is not WindowKind.CONCURRENT:
                calls = [call for call in self.calls if key in call.path]
                arrivals = [(call.arrived_s, call.true.of(key.limit.unit)) for call in calls]
                assert_never_above(key.limit, self.highest[key], arrivals)


LedgerAgainstAProvider.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedgerAgainstAProvider = LedgerAgainstAProvider.TestCase


def requests(amount: int, window: str) -> tuple[LimitKey, ...]:
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
    book, path = LedgerBook(transit_skew_s=SKEW_S), requests(amount, window)
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
    windows = ("60s", "day@Europe/Berlin", "week@UTC", "month:31@UTC", "once", "once:2026-11-04@UTC", "concurrent")
    path = tuple(key for amount, window in enumerate(windows, 3) for key in requests(5 * amount, window))
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
    book, path = LedgerBook(), requests(amount, "60s")
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
