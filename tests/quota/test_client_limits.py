"""Limits of clients as values, and that no interleaving of requests takes more than there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.configuration import ClientLimit
from keyrelay.core.limits import Limit, Pacing, ScopePart, Unit, parse_window
from keyrelay.quota.client_limits import (
    amount_of,
    client_path,
    count_name,
    is_budget,
    limit_words,
    used_ever,
    used_since,
)
from keyrelay.quota.ledger import LedgerBook, Reservation
from keyrelay.quota.values import Amounts, LimitKey, Refusal

NOW_S = 1_800_000_000.0


def limit(unit: Unit, amount: int, window: str, pacing: Pacing = Pacing.BURST) -> Limit:
    return Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.CLIENT,), pacing=pacing)


REQUESTS = limit(Unit.REQUESTS, 60, "60s")
MONEY = limit(Unit.USD_MICROS, 2_500_000, "month@UTC")
TOKENS = limit(Unit.TOKENS, 1_000, "month@UTC")
ONCE = limit(Unit.USD_MICROS, 5_000_000, "once")
ONCE_TOKENS = limit(Unit.TOKENS, 900, "once")


@pytest.mark.parametrize(
    ("each", "words", "name", "budget"),
    [
        (REQUESTS, "60 requests per 60s", "requests 60s", False),
        (MONEY, "2.5 usd per month@UTC", "usd_micros month@UTC", True),
        (limit(Unit.USD_MICROS, 1, "60s"), "0.000001 usd per 60s", "usd_micros 60s", True),
        (ONCE, "5 usd once", "usd_micros once", True),
        (limit(Unit.REQUESTS, 4, "concurrent"), "4 requests concurrent", "requests concurrent", False),
        (
            limit(Unit.OUTPUT_TOKENS, 7, "day@Europe/Berlin", Pacing.SMOOTH),
            "7 output_tokens per day@Europe/Berlin smooth",
            "output_tokens day@Europe/Berlin",
            True,
        ),
    ],
)
def test_how_they_are_written_and_told_apart(each: Limit, words: str, name: str, budget: bool) -> None:
    assert (limit_words(each), count_name(each), is_budget(each)) == (words, name, budget)


def test_what_a_limit_binds_says_since_when_it_is_counted() -> None:
    limits = (ClientLimit(REQUESTS), ClientLimit(MONEY, NOW_S), ClientLimit(ONCE, NOW_S, 3))
    assert [key.bound for key in client_path("app", limits)] == [
        ("client:app",),
        ("client:app", "since:1800000000.000"),
        ("client:app", "since:1800000000.000", "usd_micros"),
    ]


def parts_since(limits: tuple[ClientLimit, ...], at_s: float) -> list[tuple[list[str], Amounts]]:
    found = used_since(client_path("app", limits), limits, Amounts(2, 3, 4, 5), at_s)
    return [([limit_words(key.limit) for key in keys], amounts) for keys, amounts in found]


def test_what_was_used_before_a_limit_was_set_does_not_count() -> None:
    limits = (ClientLimit(REQUESTS, NOW_S), ClientLimit(MONEY, NOW_S - 10), ClientLimit(TOKENS, NOW_S - 10))
    used = Amounts(2, 3, 4, 5)
    month = (["2.5 usd per month@UTC", "1000 tokens per month@UTC"], used)
    assert parts_since(limits, NOW_S) == [(["60 requests per 60s"], used), month]
    assert parts_since(limits, NOW_S - 1) == [month]
    assert parts_since(limits, NOW_S - 11) == []
    assert parts_since((ClientLimit(ONCE),), NOW_S) == []


def test_limits_that_never_reset_count_what_was_used_since_then() -> None:
    limits = (ClientLimit(ONCE), ClientLimit(ONCE_TOKENS, NOW_S, 5), ClientLimit(REQUESTS))
    path = client_path("app", limits)
    assert list(used_ever(path, limits, Amounts(2, 3, 4, 5))) == [
        ((path[0],), Amounts(2, 3, 4, 5)),
        ((path[1],), Amounts(0, 2)),
    ]
    assert list(used_ever(path[1:2], limits[1:2], Amounts(2, 3, 2, 5))) == []


@pytest.mark.parametrize("unit", [Unit.REQUESTS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.TOKENS, Unit.USD_MICROS])
def test_an_amount_of_a_unit_counts_for_that_unit(unit: Unit) -> None:
    assert amount_of(unit, 7).of(unit) == 7
    assert amount_of(unit, 7).of(Unit.USD_MICROS) == (7 if unit is Unit.USD_MICROS else 0)
    assert amount_of(unit, 7).requests == (7 if unit is Unit.REQUESTS else 0)


Step = tuple[str, int, int]
"""What is done, to which request under way, and what it takes."""

_STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "cancel", "less"]), st.integers(0, 30), st.integers(0, 40)),
    max_size=60,
)


def taken_of(amount: int) -> Amounts:
    return Amounts(1, amount, amount // 2, amount * 3)


@given(_STEPS, st.sampled_from(["60s", "day@Europe/Berlin", "month@UTC", "once"]))
def test_no_interleaving_admits_more_than_there_is(steps: list[Step], window: str) -> None:
    """Whatever is reserved, settled at as much or less, or cancelled: what was used is never above any limit."""
    most = {Unit.REQUESTS: 8, Unit.TOKENS: 150, Unit.USD_MICROS: 300}
    limits = tuple(ClientLimit(limit(unit, amount, window), NOW_S) for unit, amount in most.items())
    path, book = client_path("app", limits), LedgerBook()
    under_way = list[tuple[Reservation, Amounts]]()
    used = Amounts(requests=0)
    for number, (what, which, amount) in enumerate(steps):
        now_s = NOW_S + number / 1000
        if what == "reserve":
            wanted = taken_of(amount)
            outcome = book.reserve(path, wanted, now_s)
            fits = fitting(most, path, [used, wanted, *(held for _, held in under_way)])
            assert isinstance(outcome, Refusal) is not fits
            if isinstance(outcome, Reservation):
                book.answered(outcome, now_s)
                under_way.append((outcome, wanted))
        elif under_way:
            reservation, held = under_way.pop(which % len(under_way))
            spent = {"settle": held, "cancel": Amounts(requests=0), "less": taken_of(held.input_tokens // 2)}[what]
            book.settle(reservation, spent, now_s)
            used = summed([used, spent])
        standings = book.peek(path, now_s)
        assert all(standing.used <= standing.amount for standing in standings)
        whole = summed([used, *(held for _, held in under_way)])
        assert [standing.used for standing in standings] == [whole.of(unit) for unit in most]


def fitting(most: dict[Unit, int], path: tuple[LimitKey, ...], amounts: list[Amounts]) -> bool:
    whole = summed(amounts)
    return all(whole.of(key.limit.unit) <= most[key.limit.unit] for key in path)


def summed(amounts: list[Amounts]) -> Amounts:
    return Amounts(
        sum(each.requests for each in amounts),
        sum(each.input_tokens for each in amounts),
        sum(each.output_tokens for each in amounts),
        sum(each.usd_micros for each in amounts),
    )
