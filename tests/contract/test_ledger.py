"""What every ledger has to do, in real time: that of one process, and the shared one with two workers.

Whoever asks of two workers is the next one in turn, so whatever one has counted the other has to know.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from keyrelay.core.configuration import ClientLimit
from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.quota.client_limits import client_path
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.storage.redis.shared_ledger import CLIENT_PARTITIONS, SharedLedger

SKEW_S = 0.3
LONGEST_WAIT_S = 3.0
ONE = Amounts()
WINDOWS = (
    "1s",
    "60s",
    "1h",
    "24h",
    "day@America/Los_Angeles",
    "week@Europe/Berlin",
    "month:31@UTC",
    "once",
    "concurrent",
)

AnyLedger = MemoryLedger | SharedLedger


class Rig:
    """One ledger, or several workers' views of it, taking turns."""

    def __init__(self, ledgers: Sequence[AnyLedger]) -> None:
        self.ledgers = ledgers
        self._turns = itertools.cycle(ledgers)
        self._makers: dict[int, AnyLedger] = {}

    async def try_once(
        self,
        path: tuple[LimitKey, ...],
        amounts: Amounts = ONE,
        *,
        beyond_belief: bool = False,
        by: AnyLedger | None = None,
    ) -> object:
        """A reservation, or the refusal."""
        ledger = by or next(self._turns)
        reservation = ledger.reserve(path, amounts, time.time(), beyond_belief=beyond_belief)
        if isinstance(reservation, Refusal):
            return reservation
        refusal = await ledger.confirm(reservation, time.time()) if isinstance(ledger, SharedLedger) else None
        self._makers[id(reservation)] = ledger
        return refusal or reservation

    async def admit(self, path: tuple[LimitKey, ...], amounts: Amounts = ONE, *, by: AnyLedger | None = None) -> object:
        """The reservation, as soon as it is to be had."""
        until_at = time.monotonic() + LONGEST_WAIT_S
        while isinstance(outcome := await self.try_once(path, amounts, by=by), Refusal):
            assert outcome.until_s is not None
            assert time.monotonic() < until_at, outcome
            await asyncio.sleep(min(max(0.001, outcome.until_s - time.time()), 1.0))
        return outcome

    async def refuse(self, path: tuple[LimitKey, ...], amounts: Amounts = ONE) -> Refusal:
        """The refusal of every worker, the last one's."""
        outcomes = [await self.try_once(path, amounts, by=ledger) for ledger in self.ledgers]
        for outcome in outcomes:
            assert isinstance(outcome, Refusal)
        assert isinstance(outcome, Refusal)
        return outcome

    def answered(self, reservation: object) -> None:
        self._makers[id(reservation)].answered(reservation, time.time())

    def settle(self, reservation: object, amounts: Amounts, *, arrived: bool = False) -> None:
        self._makers[id(reservation)].settle(reservation, amounts, time.time(), arrived=arrived)

    async def used(self, path: tuple[LimitKey, ...]) -> list[list[int]]:
        """What each worker shows, once it has heard of it."""
        for ledger in self.ledgers:
            ledger.peek(path, time.time())
        if isinstance(self.ledgers[0], SharedLedger):
            await asyncio.sleep(0.15)
        return [[standing.used for standing in ledger.peek(path, time.time())] for ledger in self.ledgers]


@pytest.fixture(params=["memory", "two workers"])
async def rig(request: pytest.FixtureRequest, redis_url: str, redis_prefix: str) -> AsyncIterator[Rig]:
    if request.param == "memory":
        yield Rig([MemoryLedger(transit_skew_s=SKEW_S)])
        return
    ledgers = [
        SharedLedger(
            redis_url,
            prefix=redis_prefix,
            worker=f"host/{slot}",
            epoch_s=time.time,
            random=random.random,
            report=lambda _: None,
            transit_skew_s=SKEW_S,
            barrier_s=0.0,
            beat_s=0.05,
        )
        for slot in range(2)
    ]
    for ledger in ledgers:
        await ledger.start(["gemini", *CLIENT_PARTITIONS])
    for ledger in ledgers:
        assert await ledger.serving("gemini", *CLIENT_PARTITIONS)
    yield Rig(ledgers)
    for ledger in ledgers:
        await ledger.stop()


def path(*limits: tuple[Unit, int, str], firm: bool = True, bound: str = "acct:gemini/a") -> tuple[LimitKey, ...]:
    return tuple(
        LimitKey(
            Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.ACCOUNT,), firm=firm),
            (bound,),
        )
        for unit, amount, window in limits
    )


@pytest.mark.parametrize("window", WINDOWS)
async def test_exactly_the_limit_is_admitted(rig: Rig, window: str) -> None:
    for amount in (1, 2, 5):
        limits = path((Unit.REQUESTS, amount, window), bound=f"acct:gemini/{amount}")
        for _ in range(amount):
            await rig.admit(limits)
        await rig.refuse(limits)


async def test_many_at_once_get_exactly_the_limit(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 15, "60s"), (Unit.TOKENS, 1_000, "day@UTC"))
    outcomes = await asyncio.gather(*(rig.try_once(limits, Amounts(1, 30, 30)) for _ in range(60)))
    assert sum(not isinstance(outcome, Refusal) for outcome in outcomes) == 15


async def test_all_or_none(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 10, "60s"), (Unit.TOKENS, 100, "60s"), (Unit.REQUESTS, 10, "day@UTC"))
    await rig.admit(limits, Amounts(input_tokens=60))
    refusal = await rig.refuse(limits, Amounts(input_tokens=60))
    assert (refusal.limit, refusal.used, refusal.amount, refusal.firm) == (limits[1], 60, 100, True)
    assert await rig.used(limits) == [[1, 60, 1]] * len(rig.ledgers)


async def test_a_refused_request_fits_when_the_refusal_says(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 1, "1s"), (Unit.REQUESTS, 5, "1h"))
    rig.answered(await rig.admit(limits))
    answered_s = time.time()
    await asyncio.sleep(0.02)
    until_s = (await rig.refuse(limits)).until_s
    assert until_s is not None
    assert answered_s + 0.95 < until_s < answered_s + 1.05
    await asyncio.sleep(answered_s + 0.95 - time.time())
    await rig.refuse(limits)
    await rig.admit(limits)
    assert time.time() >= answered_s + 1.0 - 1e-3


async def test_never_is_said(rig: Rig) -> None:
    assert (await rig.refuse(path((Unit.TOKENS, 10, "60s")), Amounts(input_tokens=11))).until_s is None
    limits = path((Unit.UNITS, 5, "once"))
    await rig.admit(limits, Amounts(units=5))
    assert (await rig.refuse(limits, Amounts(units=1))).until_s is None


async def test_until_its_answer_a_call_may_still_be_under_way(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 1, "1s"))
    sent_s = time.time()
    await rig.admit(limits)
    await asyncio.sleep(1.02)
    await rig.refuse(limits)
    await rig.admit(limits)
    assert time.time() >= sent_s + 1.0 + SKEW_S


async def test_settling_corrects_once(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 10, "60s"), (Unit.TOKENS, 1000, "60s"), (Unit.TOKENS, 1000, "day@UTC"))
    reservation = await rig.admit(limits, Amounts(input_tokens=100, output_tokens=256))
    assert await rig.used(limits) == [[1, 356, 356]] * len(rig.ledgers)
    rig.answered(reservation)
    for _ in range(2):
        rig.settle(reservation, Amounts(input_tokens=110, output_tokens=300))
        rig.answered(reservation)
    rig.settle(reservation, Amounts(requests=0))
    await asyncio.sleep(0.1)
    await rig.refuse(limits, Amounts(input_tokens=591))
    await rig.admit(limits, Amounts(input_tokens=590))


async def test_what_the_provider_did_not_count_is_given_back(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 1, "60s"), (Unit.REQUESTS, 1, "once"), (Unit.REQUESTS, 1, "day@UTC"))
    for arrived in (False, True, False):
        rig.settle(await rig.admit(limits), Amounts(requests=0), arrived=arrived)
        await asyncio.sleep(0.02)  # another worker knows it a moment later
    await rig.admit(limits)


async def test_accounts_do_not_touch_each_other(rig: Rig) -> None:
    for bound in ("acct:gemini/a", "acct:gemini/b", "prov:gemini"):
        await rig.admit(path((Unit.REQUESTS, 1, "60s"), bound=bound))


async def test_a_new_amount_goes_on_with_the_old_count(rig: Rig) -> None:
    await rig.admit(path((Unit.REQUESTS, 1, "60s")))
    larger = path((Unit.REQUESTS, 3, "60s"))
    await rig.admit(larger)
    await rig.admit(larger)
    await rig.refuse(larger)


async def test_one_request_at_a_time_goes_beyond_a_belief(rig: Rig) -> None:
    limits, ledger = path((Unit.REQUESTS, 1, "60s"), firm=False), rig.ledgers[-1]
    await rig.admit(limits)
    assert not (await rig.refuse(limits)).firm
    probe = await rig.try_once(limits, beyond_belief=True, by=ledger)
    assert not isinstance(probe, Refusal)
    assert isinstance(await rig.try_once(limits, beyond_belief=True, by=ledger), Refusal)
    rig.settle(probe, Amounts())
    ledger.raise_belief(probe)
    assert not isinstance(await rig.try_once(limits, beyond_belief=True, by=ledger), Refusal)


async def test_success_raises_a_belief(rig: Rig) -> None:
    limits, ledger = path((Unit.REQUESTS, 1, "60s"), firm=False), rig.ledgers[-1]
    await rig.admit(limits)
    await rig.refuse(limits)
    probe = await rig.try_once(limits, beyond_belief=True, by=ledger)
    ledger.raise_belief(probe)
    assert ledger.peek(limits, time.time())[0].amount >= 2


async def test_a_refusal_by_the_provider_makes_a_belief_firm(rig: Rig) -> None:
    limits, ledger = path((Unit.REQUESTS, 1, "60s"), firm=False), rig.ledgers[-1]
    await rig.admit(limits)
    await rig.refuse(limits)
    ledger.confirm_belief(limits[0], time.time())
    outcome = await rig.try_once(limits, beyond_belief=True, by=ledger)
    assert isinstance(outcome, Refusal)


async def test_what_the_provider_says_of_a_limit_is_followed(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 5, "60s"), (Unit.TOKENS, 100, "day@UTC"))
    for ledger in rig.ledgers:
        assert ledger.follow(limits[0], time.time(), amount=2, used=1)
        assert not ledger.follow(limits[1], time.time(), used=70)
    assert await rig.used(limits) == [[1, 70]] * len(rig.ledgers)
    await rig.admit(limits)
    assert (await rig.refuse(limits)).limit == limits[0]


async def test_what_is_in_flight_is_counted_until_it_ends(rig: Rig) -> None:
    limits = path((Unit.REQUESTS, 2, "concurrent"))
    first = await rig.admit(limits)
    rig.answered(first)
    await rig.admit(limits)
    await rig.refuse(limits)
    rig.settle(first, Amounts())
    await asyncio.sleep(0.02)
    await rig.admit(limits)
    await rig.refuse(limits)


async def test_a_quota_that_has_expired_is_gone(rig: Rig) -> None:
    limits = path((Unit.UNITS, 100, "once:2023-11-15@UTC"))
    assert (await rig.refuse(limits, Amounts(units=1))).until_s is None


async def test_no_sliding_window_ever_holds_more_than_the_limit(rig: Rig) -> None:
    limits, arrivals, ends_at = path((Unit.REQUESTS, 5, "1s")), [], time.monotonic() + 1.7

    async def caller() -> None:
        while time.monotonic() < ends_at:
            outcome = await rig.try_once(limits)
            if isinstance(outcome, Refusal):
                assert outcome.until_s is not None
                await asyncio.sleep(max(0.001, min(outcome.until_s - time.time(), 0.2)))
                continue
            await asyncio.sleep(random.random() * 0.02)
            arrivals.append(time.time())
            rig.settle(outcome, Amounts(), arrived=True)

    await asyncio.gather(*(caller() for _ in range(8)))
    arrivals.sort()
    assert len(arrivals) >= 10  # the first five, and five more a window later
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in zip(arrivals, arrivals[5:], strict=False))


def of_client(label: str, *limits: tuple[Unit, int, str], since_s: float = 0.0) -> tuple[LimitKey, ...]:
    made = (
        Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.CLIENT,))
        for unit, amount, window in limits
    )
    return client_path(label, [ClientLimit(limit, since_s) for limit in made])


@pytest.mark.parametrize("window", ["60s", "month@Europe/Berlin", "once", "concurrent"])
async def test_clients_have_counts_of_their_own_and_they_begin_anew_by_another_mark(rig: Rig, window: str) -> None:
    limits = (Unit.REQUESTS, 3, window)
    for label in ("app", "gemini", "other app"):  # one of them is called as a provider is
        for _ in range(3):
            await rig.admit(of_client(label, limits))
        await rig.refuse(of_client(label, limits))
    await rig.admit(path((Unit.REQUESTS, 1, window)))
    again = of_client("app", limits, since_s=time.time())
    for _ in range(3):
        await rig.admit(again)
    await rig.refuse(again)
    await rig.refuse(of_client("app", limits))


async def test_what_a_clients_request_used_takes_the_place_of_what_was_held(rig: Rig) -> None:
    limits = of_client("app", (Unit.REQUESTS, 9, "day@UTC"), (Unit.TOKENS, 900, "day@UTC"), (Unit.USD_MICROS, 50, "1h"))
    reservation = await rig.admit(limits, Amounts(1, 300, 200, 40))
    rig.answered(reservation)
    await rig.refuse(limits, Amounts(1, 1, 1, 20))
    rig.settle(reservation, Amounts(1, 30, 20, 4))
    assert await rig.used(limits) == [[1, 50, 4]] * len(rig.ledgers)
    given_back = await rig.admit(limits, Amounts(1, 300, 200, 40))
    rig.settle(given_back, Amounts(requests=0))
    assert await rig.used(limits) == [[1, 50, 4]] * len(rig.ledgers)


async def test_of_200_at_once_a_clients_budget_for_10_admits_10(rig: Rig) -> None:
    limits = of_client("app", (Unit.USD_MICROS, 100, "month@UTC"), (Unit.REQUESTS, 20, "60s"))
    outcomes = await asyncio.gather(*(rig.try_once(limits, Amounts(1, 0, 0, 10)) for _ in range(200)))
    admitted = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    assert len(admitted) <= 10
    await asyncio.sleep(0.3)
    for _ in range(10 - len(admitted)):
        await rig.admit(limits, Amounts(1, 0, 0, 10))
    await rig.refuse(limits, Amounts(1, 0, 0, 1))
