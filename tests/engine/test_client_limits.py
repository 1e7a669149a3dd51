"""Limits and budgets of clients in the engine: what is reserved, held over a failover, counted and given back."""

import asyncio
from typing import Any

import msgspec
import pytest

from keyrelay.configuration.stored_clients import parse_client_limit
from keyrelay.core.configuration import Client, ClientLimit, ClientRules
from keyrelay.core.errors import CallerError
from keyrelay.core.prices import OVERRIDE, PriceList, Rates, simple_price
from keyrelay.core.records import RequestRecord, Reserved
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import Fault, Reservation, UpstreamCall
from keyrelay.quota.values import Amounts, Refusal
from keyrelay.wire.openai import decode_request
from tests.engine.rig import GOOD, FakeAnswer, ListSink, Outcome, Rig, Script, delta, error, providers, stream_of

LIMITED = Wishes(limited=True)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def answered(key: str, call: UpstreamCall) -> Outcome:
    del key, call
    return FakeAnswer()


def rig_of(
    script: Script,
    *limits: str,
    names: tuple[str, ...] = ("acme",),
    prices: dict[str, float] | None = None,
    **more: Any,
) -> Rig:
    """A gateway with one client of limits; `prices` are in dollars per million tokens by provider."""
    rig = Rig(script, providers(*names), **more)
    snapshot = rig.pool.snapshot
    priced = {
        name: msgspec.structs.replace(
            snapshot.providers[name], prices=PriceList({"m": simple_price(OVERRIDE, Rates(price, price))})
        )
        for name, price in (prices or {}).items()
    }
    rules = ClientRules(limits=tuple(ClientLimit(parse_client_limit(text)) for text in limits))
    client = Client("app", b"digest", rules, keyed=True)
    rig.pool.replace(
        msgspec.structs.replace(snapshot, clients={client.digest: client}, providers=snapshot.providers | priced)
    )
    return rig


async def ask(rig: Rig, model: str = "m", *, sink: ListSink | None = None, **more: Any) -> RequestRecord:
    """The record of a request of the client's. Raise CallerError as the gateway does."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    if sink is not None:
        body["stream"] = True
    request = decode_request("chat", msgspec.json.encode(body), max_depth=64)
    record = RequestRecord(f"req_{len(rig.records)}", rig.clock.monotonic_s(), client="app")
    rig.records.append(record)
    try:
        await rig.gateway.serve(request, record, sink or ListSink(), LIMITED)
    finally:
        rig.gateway.finish(record)
    return record


async def refused(rig: Rig, model: str = "m", **more: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        await ask(rig, model, **more)
    return caught.value


def used(rig: Rig) -> list[int]:
    return [standing.used for _, standing in rig.gateway.client_limits.standings("app")]


async def test_the_estimate_is_held_and_what_was_used_is_counted() -> None:
    held = list[list[int]]()

    def script(key: str, call: UpstreamCall) -> Outcome:
        held.append(used(rig))
        return answered(key, call)

    rig = rig_of(script, "5 requests per day", "10000 tokens per day", "1 usd per day", prices={"acme": 100.0})
    record = await ask(rig)
    ((requests, tokens, micros),) = held
    assert (requests, tokens > 200, micros) == (1, True, tokens * 100)
    assert used(rig) == [1, 5, 500]
    assert record.charged == (1, 3, 2, 500)
    assert rig.gateway.client_limits.holds == {}


async def test_a_full_limit_refuses_before_anybody_is_called() -> None:
    rig = rig_of(answered, "2 requests per minute")
    for _ in range(2):
        await ask(rig)
    error = await refused(rig)
    assert (error.status, error.code, error.kind) == (429, "client_limit", "rate_limit_error")
    assert dict(error.headers)["x-should-retry"] == "true"
    assert 59_000 < int(dict(error.headers)["retry-after-ms"]) <= 60_000
    assert error.detail is not None
    assert {name: error.detail[name] for name in ("limit", "used", "amount", "needed")} == {
        "limit": "2 requests per 60s",
        "used": 2,
        "amount": 2,
        "needed": 1,
    }
    assert len(rig.upstream.calls) == 2
    rig.clock.moved_s += 61
    await ask(rig)


async def test_a_used_up_budget_says_when_it_begins_anew_or_that_it_never_does() -> None:
    long = {**GOOD, "usage": {"prompt_tokens": 490, "completion_tokens": 2}}
    rig = rig_of(lambda key, call: FakeAnswer(body=long), "0.001 usd per month", prices={"acme": 2.0})
    await ask(rig, max_tokens=5)
    exhausted = await refused(rig, max_tokens=5)
    assert (exhausted.status, exhausted.code, exhausted.kind) == (429, "budget_exhausted", "insufficient_quota")
    assert exhausted.detail is not None
    assert exhausted.detail["until"].endswith("01T00:00:00Z")
    assert dict(exhausted.headers)["x-should-retry"] == "false"
    rig = rig_of(answered, "1 requests once")
    await ask(rig)
    over = await refused(rig)
    assert (over.code, dict(over.headers)) == ("budget_exhausted", {"x-should-retry": "false"})
    assert "does not come back by itself" in over.message


async def test_a_request_larger_than_the_whole_limit_is_told_so() -> None:
    rig = rig_of(answered, "20 tokens per minute")
    error = await refused(rig, messages=[{"role": "user", "content": "word " * 100}])
    assert (error.code, dict(error.headers)) == ("client_limit", {"x-should-retry": "false"})
    assert "larger than the whole limit" in error.message


async def test_of_200_at_once_a_budget_for_10_admits_10() -> None:
    async def slowly(key: str, call: UpstreamCall) -> Outcome:
        await asyncio.sleep(0.01)
        return answered(key, call)

    rig = rig_of(slowly, "11 requests per day", "4 requests concurrent")
    await ask(rig)
    outcomes = await asyncio.gather(*(ask(rig) for _ in range(200)), return_exceptions=True)
    assert sum(isinstance(outcome, RequestRecord) for outcome in outcomes) == 4
    assert rig.upstream.most_running == 4
    more = await asyncio.gather(*(ask(rig) for _ in range(4)), return_exceptions=True)
    more += await asyncio.gather(*(ask(rig) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, RequestRecord) for outcome in more) == 6
    assert len(rig.upstream.calls) == 11


async def test_a_budget_of_money_for_10_admits_no_more_than_10_at_once() -> None:
    rig = rig_of(answered, "0.01 usd per day", prices={"acme": 10.0})
    await ask(rig, max_tokens=90)
    (_, standing), *_ = rig.gateway.client_limits.standings("app")
    assert standing.used == 50
    outcomes = await asyncio.gather(*(ask(rig, max_tokens=80) for _ in range(200)), return_exceptions=True)
    served = sum(isinstance(outcome, RequestRecord) for outcome in outcomes)
    assert 0 < served < 200
    (_, standing), *_ = rig.gateway.client_limits.standings("app")
    assert standing.used == 50 * (served + 1) <= 10_000


async def test_one_reservation_holds_over_a_failover() -> None:
    seen = list[list[int]]()

    def script(key: str, call: UpstreamCall) -> Outcome:
        del call
        seen.append(used(rig))
        return error(503, "down") if len(seen) == 1 else FakeAnswer()

    rig = rig_of(script, "1 requests per day", names=("acme", "best"))
    record = await ask(rig)
    assert (len(record.attempts), seen) == (2, [[1], [1]])
    assert (used(rig), record.charged) == ([1], (1, 3, 2, 0))


@pytest.mark.parametrize(
    ("outcome", "charged"),
    [
        (error(429, "slow down"), (0, 0, 0)),
        (error(503, "down"), (0, 0, 0)),
        (error(401, "who?"), (0, 0, 0)),
        (error(400, "your max_tokens is wrong"), (1, 0, 0)),
        (Fault(kind="network", message="refused", reached=False), (0, 0, 0)),
    ],
)
async def test_what_nobody_served_is_given_back(outcome: Outcome, charged: tuple[int, int, int]) -> None:
    rig = rig_of(
        lambda key, call: outcome, "5 requests per day", "1000 tokens per day", "1 usd per day", prices={"acme": 1}
    )
    await refused(rig)
    assert tuple(used(rig)) == charged
    assert rig.records[0].charged is not None


async def test_a_call_that_nobody_saw_the_end_of_counts_as_all_that_was_held() -> None:
    rig = rig_of(
        lambda key, call: Fault(kind="timeout", message="too slow"),
        "5 requests per day",
        "1000 tokens per day",
        "1 usd per day",
        prices={"acme": 1.0},
    )
    await refused(rig)
    requests, tokens, micros = used(rig)
    assert (requests, tokens > 200, micros) == (1, True, tokens)


async def test_a_cancelled_request_counts_what_it_may_have_used() -> None:
    async def never(key: str, call: UpstreamCall) -> Outcome:
        del key, call
        await asyncio.sleep(60)
        raise AssertionError

    rig = rig_of(never, "5 requests per day", "1000 tokens per day")
    task = asyncio.create_task(ask(rig))
    await asyncio.sleep(0.01)
    held = used(rig)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert used(rig) == held
    assert rig.gateway.client_limits.holds == {}


async def test_a_stream_counts_what_it_says_that_it_used() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 20}}
    rig = rig_of(
        lambda key, call: stream_of(delta("a"), delta("b"), usage), "5 requests per day", "1000 tokens per day"
    )
    sink = ListSink()
    await ask(rig, sink=sink)
    assert sink.ended
    assert used(rig) == [1, 50]


async def test_a_stream_that_breaks_counts_what_came() -> None:
    broken = stream_of(delta("a"), delta("b"), done=False, fault=Fault(kind="network", message="cut"))
    rig = rig_of(lambda key, call: broken, "5 requests per day", "1000 output_tokens per day")
    await ask(rig, sink=ListSink())
    assert used(rig) == [1, 2]


async def test_the_dearest_candidate_is_reserved_for_and_a_cheap_one_when_money_is_short() -> None:
    asked = list[str]()

    def script(key: str, call: UpstreamCall) -> Outcome:
        asked.append(key.partition("-")[0])
        return answered(key, call)

    rig = rig_of(script, "0.01 usd per day", names=("acme", "best"), prices={"acme": 1.0, "best": 1000.0})
    for _ in range(4):
        await ask(rig)
    assert asked == ["acme"] * 4
    assert used(rig) == [20]


async def test_where_money_counts_what_has_no_price_does_not_serve() -> None:
    rig = rig_of(answered, "1 usd per day", names=("acme", "best"), prices={"best": 1.0})
    for _ in range(3):
        assert (await ask(rig)).provider == "best"
    rig = rig_of(answered, "1 usd per day")
    error = await refused(rig)
    assert (error.status, error.code) == (503, "unpriced")
    assert used(rig) == [0]


async def test_the_journal_knows_what_a_budget_holds() -> None:
    entries = list[Reserved]()

    class Journal:
        full = syncs = False

        def reserved(self, entry: Reserved) -> None:
            entries.append(entry)

        def ended(self, line: bytes, request_id: str | None = None) -> None: ...

        async def synced(self) -> None: ...

    rig = rig_of(answered, "1 usd per day", prices={"acme": 10.0}, journal=Journal())
    await ask(rig)
    (entry,) = entries
    assert entry.usd_micros == 10 * (entry.input_tokens + entry.output_tokens)


async def test_whoever_shares_the_limits_is_asked_and_a_refusal_is_passed_on() -> None:
    async def confirm(reservation: Reservation, now_s: float) -> Refusal | None:
        rig.ledger.settle(reservation, Amounts(requests=0), now_s)
        key = rig.pool.allowances["app"].path[0]
        return Refusal(limit=key, used=5, amount=5, until_s=now_s + 6.9, firm=True)

    rig = rig_of(answered, "5 requests per minute", confirm=confirm)
    error = await refused(rig)
    assert (error.code, dict(error.headers)["retry-after"]) == ("client_limit", "7")
    assert (used(rig), rig.upstream.calls, rig.gateway.client_limits.holds) == ([0], [], {})


async def test_a_client_whose_limits_were_just_taken_away_is_served() -> None:
    rig = rig_of(answered)
    assert (await ask(rig)).charged is None
    assert rig.gateway.client_limits.standings("app") == ()
    assert rig.gateway.client_limits.lines("app") == b""
    assert repr(rig.gateway.client_limits) == "<ClientLimits of 0 clients, 0 requests under way>"


async def test_answers_say_how_much_is_left_of_requests_and_tokens() -> None:
    rig = rig_of(
        answered,
        "60 requests per minute",
        "3 requests per day",
        "1000 tokens per hour",
        "9 requests concurrent",
        "1 usd per day",
        prices={"acme": 1.0},
    )
    await ask(rig)
    fields = dict(rig.gateway.client_limits.fields("app"))
    resets = {name: float(value.removesuffix("s")) for name, value in fields.items() if "reset" in name}
    assert 0 < resets["x-ratelimit-reset-requests"] <= 86_400
    assert 3_590 < resets["x-ratelimit-reset-tokens"] <= 3_600
    assert {name: value for name, value in fields.items() if name not in resets} == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "995",
    }
    assert rig.gateway.client_limits.lines("app").startswith(b"x-ratelimit-limit-requests: 3\r\n")
    assert rig_of(answered, "1 usd per day", "4 requests concurrent").gateway.client_limits.fields("app") == ()
    tokens_alone = rig_of(answered, "1000 tokens per hour").gateway.client_limits.lines("app")
    assert tokens_alone.startswith(b"x-ratelimit-limit-tokens: 1000\r\n")
    assert b"requests" not in tokens_alone
    assert GOOD["usage"] == USAGE
