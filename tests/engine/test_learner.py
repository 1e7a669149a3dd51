import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.configuration import Provider
from keyrelay.core.failures import Failure, FailureKind, FailureScope, ProviderError
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.core.redaction import Redactor
from keyrelay.engine.learner import LOOK_AGAIN_S, READ_EVERY_S, SWEEP_EVERY_S, WATCH_S, Learner
from keyrelay.ports import Reservation
from keyrelay.quota.learning import HALF_LIFE_S, Fact, FactSource, LearnedBook, Merge, Organisations
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.classify import Classifier, Moment, rest_until
from keyrelay.simulator.limits import Enforcer, Excess, Scope
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.errors import read_error
from keyrelay.wire.limit_errors import read_limit
from keyrelay.wire.limit_headers import read_limits
from tests.routing.helpers import candidate as make_candidate
from tests.routing.helpers import provider

CATALOGUE = load_catalogue()
CLASSIFIERS = [Classifier(row.failures) for row in CATALOGUE.values()]
NOW_S = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC).timestamp()
SECRET = "sk-test-0123456789abcdef"
MINUTE, DAY = parse_window("60s"), parse_window("day@UTC")
ACCOUNT = (ScopePart.ACCOUNT,)
PAIR = (ScopePart.ACCOUNT, ScopePart.MODEL)


def limit(
    amount: int,
    window: str = "60s",
    *,
    unit: Unit = Unit.REQUESTS,
    source: LimitSource = LimitSource.CATALOGUE,
    scope: tuple[ScopePart, ...] = PAIR,
    **more: Any,
) -> Limit:
    return Limit(unit=unit, amount=amount, window=parse_window(window), scope=scope, source=source, **more)


class Bench:
    """A learner over the real ledger, and what it said."""

    def __init__(
        self, provider_id: str = "openai", *limits: Limit, started_s: float = 0.0, margin: float = 0.0
    ) -> None:
        row = CATALOGUE[provider_id]
        self.provider: Provider = msgspec.structs.replace(provider(provider_id, limits=limits), row=row)
        self.said: list[str] = []
        self.merges: list[Merge] = []
        self.ledger = MemoryLedger()
        self.learner = Learner(
            self.ledger,
            LearnedBook(),
            Organisations(),
            redactor=Redactor([SECRET]),
            report=self.said.append,
            merged=self.merges.append,
            started_s=started_s,
            margins={provider_id: margin},
        )

    def candidate(self, label: str = "a", model: str = "m", account: str = "") -> Candidate:
        return make_candidate(label, model, of=self.provider, account=account)

    def standing(self, of: Candidate, unit: Unit = Unit.REQUESTS, window: Window = MINUTE) -> Standing:
        path = (*of.path, *self.learned(of))
        found, *_ = (
            standing
            for standing in self.ledger.peek(path, NOW_S)
            if (standing.limit.limit.unit, standing.limit.limit.window) == (unit, window)
        )
        return found

    def learned(self, of: Candidate, now_s: float = NOW_S) -> tuple[LimitKey, ...]:
        account = self.learner.organisations.account_of(of.provider_id, of.key.account)
        return self.learner.book.limits_for(of.provider_id, account, of.key.label, of.model, now_s, path=of.path)

    def facts(self, now_s: float = NOW_S) -> tuple[Fact, ...]:
        return self.learner.book.facts(now_s)

    def accept(self, of: Candidate, number: int, now_s: float = NOW_S, *, sent_s: float | None = None) -> None:
        for _ in range(number):
            self.learner.accepted(of, Amounts(1, 10, 5), now_s if sent_s is None else sent_s, now_s)

    def refuse(
        self,
        of: Candidate,
        message: str = "slow down please",
        now_s: float = NOW_S,
        *,
        hint_s: float | None = 30.0,
        status: int = 429,
        kind: FailureKind = FailureKind.RATE,
        scope: FailureScope = FailureScope.PAIR,
        until_s: float | None = None,
        **more: Any,
    ) -> tuple[Fact, ...]:
        error = ProviderError(status=status, message=message, hint_s=hint_s)
        failure = Failure(kind=kind, scope=scope, message=message, status=status, until_s=until_s)
        return self.learner.refused(of, error, failure, now_s, **more)


def openai_headers(limit: object = 60, remaining: object = 59, unit: str = "requests", **more: str) -> dict[str, str]:
    return {f"x-ratelimit-limit-{unit}": str(limit), f"x-ratelimit-remaining-{unit}": str(remaining)} | more


# Headers


def test_headers_about_a_limit_of_the_path_are_followed_and_a_contradiction_is_said_once() -> None:
    bench = Bench("openai", limit(15))
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(5, 3), NOW_S)
    bench.learner.answered(one, openai_headers(5, 3), NOW_S + 1)
    bench.learner.answered(one, openai_headers(6, 3), NOW_S + 2)
    bench.learner.answered(one, openai_headers(5, 1), NOW_S + 3)
    standing = bench.standing(one)
    assert (standing.amount, standing.used, bench.learned(one)) == (5, 4, ())
    assert bench.said == [
        "openai/a m: the provider allows 5 requests per 60s, the catalogue says 15; following the provider"
    ]
    (fact,) = bench.facts()
    assert (fact.amount, fact.followed, fact.times, fact.source) == (5, True, 4, FactSource.HEADER)


def test_headers_that_agree_say_nothing() -> None:
    bench = Bench("openai", limit(60))
    bench.learner.answered(bench.candidate(), openai_headers(60, 59), NOW_S)
    assert bench.said == []


def test_a_safety_margin_is_kept_from_what_the_provider_allows_and_contradicts_nothing() -> None:
    bench = Bench("openai", limit(59), margin=0.01)
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(60, 20), NOW_S)
    assert (bench.standing(one).amount, bench.standing(one).used, bench.said) == (59, 40, [])


def test_what_the_operator_configured_is_never_made_larger() -> None:
    bench = Bench("openai", limit(15, source=LimitSource.CONFIGURED))
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(60, 60), NOW_S)
    assert (bench.standing(one).amount, bench.said) == (15, [])
    bench.learner.answered(one, openai_headers(9, 9), NOW_S)
    assert bench.standing(one).amount == 9
    assert bench.said == [
        "openai/a m: the provider allows 9 requests per 60s, the configuration says 15; following the provider"
    ]


def test_an_operators_limit_on_another_scope_does_not_hide_the_providers() -> None:
    bench = Bench("openai", limit(15, source=LimitSource.CONFIGURED, scope=ACCOUNT))
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(60, 60), NOW_S)
    assert bench.standing(one).amount == 15
    assert [(key.limit.amount, key.bound) for key in bench.learned(one)] == [(60, ("acct:openai/a", "model:m"))]


def test_headers_about_an_unknown_limit_become_a_learned_one() -> None:
    bench = Bench("openai")
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(60, 20), NOW_S)
    bench.learner.answered(one, openai_headers(60, 10), NOW_S + 1)
    (key,) = bench.learned(one)
    assert (key.limit.amount, key.limit.source, key.limit.firm) == (60, LimitSource.LEARNED, True)
    assert bench.standing(one).used == 50
    bench.learner.answered(one, openai_headers(90, 90), NOW_S + 2)
    assert bench.learned(one) == (key,)
    assert (bench.standing(one).amount, bench.said) == (90, [])


def test_a_limit_that_left_the_path_is_learned_anew() -> None:
    bench = Bench("openai", limit(15))
    bench.learner.answered(bench.candidate(), openai_headers(5, 5), NOW_S)
    bare = Bench("openai")
    bare.learner = bench.learner
    one = bare.candidate()
    bare.learner.answered(one, openai_headers(5, 5), NOW_S)
    assert [(key.limit.amount, key.limit.source) for key in bare.learned(one)] == [(5, LimitSource.LEARNED)]


def test_what_remains_without_a_limit_counts_against_the_one_in_force() -> None:
    bench = Bench("openai", limit(15))
    one = bench.candidate()
    headers = {"x-ratelimit-remaining-requests": "4", "x-ratelimit-remaining-tokens": "4"}
    bench.learner.answered(one, headers, NOW_S)
    assert (bench.standing(one).used, bench.facts()) == (11, ())


def test_tokens_used_are_left_out_until_the_answers_own_are_settled() -> None:
    bench = Bench("openai", limit(1000, unit=Unit.TOKENS), limit(60))
    one = bench.candidate()
    headers = openai_headers(1000, 400, "tokens") | openai_headers(60, 50)
    bench.learner.answered(one, headers, NOW_S, settled=False)
    assert (bench.standing(one, Unit.TOKENS).used, bench.standing(one).used) == (0, 10)
    bench.learner.answered(one, headers, NOW_S)
    assert bench.standing(one, Unit.TOKENS).used == 600


def test_headers_are_read_once_a_second_while_much_is_left() -> None:
    bench = Bench("openai")
    one = bench.candidate()
    assert bench.learner.due(one, NOW_S)
    bench.learner.answered(one, openai_headers(600, 500), NOW_S)
    assert not bench.learner.due(one, NOW_S + READ_EVERY_S / 2)
    assert bench.learner.due(one, NOW_S + READ_EVERY_S)
    assert bench.learner.due(one, NOW_S - 2 * LOOK_AGAIN_S), "the clock was set back"


@pytest.mark.parametrize("headers", [openai_headers(5, 0), openai_headers(600, 30), openai_headers("x", 3)])
def test_headers_are_read_every_time_when_little_is_left(headers: dict[str, str]) -> None:
    bench = Bench("openai")
    one = bench.candidate()
    bench.learner.answered(one, headers, NOW_S)
    assert bench.learner.due(one, NOW_S)


def test_answers_without_limits_are_looked_at_once_a_minute() -> None:
    bench = Bench("openai")
    one = bench.candidate()
    bench.learner.answered(one, {"content-type": "application/json"}, NOW_S)
    assert not bench.learner.due(one, NOW_S + LOOK_AGAIN_S - 1)
    assert bench.learner.due(one, NOW_S + LOOK_AGAIN_S)


def test_a_provider_that_tells_nothing_in_headers_is_never_read() -> None:
    bench = Bench("gemini")
    assert not bench.learner.due(bench.candidate(), NOW_S)


# Refusals in words


def test_a_refusal_that_names_its_limit_teaches_it() -> None:
    bench = Bench("groq")
    one = bench.candidate()
    (fact,) = bench.refuse(
        one,
        f"Rate limit reached for model `m` in organization `org_1` with {SECRET} on tokens per day (TPD): Limit "
        "100000, Used 97050, Requested 3619. Please try again in 9m38.016s.",
        kind=FailureKind.QUOTA,
        hint_s=578.016,
    )
    assert (fact.amount, fact.source, fact.reset_s) == (100_000, FactSource.REFUSAL, NOW_S + 578.016)
    assert fact.evidence.startswith("HTTP 429: Rate limit reached for model `m`")
    assert SECRET not in fact.evidence
    standing = bench.standing(one, Unit.TOKENS, parse_window("24h"))
    assert (standing.amount, standing.used) == (100_000, 97_050)


def gemini_refusal(*quotas: str) -> ProviderError:
    return ProviderError(status=429, message="You exceeded your current quota.", detail=" ".join(quotas), hint_s=45.0)


def test_a_days_quota_fills_the_day_whatever_the_short_hint() -> None:
    day = "day@America/Los_Angeles"
    bench = Bench("gemini", limit(500, day), limit(15))
    one = bench.candidate()
    error = gemini_refusal("GenerateRequestsPerDayPerProjectPerModel-FreeTier=20")
    failure = Classifier(CATALOGUE["gemini"].failures).classify(error, Moment(now_s=NOW_S, zone="America/Los_Angeles"))
    (fact,) = bench.learner.refused(one, error, failure, NOW_S)
    midnight_s = dt.datetime(2026, 11, 22, 8, 0, 0, tzinfo=dt.UTC).timestamp()
    standing = bench.standing(one, window=parse_window(day))
    assert (fact.reset_s, standing.amount, standing.used, standing.reset_s) == (midnight_s, 20, 20, midnight_s)
    assert bench.standing(one).used == 0
    (said,) = bench.said
    assert "allows 20 requests per day@America/Los_Angeles, the catalogue says 500;" in said


def test_openrouters_free_limit_is_followed_with_the_amount_of_the_headers() -> None:
    bench = Bench("openrouter", limit(50, "day@UTC", scope=ACCOUNT, models=("*:free",)))
    one = bench.candidate(model="x:free")
    bench.refuse(
        one,
        "Rate limit exceeded: free-models-per-day.",
        kind=FailureKind.QUOTA,
        headers={"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0"},
    )
    assert (bench.standing(one, window=DAY).amount, bench.standing(one, window=DAY).used) == (1000, 1000)


@pytest.mark.parametrize(
    ("limits", "accepted", "unit"),
    [
        ((limit(20, "24h"), limit(200_000, "24h", unit=Unit.TOKENS)), 0, Unit.TOKENS),
        ((), 0, Unit.REQUESTS),
        ((), 13_000, Unit.TOKENS),
    ],
)
def test_a_limit_named_without_unit_is_that_which_fits(limits: tuple[Limit, ...], accepted: int, unit: Unit) -> None:
    bench = Bench("sambanova", *limits)
    one = bench.candidate()
    bench.accept(one, accepted, NOW_S - 3600)
    (fact,) = bench.refuse(one, "Violated duration_s: 86400, current usage: 196279, limit: 200000")
    assert (fact.key.limit.unit, fact.amount) == (unit, 200_000)


def test_a_limit_without_unit_and_use_is_one_of_requests() -> None:
    bench = Bench("groq")
    (fact,) = bench.refuse(bench.candidate(), "Rate limit of 50 per 86400s exceeded. Please wait 9 s")
    assert (fact.key.limit.unit, fact.amount, fact.key.limit.window) == (Unit.REQUESTS, 50, parse_window("24h"))


def test_a_request_larger_than_the_limit_teaches_it_and_fills_nothing() -> None:
    bench = Bench("groq", limit(8000, unit=Unit.TOKENS))
    one = bench.candidate()
    bench.refuse(
        one,
        "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 14368",
        status=413,
        kind=FailureKind.CONTEXT,
        scope=FailureScope.REQUEST,
    )
    standing = bench.standing(one, Unit.TOKENS)
    assert (standing.amount, standing.used) == (6000, 0)


@pytest.mark.parametrize("kind", [FailureKind.BILLING, FailureKind.OVERLOADED, FailureKind.AUTH, FailureKind.REQUEST])
def test_failures_that_are_no_limits_teach_none(kind: FailureKind) -> None:
    bench = Bench("openai")
    one = bench.candidate()
    bench.accept(one, 5)
    assert bench.refuse(one, "limited to 5 requests per minute", kind=kind) == ()


# Refusals without words


def test_a_refusal_without_words_is_inferred_and_the_fact_says_so() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    bench.accept(one, 15)
    (fact,) = bench.refuse(one, hint_s=40.0)
    assert (fact.amount, fact.source, fact.key.limit.window) == (15, FactSource.INFERRED, MINUTE)
    assert (fact.reset_s, fact.evidence) == (NOW_S + 40, "HTTP 429: slow down please")
    assert (bench.standing(one).used, bench.standing(one).firm) == (15, True)


def test_an_inference_from_half_a_window_is_firm_when_it_is_confirmed() -> None:
    bench = Bench("mistral", started_s=NOW_S - 30)
    one = bench.candidate()
    bench.accept(one, 15)
    bench.refuse(one)
    assert not bench.standing(one).firm
    bench.accept(one, 14, NOW_S + 90)
    (fact,) = bench.refuse(one, now_s=NOW_S + 91)
    assert (fact.amount, fact.times, bench.standing(one).amount, bench.standing(one).firm) == (14, 2, 14, True)


def test_refusals_of_requests_under_way_together_are_one_event() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    bench.accept(one, 15)
    bench.refuse(one)
    (again,) = bench.refuse(one, now_s=NOW_S + 0.2)
    assert (again.times, len(bench.facts())) == (1, 1)


def test_requests_under_way_at_the_refusal_and_accepted_count_for_the_limit() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    bench.accept(one, 3, NOW_S - 2)
    bench.refuse(one)
    bench.accept(one, 12, NOW_S + 8, sent_s=NOW_S - 1)
    bench.accept(one, 5, NOW_S + 8, sent_s=NOW_S + 2)
    assert [key.limit.amount for key in bench.learned(one)] == [15]
    assert bench.standing(one).firm
    bench.accept(one, 5, NOW_S + WATCH_S + 1, sent_s=NOW_S - 1)
    assert [key.limit.amount for key in bench.learned(one)] == [15]


def test_a_refusal_that_came_before_every_answer_is_understood_with_the_answers() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    assert bench.refuse(one) == ()
    bench.accept(one, 1, NOW_S + 8, sent_s=NOW_S + 1)
    assert bench.facts() == ()
    bench.accept(one, 15, NOW_S + 8, sent_s=NOW_S - 1)
    (fact,) = bench.facts()
    assert (fact.amount, fact.seen_s, fact.reset_s) == (15, NOW_S, NOW_S + 30)
    assert [key.limit.amount for key in bench.learned(one)] == [15]
    assert bench.standing(one).firm


def test_of_a_belief_too() -> None:
    bench = Bench("mistral", started_s=NOW_S)
    one = bench.candidate()
    bench.accept(one, 3, NOW_S - 2)
    bench.refuse(one)
    bench.accept(one, 12, NOW_S + 8, sent_s=NOW_S - 1)
    assert (bench.standing(one).amount, bench.standing(one).firm) == (15, False)


def test_two_keys_of_one_account_are_counted_together() -> None:
    bench = Bench("mistral")
    one, other = bench.candidate("k1", account="a"), bench.candidate("k2", account="a")
    bench.accept(one, 8)
    bench.accept(other, 7)
    (fact,) = bench.refuse(one)
    assert (fact.amount, bench.learned(one), bench.learned(other)) == (15, (fact.key,), (fact.key,))


def test_a_second_model_refused_at_once_shows_a_limit_of_the_account() -> None:
    bench = Bench("mistral")
    one, other, third = (bench.candidate(model=model) for model in "mno")
    bench.accept(one, 8)
    bench.accept(other, 7)
    bench.refuse(one)
    pair, account = bench.refuse(other, now_s=NOW_S + 6)
    assert (pair.amount, account.amount, account.key.bound) == (7, 15, ("acct:mistral/a",))
    assert bench.learned(third) == (account.key,)


@pytest.mark.parametrize(
    ("scope", "bound"),
    [
        (FailureScope.KEY, ("key:mistral/a",)),
        (FailureScope.ACCOUNT, ("acct:mistral/a",)),
        (FailureScope.MODEL, ("prov:mistral", "model:m")),
        (FailureScope.PROVIDER, ("prov:mistral",)),
        (FailureScope.PAIR, ("acct:mistral/a", "model:m")),
    ],
)
def test_the_failures_scope_is_what_is_bound(scope: FailureScope, bound: tuple[str, ...]) -> None:
    bench = Bench("mistral")
    one, elsewhere = bench.candidate(), bench.candidate("z", "z")
    bench.accept(one, 5)
    bench.accept(elsewhere, 2)
    (fact,) = bench.refuse(one, scope=scope)
    assert (fact.key.bound, fact.amount) == (bound, 7 if scope is FailureScope.PROVIDER else 5)


def test_words_without_a_number_choose_unit_and_window() -> None:
    bench = Bench("cerebras")
    one = bench.candidate()
    bench.accept(one, 4)
    (fact,) = bench.refuse(one, "Tokens per hour limit exceeded - too many tokens processed.", hint_s=3.0)
    assert (fact.key.limit.unit, fact.key.limit.window, fact.amount) == (Unit.TOKENS, parse_window("1h"), 60)


@pytest.mark.parametrize(
    ("until_s", "window"), [(NOW_S + 43_200, DAY), (NOW_S + 9 * 86_400, parse_window("month@UTC"))]
)
def test_a_failure_classified_as_a_quota_is_a_days_or_a_months(until_s: float, window: Window) -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    bench.accept(one, 4)
    (fact,) = bench.refuse(one, kind=FailureKind.QUOTA, until_s=until_s, hint_s=2.0)
    assert fact.key.limit.window == window


@pytest.mark.parametrize("message", ["Too many concurrent requests.", "Concurrency limit reached"])
def test_too_many_at_once_is_no_limit_of_a_minute(message: str) -> None:
    bench = Bench("deepseek")
    one = bench.candidate()
    bench.accept(one, 5)
    assert bench.refuse(one, message) == ()


def test_words_beat_an_inference_and_an_inference_changes_nothing_of_words() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    bench.accept(one, 5)
    bench.refuse(one)
    bench.refuse(one, "limited to 12 requests per minute", NOW_S + 10)
    assert (bench.standing(one).amount, bench.facts()[0].source) == (12, FactSource.REFUSAL)
    (same,) = bench.refuse(one, now_s=NOW_S + 30)
    assert (same.amount, same.source, bench.standing(one).amount) == (12, FactSource.REFUSAL, 12)


def test_a_limit_of_the_path_is_doubted_at_the_first_refusal_and_lowered_at_the_second() -> None:
    bench = Bench("nvidia", limit(40, scope=ACCOUNT))
    one = bench.candidate()
    bench.accept(one, 30)
    (doubt,) = bench.refuse(one)
    assert (doubt.amount, doubt.followed, bench.standing(one).amount, bench.said) == (30, True, 40, [])
    assert bench.refuse(one, now_s=NOW_S + 1) == (), "the same event"
    bench.accept(one, 28, NOW_S + 90)
    (fact,) = bench.refuse(one, now_s=NOW_S + 90)
    assert (fact.amount, bench.standing(one).amount) == (28, 28)
    assert bench.said == [
        "nvidia/a m: the provider refuses after 28 requests per 60s, the catalogue says 40; following the provider"
    ]
    bench.accept(one, 4, NOW_S + 95, sent_s=NOW_S + 89)
    assert bench.standing(one).amount == 32


def test_late_answers_lift_a_doubt() -> None:
    bench = Bench("nvidia", limit(40, scope=ACCOUNT))
    one = bench.candidate()
    bench.accept(one, 1)
    bench.refuse(one)
    bench.accept(one, 30, NOW_S + 3, sent_s=NOW_S - 1)
    assert (bench.facts()[0].amount, bench.standing(one).amount) == (31, 40)


def test_a_belief_that_was_reached_is_confirmed() -> None:
    bench = Bench("nvidia", limit(40, scope=ACCOUNT, firm=False))
    one = bench.candidate()
    bench.accept(one, 40)
    assert bench.refuse(one) == ()
    assert bench.standing(one).firm


def test_what_the_headers_said_is_not_doubted() -> None:
    bench = Bench("openai", limit(40))
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(40, 40), NOW_S)
    bench.accept(one, 5)
    (fact,) = bench.refuse(one, now_s=NOW_S + 20)
    assert (fact.source, fact.amount, bench.standing(one).amount) == (FactSource.HEADER, 40, 40)


# Accounts


def test_accounts_of_one_organisation_are_found_by_header_and_by_text() -> None:
    bench = Bench("openai")
    one, other, third = (bench.candidate(label) for label in "abc")
    bench.learner.answered(one, {"openai-organization": "org-1"}, NOW_S)
    bench.learner.answered(other, {"openai-organization": "org-1"}, NOW_S)
    bench.learner.answered(other, {"openai-organization": "org-1"}, NOW_S)
    bench.refuse(third, "Rate limit reached for m in organization org-1 on requests per min (RPM): Limit 3, Used 3")
    assert [(merge.into, merge.account) for merge in bench.merges] == [("a", "b"), ("a", "c")]
    assert bench.said == [str(merge) for merge in bench.merges]
    assert [len(bench.learned(each)) for each in (one, other, third)] == [1, 1, 1]


def test_merged_accounts_are_counted_together() -> None:
    bench = Bench("openai")
    one, other = bench.candidate("a"), bench.candidate("b")
    for each in (one, other):
        bench.learner.answered(each, {"openai-organization": "org-1"}, NOW_S)
        bench.accept(each, 4)
    (fact,) = bench.refuse(other)
    assert (fact.amount, fact.key.bound) == (8, ("acct:openai/a", "model:m"))


# Forgetting


def test_what_is_cleared_is_as_it_was_configured_again() -> None:
    bench = Bench("openai", limit(15))
    one = bench.candidate()
    bench.learner.answered(one, openai_headers(5, 5), NOW_S)
    bench.learner.answered(one, openai_headers(900, 900, "tokens"), NOW_S)
    assert (bench.standing(one).amount, len(bench.learned(one))) == (5, 1)
    assert len(bench.learner.clear(NOW_S, provider_id="openai")) == 2
    assert (bench.standing(one).amount, bench.learned(one), bench.facts()) == (15, (), ())


def test_what_has_faded_is_given_up() -> None:
    bench = Bench("openai", limit(15))
    one = bench.candidate()
    bench.refuse(one, "limited to 5 requests per minute")
    much_later_s = NOW_S + 5 * HALF_LIFE_S[FactSource.REFUSAL]
    bench.accept(one, 1, NOW_S + SWEEP_EVERY_S)
    assert bench.ledger.peek(one.path, NOW_S + SWEEP_EVERY_S)[0].amount == 5
    bench.accept(one, 1, much_later_s)
    assert bench.ledger.peek(one.path, much_later_s)[0].amount == 15
    assert repr(bench.learner) == "<Learner <LearnedBook 0 facts, 1 changes> <Tallies 1 of at most 50000> 0 watched>"


# Hidden limits, against the simulator's own count


def serve(
    bench: Bench,
    rows: Iterable[LimitRow],
    candidates: list[Candidate],
    times: Iterable[float],
    answer: Callable[[Excess, float], tuple[str, float | None]],
) -> list[float]:
    """Offer a request at each time to the candidates in turn, as the engine would; return when it was refused."""
    truth, refusals = Enforcer(tuple(rows)), list[float]()
    rests = dict.fromkeys((one.id for one in candidates), 0.0)
    for number, now_s in enumerate(times):
        for one in candidates[number % len(candidates) :] + candidates[: number % len(candidates)]:
            path = (*one.path, *bench.learned(one, now_s))
            if now_s < rests[one.id]:
                continue
            taken = bench.ledger.reserve(path, Amounts(1, 10, 5), now_s)
            if isinstance(taken, Refusal):
                continue
            reservation: Reservation = taken
            excess = truth.admit(Scope(one.provider_id, one.key.account, one.key.label, one.model), 10, now_s)
            bench.ledger.settle(reservation, Amounts(1 if excess is None else 0, 10, 5), now_s, arrived=True)
            if excess is None:
                bench.accept(one, 1, now_s)
                break
            refusals.append(now_s)
            message, hint_s = answer(excess, now_s)
            bench.refuse(one, message, now_s, hint_s=hint_s)
            rests[one.id] = now_s + (hint_s or 1.0)
    return refusals


def bare(excess: Excess, now_s: float) -> tuple[str, float | None]:
    return "slow down please", max(excess.free_at_s - now_s, 0.5)


def row(amount: int, window: str, *scope: ScopePart) -> LimitRow:
    return LimitRow(unit=Unit.REQUESTS, amount=amount, window=window, scope=scope or PAIR)


@pytest.mark.parametrize("amount", [1, 5, 15, 60])
def test_a_hidden_limit_of_a_minute_is_learned_from_two_refusals_at_most(amount: int) -> None:
    bench = Bench("mistral")
    times = [NOW_S + step * 60 / (10 * amount) for step in range(100 * amount)]
    refusals = serve(bench, [row(amount, "60s")], [bench.candidate()], times, bare)
    assert 1 <= len(refusals) <= 2
    assert max(refusals) < NOW_S + 120


def test_a_hidden_limit_of_an_account_over_two_keys() -> None:
    bench = Bench("mistral")
    keys = [bench.candidate(label, account="a") for label in ("k1", "k2")]
    times = [NOW_S + step for step in range(900)]
    refusals = serve(bench, [row(15, "60s", *ACCOUNT)], keys, times, bare)
    assert 1 <= len(refusals) <= 2


def test_a_hidden_limit_of_a_day() -> None:
    bench = Bench("mistral")
    one = bench.candidate()
    times = [NOW_S + step * 60 for step in range(3 * 24 * 60)]
    refusals = serve(bench, [row(50, "day@UTC")], [one], times, bare)
    assert 1 <= len(refusals) <= 2
    (fact,) = bench.facts(times[-1])
    assert (fact.amount, fact.key.limit.window) == (50, DAY)
    assert fact.reset_s == dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp()


# Absurd hints


ABSURD = st.one_of(
    st.sampled_from(
        ["0", "-1", "1e12", "NaN", "inf", "-inf", "soon", "", "Fri, 31 Dec 1999 23:59:59 GMT", "1e308", "0s"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20),
)


@settings(max_examples=150)
@given(
    values=st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ]
        ),
        ABSURD,
    ),
    prose=ABSURD,
    delay=ABSURD,
    strikes=st.integers(0, 100),
)
def test_absurd_hints_neither_spin_nor_rest_for_long(
    values: dict[str, str], prose: str, delay: str, strikes: int
) -> None:
    body = {"error": {"message": f"Rate limit, please retry in {prose}", "details": [{"retryDelay": delay}]}}
    error = read_error(429, msgspec.json.encode(body), values, NOW_S)
    for classifier in CLASSIFIERS:
        chosen = classifier.row_for(error)
        if chosen.kind is not FailureKind.RATE:
            continue
        until_s = rest_until(chosen, error.hint_s, Moment(now_s=NOW_S, strikes=strikes, random=0.999))
        assert until_s is not None
        assert 0.25 <= until_s - NOW_S <= 26 * 3600 + 1
    for word in read_limits(values, CATALOGUE["openai"].limit_headers, NOW_S):
        assert word.amount is None or word.amount >= 1
    named = read_limit(error, day=DAY, headers=values)
    assert named is None or named.amount is None or named.amount >= 1
    bench = Bench("openai")
    one = bench.candidate()
    bench.accept(one, 3)
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message=error.message)
    for fact in bench.learner.refused(one, error, failure, NOW_S, headers=values):
        assert fact.amount >= 1
        assert fact.reset_s is None or fact.reset_s > NOW_S
