import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.quota.learning import (
    FORGOTTEN,
    HALF_LIFE_S,
    MAX_EVIDENCE,
    MAX_LIMITS,
    MAX_ORGANISATIONS,
    Fact,
    FactSource,
    Inference,
    LearnedBook,
    Merge,
    Organisations,
    accepted_in,
    day_window,
    identity_of,
    infer,
    learned_key,
    reset_at,
    window_start,
)
from keyrelay.quota.tally import Tally
from keyrelay.quota.values import LimitKey

NOW_S = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
HOUR_S, DAY_S = 3600.0, 86_400.0
DAY = parse_window("day@UTC")
SECOND, MINUTE, HOUR = (parse_window(text) for text in ("1s", "60s", "1h"))
PAIR = (ScopePart.ACCOUNT, ScopePart.MODEL)
HEADER, REFUSAL, INFERRED = FactSource


def key(
    amount: int = 15,
    window: str = "60s",
    *,
    unit: Unit = Unit.REQUESTS,
    scope: tuple[ScopePart, ...] = PAIR,
    account: str = "a",
    model: str = "m",
) -> LimitKey:
    limit = Limit(unit=unit, amount=amount, window=parse_window(window), scope=scope, source=LimitSource.LEARNED)
    return learned_key(limit, provider_id="groq", account=account, key_label=account, model=model)


def note(
    book: LearnedBook,
    of: LimitKey,
    source: FactSource = HEADER,
    now_s: float = NOW_S,
    *,
    amount: int | None = None,
    evidence: str = "said so",
    followed: bool = False,
) -> Fact:
    amount = of.limit.amount if amount is None else amount
    return book.note(
        of, source, now_s, provider_id="groq", evidence=evidence, amount=amount, reset_s=now_s + 9, followed=followed
    )


def limits(book: LearnedBook, now_s: float = NOW_S, *, model: str = "m", path: tuple[LimitKey, ...] = ()) -> list[int]:
    found = book.limits_for("groq", "a", "a", model, now_s, path=path)
    return sorted(limit.limit.amount for limit in found)


def test_a_fact_keeps_what_it_was_learned_from() -> None:
    book = LearnedBook()
    note(book, key(), evidence="x" * 500)
    (fact,) = book.facts(NOW_S)
    assert (fact.provider_id, fact.amount, fact.source, fact.times) == ("groq", 15, HEADER, 1)
    assert (fact.first_s, fact.seen_s, fact.reset_s, len(fact.evidence)) == (NOW_S, NOW_S, NOW_S + 9, MAX_EVIDENCE)
    assert fact.id == note(book, key(30), now_s=NOW_S + 1).id != note(book, key(model="n")).id
    assert repr(book) == "<LearnedBook 2 facts, 2 changes>"


def test_what_is_said_again_counts_and_is_surer() -> None:
    book = LearnedBook()
    first = note(book, key())
    second = note(book, key(), now_s=NOW_S + 60)
    assert (second.times, second.first_s, second.seen_s) == (2, NOW_S, NOW_S + 60)
    assert first.confidence < second.confidence <= 1


@pytest.mark.parametrize("source", FactSource)
def test_trust_halves_with_age_and_ends(source: FactSource) -> None:
    book = LearnedBook()
    fact = note(book, key(), source)
    assert fact.confidence_at(NOW_S + HALF_LIFE_S[source]) == pytest.approx(fact.confidence / 2)
    assert fact.confidence_at(NOW_S - DAY_S) == fact.confidence
    end_s = NOW_S + HALF_LIFE_S[source] * math.log2(fact.confidence / FORGOTTEN)
    assert (len(book.facts(end_s - 1)), limits(book, end_s - 1)) == (1, [15])
    assert (book.facts(end_s + 1), limits(book, end_s + 1)) == ((), [])
    assert book.sweep(end_s - 1) == ()
    assert book.sweep(end_s + 1) == (fact,)
    assert book.find(fact.identity) is None


def test_headers_are_believed_longest_and_inferences_shortest() -> None:
    assert HALF_LIFE_S[HEADER] > HALF_LIFE_S[REFUSAL] > HALF_LIFE_S[INFERRED]
    book = LearnedBook()
    confidences = [note(book, key(model=source), source).confidence for source in FactSource]
    assert confidences == sorted(confidences, reverse=True)


def test_words_overrule_what_stood_there_and_the_key_stays() -> None:
    book = LearnedBook()
    first = note(book, key(15), INFERRED)
    said = note(book, key(60), REFUSAL)
    assert (said.amount, said.source, said.key) == (60, REFUSAL, first.key)
    assert note(book, key(5), HEADER).amount == 5


def test_an_inference_lowers_an_inferred_limit_and_never_raises_it() -> None:
    book = LearnedBook()
    note(book, key(15), INFERRED)
    before = book.changes
    assert note(book, key(20), INFERRED).amount == 15
    assert book.changes == before
    lowered = note(book, key(12), INFERRED)
    assert (lowered.amount, lowered.key.limit.amount, book.changes) == (12, 12, before + 1)


def test_an_inference_changes_nothing_of_what_was_said_in_words() -> None:
    book = LearnedBook()
    said = note(book, key(15), HEADER)
    assert note(book, key(3), INFERRED, NOW_S + 60) == said


def test_more_accepted_lifts_an_inferred_limit() -> None:
    book = LearnedBook()
    fact = note(book, key(3), INFERRED)
    before = book.changes
    book.lift(fact, key(15), 15)
    assert (limits(book), book.changes) == ([15], before + 1)


def test_what_is_followed_on_a_path_is_listed_and_puts_nobody_under_a_limit() -> None:
    book = LearnedBook()
    catalogue = key(30)
    note(book, catalogue, amount=5, followed=True)
    assert (len(book.facts(NOW_S)), limits(book), book.changes) == (1, [], 0)
    note(book, key(5))
    assert (limits(book), book.changes) == ([5], 1)
    note(book, catalogue, amount=5, followed=True)
    assert (limits(book), book.changes) == ([], 2)


@pytest.mark.parametrize(
    ("scope", "account", "model", "binds"),
    [
        (PAIR, "a", "m", True),
        (PAIR, "a", "n", False),
        (PAIR, "b", "m", False),
        ((ScopePart.ACCOUNT,), "a", "n", True),
        ((ScopePart.KEY,), "a", "n", True),
        ((ScopePart.KEY,), "b", "m", False),
        ((ScopePart.PROVIDER,), "b", "n", True),
        ((ScopePart.PROVIDER, ScopePart.MODEL), "b", "m", True),
        ((ScopePart.PROVIDER, ScopePart.MODEL), "b", "n", False),
    ],
)
def test_a_learned_limit_binds_its_scope(scope: tuple[ScopePart, ...], account: str, model: str, binds: bool) -> None:
    book = LearnedBook()
    note(book, key(scope=scope, account=account, model=model))
    assert limits(book) == ([15] if binds else [])
    assert book.limits_for("openai", "a", "a", "m", NOW_S) == ()


def test_what_a_path_holds_already_is_left_out() -> None:
    book = LearnedBook()
    note(book, key(15))
    note(book, key(900, "1h"))
    assert limits(book, path=(key(30), key(7, "24h"))) == [900]


def test_a_candidate_is_put_under_so_many_limits_at_most_the_surest() -> None:
    book = LearnedBook()
    for minutes in range(2, 2 + MAX_LIMITS):
        note(book, key(100 + minutes, f"{minutes}m"))
    note(book, key(1, "1h"), INFERRED)
    assert (len(limits(book)), 1 in limits(book)) == (MAX_LIMITS, False)


def test_the_fact_seen_longest_ago_makes_room() -> None:
    book = LearnedBook(max_facts=2)
    for model in "abac":
        note(book, key(model=model))
    assert [fact.key.bound[1] for fact in book.facts(NOW_S)] == ["model:c", "model:a"]
    assert limits(book, model="b") == []


def test_facts_are_cleared_one_by_one_by_provider_or_all() -> None:
    book = LearnedBook()
    first, second = note(book, key(model="m")), note(book, key(model="n"))
    assert book.clear(fact_id="unknown") == book.clear(provider_id="openai") == ()
    before = book.changes
    assert book.clear(fact_id=first.id) == (first,)
    assert (limits(book), book.changes) == ([], before + 1)
    assert book.clear(provider_id="groq") == (second,)
    third = note(book, key())
    assert book.clear() == (third,)
    assert book.facts(NOW_S) == ()


def test_clearing_one_leaves_what_else_binds_the_same() -> None:
    book = LearnedBook()
    note(book, key(900, "1h"))
    book.clear(fact_id=note(book, key()).id)
    assert limits(book) == [900]


def test_siblings_are_other_models_of_the_same_owner_refused_lately() -> None:
    book = LearnedBook()
    asking = identity_of(key(model="m"))
    sibling = note(book, key(model="n"), INFERRED)
    note(book, key(model="m"), INFERRED)
    note(book, key(model="o"), HEADER)
    note(book, key(model="n", account="b"), INFERRED)
    note(book, key(5, "1h", model="n"), INFERRED)
    note(book, key(model="p"), INFERRED, NOW_S - 100)
    assert book.siblings(asking, NOW_S + 1, 60.0) == (sibling,)
    assert book.siblings(identity_of(key(scope=(ScopePart.ACCOUNT,))), NOW_S, 60.0) == ()


def test_the_windows_known_of_what_is_bound() -> None:
    book = LearnedBook()
    note(book, key())
    note(book, key(5, "1h", unit=Unit.TOKENS))
    bound = key().bound
    assert book.windows_known(bound, Unit.REQUESTS) == {MINUTE}
    assert book.windows_known(("acct:groq/b",), Unit.REQUESTS) == frozenset()


def test_a_day_is_the_zones_or_the_last_24_hours() -> None:
    assert day_window("Europe/Kyiv", rolls=False) == parse_window("day@Europe/Kyiv")
    assert day_window("Europe/Kyiv", rolls=True) == parse_window("24h")


def test_when_a_window_begins_and_comes_back() -> None:
    assert window_start(MINUTE, NOW_S) == NOW_S - 60
    assert window_start(DAY, NOW_S) == NOW_S - 8 * HOUR_S
    assert reset_at(DAY, 30.0, NOW_S) == NOW_S + 16 * HOUR_S
    assert reset_at(MINUTE, 30.0, NOW_S) == NOW_S + 30
    assert reset_at(MINUTE, None, NOW_S) is None


def tally(*notes: tuple[float, int]) -> Tally:
    """Requests accepted so many seconds ago."""
    counts = Tally()
    for ago_s, requests in sorted(notes, reverse=True):
        counts.note(NOW_S - ago_s, requests, requests * 10, requests * 5)
    return counts


@pytest.mark.parametrize(
    ("hint_s", "window"),
    [
        (0.5, SECOND),
        (1.5, SECOND),
        (1.6, MINUTE),
        (60.0, MINUTE),
        (61.0, HOUR),
        (3600.0, HOUR),
        (3601.0, DAY),
        (93_600.0, DAY),
        (None, MINUTE),
    ],
)
def test_the_wait_asked_for_chooses_the_window(hint_s: float | None, window: Window) -> None:
    assert infer([tally((0, 8))], NOW_S, day=DAY, hint_s=hint_s) == Inference(Unit.REQUESTS, window, 8)


def test_the_amount_is_what_was_accepted_in_the_window_at_the_scope() -> None:
    tallies = [tally((10, 8), (50, 2), (70, 3)), tally((20, 5))]
    assert infer(tallies, NOW_S, day=DAY, hint_s=30.0) == Inference(Unit.REQUESTS, MINUTE, 15)
    assert infer(tallies, NOW_S, day=DAY, hint_s=30.0, unit=Unit.TOKENS) == Inference(Unit.TOKENS, MINUTE, 225)


def test_a_window_that_is_named_beats_every_hint() -> None:
    long_ago = tally((5 * HOUR_S, 10), (1, 2))
    assert infer([long_ago], NOW_S, day=DAY, hint_s=0.5, window=DAY) == Inference(Unit.REQUESTS, DAY, 12)
    assert infer([long_ago], NOW_S, day=DAY, hint_s=9e9, window=MINUTE) == Inference(Unit.REQUESTS, MINUTE, 2)


def test_a_count_that_was_exceeded_before_is_not_the_limit() -> None:
    busy = tally((100, 15), (1, 1))
    assert infer([busy], NOW_S, day=DAY, hint_s=1.0) == Inference(Unit.REQUESTS, HOUR, 16, sure=False)
    nearly = tally((100, 15), (1, 12))
    assert infer([nearly], NOW_S, day=DAY, hint_s=30.0) == Inference(Unit.REQUESTS, MINUTE, 12)


def test_a_second_without_any_is_nothing_to_go_by() -> None:
    guess = Inference(Unit.REQUESTS, MINUTE, 5, sure=False)
    assert infer([tally((10, 5))], NOW_S, day=DAY, hint_s=1.0) == guess
    assert infer([], NOW_S, day=DAY, hint_s=1.0) is None


def test_a_seconds_limit_is_the_most_that_a_second_took() -> None:
    counts = tally((1.5, 6), (0, 5))
    assert infer([counts], NOW_S + 0.1, day=DAY, hint_s=0.5) == Inference(Unit.REQUESTS, SECOND, 6)
    known = frozenset({SECOND})
    assert infer([counts], NOW_S + 0.1, day=DAY, hint_s=0.5, known=known) == Inference(Unit.REQUESTS, MINUTE, 11)


def test_no_day_is_guessed_unless_the_limits_of_shorter_windows_are_known() -> None:
    yesterday = tally((26 * HOUR_S, 90), (1, 1))
    assert infer([yesterday], NOW_S, day=DAY) is None
    assert infer([yesterday], NOW_S, day=DAY, known=frozenset({MINUTE})) is None
    assert infer([yesterday], NOW_S, day=DAY, known=frozenset({MINUTE, HOUR})) == Inference(Unit.REQUESTS, DAY, 1)


def test_where_nothing_was_accepted_nothing_is_inferred() -> None:
    assert infer([], NOW_S, day=DAY) is None
    assert infer([Tally()], NOW_S, day=DAY, hint_s=30.0) is None
    assert infer([tally((90, 5))], NOW_S, day=DAY, hint_s=30.0) is None
    assert infer([tally((1, 5))], NOW_S, day=DAY, unit=Unit.USD_MICROS) is None


def test_a_known_limit_that_is_not_full_is_not_what_refuses() -> None:
    known = frozenset({MINUTE})
    assert infer([tally((90, 5))], NOW_S, day=DAY, hint_s=30.0, known=known) == Inference(Unit.REQUESTS, HOUR, 5)
    everything = frozenset({MINUTE, HOUR, DAY})
    assert infer([Tally()], NOW_S, day=DAY, hint_s=30.0, known=everything) is None


@given(
    notes=st.lists(st.tuples(st.floats(0, 2 * DAY_S), st.integers(1, 40)), max_size=30),
    hint_s=st.one_of(st.none(), st.floats(), st.integers(-(10**13), 10**13).map(float)),
    unit=st.sampled_from(Unit),
)
def test_no_hint_is_able_to_do_harm(notes: list[tuple[float, int]], hint_s: float | None, unit: Unit) -> None:
    counts = tally(*notes)
    inference = infer([counts], NOW_S, day=DAY, unit=unit, hint_s=hint_s)
    if inference is not None:
        assert accepted_in([counts], inference.window, unit, NOW_S) >= 1
        assert 1 <= inference.amount <= sum(requests for _, requests in notes) * 15
        assert inference.window.length_s <= HOUR_S or inference.window.kind is WindowKind.DAY


def test_accounts_that_name_the_same_organisation_are_one_and_that_is_said_once() -> None:
    known = Organisations()
    assert known.note("openai", "k1", "a", "org-1") is None
    assert known.note("openai", "k2", "b", "org-2") is None
    merge = known.note("openai", "k3", "c", "org-1")
    assert merge == Merge("openai", into="a", account="c", organisation="org-1")
    assert "a and c name the same organisation, org-1" in str(merge)
    assert known.note("openai", "k3", "c", "org-1") is None
    assert [known.account_of("openai", account) for account in "abcd"] == ["a", "b", "a", "d"]
    assert repr(known) == "<Organisations 2 known, 1 accounts merged>"


def test_merges_chain() -> None:
    known = Organisations()
    known.note("openai", "k1", "a", "org-1")
    known.note("openai", "k2", "b", "org-2")
    known.note("openai", "k3", "c", "org-2")
    assert known.note("openai", "k4", "b", "org-1") == Merge("openai", "a", "b", "org-1")
    assert {known.account_of("openai", account) for account in "abc"} == {"a"}


def test_equal_names_at_other_providers_and_silent_answers_mean_nothing() -> None:
    known = Organisations()
    assert known.note("openai", "k1", "a", "org-1") is None
    assert known.note("groq", "k2", "b", "org-1") is None
    assert known.note("openai", "k3", "c", "") is None
    assert known.note("openai", "k4", "", "org-1") == Merge("openai", "a", "k4", "org-1")


def test_a_providers_accounts_are_forgotten_with_its_keys() -> None:
    known = Organisations()
    known.note("openai", "k1", "a", "org-1")
    known.note("openai", "k2", "b", "org-1")
    known.note("groq", "k1", "a", "org-1")
    known.forget("openai")
    assert known.account_of("openai", "b") == "b"
    assert known.note("openai", "k2", "b", "org-1") is None
    assert known.note("groq", "k2", "b", "org-1") is not None


def test_so_many_organisations_are_known_at_most() -> None:
    known = Organisations()
    for number in range(MAX_ORGANISATIONS + 1):
        known.note("openai", f"k{number}", f"a{number}", f"org-{number}")
    assert repr(known) == f"<Organisations {MAX_ORGANISATIONS} known, 0 accounts merged>"


class TestOtherWorkers:
    """What comes in from elsewhere."""

    def test_a_fact_is_known_as_it_is_known_there(self) -> None:
        there, here = LearnedBook(), LearnedBook()
        fact = note(there, key(), amount=20)
        assert here.take_over(fact)
        assert here.facts(NOW_S) == there.facts(NOW_S)
        assert limits(here) == limits(there)
        assert here.changes == 1
        assert not here.take_over(fact), "it is no news"
        assert here.changes == 1

    def test_what_is_passed_on_does_not_fade_twice(self) -> None:
        there, here = LearnedBook(), LearnedBook()
        note(there, key(), INFERRED)
        note(there, key(window="1h"))
        for fact in there.noted(NOW_S + DAY_S):
            here.take_over(fact)
        assert here.facts(NOW_S + 2 * DAY_S) == there.facts(NOW_S + 2 * DAY_S)
        assert [fact.key.limit.window for fact in there.noted(NOW_S + 10 * DAY_S)] == [HOUR]

    def test_words_overrule_inferences_and_the_later_word_the_earlier(self) -> None:
        book = LearnedBook()
        said, guessed = (note(LearnedBook(), key(), source, amount=15) for source in (REFUSAL, INFERRED))
        assert book.take_over(guessed)
        assert book.take_over(said)
        assert not book.take_over(guessed)
        assert not book.take_over(msgspec.structs.replace(said, seen_s=NOW_S - 1, amount=9))
        lifted = msgspec.structs.replace(said, amount=30)
        assert book.take_over(lifted), "of the same time, but another"
        assert book.find(identity_of(key())) == lifted

    def test_a_followed_one_changes_no_path_unless_it_was_none(self) -> None:
        book = LearnedBook()
        followed = note(LearnedBook(), key(), followed=True)
        assert book.take_over(followed)
        assert book.changes == 0
        assert book.take_over(msgspec.structs.replace(followed, followed=False))
        assert book.changes == 1
        assert book.take_over(msgspec.structs.replace(followed, amount=3))
        assert book.changes == 2

    def test_what_was_cleared_there_is_gone_here(self) -> None:
        book = LearnedBook()
        fact = note(book, key())
        assert book.forget(identity_of(key(15, "1h"))) == ()
        assert book.forget(fact.identity) == (fact,)
        assert book.facts(NOW_S) == ()

    def test_a_merge_is_known_as_it_is_known_there(self) -> None:
        there, here = Organisations(), Organisations()
        there.note("openai", "k1", "a", "org-1")
        merge = there.note("openai", "k2", "b", "org-1")
        assert merge is not None
        assert here.take_over(merge) == merge
        assert here.take_over(merge) is None
        assert here.account_of("openai", "b") == "a"
        assert here.merges() == there.merges() == (merge,)
        assert here.note("openai", "k2", "b", "org-1") is None
        here.forget("openai")
        assert here.merges() == ()

    def test_of_two_merges_that_contradict_each_other_both_workers_keep_the_same(self) -> None:
        first, second = Organisations(), Organisations()
        into_a, into_b = Merge("openai", "a", "b", "org-1"), Merge("openai", "b", "a", "org-1")
        assert (first.take_over(into_a), second.take_over(into_b)) == (into_a, into_a)
        assert first.take_over(into_b) is None
        assert second.take_over(into_a) is None
        assert {known.account_of("openai", account) for known in (first, second) for account in "ab"} == {"a"}

    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcde")), max_size=30), st.integers(0, 5))
    def test_while_answers_keep_coming_all_workers_come_to_agree(
        self, answers: list[tuple[int, str]], late: int
    ) -> None:
        workers = [Organisations() for _ in range(3)]
        told: list[tuple[int, Merge]] = []
        heard = [0] * 3
        rounds = [(worker, account) for _ in range(4) for account in "abcde" for worker in range(3)]
        for count, (worker, account) in enumerate((*answers, *rounds)):
            merge = workers[worker].note("openai", "k", account, "org-1")
            if merge is not None:
                told.append((worker, merge))
            listener = count % 3
            upto = len(told) - (late if count < len(answers) else 0)
            for teller, each in told[heard[listener] : upto]:
                if teller != listener:
                    workers[listener].take_over(each)
            heard[listener] = max(heard[listener], upto)
        assert len({tuple(known.account_of("openai", account) for account in "abcde") for known in workers}) == 1
