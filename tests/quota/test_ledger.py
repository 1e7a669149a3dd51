import pytest
from msgspec.structs import replace

from keyrelay.core.limits import Limit, LimitSource, Pacing, ScopePart, Unit, parse_window
from keyrelay.quota.ledger import CONFIRMED_S, PROBE_LEASE_S, LedgerBook, Reservation
from keyrelay.quota.packed import MOST
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


def paced(amount: int, window: str, *, unit: Unit = Unit.REQUESTS, firm: bool = True) -> LimitKey:
    limit = replace(key(amount, window, unit=unit, firm=firm).limit, pacing=Pacing.SMOOTH)
    return LimitKey(limit, ("acct:gemini/a",))


def sourced(amount: int, source: LimitSource) -> LimitKey:
    return LimitKey(replace(key(amount).limit, source=source), ("acct:gemini/a",))


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
        assert refused(book, wide, narrow) == Refusal(
            limit=narrow, amount=narrow.limit.amount, used=1, until_s=NOW_S + 3601, firm=True
        )
        assert [standing.used for standing in book.peek((wide, narrow), NOW_S)] == [1, 1]

    def test_the_refusal_names_the_limit_that_frees_last(self) -> None:
        book, path = LedgerBook(), (key(1, "1h"), key(1), key(1, "24h"), key(5, "once"))
        taken(book, *path)
        assert refused(book, *path) == Refusal(
            limit=path[2], amount=path[2].limit.amount, used=1, until_s=NOW_S + 86_401, firm=True
        )

    def test_an_amount_above_the_whole_limit_never_fits(self) -> None:
        tokens = key(250_000, unit=Unit.TOKENS)
        refusal = refused(LedgerBook(), key(1), tokens, amounts=Amounts(input_tokens=300_000))
        assert refusal == Refusal(limit=tokens, amount=tokens.limit.amount, used=0, until_s=None, firm=True)

    @pytest.mark.parametrize("window", ["60s", "day@UTC", "week@UTC", "month:31@UTC", "once", "concurrent"])
    def test_a_limit_of_zero_never_frees(self, window: str) -> None:
        assert refused(LedgerBook(), key(0, window)).until_s is None

    def test_nothing_fits_into_an_expired_quota_not_even_nothing(self) -> None:
        book, limit = LedgerBook(), key(5, "once:2023-11-15@UTC")  # NOW_S is on the day before
        taken(book, limit)
        expiry_s = (NOW_S // 86_400 + 1) * 86_400
        for amounts in (Amounts(), NOTHING):
            assert refused(book, limit, now_s=expiry_s, amounts=amounts).until_s is None
        assert refused(book, limit, now_s=expiry_s).used == 1
        (standing,) = book.peek((limit,), expiry_s)
        assert (standing.amount, standing.used, standing.reset_s) == (0, 1, None)

    def test_a_full_once_never_frees_and_outlasts_the_others(self) -> None:
        book, once, minute = LedgerBook(), key(1, "once"), key(1)
        taken(book, once, minute)
        assert refused(book, once, minute) == Refusal(
            limit=once, amount=once.limit.amount, used=1, until_s=None, firm=True
        )

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
        amounts = Amounts(requests=2, input_tokens=30, output_tokens=4, usd_micros=50, units=6)
        reservation = taken(book, *path, amounts=amounts)
        used = {standing.limit.limit.unit: standing.used for standing in book.peek(path, NOW_S)}
        assert used == {unit: amounts.of(unit) for unit in Unit}
        book.settle(reservation, Amounts(usd_micros=70, units=8), NOW_S)
        assert [standing.used for standing in book.peek(path, NOW_S)] == [1, 0, 0, 0, 70, 8]

    @pytest.mark.parametrize("unit", [Unit.USD_MICROS, Unit.UNITS])
    def test_money_and_units_refuse_as_others_do(self, unit: Unit) -> None:
        book, limit = LedgerBook(), key(100, "month@UTC", unit=unit)
        amounts = Amounts(usd_micros=60, units=60)
        taken(book, limit, amounts=amounts)
        assert refused(book, limit, amounts=amounts).used == 60


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

    @pytest.mark.parametrize("window", ["60s", "day@UTC", "week@UTC", "once"])
    @pytest.mark.parametrize("arrived_s", [NOW_S + 0.5, NOW_S + 2, NOW_S - 5])
    def test_with_arrived_comes_to_the_same_as_answered_before(self, window: str, arrived_s: float) -> None:
        path = tuple(key(1000, window, unit=unit) for unit in Unit)
        true = Amounts(requests=2, input_tokens=25, output_tokens=3, usd_micros=4, units=5)
        standings = []
        for one_step in (True, False):
            book = LedgerBook()
            reservation = taken(book, *path, amounts=Amounts(input_tokens=30, output_tokens=1))
            if not one_step:
                book.answered(reservation, arrived_s)
            book.settle(reservation, true, arrived_s, arrived=one_step)
            standings.append(book.peek(path, NOW_S + 2))
        assert standings[0] == standings[1]
        assert [standing.used for standing in standings[0]] == [true.of(unit) for unit in Unit]
        assert not any(standing.reserved for standing in standings[0])

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


class TestPacing:
    def test_a_paced_refusal_says_so_and_until_when(self) -> None:
        book, limit = LedgerBook(), paced(4, "day@UTC")
        midnight_s = (NOW_S // 86_400 + 1) * 86_400
        for _ in range(3):
            taken(book, limit, now_s=midnight_s)
        until_s = midnight_s + 43_200
        refusal = Refusal(limit=limit, amount=limit.limit.amount, used=3, until_s=until_s, firm=True, paced=True)
        assert refused(book, limit, now_s=midnight_s) == refusal
        assert book.peek((limit,), midnight_s)[0].paced_until_s == until_s
        taken(book, limit, now_s=until_s)
        assert refused(book, limit, now_s=until_s) == Refusal(
            limit=limit, amount=limit.limit.amount, used=4, until_s=midnight_s + 86_400, firm=True, paced=False
        )
        assert book.peek((limit,), midnight_s + 86_400)[0].paced_until_s is None

    def test_what_takes_nothing_of_a_paced_limit_passes_and_does_not_move_its_pace(self) -> None:
        book, limit = LedgerBook(), paced(100, "day@UTC", unit=Unit.TOKENS)
        taken(book, limit, amounts=Amounts(input_tokens=60))
        until_s = refused(book, limit, amounts=Amounts(input_tokens=20)).until_s
        taken(book, limit, now_s=NOW_S + 1)
        assert refused(book, limit, amounts=Amounts(input_tokens=20), now_s=NOW_S + 1).until_s == until_s

    def test_of_what_is_full_and_what_is_paced_the_later_is_named(self) -> None:
        book, day, minute = LedgerBook(), paced(4, "day@UTC"), key(3)
        for _ in range(3):
            taken(book, day, minute)
        refusal = refused(book, day, minute)
        assert (refusal.limit, refusal.paced, refusal.firm) == (day, True, True)
        hour = key(3, "24h")
        refusal = refused(book, day, minute, hour)
        assert (refusal.limit, refusal.paced) == (day, True)
        book = LedgerBook()
        for _ in range(3):
            taken(book, day, hour)
        refusal = refused(book, day, hour)
        assert (refusal.limit, refusal.paced) == (hour, False)

    def test_pacing_is_kept_although_a_belief_may_be_exceeded(self) -> None:
        book, day, minute = LedgerBook(), paced(4, "day@UTC", firm=False), belief(3)
        for _ in range(3):
            taken(book, day, minute)
        refusal = probe(book, day, minute)
        assert isinstance(refusal, Refusal)
        assert refusal.paced
        assert refusal.until_s is not None
        assert isinstance(probe(book, day, minute, now_s=refusal.until_s), Reservation)

    def test_a_probe_beyond_a_paced_belief_is_noted_as_the_last_one(self) -> None:
        book, limit = LedgerBook(), paced(1, "1h", firm=False)
        taken(book, limit)
        reservation = probe(book, limit, now_s=NOW_S + 11)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        (standing,) = book.peek((limit,), NOW_S + 11)
        assert (standing.amount, standing.paced_until_s) == (3, NOW_S + 11 + (3601 - 11) / 2)

    @pytest.mark.parametrize("window", ["once", "concurrent"])
    def test_what_has_no_time_is_not_paced(self, window: str) -> None:
        book, limit = LedgerBook(), paced(4, window)
        for _ in range(4):
            taken(book, limit)
        assert not refused(book, limit).paced

    def test_a_clock_set_back_takes_the_pace_along(self) -> None:
        book, limit = LedgerBook(), paced(4, "1h")
        for _ in range(3):
            taken(book, limit)
        wait_s = (refused(book, limit).until_s or 0) - NOW_S
        earlier_s = NOW_S - 5_000
        assert (refused(book, limit, now_s=earlier_s).until_s or 0) - earlier_s == pytest.approx(wait_s)


class TestConcurrency:
    def test_what_ends_makes_room(self) -> None:
        book, limit = LedgerBook(lease_s=100.0), key(2, "concurrent")
        first = taken(book, limit)
        taken(book, limit, now_s=NOW_S + 1)
        assert refused(book, limit, now_s=NOW_S + 2).until_s == NOW_S + 100
        book.settle(first, Amounts(), NOW_S + 3, arrived=True)
        taken(book, limit, now_s=NOW_S + 3)

    def test_what_never_ends_makes_room_when_its_lease_is_over(self) -> None:
        book, limit = LedgerBook(lease_s=100.0), key(1, "concurrent")
        stream = taken(book, limit)
        book.answered(stream, NOW_S + 50)
        refused(book, limit, now_s=NOW_S + 149)
        taken(book, limit, now_s=NOW_S + 150)
        book.settle(stream, Amounts(), NOW_S + 160)
        assert book.peek((limit,), NOW_S + 160)[0].used == 1

    def test_a_probe_may_go_beyond_a_believed_number(self) -> None:
        book, limit = LedgerBook(), belief(1, "concurrent")
        taken(book, limit)
        reservation = probe(book, limit)
        assert isinstance(reservation, Reservation)
        book.raise_belief(reservation)
        assert amount_of(book, limit) == 3


class TestFollow:
    @pytest.mark.parametrize("amount", [5, 30])
    @pytest.mark.parametrize("source", [LimitSource.CATALOGUE, LimitSource.LEARNED])
    def test_what_was_not_configured_takes_the_amount_as_it_is(self, amount: int, source: LimitSource) -> None:
        book, limit = LedgerBook(), sourced(15, source)
        taken(book, limit)
        assert book.follow(limit, NOW_S, amount=amount)
        assert not book.follow(limit, NOW_S, amount=amount)
        (standing,) = book.peek((limit,), NOW_S)
        assert (standing.amount, standing.source, standing.firm) == (amount, LimitSource.LEARNED, True)

    def test_what_is_configured_is_made_smaller_and_never_larger(self) -> None:
        book, limit = LedgerBook(), sourced(15, LimitSource.CONFIGURED)
        assert not book.follow(limit, NOW_S, amount=30)
        assert book.peek((limit,), NOW_S)[0].source is LimitSource.CONFIGURED
        assert book.follow(limit, NOW_S, amount=5)
        assert book.peek((limit,), NOW_S)[0].source is LimitSource.LEARNED
        assert book.follow(limit, NOW_S, amount=30)
        assert (amount_of(book, limit), book.peek((limit,), NOW_S)[0].source) == (15, LimitSource.CONFIGURED)

    def test_the_same_amount_as_the_catalogues_is_known_from_the_provider_then(self) -> None:
        book, limit = LedgerBook(), sourced(15, LimitSource.CATALOGUE)
        assert book.peek((limit,), NOW_S)[0].source is LimitSource.CATALOGUE
        assert not book.follow(limit, NOW_S, amount=15)
        assert book.peek((limit,), NOW_S)[0].source is LimitSource.LEARNED

    def test_what_is_used_says_nothing_of_where_the_amount_comes_from(self) -> None:
        book, limit = LedgerBook(), sourced(15, LimitSource.CATALOGUE)
        book.follow(limit, NOW_S, used=3)
        assert book.peek((limit,), NOW_S)[0].source is LimitSource.CATALOGUE

    def test_a_path_resolved_before_sees_the_change(self) -> None:
        book, limit = LedgerBook(), key(5)
        taken(book, limit)
        book.follow(limit, NOW_S, amount=1)
        refused(book, limit)

    def test_a_belief_is_firm_while_the_provider_says_so_and_keeps_the_amount_after(self) -> None:
        book, limit = LedgerBook(), belief(5, "once")
        book.follow(limit, NOW_S, amount=1)
        book.follow(limit, NOW_S + 100, amount=1)
        taken(book, limit, now_s=NOW_S + 100)
        refusal = probe(book, limit, now_s=NOW_S + 99 + CONFIRMED_S)
        assert isinstance(refusal, Refusal)
        assert refusal.firm
        later_s = NOW_S + 100 + CONFIRMED_S
        (standing,) = book.peek((limit,), later_s)
        assert (standing.amount, standing.firm) == (1, False)
        assert isinstance(probe(book, limit, now_s=later_s), Reservation)

    def test_a_refusal_does_not_raise_what_was_followed_down(self) -> None:
        book, limit = LedgerBook(), belief(5)
        book.follow(limit, NOW_S, amount=2)
        book.confirm_belief(limit, NOW_S)
        assert amount_of(book, limit) == 2

    @pytest.mark.parametrize("window", ["60s", "1h", "day@UTC", "week@UTC", "month:15@UTC", "once"])
    def test_what_others_used_is_added_and_a_lower_figure_changes_nothing(self, window: str) -> None:
        book, limit = LedgerBook(), key(10, window)
        taken(book, limit)
        assert not book.follow(limit, NOW_S, used=7)
        book.follow(limit, NOW_S, used=3)
        (standing,) = book.peek((limit,), NOW_S)
        assert (standing.used, standing.reserved, standing.amount) == (7, 1, 10)

    def test_what_others_used_leaves_a_rolling_window_a_length_after_it_was_said(self) -> None:
        book, limit = LedgerBook(), key(10)
        book.follow(limit, NOW_S, used=10)
        assert refused(book, limit, now_s=NOW_S + 1).until_s == NOW_S + 60
        taken(book, limit, now_s=NOW_S + 60)

    def test_units_that_share_a_window_are_raised_apart(self) -> None:
        book, path = LedgerBook(), tuple(key(100, unit=unit) for unit in Unit)
        for number, limit in enumerate(path, 1):
            book.follow(limit, NOW_S, used=number)
        assert [standing.used for standing in book.peek(path, NOW_S)] == [1, 2, 3, 4, 5, 6]

    def test_what_others_have_in_flight_is_left_alone(self) -> None:
        book, limit = LedgerBook(), key(5, "concurrent")
        book.follow(limit, NOW_S, used=4)
        assert book.peek((limit,), NOW_S)[0].used == 0

    def test_absurd_figures_do_no_harm(self) -> None:
        book, path = LedgerBook(), (key(5), key(5, unit=Unit.TOKENS))
        book.follow(path[0], NOW_S, amount=-3, used=10**30)
        (requests, tokens) = book.peek(path, NOW_S)
        assert (requests.amount, requests.used, tokens.used) == (0, MOST, 0)
        book.follow(path[0], NOW_S, amount=10**30, used=-5)
        assert amount_of(book, path[0]) == MOST

    def test_what_is_followed_is_never_swept(self) -> None:
        book, limit = LedgerBook(max_counts=2), key(5)
        book.follow(limit, NOW_S, amount=5)
        for index in range(10):
            taken(book, key(1, "1s", bound=f"acct:{index}"), now_s=NOW_S + 100 * index)
        assert limit in book._counts


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

    def test_paths_are_bounded(self) -> None:
        book, limits = LedgerBook(max_paths=3), [key(1, bound=f"acct:{index}") for index in range(8)]
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


def test_a_reservation_of_another_ledger_is_refused() -> None:
    book, refusal = LedgerBook(), "is not a reservation of this ledger"
    with pytest.raises(TypeError, match=refusal):
        book.answered(object(), NOW_S)
    with pytest.raises(TypeError, match=refusal):
        book.settle(object(), Amounts(), NOW_S)
    with pytest.raises(TypeError, match=refusal):
        book.raise_belief(object())


class TestRestore:
    def test_what_was_used_before_leaves_when_it_would_have_left(self) -> None:
        book, minute, day = LedgerBook(), key(3), key(10, "day@UTC")
        book.restore((minute, day), Amounts(2), NOW_S - 50)
        book.restore((minute, day), Amounts(1), NOW_S - 20)
        assert refused(book, minute, day).until_s == NOW_S + 10
        assert [standing.used for standing in book.peek((minute, day), NOW_S)] == [3, 3]
        assert [standing.reserved for standing in book.peek((minute, day), NOW_S)] == [0, 0]
        assert [standing.used for standing in book.peek((minute, day), NOW_S + 10)] == [1, 3]

    def test_a_period_that_is_over_does_not_count(self) -> None:
        book, day = LedgerBook(), key(10, "day@UTC")
        book.restore((day,), Amounts(4), NOW_S - 86_400)
        book.restore((day,), Amounts(1), NOW_S - 10)
        assert book.peek((day,), NOW_S)[0].used == 1

    def test_quotas_without_a_reset_take_the_whole_and_nothing_else(self) -> None:
        book, minute, once = LedgerBook(), key(100), key(100, "once")
        book.restore((minute, once), Amounts(40), NOW_S - 10)
        book.restore((minute, once), Amounts(70), NOW_S, once=True)
        assert [standing.used for standing in book.peek((minute, once), NOW_S)] == [40, 70]

    def test_a_time_out_of_order_counts_as_late_as_the_one_before(self) -> None:
        book, minute = LedgerBook(), key(2)
        book.restore((minute,), Amounts(1), NOW_S - 10)
        book.restore((minute,), Amounts(1), NOW_S - 30)
        assert refused(book, minute).until_s == NOW_S + 50
