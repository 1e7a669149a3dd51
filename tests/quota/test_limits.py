import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.configuration import Tier
from keyrelay.core.limits import Limit, LimitSource, Pacing, ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.quota.limits import (
    HIGHEST_AMOUNT,
    amount_with_margin,
    effective_limits,
    limit_from_row,
    limit_notes,
    limit_problems,
    limits_on_path,
    with_margin,
)
from keyrelay.quota.values import LimitKey

PER_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
SHARED = (ScopePart.ACCOUNT,)


def limit(
    amount: int,
    *,
    unit: Unit = Unit.REQUESTS,
    window: str = "60s",
    scope: tuple[ScopePart, ...] = PER_MODEL,
    models: tuple[str, ...] = (),
    source: LimitSource = LimitSource.CONFIGURED,
    firm: bool = True,
    pacing: Pacing = Pacing.BURST,
) -> Limit:
    return Limit(
        unit=unit,
        amount=amount,
        window=parse_window(window),
        scope=scope,
        models=models,
        source=source,
        firm=firm,
        pacing=pacing,
    )


def row(amount: int, *, window: str = "60s", models: tuple[str, ...] = ()) -> LimitRow:
    return LimitRow(unit=Unit.REQUESTS, amount=amount, window=window, models=models)


def believed(amount: int, *, firm: bool = False, models: tuple[str, ...] = (), window: str = "60s") -> Limit:
    return limit(amount, models=models, window=window, source=LimitSource.CATALOGUE, firm=firm)


def on_path(*limits: Limit, model: str = "flash") -> tuple[LimitKey, ...]:
    return limits_on_path(limits, provider_id="gemini", account="home", key_label="one", model=model)


class TestLimitFromRow:
    def test_a_row_becomes_a_firm_limit_of_the_catalogue(self) -> None:
        rolling = LimitRow(unit=Unit.TOKENS, amount=250_000, window="60s", scope=SHARED, models=("flash*",))
        assert limit_from_row(rolling) == limit(
            250_000, unit=Unit.TOKENS, scope=SHARED, models=("flash*",), source=LimitSource.CATALOGUE
        )

    def test_a_calendar_window_is_checked_for_its_zone(self) -> None:
        assert limit_from_row(row(1500, window="day@America/Los_Angeles")).window.zone == "America/Los_Angeles"
        with pytest.raises(ValueError, match="Mars/Olympus"):
            limit_from_row(row(1500, window="month@Mars/Olympus"))
        with pytest.raises(ValueError, match="Mars/Olympus"):
            limit_from_row(row(1500, window="once:2027-03-01@Mars/Olympus"))

    def test_an_unreadable_window_is_refused(self) -> None:
        with pytest.raises(ValueError, match="a minute"):
            limit_from_row(row(15, window="a minute"))


class TestLimitsOnPath:
    @pytest.mark.parametrize(
        ("scope", "bound"),
        [
            ((ScopePart.KEY,), ("key:gemini/one",)),
            ((ScopePart.ACCOUNT,), ("acct:gemini/home",)),
            ((ScopePart.PROVIDER,), ("prov:gemini",)),
            ((ScopePart.MODEL, ScopePart.ACCOUNT), ("acct:gemini/home", "model:flash")),
            ((ScopePart.MODEL, ScopePart.KEY), ("key:gemini/one", "model:flash")),
            ((ScopePart.PROVIDER, ScopePart.MODEL), ("prov:gemini", "model:flash")),
            ((ScopePart.MODEL,), ("prov:gemini", "model:flash")),
        ],
    )
    def test_scope_names_what_is_bound_in_one_order(self, scope: tuple[ScopePart, ...], bound: tuple[str, ...]) -> None:
        assert on_path(limit(15, scope=scope)) == (LimitKey(limit(15, scope=scope), bound),)

    def test_patterns_choose_the_models_and_case_counts(self) -> None:
        flash, pro = limit(15, models=("gemini-*-flash", "flash")), limit(5, models=("*pro",))
        assert [key.limit for key in on_path(flash, pro)] == [flash]
        assert [key.limit for key in on_path(flash, pro, model="gemini-3-flash")] == [flash]
        assert [key.limit for key in on_path(flash, pro, model="gemini-3-pro")] == [pro]
        assert on_path(flash, pro, model="FLASH") == ()

    def test_models_of_a_group_share_what_is_bound(self) -> None:
        group = limit(20, scope=SHARED, models=("*:free",))
        assert on_path(group, model="a:free") == on_path(group, model="b:free")
        assert on_path(group, model="paid") == ()

    def test_without_limits_the_path_is_empty(self) -> None:
        assert on_path() == ()


class TestEffectiveLimits:
    def test_the_tier_decides_what_the_catalogue_counts(self) -> None:
        rows = (row(15),)
        assert effective_limits(rows, (), Tier.FREE) == (believed(15, firm=True),)
        assert effective_limits(rows, (), Tier.PAID) == ()
        assert effective_limits(rows, (), Tier.UNKNOWN) == (believed(15),)

    @pytest.mark.parametrize("tier", Tier)
    def test_what_is_configured_is_always_firm(self, tier: Tier) -> None:
        assert effective_limits((), (limit(10, firm=False),), tier) == (limit(10),)

    @pytest.mark.parametrize("amount", [10, 15, 20])
    def test_a_configured_limit_replaces_a_belief(self, amount: int) -> None:
        assert effective_limits((row(15),), (limit(amount),), Tier.UNKNOWN) == (limit(amount),)

    def test_of_two_firm_limits_the_smaller_is_in_force(self) -> None:
        assert effective_limits((row(15),), (limit(10),), Tier.FREE) == (limit(10),)
        assert effective_limits((row(15),), (limit(15),), Tier.FREE) == (limit(15),)
        assert effective_limits((row(15),), (limit(20),), Tier.FREE) == (believed(15, firm=True),)
        assert effective_limits((), (limit(9), limit(7), limit(8)), Tier.PAID) == (limit(7),)

    def test_a_limit_on_every_model_meets_those_on_some(self) -> None:
        rows = (row(15, models=("flash",)), row(5, models=("pro",)))
        assert effective_limits(rows, (limit(10),), Tier.FREE) == (limit(10), believed(5, firm=True, models=("pro",)))
        assert effective_limits(rows, (limit(10),), Tier.UNKNOWN) == (limit(10),)

    def test_a_limit_on_some_models_leaves_a_belief_on_every_model(self) -> None:
        some = limit(10, models=("pro",))
        assert effective_limits((row(5),), (some,), Tier.UNKNOWN) == (some, believed(5))

    def test_the_order_of_a_scope_does_not_matter(self) -> None:
        turned = limit(10, scope=(ScopePart.MODEL, ScopePart.ACCOUNT))
        assert effective_limits((row(15),), (turned,), Tier.UNKNOWN) == (turned,)

    @pytest.mark.parametrize(
        "other",
        [limit(10, window="1h"), limit(10, unit=Unit.TOKENS), limit(10, scope=SHARED), limit(10, models=("pro",))],
        ids=["window", "unit", "scope", "models"],
    )
    def test_limits_on_something_else_stand_side_by_side(self, other: Limit) -> None:
        assert effective_limits((row(15),), (other,), Tier.UNKNOWN) == (other, believed(15))

    def test_a_shared_count_is_not_the_count_of_a_group(self) -> None:
        group = LimitRow(unit=Unit.REQUESTS, amount=20, window="60s", scope=SHARED, models=("*:free",))
        total = limit(10, scope=SHARED)
        assert effective_limits((group,), (total,), Tier.FREE) == (total, limit_from_row(group))

    def test_a_row_that_cannot_be_read_is_refused(self) -> None:
        with pytest.raises(ValueError, match="never"):
            effective_limits((row(1, window="never"),), (), Tier.FREE)

    def test_a_model_alone_is_that_model_at_its_provider(self) -> None:
        alone = limit(10, scope=(ScopePart.MODEL,))
        both = LimitRow(unit=Unit.REQUESTS, amount=15, window="60s", scope=(ScopePart.PROVIDER, ScopePart.MODEL))
        assert effective_limits((both,), (alone,), Tier.UNKNOWN) == (alone,)

    def test_a_smaller_limit_takes_over_the_pacing_of_what_it_stands_for(self) -> None:
        smooth = limit(20, pacing=Pacing.SMOOTH)
        (found,) = effective_limits((row(15),), (smooth,), Tier.FREE)
        assert (found.amount, found.source, found.pacing) == (15, LimitSource.CATALOGUE, Pacing.SMOOTH)

    def test_a_margin_is_kept_from_all_but_what_is_configured(self) -> None:
        rows = (row(300), row(5, window="24h"), row(100, window="once"))
        learned = limit(1000, window="1h", source=LimitSource.LEARNED)
        found = effective_limits(rows, (limit(200, window="10s"), learned), Tier.FREE, margin=0.05)
        assert [each.amount for each in found] == [200, 990, 297, 4, 100]


class TestMargin:
    @pytest.mark.parametrize(
        ("amount", "margin", "expected"),
        [(15, 0.0, 15), (15, 0.01, 14), (15, 0.9, 14), (1, 0.5, 1), (0, 0.5, 0), (2, 0.5, 1), (1000, 0.001, 999)],
    )
    def test_what_is_left_of_an_amount(self, amount: int, margin: float, expected: int) -> None:
        assert amount_with_margin(amount, margin) == expected

    @given(amount=st.integers(0, HIGHEST_AMOUNT), margin=st.floats(0, 1))
    def test_at_most_one_or_one_percent_is_kept_and_something_is_left(self, amount: int, margin: float) -> None:
        left = amount_with_margin(amount, margin)
        assert 0 <= amount - left <= max(1, amount / 100)
        assert bool(left) == bool(amount)

    def test_what_is_configured_or_has_no_edge_stays(self) -> None:
        for kept in (limit(500), believed(500, window="concurrent"), believed(500, window="once")):
            assert with_margin(kept, 0.01) is kept
        assert with_margin(believed(500, window="day@UTC"), 0.01).amount == 495


class TestLimitProblems:
    @pytest.mark.parametrize(
        "sound",
        [
            limit(1),
            limit(HIGHEST_AMOUNT, window="31d"),
            limit(5, window="1s", scope=(ScopePart.MODEL,)),
            limit(5, window="month:31@Asia/Kolkata", unit=Unit.USD_MICROS, pacing=Pacing.SMOOTH),
            limit(5, window="once:2001-01-01@UTC"),
            limit(5, window="concurrent", scope=(ScopePart.PROVIDER, ScopePart.MODEL)),
        ],
        ids=str,
    )
    def test_what_makes_sense_is_let_be(self, sound: Limit) -> None:
        assert limit_problems((sound,)) == []

    @pytest.mark.parametrize(
        ("wrong", "problem"),
        [
            (limit(0), "the amount is not from 1 to 1000000000000000"),
            (limit(-5), "the amount is not from 1 to 1000000000000000"),
            (limit(HIGHEST_AMOUNT + 1), "the amount is not from 1 to 1000000000000000"),
            (limit(1, window="32d"), "a rolling window lasts from 1 s to 31 days"),
            (limit(1, window="day@Mars/Olympus"), "zone 'Mars/Olympus' of window day@Mars/Olympus is not an IANA name"),
            (limit(1, window="once:2027-03-01@Mars"), "zone 'Mars' of window once:2027-03-01@Mars is not an IANA name"),
            (limit(1, window="concurrent", unit=Unit.TOKENS), "tokens are not in flight; only requests"),
            (limit(1, window="once", pacing=Pacing.SMOOTH), "smooth pacing spreads an amount over a window's time"),
            (limit(1, window="concurrent", pacing=Pacing.SMOOTH), "and concurrent has none"),
            (
                limit(1, scope=(ScopePart.KEY, ScopePart.ACCOUNT)),
                "the scope names key and account, but one of them lies",
            ),
            (limit(1, scope=(ScopePart.PROVIDER, ScopePart.KEY, ScopePart.MODEL)), "names provider and key, but"),
            (limit(1, scope=(ScopePart.KEY, ScopePart.KEY)), "the scope names something twice"),
            (limit(1, scope=()), "the scope is empty"),
            (limit(1, models=("flash", "")), "a model pattern is empty"),
        ],
    )
    def test_what_makes_none_is_named_with_the_reason(self, wrong: Limit, problem: str) -> None:
        (found,) = limit_problems((limit(3, window="5s"), wrong))
        assert found.startswith(f"{wrong}: ")
        assert problem in found

    @pytest.mark.parametrize("length_s", [0.0, 0.5, -60.0, float("nan"), float("inf")])
    def test_a_rolling_window_of_no_sensible_length(self, length_s: float) -> None:
        window = Window(WindowKind.ROLLING, length_s)
        (found,) = limit_problems((Limit(unit=Unit.REQUESTS, amount=1, window=window),))
        assert "a rolling window lasts from 1 s" in found

    @pytest.mark.parametrize("day", [0, 32])
    def test_an_anniversary_on_no_day_of_a_month(self, day: int) -> None:
        window = Window(WindowKind.ANNIVERSARY, day=day)
        (found,) = limit_problems((Limit(unit=Unit.REQUESTS, amount=1, window=window),))
        assert f"{day} is not a day of a month" in found

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (limit(10), limit(20)),
            (limit(10), limit(20, scope=(ScopePart.MODEL, ScopePart.ACCOUNT))),
            (limit(10, scope=(ScopePart.MODEL,)), limit(20, scope=(ScopePart.PROVIDER, ScopePart.MODEL))),
            (limit(10, models=("a", "b")), limit(20, models=("b", "a"))),
        ],
    )
    def test_two_amounts_for_the_same_count_are_both_named(self, first: Limit, second: Limit) -> None:
        (found,) = limit_problems((first, limit(5, window="5s"), second))
        assert found == f"{first} and {second} contradict each other: leave out one of them"

    @pytest.mark.parametrize(
        "other",
        [
            limit(10),
            limit(20, source=LimitSource.CATALOGUE),
            limit(20, window="1h"),
            limit(20, unit=Unit.TOKENS),
            limit(20, models=("flash",)),
            limit(20, scope=SHARED),
        ],
    )
    def test_limits_on_something_else_or_equal_ones_do_not_contradict(self, other: Limit) -> None:
        assert limit_problems((limit(10), other)) == []

    def test_an_expiry_in_the_past_is_noted_only(self) -> None:
        gone, lasting = limit(5, window="once:2026-11-21@UTC"), limit(5, window="once:2026-11-22@UTC")
        now_s = dt.datetime(2026, 11, 21, 9, tzinfo=dt.UTC).timestamp()
        assert limit_notes((gone, lasting, limit(5)), now_s) == [f"{gone}: expired, so that nothing fits any more"]
