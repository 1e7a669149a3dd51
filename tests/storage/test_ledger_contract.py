"""What every ledger has to do, whatever it is kept in. Each backend adds its factory to LEDGERS."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from keyrelay.core.limits import Limit, Pacing, ScopePart, Unit, parse_window
from keyrelay.ports import Ledger, Reservation
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.memory_ledger import MemoryLedger

NOW_S = 1_700_000_000.0
CALENDARS = ("day@America/Los_Angeles", "week@Europe/Berlin", "month@UTC", "month:31@Asia/Kolkata")
LEDGERS: dict[str, Callable[[], Ledger]] = {"memory": MemoryLedger}


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    return LEDGERS[request.param]()


def path(*limits: tuple[Unit, int, str], firm: bool = True, bound: str = "acct:gemini/a") -> tuple[LimitKey, ...]:
    return tuple(
        LimitKey(
            Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.ACCOUNT,), firm=firm),
            (bound,),
        )
        for unit, amount, window in limits
    )


def admitted(outcome: Reservation | Refusal) -> Reservation:
    assert not isinstance(outcome, Refusal)
    return outcome


def refused(outcome: Reservation | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def used(ledger: Ledger, limits: tuple[LimitKey, ...], now_s: float = NOW_S) -> list[int]:
    return [standing.used for standing in ledger.peek(limits, now_s)]


@pytest.mark.parametrize("window", ["1s", "60s", "1h", "24h", *CALENDARS, "once", "concurrent"])
@pytest.mark.parametrize("amount", [1, 2, 5, 15])
def test_exactly_the_limit_is_admitted(ledger: Ledger, window: str, amount: int) -> None:
    limits = path((Unit.REQUESTS, amount, window))
    outcomes = [ledger.reserve(limits, Amounts(), NOW_S) for _ in range(amount + 3)]
    assert [isinstance(outcome, Refusal) for outcome in outcomes] == [False] * amount + [True] * 3


def test_all_or_none(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 10, "60s"), (Unit.TOKENS, 100, "60s"), (Unit.REQUESTS, 10, "day@UTC"))
    admitted(ledger.reserve(limits, Amounts(input_tokens=60), NOW_S))
    refusal = refused(ledger.reserve(limits, Amounts(input_tokens=60), NOW_S))
    assert (refusal.limit, refusal.used, refusal.firm) == (limits[1], 60, True)
    assert used(ledger, limits) == [1, 60, 1]


def test_a_refused_request_fits_when_the_refusal_says(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), (Unit.REQUESTS, 5, "1h"))
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    until_s = refused(ledger.reserve(limits, Amounts(), NOW_S + 1)).until_s
    assert until_s is not None
    refused(ledger.reserve(limits, Amounts(), until_s - 0.1))
    admitted(ledger.reserve(limits, Amounts(), until_s))


def test_never_is_said(ledger: Ledger) -> None:
    assert refused(ledger.reserve(path((Unit.TOKENS, 10, "60s")), Amounts(input_tokens=11), NOW_S)).until_s is None


def test_until_its_answer_a_call_may_still_be_under_way(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "1s"))
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    refused(ledger.reserve(limits, Amounts(), NOW_S + 1))
    admitted(ledger.reserve(limits, Amounts(), NOW_S + 2))


def test_from_its_answer_on_the_window_runs(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "1s"))
    ledger.answered(admitted(ledger.reserve(limits, Amounts(), NOW_S)), NOW_S + 0.25)
    refused(ledger.reserve(limits, Amounts(), NOW_S + 1.2))
    admitted(ledger.reserve(limits, Amounts(), NOW_S + 1.25))


def test_settling_corrects_once(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 10, "60s"), (Unit.TOKENS, 1000, "60s"), (Unit.TOKENS, 1000, "day@UTC"))
    reservation = admitted(ledger.reserve(limits, Amounts(input_tokens=100, output_tokens=256), NOW_S))
    assert [standing.reserved for standing in ledger.peek(limits, NOW_S)] == [1, 356, 356]
    ledger.answered(reservation, NOW_S + 0.5)
    for _ in range(2):
        ledger.settle(reservation, Amounts(input_tokens=110, output_tokens=300), NOW_S + 1)
        ledger.answered(reservation, NOW_S + 1)
    ledger.settle(reservation, Amounts(requests=0), NOW_S + 1)
    assert used(ledger, limits) == [1, 410, 410]
    assert [standing.reserved for standing in ledger.peek(limits, NOW_S + 1)] == [0, 0, 0]


def test_what_the_provider_did_not_count_is_given_back(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), (Unit.REQUESTS, 1, "once"))
    ledger.settle(admitted(ledger.reserve(limits, Amounts(), NOW_S)), Amounts(requests=0), NOW_S + 0.1)
    admitted(ledger.reserve(limits, Amounts(), NOW_S + 0.1))


def test_a_calendar_day_begins_at_its_zones_midnight(ledger: Ledger) -> None:
    midnight_s = 1_793_606_400.0  # 2026-11-02 08:00 UTC: the day before had 25 hours
    limits = path((Unit.REQUESTS, 1, "day@America/Los_Angeles"))
    admitted(ledger.reserve(limits, Amounts(), midnight_s - 90_000))
    assert refused(ledger.reserve(limits, Amounts(), midnight_s - 1)).until_s == midnight_s
    admitted(ledger.reserve(limits, Amounts(), midnight_s))


def test_a_call_in_flight_at_midnight_counts_on_both_days(ledger: Ledger) -> None:
    midnight_s = 1_793_606_400.0
    limits = path((Unit.REQUESTS, 1, "day@America/Los_Angeles"))
    admitted(ledger.reserve(limits, Amounts(), midnight_s - 0.5))
    refused(ledger.reserve(limits, Amounts(), midnight_s))


def test_accounts_do_not_touch_each_other(ledger: Ledger) -> None:
    for bound in ("acct:gemini/a", "acct:gemini/b"):
        admitted(ledger.reserve(path((Unit.REQUESTS, 1, "60s"), bound=bound), Amounts(), NOW_S))


def test_a_new_amount_goes_on_with_the_old_count(ledger: Ledger) -> None:
    admitted(ledger.reserve(path((Unit.REQUESTS, 1, "60s")), Amounts(), NOW_S))
    assert used(ledger, path((Unit.REQUESTS, 5, "60s"))) == [1]


def test_one_request_at_a_time_goes_beyond_a_belief(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), firm=False)
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    assert not refused(ledger.reserve(limits, Amounts(), NOW_S)).firm
    probe = admitted(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True))
    refused(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True))
    ledger.settle(probe, Amounts(), NOW_S)
    admitted(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True))


def test_success_raises_a_belief(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), firm=False)
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    ledger.raise_belief(admitted(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True)))
    assert ledger.peek(limits, NOW_S)[0].amount == 3


def test_a_refusal_by_the_provider_makes_a_belief_firm(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), firm=False)
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    ledger.confirm_belief(limits[0], NOW_S)
    assert refused(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True)).firm


def test_nothing_goes_beyond_a_firm_limit(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"))
    admitted(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True))
    assert refused(ledger.reserve(limits, Amounts(), NOW_S, beyond_belief=True)).firm


def test_a_standing_says_when_something_comes_back(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 5, "60s"), (Unit.REQUESTS, 5, "day@UTC"), (Unit.REQUESTS, 5, "once"))
    assert [standing.reset_s for standing in ledger.peek(limits, NOW_S)] == [None, None, None]
    ledger.answered(admitted(ledger.reserve(limits, Amounts(), NOW_S)), NOW_S)
    next_day_s = (NOW_S // 86_400 + 1) * 86_400
    assert [standing.reset_s for standing in ledger.peek(limits, NOW_S)] == [NOW_S + 60, next_day_s, None]


def test_a_clock_set_back_lets_nothing_more_through(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"))
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    for earlier_s in (5.0, 3600.0, 86_400.0):
        refused(ledger.reserve(limits, Amounts(), NOW_S - earlier_s))
    admitted(ledger.reserve(limits, Amounts(), NOW_S - 86_400 + 61))


def test_what_the_provider_says_of_a_limit_is_followed(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 5, "60s"), (Unit.TOKENS, 100, "day@UTC"))
    assert ledger.follow(limits[0], NOW_S, amount=2, used=1)
    assert not ledger.follow(limits[1], NOW_S, used=70)
    assert [(standing.amount, standing.used) for standing in ledger.peek(limits, NOW_S)] == [(2, 1), (100, 70)]
    admitted(ledger.reserve(limits, Amounts(), NOW_S))
    assert refused(ledger.reserve(limits, Amounts(), NOW_S)).limit == limits[0]


def test_what_is_in_flight_is_counted_until_it_ends(ledger: Ledger) -> None:
    limits = path((Unit.REQUESTS, 2, "concurrent"))
    first = admitted(ledger.reserve(limits, Amounts(), NOW_S))
    ledger.answered(first, NOW_S + 10)
    admitted(ledger.reserve(limits, Amounts(), NOW_S + 20))
    refused(ledger.reserve(limits, Amounts(), NOW_S + 30))
    ledger.settle(first, Amounts(), NOW_S + 40)
    admitted(ledger.reserve(limits, Amounts(), NOW_S + 40))


def test_a_quota_that_has_expired_is_gone(ledger: Ledger) -> None:
    limits = path((Unit.UNITS, 100, "once:2023-11-15@UTC"))
    admitted(ledger.reserve(limits, Amounts(units=1), NOW_S))
    assert refused(ledger.reserve(limits, Amounts(units=1), NOW_S + 86_400)).until_s is None


@pytest.mark.parametrize("window", ["60s", "day@UTC"])
def test_a_smooth_limit_holds_back_what_would_fit(ledger: Ledger, window: str) -> None:
    (burst,) = path((Unit.REQUESTS, 4, window))
    limits = (LimitKey(replace(burst.limit, pacing=Pacing.SMOOTH), burst.bound),)
    for _ in range(3):
        ledger.answered(admitted(ledger.reserve(limits, Amounts(), NOW_S)), NOW_S)
    refusal = refused(ledger.reserve(limits, Amounts(), NOW_S))
    assert refusal.paced
    assert refusal.until_s is not None
    assert ledger.peek(limits, NOW_S)[0].paced_until_s == refusal.until_s
    admitted(ledger.reserve(limits, Amounts(), refusal.until_s))
