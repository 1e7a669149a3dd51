import pytest

from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.quota.ledger import CONFIRMED_S, PROBE_LEASE_S, LedgerBook, Reservation
from keyrelay.quota.values import Amounts, LimitKey, Refusal

NOW_S = 1_700_000_000.0
NOTHING = Amounts(requests=0)


def key(
    amount: int,
    window: str = "60s",
    *,
    unit: Unit = Unit.REQUESTS,
    firm: bool = True,
    bound: str = "acct:gemini/a",
    models: tuple[str, ...] = (),
    scope: tuple[ScopePart, ...] = (ScopePart.ACCOUNT,),
) -> LimitKey:
    limit = Limit(unit=unit, amount=amount, window=parse_window(window), scope=scope, models=models, firm=firm)
    return LimitKey(limit, (bound,))


def belief(amount: int, window: str = "60s") -> LimitKey:
    return key(amount, window, firm=False)


def taken(book: LedgerBook, *path: LimitKey, now_s: float = NOW_S, amounts: Amounts | None = None) -> Reservation:
    outcome = book.reserve(path, amounts or Amounts(), now_s)
    assert isinstance(outcome, Reservation)
    return outcome


def refused(book: LedgerBook, *path: LimitKey, now_s: float = NOW_S, amounts: Amounts | None = None) -> Refusal:
    outcome = book.reserve(path, amounts or Amounts(), now_s)
    assert isinstance(outcome, Refusal)
    return outcome


def probe(book: LedgerBook, *path: LimitKey, now_s: float = NOW_S) -> Reservation | Refusal:
    return book.reserve(path, Amounts(), now_s, beyond_belief=True)


def amount_of(book: LedgerBook, limit: LimitKey, now_s: float = NOW_S) -> int:
    return book.peek((limit,), now_s)[0].amount


class TestReserve:
    def test_takes_from_all_or_from_none(self) -> None:
        book, wide, narrow = LedgerBook(), key(10), key(1, "1h")
        taken(book, wide, narrow)
        assert refused(book, wide, narrow) == Refusal(limit=narrow, used=1, until_s=NOW_S + 3601, firm=True)
        assert [standing.used for standing in book.peek((wide, narrow), NOW_S)] == [1, 1]

    def test_the_refusal_names_the_limit_that_frees_last(self) -> None:
        book, path = LedgerBook(), (key(1, "1h"), key(1), key(1, "24h"), key(5, "once"))
        taken(book, *path)
        assert refused(book, *path) == Refusal(limit=path[2], used=1, until_s=NOW_S + 86_401, firm=True)

    def test_an_amount_above_the_whole_limit_never_fits(self) -> None:
        tokens = key(250_000, unit=Unit.TOKENS)
        refusal = refused(LedgerBook(), key(1), tokens, amounts=Amounts(input_tokens=300_000))
        assert refusal == Refusal(limit=tokens, used=0, until_s=None, firm=True)

    @pytest.mark.parametrize("window", ["60s", "day@UTC", "once"])
    def test_a_limit_of_zero_never_frees(self, window: str) -> None:
        assert refused(LedgerBook(), key(0, window)).until_s is None

    def test_a_full_once_never_frees_and_outlasts_the_others(self) -> None:
        book, once, minute = LedgerBook(), key(1, "once"), key(1)
        taken(book, once, minute)
        assert refused(book, once, minute) == Refusal(limit=once, used=1, until_s=None, firm=True)

    def test_an_amount_of_zero_fits_a_full_limit_but_not_an_overdrawn_one(self) -> None:
        book, tokens = LedgerBook(), key(100, unit=Unit.OUTPUT_TOKENS)
        first = taken(book, tokens, amounts=Amounts(output_tokens=100))
        taken(book, tokens, amounts=Amounts(output_tokens=0))
        book.settle(first, Amounts(output_tokens=101), NOW_S)
        assert refused(book, tokens, amounts=Amounts(output_tokens=0)).used == 101

    def test_an_empty_path_lets_everything_through(self) -> None:
        book = LedgerBook()
        book.settle(taken(book), Amounts(), NOW_S)
        assert book.peek((), NOW_S) == ()

    def test_each_unit_counts_its_own_amount(self) -> None:
        book, path = LedgerBook(), tuple(key(100, unit=unit) for unit in Unit)
        taken(book, *path, amounts=Amounts(requests=2, input_tokens=30, output_tokens=4))
        used = {standing.limit.limit.unit: standing.used for standing in book.peek(path, NOW_S)}
        assert used == {Unit.REQUESTS: 2, Unit.INPUT_TOKENS: 30, Unit.OUTPUT_TOKENS: 4, Unit.TOKENS: 34}


class TestSettle:
    def test_giving_the_request_back_makes_room_at_once(self) -> None:
        book, path = LedgerBook(), (key(1), key(1, "day@UTC"), key(1, "once"))
        book.settle(taken(book, *path), NOTHING, NOW_S)
        taken(book, *path)

    def test_before_or_after_the_answer_comes_to_the_same(self) -> None:
        book, tokens = LedgerBook(), key(100, unit=Unit.TOKENS)
        for settle_first in (True, False):
            reservation = taken(book, tokens, amounts=Amounts(input_tokens=10))
            if settle_first:
                book.settle(reservation, Amounts(input_tokens=25), NOW_S + 0.5)
            book.answered(reservation, NOW_S + 0.5)
            if not settle_first:
                book.settle(reservation, Amounts(input_tokens=25), NOW_S + 0.5)
        assert book.peek((tokens,), NOW_S + 60.4)[0].used == 50
        assert book.peek((tokens,), NOW_S + 60.5)[0].used == 0

    def test_settling_alone_does_not_say_when_it_arrived(self) -> None:
        book, minute = LedgerBook(), key(1)
        book.settle(taken(book, minute), Amounts(), NOW_S + 0.1)
        assert refused(book, minute, now_s=NOW_S + 0.2).until_s == NOW_S + 61

    def test_a_reservation_tells_its_state(self) -> None:
        book = LedgerBook()
        reservation = taken(book, key(1), amounts=Amounts(input_tokens=7))
        assert repr(reservation) == "<Reservation in flight requests=1 tokens=7+0 of 1>"
        book.answered(reservation, NOW_S)
        assert repr(reservation) == "<Reservation answered requests=1 tokens=7+0 of 1>"
        book.settle(reservation, Amounts(input_tokens=8, output_tokens=2), NOW_S)
        assert repr(reservation) == "<Reservation settled requests=1 tokens=8+2 of 1>"

    @pytest.mark.parametrize("window", ["60s", "day@UTC", "once"])
    @pytest.mark.parametrize("arrived_s", [NOW_S + 0.5, NOW_S + 2, NOW_S - 5])
    def test_with_arrived_comes_to_the_same_as_answered_before(self, window: str, arrived_s: float) -> None:
        path = tuple(key(1000, window, unit=unit) for unit in Unit)
        true = Amounts(requests=2, input_tokens=25, output_tokens=3)
        standings = []
        for one_step in (True, False):
            book = LedgerBook()
            reservation = taken(book, *path, amounts=Amounts(input_tokens=30, output_tokens=1))
            if not one_step:
                book.answered(reservation, arrived_s)
            book.settle(reservation, true, arrived_s, arrived=one_step)
            standings.append(book.peek(path, NOW_S + 2))
        assert standings[0] == standings[1]
        assert [(standing.used, standing.reserved) for standing in standings[0]] == [(2, 0), (25, 0), (3, 0), (28, 0)]

    def test_a_call_cut_off_at_the_reset_may_still_be_answered_and_corrected(self) -> None:
        midnight_s = (NOW_S // 86_400 + 1) * 86_400
        book, day = LedgerBook(), key(9, "day@UTC")
        reservation = taken(book, day, now_s=midnight_s - 0.5)
        book.settle(reservation, Amounts(requests=2), midnight_s + 0.1, arrived=True)
        assert book.peek((day,), midnight_s + 0.1)[0].used == 2


class TestSharedCounts:
    def test_limits_of_all_units_on_the_same_share_a_window(self) -> None:
        book, path = LedgerBook(), (key(2), key(1), key(50, unit=Unit.TOKENS), key(1, "1h"))
        assert len(taken(book, *path).slots) == 2

    def test_a_unit_limited_later_goes_on_with_what_was_used(self) -> None:
        book, tokens = LedgerBook(), key(50, unit=Unit.TOKENS)
        taken(book, key(2), amounts=Amounts(input_tokens=40))
        assert refused(book, tokens, amounts=Amounts(input_tokens=20)).used == 40

    def test_a_changed_amount_goes_on_with_the_count(self) -> None:
        book = LedgerBook()
        for _ in range(3):
            taken(book, key(3))
        assert refused(book, key(3)).used == 3
        assert refused(book, key(2)).used == 3
        taken(book, key(4))
        assert refused(book, key(3)).used == 4

    def test_a_belief_that_becomes_firm_goes_on_with_the_count(self) -> None:
        book = LedgerBook()
        taken(book, belief(1))
        assert refused(book, key(1)).firm
        assert not refused(book, belief(1)).firm

    def test_two_limits_on_one_count_take_once(self) -> None:
        book, path = LedgerBook(), (key(3), key(5))
        taken(book, *path)
        assert [standing.used for standing in book.peek(path, NOW_S)] == [1, 1]

    def test_groups_and_what_is_bound_are_counts_of_their_own(self) -> None:
        book = LedgerBook()
        taken(book, key(1))
        taken(book, key(1, bound="acct:gemini/b"))
        taken(book, key(1, models=("*:free",)))
        taken(book, key(1, unit=Unit.TOKENS))

    def test_patterns_do_not_divide_the_count_of_one_model(self) -> None:
        book, scope = LedgerBook(), (ScopePart.MODEL,)
        taken(book, key(1, scope=scope, models=("flash",), bound="model:flash"))
        refused(book, key(1, scope=scope, models=("f*",), bound="model:flash"))


class TestBeliefs:
    def test_one_at_a_time_goes_beyond(self) -> None:
        book, limit = LedgerBook(), belief(1)
        taken(book, limit)
        assert not refused(book, limit).firm
        first = probe(book, limit)
        assert isinstance(first, Reservation)
        assert isinstance(probe(book, limit), Refusal)
        book.settle(first, NOTHING, NOW_S)
        assert isinstance(probe(book, limit), Reservation)

    def test_what_fits_is_no_probe(self) -> None:
        book, limit = LedgerBook(), belief(1)
        reservation = probe(book, limit)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        assert amount_of(book, limit) == 1

    def test_a_firm_limit_in_the_way_stops_a_probe(self) -> None:
        book, path = LedgerBook(), (belief(1), key(1, "1h"))
        taken(book, *path)
        refusal = probe(book, *path)
        assert isinstance(refusal, Refusal)
        assert refusal.firm
        assert book.peek(path, NOW_S)[0].used == 1

    def test_one_probe_takes_all_beliefs_in_its_way(self) -> None:
        book, path = LedgerBook(), (belief(1), belief(1, "24h"), belief(9, "1h"))
        taken(book, *path)
        assert isinstance(probe(book, *path), Reservation)
        assert isinstance(probe(book, path[1]), Refusal)
        assert isinstance(probe(book, path[2]), Reservation)

    @pytest.mark.parametrize("settle_first", [True, False])
    def test_success_doubles_the_belief_once(self, *, settle_first: bool) -> None:
        book, limit = LedgerBook(), belief(5)
        for _ in range(5):
            taken(book, limit)
        reservation = probe(book, limit)
        assert isinstance(reservation, Reservation)
        if settle_first:
            book.settle(reservation, Amounts(), NOW_S)
        book.raise_belief(reservation)
        book.raise_belief(reservation)
        book.settle(reservation, Amounts(), NOW_S)
        assert amount_of(book, limit) == 10
        taken(book, limit)

    def test_success_allows_at_least_one_more_than_is_used(self) -> None:
        book, limit = LedgerBook(), belief(0)
        reservation = probe(book, limit)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        assert amount_of(book, limit) == 2

    def test_a_refusal_makes_it_firm_for_a_while(self) -> None:
        book, limit = LedgerBook(), belief(1, "once")
        taken(book, limit)
        book.confirm_belief(limit, NOW_S)
        refusal = probe(book, limit)
        assert isinstance(refusal, Refusal)
        assert refusal.firm
        assert isinstance(probe(book, limit, now_s=NOW_S + CONFIRMED_S), Reservation)

    def test_a_refusal_takes_a_raised_belief_down_to_what_was_accepted(self) -> None:
        book, limit = LedgerBook(), belief(2)
        for _ in range(2):
            taken(book, limit)
        reservation = probe(book, limit)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        assert amount_of(book, limit) == 4
        book.confirm_belief(limit, NOW_S)
        assert amount_of(book, limit) == 3
        book.confirm_belief(limit, NOW_S + 3600)
        assert amount_of(book, limit, NOW_S + 3600) == 2

    def test_a_firm_limit_needs_no_confirmation(self) -> None:
        book, limit = LedgerBook(), key(5)
        book.confirm_belief(limit, NOW_S)
        assert amount_of(book, limit) == 5

    def test_a_probe_that_is_never_settled_blocks_for_its_lease_only(self) -> None:
        book, limit = LedgerBook(), belief(1, "24h")
        taken(book, limit)
        first = probe(book, limit)
        assert isinstance(first, Reservation)
        assert isinstance(probe(book, limit, now_s=NOW_S + PROBE_LEASE_S - 1), Refusal)
        second = probe(book, limit, now_s=NOW_S + PROBE_LEASE_S)
        assert isinstance(second, Reservation)
        book.settle(first, Amounts(), NOW_S + PROBE_LEASE_S)
        assert isinstance(probe(book, limit, now_s=NOW_S + PROBE_LEASE_S), Refusal)


class TestTime:
    def test_a_small_step_back_stands_still(self) -> None:
        book, minute = LedgerBook(), key(1)
        taken(book, minute)
        assert refused(book, minute, now_s=NOW_S - 5).until_s == NOW_S + 61

    def test_a_large_step_back_takes_the_counts_along(self) -> None:
        book, minute = LedgerBook(), key(1)
        taken(book, minute)
        earlier_s = NOW_S - 86_400
        assert refused(book, minute, now_s=earlier_s).until_s == earlier_s + 61
        taken(book, minute, now_s=earlier_s + 61)

    def test_a_day_forward_and_back_keeps_the_days_count(self) -> None:
        book, day = LedgerBook(), key(2, "day@America/Los_Angeles")
        taken(book, day)
        taken(book, day, now_s=NOW_S + 86_400)
        assert refused(book, day, now_s=NOW_S + 10).used == 2


class TestMemory:
    def test_counts_that_hold_nothing_are_dropped_above_the_bound(self) -> None:
        book = LedgerBook(max_counts=10)
        for index in range(10):
            taken(book, key(1, bound=f"acct:{index}"))
        taken(book, key(1, bound="acct:late"), now_s=NOW_S + 100)
        assert repr(book) == f"<LedgerBook counts=1 paths=1 now={NOW_S + 100}>"

    def test_counts_in_use_are_never_dropped(self) -> None:
        book = LedgerBook(max_counts=4)
        for index in range(40):
            taken(book, key(1, bound=f"acct:{index}"))
        for index in range(40):
            refused(book, key(1, bound=f"acct:{index}"))

    def test_what_was_learned_is_kept(self) -> None:
        book, raised, confirmed = LedgerBook(max_counts=2), belief(1), belief(1, "1h")
        for limit in (raised, confirmed):
            taken(book, limit)
        reservation = probe(book, raised)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        later_s = NOW_S + 20_000
        book.confirm_belief(confirmed, later_s)
        taken(book, key(1, "1s"), now_s=later_s)
        assert amount_of(book, raised, later_s) == 3
        taken(book, confirmed, now_s=later_s)
        refusal = probe(book, confirmed, now_s=later_s)
        assert isinstance(refusal, Refusal)
        assert refusal.firm

    def test_a_reservation_outlives_its_count(self) -> None:
        book, minute = LedgerBook(max_counts=1), key(1)
        reservation = taken(book, minute)
        later_s = NOW_S + 100
        taken(book, key(1, bound="acct:b"), now_s=later_s)
        book.answered(reservation, later_s)
        book.settle(reservation, Amounts(requests=5), later_s)
        taken(book, minute, now_s=later_s)

    def test_paths_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("keyrelay.quota.ledger.MAX_PATHS", 3)
        book, limits = LedgerBook(), [key(1, bound=f"acct:{index}") for index in range(8)]
        for limit in limits:
            taken(book, limit)
        assert "paths=2 " in repr(book)
        for limit in limits:
            refused(book, limit)


def test_a_count_tells_its_limit_and_standing() -> None:
    book = LedgerBook()
    taken(book, key(15))
    (count,) = book._counts.values()
    assert repr(count) == (
        "<Count 15 requests per 60s for (account) acct:gemini/a amount=15 "
        "<RollingWindow 60s used=1 reserved=1 slots=1>>"
    )
