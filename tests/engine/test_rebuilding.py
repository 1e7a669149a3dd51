import asyncio
import random
from collections.abc import Awaitable

import msgspec
import pytest

from keyrelay.configuration.stored_clients import parse_client_limit
from keyrelay.core.configuration import Client, ClientLimit, ClientRules
from keyrelay.core.errors import CallerError
from keyrelay.core.records import OF_CLIENTS, Attempt, RequestRecord, Used
from keyrelay.engine.rebuilding import Rebuilding, needed_since_s, together, used_by
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.quota.learning import LearnedBook
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.quota.values import Amounts, Standing
from tests.engine.rig import (
    START_S,
    FakeAnswer,
    ListSink,
    Outcome,
    Rig,
    delta,
    error,
    providers,
    snapshot_of,
    stream_of,
)

DAY_S = 86_400.0
LIMITS = "1000 requests per 60s; 900 requests per day@UTC; 90000 tokens per 1h; 80000 tokens once for key"


def standings(rig: Rig, now_s: float) -> list[Standing]:
    rig.pool.plan("m")
    candidates = sorted(rig.pool.candidates(), key=lambda candidate: candidate.key.id)
    return [standing for candidate in candidates for standing in rig.ledger.peek(candidate.own_path, now_s)]


def erratic(seed: int) -> Rig:
    """Providers that answer, stream, refuse, break off and do not answer at all."""
    chance = random.Random(seed)

    def outcome(streamed: bool) -> Outcome:
        roll = chance.random()
        if roll < 0.1:
            return error(429, "slow down", retry_after="0.01")
        if roll < 0.2:
            return error(500)
        if roll < 0.3:
            return Fault(kind="network", message="connection refused", reached=roll < 0.25)
        if streamed:
            return stream_of(delta("a"), delta("b"), done=roll < 0.8)
        return FakeAnswer()

    def answer(_: str, call: UpstreamCall) -> Awaitable[Outcome]:
        async def late() -> Outcome:
            await asyncio.sleep(chance.random() / 100)
            return outcome(b'"stream":true' in call.body)

        return late()

    return Rig(answer, providers("acme", "other", keys=2, ACME_LIMITS=LIMITS, OTHER_LIMITS=LIMITS))


@pytest.mark.parametrize("seed", range(5))
async def test_a_ledger_made_of_the_records_stands_as_the_one_that_counted(seed: int) -> None:
    rig = erratic(seed)

    async def ask(number: int) -> None:
        sink = ListSink() if number % 3 == 0 else None
        try:
            await asyncio.wait_for(rig.ask(sink=sink), 0.012 if number % 7 == 0 else 5)
        except (CallerError, TimeoutError):
            return

    await asyncio.gather(*(ask(number) for number in range(60)))
    records = [msgspec.json.decode(msgspec.json.encode(record), type=RequestRecord) for record in rig.notes.ended]
    assert len(records) == 60
    used = [each for record in records for each in used_by(record)]
    assert sum(each.requests for each in used) > 60, "some were tried more than once"

    again = erratic(seed)
    rebuilding = Rebuilding(again.pool, again.ledger, LearnedBook(), rig.clock.epoch_s())
    rebuilding.count(used)
    rebuilding.count(used, once=True)
    now_s = rig.clock.epoch_s()
    for later_s in (0.0, 30.0, 59.0, 62.0, 3599.0, 3602.0, DAY_S):
        before, after = standings(rig, now_s + later_s), standings(again, now_s + later_s)
        assert [standing.used for standing in before] == [standing.used for standing in after], later_s


def test_keys_that_are_gone_are_passed_over_and_counted() -> None:
    rig = Rig(lambda *_: FakeAnswer(), providers("acme", ACME_RPM="5"))
    gone, there = RequestRecord("req_1"), RequestRecord("req_2")
    gone.attempts = [Attempt("acme", "gone", "m", sent_s=START_S, requests=1)]
    there.attempts = [Attempt("acme", "k00", "m", sent_s=START_S, requests=1)]
    rebuilding = Rebuilding(rig.pool, rig.ledger, LearnedBook(), START_S + 5)
    assert rebuilding.count([*used_by(gone), *used_by(there)]) == 1
    assert rebuilding.unknown == 1
    assert [standing.used for standing in standings(rig, START_S + 5)] == [1]


def test_an_attempt_whose_end_nobody_saw_counts_as_late_as_it_can_have_arrived() -> None:
    record = RequestRecord("req_1")
    record.attempts = [Attempt("acme", "k", "m", sent_s=START_S), Attempt("acme", "k", "m", ms=250.0, sent_s=START_S)]
    assert [used.at_s for used in used_by(record)] == [START_S + TRANSIT_SKEW_S, START_S + 0.25]


@pytest.mark.parametrize(
    ("limits", "back_s"),
    [
        ("5 requests per 60s", DAY_S),
        ("5 requests per 48h", 2 * DAY_S),
        ("5 requests per month@UTC", 14 * DAY_S + 8 * 3600),
        ("5 requests once", DAY_S),
    ],
)
def test_how_far_back_usage_still_counts(limits: str, back_s: float) -> None:
    snapshot = snapshot_of(**providers("acme", ACME_LIMITS=limits))
    assert needed_since_s(snapshot, START_S) == START_S - back_s - TRANSIT_SKEW_S


def test_what_was_ever_used_leaves_the_windows_as_they_are() -> None:
    limits = "500 requests per 24h; 9 requests once for key"
    rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_LIMITS=limits))
    used = [Used("acme", "k01", "m", START_S - 7200.0, 4), Used("acme", "k00", "m", START_S - 5.0, 3)]
    rebuilding = Rebuilding(rig.pool, rig.ledger, LearnedBook(), START_S)
    rebuilding.count(used)
    rebuilding.count([*used, Used("acme", "k01", "m", START_S - 40 * DAY_S, 2)], once=True)
    assert [standing.used for standing in standings(rig, START_S)] == [3, 3, 4, 6]
    assert [standing.used for standing in standings(rig, START_S + DAY_S - 7000.0)] == [3, 3, 0, 6]


def test_a_ledger_that_counts_already_is_raised_to_what_was_used_before_and_never_lowered() -> None:
    environ = providers("acme", keys=2, ACME_LIMITS="500 requests per day@UTC")
    rig, known = Rig(lambda *_: FakeAnswer(), environ), Rig(lambda *_: FakeAnswer(), environ)
    for label, count in (("k00", 7), ("k01", 2)):
        candidate = rig.pool.candidate_of("acme", label, "m")
        assert candidate is not None
        rig.ledger.restore(candidate.own_path, Amounts(count), START_S)
    rebuilding = Rebuilding(rig.pool, known.ledger, LearnedBook(), START_S + 1)
    rebuilding.count([Used("acme", "k00", "m", START_S - 9, 5), Used("acme", "k01", "m", START_S - 9, 5)])
    rebuilding.raise_counts_of(rig.ledger)
    assert [standing.used for standing in standings(rig, START_S + 2)] == [7, 5]


def test_groups_of_calls_add_up() -> None:
    one, other = Used("acme", "k", "m", 5.0, 1, 2, 3, 4, 5), Used("acme", "k", "m", 9.0, 10, 20, 30, 40, 50)
    assert together(one, other) == Used("acme", "k", "m", 9.0, 11, 22, 33, 44, 55)


def limited(rig: Rig, *limits: ClientLimit) -> None:
    client = Client("app", b"digest", ClientRules(limits=limits), keyed=True)
    rig.pool.replace(msgspec.structs.replace(rig.pool.snapshot, clients={client.digest: client}))


def limit_of(text: str, since_s: float = 0.0, before: int = 0) -> ClientLimit:
    return ClientLimit(parse_client_limit(text), since_s, before)


def of_app(at_s: float, *amounts: int, client: str = "app") -> Used:
    return Used(OF_CLIENTS, client, "", at_s, *amounts)


def used_by_app(rig: Rig) -> list[int]:
    return [each.used for each in rig.ledger.peek(rig.pool.allowances["app"].path, START_S + 100)]


def rebuilt(rig: Rig, *used: Used, ever: tuple[Used, ...] = ()) -> Rebuilding:
    rebuilding = Rebuilding(rig.pool, rig.ledger, LearnedBook(), START_S + 100)
    rebuilding.count(used)
    rebuilding.count(ever, once=True)
    return rebuilding


def test_clients_go_on_with_what_they_have_used() -> None:
    rig = Rig(lambda key, call: FakeAnswer(), providers("acme"))
    limited(
        rig,
        limit_of("9 requests per minute"),
        limit_of("900 tokens per hour", START_S),
        limit_of("2 usd per day", START_S + 50),
        limit_of("9 usd once"),
        limit_of("900 tokens once", START_S, 30),
        limit_of("4 requests concurrent"),
    )
    rebuilding = rebuilt(
        rig,
        of_app(START_S + 70, 2, 10, 20, 500),
        of_app(START_S - 10, 1, 100, 100, 900),
        of_app(START_S + 30, 3, 1, 2, 40),
        of_app(START_S + 99, 3, 1, 2, 40, client="gone"),
        ever=(of_app(START_S + 70, 6, 20, 12, 7_000),),
    )
    assert used_by_app(rig) == [2, 33, 500, 7_000, 2, 0]
    assert rebuilding.unknown == 0


def test_time_does_not_run_back_while_providers_and_clients_are_told_together() -> None:
    rig = Rig(lambda key, call: FakeAnswer(), providers("acme", ACME_LIMITS="900 requests per 1h for key"))
    limited(rig, limit_of("900 requests per hour"))
    used = [Used("acme", "k00", "m", START_S - 60 * n, 1) for n in range(50)]
    used += [of_app(START_S - 60 * n, 1) for n in range(50)]
    rebuilt(rig, *used)
    assert used_by_app(rig) == [50]
    assert [each.used for each in standings(rig, START_S + 100)] == [50]


def test_a_request_is_one_for_its_client_however_often_it_was_tried() -> None:
    attempt = Attempt("acme", "k00", "m", ms=10.0, sent_s=START_S, requests=1)
    record = RequestRecord("req_1", client="app", charged=(1, 3, 2, 50), attempts=[attempt, attempt])
    assert used_by(record)[-1] == of_app(START_S + 0.01, 1, 3, 2, 50)
    assert used_by(RequestRecord("req_1", client="app", charged=(0, 0, 0, 0))) == [of_app(0.0, 0, 0, 0, 0)]


def test_how_far_back_it_has_to_be_looked_depends_on_clients_and_keys_too() -> None:
    rig = Rig(lambda key, call: FakeAnswer(), providers("acme"))
    before_s = needed_since_s(rig.pool.snapshot, START_S)
    limited(rig, limit_of("9 requests per month"))
    assert needed_since_s(rig.pool.snapshot, START_S) < before_s - 10 * DAY_S
