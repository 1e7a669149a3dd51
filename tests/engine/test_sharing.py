import asyncio
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.configuration import Key
from keyrelay.core.errors import CallerError
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, parse_window
from keyrelay.core.secrets import Secret
from keyrelay.engine.notices import AccountsMerged, CellRests, FactLearned, Notice, decode, lasts_s, subject_of
from keyrelay.engine.sharing import REFRESH_S, SPREAD_S, Post
from keyrelay.ports import UpstreamCall
from keyrelay.quota.learning import FORGOTTEN, HALF_LIFE_S, Fact, FactSource, LearnedBook, Merge, learned_key
from keyrelay.quota.values import LimitKey
from keyrelay.routing.circuit import CircuitSettings
from tests.engine.rig import START_S, FakeAnswer, error, providers
from tests.engine.sharing_ends import Board, End, good, pair

DAY_S = 86_400.0
TWO_KEYS = providers("acme", keys=2)


def notices(posts: list[Post]) -> list[Notice]:
    found = [decode(post.value) for post in posts]
    assert None not in found
    return [notice for notice in found if notice is not None]


def learned(amount: int = 5, window: str = "60s", *, firm: bool = True, account: str = "k00") -> LimitKey:
    limit = Limit(
        unit=Unit.REQUESTS,
        amount=amount,
        window=parse_window(window),
        scope=(ScopePart.ACCOUNT,),
        source=LimitSource.LEARNED,
        firm=firm,
    )
    return learned_key(limit, provider_id="acme", account=account, key_label=account, model="m")


async def test_a_key_that_one_finds_invalid_costs_the_others_nothing() -> None:
    def script(key: str, _: UpstreamCall) -> FakeAnswer:
        return error(401, "no", code="invalid_api_key") if key == "acme-00" else FakeAnswer()

    first, second, board, other = pair(TWO_KEYS, script)
    for _ in range(4):
        await first.rig.ask()
    assert first.calls.count("acme-00") == 1
    board.deliver()
    for _ in range(4):
        await second.rig.ask()
    assert second.calls == ["acme-01"] * 4
    assert second.applied > 0
    assert repr(second.sharing) == f"<Sharing over {other!r}, {second.sharing.received} received>"


@pytest.mark.parametrize("ahead_s", [-3.0, 0.0, 3.0])
async def test_a_rest_lasts_as_long_everywhere_whatever_the_clocks_say(ahead_s: float) -> None:
    refusing = True

    def script(*_: object) -> FakeAnswer:
        return error(429, "slow down", retry_after="12") if refusing else FakeAnswer()

    first, second, board, other = pair(providers("acme"), script, ahead_s=ahead_s)
    with pytest.raises(CallerError):
        await first.rig.ask()
    (rest_s,) = (cell.until_s - START_S for cell in first.health.cells() if cell.failure)
    board.deliver(age_s=2.0)
    assert [cell.until_s for cell in second.health.cells() if cell.failure] == [START_S + ahead_s + rest_s - 2]
    refusing = False
    second.clock.moved_s += rest_s - 2.1
    with pytest.raises(CallerError):
        await second.rig.ask()
    assert second.calls == []
    second.clock.moved_s += 0.2
    await second.rig.ask()
    other.deliver()
    assert not [cell for cell in first.health.cells() if cell.failure], "its success wakes it everywhere"
    await first.rig.ask()


async def test_a_proof_elsewhere_is_a_proof_here() -> None:
    first, second, board, _ = pair(providers("acme"))
    await first.rig.ask()
    posts = board.deliver()
    assert [post.subject for post in posts] == ["proof:key:acme/k00", "proof:pair:acme/k00:m"] * 2
    assert [post.lasts_s for post in posts] == [0, 0, DAY_S, DAY_S], "a trial is for those who are there"
    assert all(proof.proven for proof in second.health.proofs())
    for _ in range(5):
        await first.rig.ask()
    assert board.deliver() == [], "what says nothing new is not told"


async def test_while_one_tries_a_key_the_others_do_not() -> None:
    answering = asyncio.Event()

    async def slowly(*_: object) -> FakeAnswer:
        await answering.wait()
        return FakeAnswer()

    first, second, board, other = pair(TWO_KEYS, slowly)
    asked = asyncio.create_task(first.rig.ask())
    await asyncio.sleep(0)
    board.deliver()
    also_asked = asyncio.create_task(second.rig.ask())
    await asyncio.sleep(0)
    assert [*first.calls, *second.calls] == ["acme-00", "acme-01"]
    answering.set()
    await asyncio.gather(asked, also_asked)
    other.deliver()


async def test_a_circuit_that_opens_at_one_is_open_at_all_and_they_come_back_one_after_another() -> None:
    working = False

    def script(*_: object) -> FakeAnswer:
        return FakeAnswer() if working else error(500)

    first, second, board, other = pair(providers("acme"), script, ahead_s=3.0)
    for _ in range(5):
        with pytest.raises(CallerError):
            await first.rig.ask()
    board.deliver()
    circuits = [circuit for circuit in second.health.circuits() if not circuit.closed]
    opened = {circuit.name: circuit for circuit in first.health.circuits() if not circuit.closed}
    assert {circuit.name for circuit in circuits} == opened.keys() == {"key:acme/k00"}
    for circuit in circuits:
        later_s = circuit.open_until_s - 3.0 - opened[circuit.name].open_until_s
        assert later_s == pytest.approx(SPREAD_S / 2, abs=1e-3)
    assert second.calls == []
    first.clock.moved_s += 40
    second.clock.moved_s += 40
    working = True
    await first.rig.ask()
    probing = board.posts.copy()
    assert "circuit:key:acme/k00" in {post.subject for post in probing}
    board.deliver()
    assert all(circuit.closed for circuit in second.health.circuits())
    await second.rig.ask()
    assert other.deliver() == []


async def test_a_probe_elsewhere_holds_the_others_back() -> None:
    first, second, board, _ = pair(providers("acme"))
    circuit = first.health.circuit("provider:acme")
    for _ in range(5):
        circuit.failed(first.clock.epoch_s(), "slow", lambda: 0.5)
    first.clock.moved_s = second.clock.moved_s = 31.0
    circuit.begin(first.clock.epoch_s())
    board.deliver()
    second.clock.moved_s += 60.0
    assert not second.health.circuit("provider:acme").admits(second.clock.epoch_s())
    circuit.release()
    board.deliver()
    second.clock.moved_s += 1.0
    assert second.health.circuit("provider:acme").admits(second.clock.epoch_s())


async def test_a_limit_that_one_learns_binds_all_and_a_person_clears_it_for_all() -> None:
    words = "Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1."
    calls = 0

    def script(*_: object) -> FakeAnswer:
        nonlocal calls
        calls += 1
        return error(429, words, retry_after="1") if calls == 1 else FakeAnswer()

    first, second, board, other = pair(providers("acme"), script)
    with pytest.raises(CallerError):
        await first.rig.ask()
    board.deliver()
    now_s = second.clock.epoch_s()
    (fact,) = second.rig.learner.book.facts(now_s)
    assert fact == first.rig.learner.book.facts(now_s)[0]
    assert (fact.amount, fact.source) == (3, FactSource.REFUSAL)
    assert second.rig.ledger.peek((fact.key,), now_s)[0].amount == 3
    second.clock.moved_s += 100
    for _ in range(3):
        await second.rig.ask()
    with pytest.raises(CallerError):
        await second.rig.ask()
    assert len(second.rig.learner.clear(now_s)) == 1
    other.deliver()
    assert first.rig.learner.book.facts(now_s) == ()
    assert board.deliver() == []


async def test_a_fact_is_told_again_only_for_what_is_new() -> None:
    first, _, board, _ = pair(providers("acme"))
    learner, key = first.rig.learner, learned()

    def note(amount: int, seen_s: float, source: FactSource = FactSource.HEADER, **more: bool) -> None:
        fact = learner.book.note(
            key, source, seen_s, provider_id="acme", evidence=f"at {seen_s}", amount=amount, **more
        )
        first.sharing.learned(fact)

    note(5, START_S)
    assert len(board.deliver()) == 1
    note(5, START_S + 1)
    assert board.deliver() == []
    note(6, START_S + 2)
    assert len(board.deliver()) == 1
    note(6, START_S + 2 + REFRESH_S)
    assert len(board.deliver()) == 1


async def test_an_inferred_belief_becomes_firm_everywhere_when_it_is_confirmed() -> None:
    first, second, board, _ = pair(providers("acme"))
    key, book = learned(7, firm=False), LearnedBook()
    for times, firm in ((1, False), (2, True)):
        fact = book.note(key, FactSource.INFERRED, START_S + times, provider_id="acme", evidence="429", amount=7)
        first.sharing.learned(fact)
        assert len(board.deliver()) == 1
        assert second.rig.ledger.peek((key,), START_S + times)[0].firm is firm
    first.sharing.learned(fact, firm=True)
    assert len(board.deliver()) == 1


async def test_accounts_that_prove_to_be_one_are_one_everywhere_and_nothing_is_counted_twice() -> None:
    first, second, board, _ = pair(providers("acme", keys=2, ACME_RPM="5"))
    await second.rig.ask()
    merge = first.rig.learner.organisations.note("acme", "k00", "k00", "org-1")
    assert merge is None
    merge = first.rig.learner.organisations.note("acme", "k01", "k01", "org-1")
    assert merge is not None
    first.sharing.merged(merge)
    board.deliver()
    second.sharing.receive(*_again(merge))
    assert {key.account for key in second.rig.pool.snapshot.keys} == {"k00"}
    candidate = second.rig.pool.candidate_of("acme", "k01", "m")
    assert candidate is not None
    assert second.rig.ledger.peek(candidate.path, second.clock.epoch_s())[0].used == 1


def _again(merge: Merge) -> tuple[str, bytes, float]:
    notice = AccountsMerged(merge=merge)
    return subject_of(notice), msgspec.msgpack.encode(notice), 0.0


def replaced(end: End, secret: str) -> None:
    """Put another secret under the label of the only key."""
    snapshot = end.rig.pool.snapshot
    key: Key = msgspec.structs.replace(snapshot.keys[0], secret=Secret(secret))
    end.rig.pool.replace(msgspec.structs.replace(snapshot, keys=(key,)))


async def test_what_is_known_of_a_key_says_nothing_of_the_one_that_takes_its_place() -> None:
    first, second, board, other = pair(providers("acme"), lambda *_: error(401, "no", code="invalid_api_key"))
    replaced(second, "acme-new-secret")
    for _ in range(4):
        with pytest.raises(CallerError):
            await first.rig.ask()
    first.health.circuit("key:acme/k00").failed(START_S, "slow", lambda: 0.5)
    board.deliver()
    assert second.sharing.received > 0
    assert not [cell for cell in second.health.cells() if cell.failure]
    assert not [proof for proof in second.health.proofs() if proof.proven or proof.trying_since_s]
    second.health.cell("key:acme/k00").wake()
    other.deliver()
    assert first.health.cell("key:acme/k00").failure is not None
    replaced(first, "acme-new-secret")
    second.health.cell("key:acme/k00").wake()
    other.deliver()
    assert first.health.cell("key:acme/k00").failure is None


async def test_what_is_heard_of_a_key_before_it_is_known_here_counts_once_it_is() -> None:
    first, second, board, _ = pair(providers("acme"), lambda *_: error(401, "no", code="invalid_api_key"))
    replaced(first, "acme-new-secret")
    with pytest.raises(CallerError):
        await first.rig.ask()
    board.deliver()
    second.sharing.configured()
    assert second.health.cell("key:acme/k00").failure is None, "it is another key"
    replaced(second, "acme-new-secret")
    second.sharing.configured()
    assert second.health.cell("key:acme/k00").failure is not None
    second.health.cell("key:acme/k00").wake()
    second.sharing.configured()
    assert second.health.cell("key:acme/k00").failure is None, "it counts once"


async def test_what_only_a_person_can_end_is_told_to_those_who_are_there_and_not_kept() -> None:
    first, _, board, _ = pair(providers("acme"), lambda *_: error(401, "no", code="invalid_api_key"))
    with pytest.raises(CallerError):
        await first.rig.ask()
    rests = [post for post in board.deliver() if post.subject == "cell:key:acme/k00"]
    assert [post.lasts_s for post in rests] == [0.0]


async def test_a_rest_that_is_over_when_it_is_heard_of_changes_nothing() -> None:
    first, second, board, _ = pair(providers("acme"))
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.ACCOUNT, message="no", until_s=START_S + 5)
    first.health.cell("account:acme/k00").rest(START_S + 5, failure)
    board.deliver(age_s=5.0)
    assert second.health.cell("account:acme/k00").failure is None


async def test_all_that_is_known_can_be_told_again_to_one_that_knows_nothing() -> None:
    words = "Rate limit reached for m in organization org-acme on requests per min (RPM): Limit 3, Used 3, Requested 1."

    def script(key: str, _: UpstreamCall) -> FakeAnswer:
        return FakeAnswer() if key == "acme-02" else error(429, words, retry_after="30")

    first, _, board, _ = pair(providers("acme", keys=3), script)
    for _ in range(3):
        await first.rig.ask()
    for _ in range(5):
        first.health.circuit("provider:other").failed(START_S, "slow", lambda: 0.5)
    first.health.cell("account:acme/old").rest(START_S - 5, next(c.failure for c in first.health.cells() if c.failure))
    first.rig.learner.book.note(
        learned(9, "1h", firm=False), FactSource.INFERRED, START_S, provider_id="acme", evidence="429", amount=9
    )
    newcomer_board = Board([])
    newcomer = End(newcomer_board, providers("acme", keys=3), script)
    assert board.present is not None
    for post in board.present():
        newcomer.sharing.receive(post.subject, post.value, 0.0)
    assert newcomer_board.posts == []
    for _ in range(3):
        await newcomer.rig.ask()
    assert newcomer.calls == ["acme-02"] * 3
    assert not newcomer.health.circuit("provider:other").closed
    assert newcomer.health.cell("account:acme/old").failure is None
    assert newcomer.rig.learner.organisations.merges() == first.rig.learner.organisations.merges()
    facts = {fact.id: fact for fact in first.rig.learner.book.facts(START_S)}
    assert {fact.id: fact for fact in newcomer.rig.learner.book.facts(START_S)} == facts


@pytest.mark.parametrize(
    ("subject", "value"),
    [
        ("cell:a", b""),
        ("cell:a", b"\xc1"),
        ("cell:a", msgspec.msgpack.encode(["something new", 1])),
        ("cell:b", msgspec.msgpack.encode(["awake", "a", ""])),
        ("fact:a", msgspec.msgpack.encode(["fact", {"provider_id": 3}])),
    ],
)
async def test_what_cannot_be_understood_is_passed_over(subject: str, value: bytes) -> None:
    _, second, _, _ = pair(providers("acme"))
    second.sharing.receive(subject, value, 0.0)
    assert (second.sharing.received, second.applied) == (0, 0)


@given(st.binary(max_size=60), st.text(max_size=5))
def test_no_bytes_are_able_to_do_harm(value: bytes, subject: str) -> None:
    notice = decode(value)
    assert notice is None or subject_of(notice) != subject


@given(
    rest_s=st.floats(0, 1e9) | st.just(math.inf),
    message=st.text(max_size=40),
    name=st.text(max_size=20),
    strikes=st.integers(0, 100),
    amount=st.integers(1, 2**62),
    window=st.sampled_from(["1s", "60s", "day@Europe/Berlin", "month:15@UTC", "once:2027-03-01@UTC", "concurrent"]),
    unit=st.sampled_from(Unit),
    source=st.sampled_from(FactSource),
    age_s=st.floats(0, 40 * DAY_S),
)
def test_what_is_written_is_read_again(
    rest_s: float,
    message: str,
    name: str,
    strikes: int,
    amount: int,
    window: str,
    unit: Unit,
    source: FactSource,
    age_s: float,
) -> None:
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.KEY, message=message, until_s=rest_s)
    limit = Limit(unit=unit, amount=amount, window=parse_window(window), source=LimitSource.LEARNED)
    fact = Fact(
        provider_id=name,
        key=LimitKey(limit, (name, message)),
        amount=amount,
        source=source,
        evidence=message,
        first_s=START_S,
        seen_s=START_S,
        confidence=0.9,
    )
    rests = CellRests(name=name, rest_s=rest_s, failure=failure, strikes=strikes, secret=message)
    for notice in (rests, FactLearned(fact=fact, firm=True)):
        assert decode(msgspec.msgpack.encode(notice)) == notice
    kept_s = lasts_s(FactLearned(fact=fact), START_S + age_s)
    assert fact.confidence_at(START_S + age_s + kept_s) <= max(FORGOTTEN * 1.01, fact.confidence_at(START_S + age_s))
    assert 0 <= kept_s <= HALF_LIFE_S[source] * 5


def test_the_circuit_settings_of_the_workers_are_their_own() -> None:
    end = End(Board([]), providers("acme"), good, circuits=CircuitSettings(failures=1))
    end.health.circuit("provider:acme").failed(START_S, "slow", lambda: 0.5)
    assert [type(notice).__name__ for notice in notices(end_posts(end))] == ["CircuitStands"]


def end_posts(end: End) -> list[Post]:
    board = end.sharing._bulletin
    assert isinstance(board, Board)
    return board.deliver()
