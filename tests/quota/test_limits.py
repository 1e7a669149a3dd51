import pytest

from keyrelay.core.configuration import Tier
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.quota.limits import effective_limits, limit_from_row, limits_on_path
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
) -> Limit:
    return Limit(
        unit=unit, amount=amount, window=parse_window(window), scope=scope, models=models, source=source, firm=firm
    )


def row(amount: int, *, window: str = "60s", models: tuple[str, ...] = ()) -> LimitRow:
    return LimitRow(unit=Unit.REQUESTS, amount=amount, window=window, models=models)


def believed(amount: int, *, firm: bool = False, models: tuple[str, ...] = ()) -> Limit:
    return limit(amount, models=models, source=LimitSource.CATALOGUE, firm=firm)


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
            ((ScopePart.PROVIDER, ScopePart.MODEL), ("prov:gemini", "model:flash")),
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
