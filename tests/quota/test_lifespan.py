import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Unit, parse_window
from keyrelay.quota.lifespan import MAX_DAYS, Demand, Lifespan, Quota, Verdict, lifespan

NOW_S = dt.datetime(2027, 1, 15, tzinfo=dt.UTC).timestamp()
DAY_S = 86_400.0


def quota(provider: str, amount: int, window: str, unit: Unit = Unit.TOKENS, **more: Any) -> Quota:
    remaining = more.pop("remaining", amount)
    return Quota(provider=provider, unit=unit, window=parse_window(window), amount=amount, remaining=remaining, **more)


def lasting(tokens_per_day: float, *quotas: Quota, unlimited: tuple[str, ...] = (), **demand: Any) -> Lifespan:
    return lifespan(quotas, Demand(tokens_per_day=tokens_per_day, **demand), NOW_S, unlimited=unlimited).total


def days_of(life: Lifespan) -> float:
    """How long the use is carried in whole: for ever, some days, or not one."""
    if life.verdict is Verdict.LASTS:
        return math.inf
    return life.days or 0.0


class TestRecurring:
    @pytest.mark.parametrize(
        ("amount", "window", "per_day"),
        [
            (1_000, "day@UTC", 1_000),
            (7_000, "week@UTC", 1_000),
            (31_000, "month@UTC", 1_000),
            (31_000, "month:15@UTC", 1_000),
            (1_000, "24h", 1_000),
            (10, "60s", 14_400),
        ],
    )
    def test_each_window_gives_back_so_much_a_day(self, amount: int, window: str, per_day: int) -> None:
        exactly, more = (lasting(tokens, quota("groq", amount, window)) for tokens in (per_day, per_day * 1.25))
        assert exactly.verdict is Verdict.LASTS
        assert exactly.tokens_per_day == pytest.approx(per_day)
        assert more.verdict is Verdict.PARTLY
        assert more.share == pytest.approx(0.8)

    @pytest.mark.parametrize(
        ("unit", "demand", "per_day"),
        [
            (Unit.REQUESTS, {}, 100_000),
            (Unit.REQUESTS, {"tokens_per_request": 250}, 25_000),
            (Unit.REQUESTS, {"requests_per_day": 50}, 200),
            (Unit.INPUT_TOKENS, {"input_share": 0.8}, 125),
            (Unit.OUTPUT_TOKENS, {"input_share": 0.8}, 500),
            (Unit.TOKENS, {}, 100),
        ],
    )
    def test_each_unit_is_taken_as_tokens(self, unit: Unit, demand: dict[str, Any], per_day: int) -> None:
        life = lasting(100, quota("groq", 100, "day@UTC", unit), **demand)
        assert life.tokens_per_day == pytest.approx(per_day)

    @pytest.mark.parametrize("unit", [Unit.USD_MICROS, Unit.UNITS, Unit.REQUESTS])
    def test_what_a_unit_buys_can_be_said(self, unit: Unit) -> None:
        assert lasting(1, quota("x", 10, "day@UTC", unit, tokens_per_unit=2.5)).tokens_per_day == 25

    @pytest.mark.parametrize(
        "limits",
        [
            quota("x", 10, "day@UTC", Unit.UNITS),
            quota("x", 10, "once", Unit.USD_MICROS),
            quota("x", 10, "concurrent", Unit.REQUESTS),
        ],
    )
    def test_what_cannot_be_taken_as_tokens_says_nothing(self, limits: Quota) -> None:
        assert lasting(1, limits).verdict is Verdict.UNKNOWN
        beside = lasting(1_000, limits, quota("x", 500, "day@UTC"))
        assert (beside.verdict, beside.share) == (Verdict.PARTLY, 0.5)

    def test_of_several_limits_the_smallest_counts(self) -> None:
        limits = (
            quota("groq", 30, "60s", Unit.REQUESTS),
            quota("groq", 1_000, "day@UTC", Unit.REQUESTS),
            quota("groq", 6_000, "60s"),
        )
        assert lasting(1, *limits).tokens_per_day == pytest.approx(1_000_000)

    def test_models_and_accounts_add_up_within_what_binds_them_together(self) -> None:
        limits = [
            quota("gemini", 100, "day@UTC", account="home", model="flash"),
            quota("gemini", 50, "day@UTC", account="home", model="pro"),
            quota("gemini", 100, "day@UTC", account="work", model="flash"),
        ]
        assert lasting(1, *limits).tokens_per_day == 250
        limits.append(quota("gemini", 120, "day@UTC", account="home"))
        assert lasting(1, *limits).tokens_per_day == 220
        limits.append(quota("gemini", 200, "day@UTC"))
        assert lasting(1, *limits).tokens_per_day == 200

    def test_keys_of_one_account_add_up_within_what_it_has(self) -> None:
        limits = [quota("groq", 100, "day@UTC", account="home", key=label, model="m") for label in ("one", "two")]
        assert lasting(1, *limits).tokens_per_day == 200
        limits.append(quota("groq", 150, "day@UTC", account="home", model="m"))
        assert lasting(1, *limits).tokens_per_day == 150

    def test_what_is_left_of_today_plays_no_part(self) -> None:
        assert lasting(100, quota("groq", 100, "day@UTC", remaining=0)).verdict is Verdict.LASTS


class TestCredit:
    def test_it_is_gone_after_so_many_days(self) -> None:
        life = lasting(1_000, quota("openai", 100_000, "once", remaining=30_000))
        assert life.verdict is Verdict.RUNS_OUT
        assert life.days == pytest.approx(30)
        assert life.until_s == pytest.approx(NOW_S + 30 * DAY_S)
        assert (life.share, life.tokens_per_day) == (0, 0)

    def test_it_is_used_for_what_is_beyond_the_recurring_quotas_only(self) -> None:
        life = lasting(1_000, quota("groq", 800, "day@UTC"), quota("openai", 30_000, "once"))
        assert life.days == pytest.approx(150)
        assert life.share == pytest.approx(0.8)

    def test_it_is_not_used_when_they_suffice(self) -> None:
        assert lasting(800, quota("groq", 800, "day@UTC"), quota("openai", 30_000, "once")).verdict is Verdict.LASTS

    @pytest.mark.parametrize(
        ("amount", "days"), [(10_000, 10), (100_000, 59)], ids=["used up before it expires", "expires"]
    )
    def test_it_may_expire(self, amount: int, days: int) -> None:
        assert lasting(1_000, quota("x", amount, "once:2027-03-15@UTC")).days == pytest.approx(days)

    def test_what_expires_first_is_used_first(self) -> None:
        life = lasting(1_000, quota("a", 40_000, "once"), quota("b", 40_000, "once:2027-02-14@UTC"))
        assert life.days == pytest.approx(30 + 40)

    def test_what_expires_is_missed_afterwards_however_much_it_was(self) -> None:
        slow = (quota("a", 40_000, "once"), quota("a", 500, "day@UTC"))
        assert lasting(1_000, *slow, quota("b", 40_000, "once:2027-02-14@UTC")).days == pytest.approx(30)

    def test_what_has_expired_is_not_there(self) -> None:
        assert lasting(1_000, quota("a", 40_000, "once:2027-01-15@UTC")).verdict is Verdict.PARTLY
        assert lasting(1_000, quota("a", 40_000, "once", remaining=-5)).verdict is Verdict.PARTLY

    def test_a_rate_limit_on_it_holds(self) -> None:
        slow = (quota("slow", 10_000, "once"), quota("slow", 400, "day@UTC"))
        partly = lasting(1_000, *slow)
        assert (partly.verdict, partly.share, partly.days) == (Verdict.PARTLY, 0, None)
        assert partly.reason == (
            "Carries 0 of 1,000 tokens a day (0%). Credit makes that 400 of 1,000 tokens a day (40%) for a time."
        )
        together = lasting(1_000, *slow, quota("other", 15_000, "once"))
        assert together.days == pytest.approx(25)

    def test_credit_that_binds_an_account_ends_its_recurring_quotas_too(self) -> None:
        life = lasting(
            500,
            quota("x", 1_000, "day@UTC", account="a", model="m"),
            quota("x", 100_000, "once", account="a", model="n", remaining=70_000),
            quota("x", 50_000, "once", account="a"),
        )
        assert life.days == pytest.approx(100)

    def test_of_two_credits_on_the_same_requests_the_smaller_is_gone_first(self) -> None:
        both = (quota("x", 9_000, "once", account="a"), quota("x", 20_000, "once", account="a", model="m"))
        assert lasting(1_000, *both).days == pytest.approx(9)
        other = (quota("x", 90_000, "once", account="a"), quota("x", 20_000, "once", account="a", model="m"))
        assert lasting(1_000, *other).days == pytest.approx(20)

    def test_a_daily_limit_of_an_account_holds_for_its_credit(self) -> None:
        life = lifespan(
            [
                quota("x", 300, "day@UTC", account="a", model="free"),
                quota("x", 60_000, "once", account="a", model="m"),
                quota("x", 60_000, "once", account="a", model="n"),
                quota("x", 1_000, "day@UTC", account="a"),
            ],
            Demand(tokens_per_day=1_000),
            NOW_S,
        ).total
        assert life.share == pytest.approx(0.3)
        assert life.days == pytest.approx(60_000 / 700)  # the first credit has the whole room, and then is gone

    def test_a_provider_whose_limits_leave_credit_free_does_not_bind_it(self) -> None:
        quotas = [
            quota("x", 100, "day@UTC", model="free"),
            quota("x", 5_000, "once", model="paid"),
            quota("x", 9_000, "once", account="a"),
        ]
        assert lasting(1_000, *quotas).days == pytest.approx(9)

    def test_what_lasts_longer_than_a_century_is_said_to_last_a_century(self) -> None:
        assert lasting(1, quota("x", 10**12, "once")).days == MAX_DAYS
        assert lasting(1e-300, quota("x", 10**12, "once")).days == MAX_DAYS


class TestReport:
    def test_each_provider_alone_and_all_together(self) -> None:
        result = lifespan(
            [quota("openai", 60_000, "once"), quota("groq", 800, "day@UTC"), quota("local", 2, "concurrent")],
            Demand(tokens_per_day=1_000),
            NOW_S,
        )
        assert [(life.provider, life.verdict) for life in result.providers] == [
            ("groq", Verdict.PARTLY),
            ("local", Verdict.UNKNOWN),
            ("openai", Verdict.RUNS_OUT),
        ]
        assert result.total.provider == ""
        assert result.total.days == pytest.approx(300)
        assert result.total.reason.endswith("Not counted: local, with no limit that can be taken as tokens.")

    def test_without_any_quota_nothing_is_known(self) -> None:
        assert lasting(1_000).verdict is Verdict.UNKNOWN

    def test_a_provider_without_limits_carries_everything(self) -> None:
        life = lasting(10**9, quota("groq", 5, "day@UTC"), unlimited=("ollama",))
        assert (life.verdict, life.tokens_per_day, life.reason) == (Verdict.LASTS, None, "Lasts: no limit is known.")

    def test_a_provider_with_a_limit_is_not_unlimited(self) -> None:
        assert lasting(10, quota("groq", 5, "day@UTC"), unlimited=("groq",)).verdict is Verdict.PARTLY

    @pytest.mark.parametrize(
        ("life", "reason"),
        [
            (
                lasting(1_400_000, quota("gemini", 2_000_000, "day@UTC")),
                "Lasts: it takes 1.4 M of the 2 M tokens that come back each day.",
            ),
            (
                lasting(2_000_000, quota("groq", 500_000, "day@UTC")),
                "Carries 500 k of 2 M tokens a day (25%).",
            ),
            (
                lasting(1_000, quota("openai", 12_500, "once")),
                "Lasts for 12 d 12 h, while there is credit; after that nothing is left.",
            ),
            (
                lasting(2_000, quota("groq", 500, "day@UTC"), quota("openai", 1_500, "once")),
                "Lasts for 1 d 0 h, while there is credit; after that 500 of 2,000 tokens a day (25%) come back.",
            ),
            (
                lasting(1, quota("local", 2, "concurrent")),
                "Unknown: no limit is known that can be taken as tokens per day.",
            ),
        ],
    )
    def test_the_reason_is_a_sentence(self, life: Lifespan, reason: str) -> None:
        assert life.reason == reason

    @pytest.mark.parametrize(
        ("demand", "complaint"),
        [
            ({"tokens_per_day": 0}, "tokens_per_day is 0; it has to be above zero"),
            ({"tokens_per_day": math.inf}, "tokens_per_day is inf"),
            ({"tokens_per_day": math.nan}, "tokens_per_day is nan"),
            ({"tokens_per_day": 1, "requests_per_day": -1}, "requests_per_day is -1"),
            ({"tokens_per_day": 1, "tokens_per_request": 0}, "tokens_per_request is 0"),
            ({"tokens_per_day": 1, "input_share": 1.0}, "input_share is 1.0; it has to be between 0 and 1"),
        ],
    )
    def test_an_impossible_demand_is_refused(self, demand: dict[str, float], complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            Demand(**demand)


QUOTAS = st.lists(
    st.builds(
        quota,
        st.sampled_from(("a", "b", "c")),
        st.integers(0, 10**7),
        st.sampled_from(("60s", "24h", "day@UTC", "month@UTC", "once", "once:2027-03-01@UTC", "concurrent")),
        st.sampled_from(tuple(Unit)),
        account=st.sampled_from(("", "home", "work")),
        key=st.sampled_from(("", "one")),
        model=st.sampled_from(("", "flash", "pro")),
    ),
    max_size=12,
)
TOKENS = st.floats(1, 1e9)
REQUESTS = st.none() | st.floats(1, 1e6)


@given(QUOTAS, TOKENS, st.floats(1, 100), REQUESTS)
def test_more_tokens_per_day_never_last_longer(
    quotas: list[Quota], tokens_per_day: float, more: float, requests_per_day: float | None
) -> None:
    few = lasting(tokens_per_day, *quotas, requests_per_day=requests_per_day)
    many = lasting(tokens_per_day * more, *quotas, requests_per_day=requests_per_day)
    assert days_of(many) <= days_of(few) * (1 + 1e-6)
    assert many.share <= few.share + 1e-6


@given(QUOTAS, TOKENS, REQUESTS)
def test_all_together_last_at_least_as_long_as_the_best(
    quotas: list[Quota], tokens_per_day: float, requests_per_day: float | None
) -> None:
    result = lifespan(quotas, Demand(tokens_per_day=tokens_per_day, requests_per_day=requests_per_day), NOW_S)
    best_days = max(map(days_of, result.providers), default=0.0)
    assert days_of(result.total) >= best_days * (1 - 1e-6)
    assert result.total.share >= max((life.share for life in result.providers), default=0.0) - 1e-6


@given(QUOTAS, TOKENS)
def test_each_verdict_says_what_belongs_to_it(quotas: list[Quota], tokens_per_day: float) -> None:
    result = lifespan(quotas, Demand(tokens_per_day=tokens_per_day), NOW_S)
    for life in (*result.providers, result.total):
        assert life.reason.endswith(".")
        assert (life.days is not None) == (life.until_s is not None) == (life.verdict is Verdict.RUNS_OUT)
        assert life.days is None or 0 < life.days <= MAX_DAYS
        assert 0 <= life.share <= 1
        assert (life.share == 1) == (life.verdict is Verdict.LASTS) or life.share == pytest.approx(1)


ACCOUNTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), max_size=6)


def with_credit(accounts: list[tuple[int, int]]) -> list[Quota]:
    """Accounts with a credit, and a limit on what a day may take of it."""
    return [
        limit
        for number, (credit, per_day) in enumerate(accounts)
        for limit in (
            quota("x", credit, "once", account=str(number)),
            quota("x", per_day, "day@UTC", account=str(number)),
        )
    ]


@given(ACCOUNTS, st.integers(1, 10**4))
def test_credit_lasts_as_long_as_it_can_and_no_longer(accounts: list[tuple[int, int]], tokens: int) -> None:
    days = days_of(lasting(tokens, *with_credit(accounts)))

    def carried(during: float) -> float:
        """Tokens per day, when each account gives an even share of its credit for so long."""
        return sum(min(per_day, credit / during) for credit, per_day in accounts)

    assert days in {0.0, MAX_DAYS} or carried(days) >= tokens * (1 - 1e-6)
    assert days == MAX_DAYS or carried(max(days * (1 + 1e-6), 1e-6)) <= tokens * (1 + 1e-6)


@given(ACCOUNTS, st.integers(1, 10**4))
def test_who_spends_credit_day_by_day_is_not_told_less(accounts: list[tuple[int, int]], tokens: int) -> None:
    left = [credit for credit, _ in accounts]
    days, need = 0, 0
    while not need and days < 500:
        need = tokens
        for number, (_, per_day) in enumerate(accounts):
            taken = min(need, per_day, left[number])
            left[number] -= taken
            need -= taken
        days += not need
    assert days_of(lasting(tokens, *with_credit(accounts))) >= days * (1 - 1e-6)
