"""Keeping clients within their own limits and budgets.

What a request may use is reserved once, before anything is sent for it, at the estimate of the dearest candidate that
could serve it; it is held whoever is asked in the end, and settled with what was used when the request is over. Where
a budget has not enough left for the dearest, the request goes on with those candidates that it does have enough for.
An answer that took no call of its own costs nothing.
"""

from collections.abc import Collection, Sequence

import msgspec

from keyrelay.core.configuration import ClientLimit
from keyrelay.core.failures import CALLER_KINDS
from keyrelay.core.limits import Unit, WindowKind
from keyrelay.core.prices import MILLION, rounded_up
from keyrelay.core.records import RequestRecord
from keyrelay.engine.allowances import Allowance
from keyrelay.engine.amounts import expected_amounts
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan, Pool
from keyrelay.engine.refusals import no_price, over_client_limit, usage_unknown
from keyrelay.ports import Ports, Reservation
from keyrelay.quota.client_limits import TOKEN_UNITS
from keyrelay.quota.values import Amounts, Refusal, Standing
from keyrelay.routing.candidates import Candidate

_NOTHING = Amounts(requests=0)


class Hold(msgspec.Struct, frozen=True):
    """What a request has taken of its client's limits, until it is over."""

    reservation: Reservation
    amounts: Amounts


class ClientLimits:
    """The limits of all clients. `holds` are those of requests under way, by their ids.

    As long as it is not `known` what was used before, clients are refused whose limits that counts for.
    """

    __slots__ = ("_clock", "_confirm", "_ledger", "_pool", "_random", "holds", "known")

    def __init__(self, pool: Pool, ports: Ports) -> None:
        self._pool = pool
        self._ledger = ports.ledger
        self._confirm = ports.confirm
        self._clock = ports.clock
        self._random = ports.random
        self.holds: dict[str, Hold] = {}
        self.known = True

    async def take(self, job: Job) -> None:
        """Reserve what a request may use; where money is short, leave it the candidates that are cheap enough.

        Raise CallerError (429) when it does not fit, 503 when what it costs, or what was used, cannot be known.
        """
        allowance = self._pool.allowances.get(job.record.client)
        if allowance is None:  # its limits have just been taken away
            return
        if not self.known and allowance.lasting:
            raise usage_unknown(job.record)
        counts_money = allowance.counts_money and job.request.file is None
        if counts_money:
            job.plan = self._priced(job)
        costs = self._costs(job, allowance, counts_money=counts_money)
        expected = _most(costs.values())
        taken = await self._reserve(allowance, expected)
        if counts_money and isinstance(taken, Refusal) and taken.limit.limit.unit is Unit.USD_MICROS:
            left = taken.amount - taken.used
            cheap = {model: amounts for model, amounts in costs.items() if amounts.usd_micros <= left}
            if cheap:
                job.plan = job.plan.only(lambda each: (each.provider_id, each.model) in cheap, self._random)
                expected = _most(cheap.values())
                taken = await self._reserve(allowance, expected)
        if isinstance(taken, Refusal):
            raise over_client_limit(job.record, taken, expected, self._clock.epoch_s())
        self.holds[job.record.id] = Hold(taken, expected)
        job.held_micros = expected.usd_micros
        self._ledger.answered(taken, self._clock.epoch_s())  # its client's windows begin when it comes

    def settle(self, record: RequestRecord) -> None:
        """The request is over, one way or another: count what it used."""
        hold = self.holds.pop(record.id, None)
        if hold is not None:
            used = _used(record, hold.amounts)
            self._ledger.settle(hold.reservation, used, self._clock.epoch_s())
            record.charged = used.requests, used.input_tokens, used.output_tokens, used.usd_micros

    def standings(self, label: str) -> tuple[tuple[ClientLimit, Standing], ...]:
        """The limits of a client, in their order, and how each stands; nothing for a client without any."""
        allowance = self._pool.allowances.get(label)
        if allowance is None:
            return ()
        standings = self._ledger.peek(allowance.path, self._clock.epoch_s())
        return tuple(zip(allowance.limits, standings, strict=True))

    def fields(self, label: str) -> tuple[tuple[str, str], ...]:
        """What the head of an answer says of a client's limits: of requests and of tokens, of which least is left."""
        allowance = self._pool.allowances.get(label)
        if allowance is None or not allowance.told:
            return ()
        now_s = self._clock.epoch_s()
        standings = [
            standing
            for standing in self._ledger.peek(allowance.path, now_s)
            if standing.limit.limit.window.kind is not WindowKind.CONCURRENT
        ]
        requests = [standing for standing in standings if standing.limit.limit.unit is Unit.REQUESTS]
        tokens = [standing for standing in standings if standing.limit.limit.unit in TOKEN_UNITS]
        return (*_fields("requests", requests, now_s), *_fields("tokens", tokens, now_s))

    def lines(self, label: str) -> bytes:
        """The same as lines of a head."""
        return "".join(f"{name}: {value}\r\n" for name, value in self.fields(label)).encode("ascii")

    async def _reserve(self, allowance: Allowance, amounts: Amounts) -> Reservation | Refusal:
        now_s = self._clock.epoch_s()
        taken = self._ledger.reserve(allowance.path, amounts, now_s)
        if self._confirm is None or isinstance(taken, Refusal):
            return taken
        return await self._confirm(taken, now_s) or taken

    def _priced(self, job: Job) -> Plan:
        """The plan without those candidates of which nobody knows what they cost. Raise CallerError (503)."""
        plan = job.plan
        if all(each.price is not None for each in plan.one_of_each_model()):
            return plan
        priced = plan.only(lambda each: each.price is not None, self._random)
        if not priced.stages:
            raise no_price(job.record)
        return priced

    def _costs(self, job: Job, allowance: Allowance, *, counts_money: bool) -> dict[tuple[str, str], Amounts]:
        """What the request is expected to take of each model that could serve it."""
        if job.request.file is not None or not (allowance.counts_tokens or counts_money):
            return {("", ""): Amounts()}
        now_s = self._clock.epoch_s()
        return {
            (each.provider_id, each.model): _expected(each, job, now_s, counts_money=counts_money)
            for each in job.plan.one_of_each_model()
        }

    def __repr__(self) -> str:
        return f"<ClientLimits of {len(self._pool.allowances)} clients, {len(self.holds)} requests under way>"


def _expected(candidate: Candidate, job: Job, now_s: float, *, counts_money: bool) -> Amounts:
    amounts, price = expected_amounts(candidate, job, now_s), candidate.price
    micros = 0
    if counts_money and price is not None:
        micros = rounded_up(price.millionths(amounts.input_tokens, amounts.output_tokens, now_s))
    return Amounts(1, amounts.input_tokens, amounts.output_tokens, micros)


def _most(costs: Collection[Amounts]) -> Amounts:
    """The most of each unit."""
    return Amounts(
        1,
        max((each.input_tokens for each in costs), default=0),
        max((each.output_tokens for each in costs), default=0),
        max((each.usd_micros for each in costs), default=0),
    )


def _used(record: RequestRecord, held: Amounts) -> Amounts:
    """What a request used: as its answer says; all that was held for it when a call may have been worked on unseen.

    What no candidate took is not counted, unless its own fault was the reason.
    """
    usage, attempts = record.usage, record.attempts
    if usage is not None:
        micros = 0 if record.cost_usd is None else rounded_up(record.cost_usd * MILLION)
        return Amounts(1, usage.input_tokens, usage.output_tokens, micros)
    if any(attempt.input_tokens or attempt.output_tokens for attempt in attempts):
        return held
    failure = attempts[-1].failure if attempts else None
    return Amounts() if failure is not None and failure.kind in CALLER_KINDS else _NOTHING


def _fields(name: str, standings: Sequence[Standing], now_s: float) -> tuple[tuple[str, str], ...]:
    if not standings:
        return ()
    tightest = min(standings, key=lambda standing: standing.amount - standing.used)
    reset_s = now_s if tightest.reset_s is None else tightest.reset_s
    return (
        (f"x-ratelimit-limit-{name}", str(tightest.amount)),
        (f"x-ratelimit-remaining-{name}", str(max(0, tightest.amount - tightest.used))),
        (f"x-ratelimit-reset-{name}", f"{max(0.0, reset_s - now_s):.3f}s"),
    )
