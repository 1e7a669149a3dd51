import asyncio
import datetime as dt
from collections.abc import Mapping

import msgspec
import pytest

from keyrelay.core.configuration import Snapshot
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind
from keyrelay.core.moments import rfc3339
from keyrelay.core.redaction import Redactor
from keyrelay.engine.learner import Learner
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_view import Bound, CountLine, LifespanReport, QuotaView, Wanted
from keyrelay.quota.forecast import Outlook
from keyrelay.quota.learning import FactSource, LearnedBook, Organisations
from keyrelay.quota.lifespan import Demand, Verdict
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.storage.memory_ledger import MemoryLedger
from tests.engine.rig import START_S, providers, snapshot_of

NOW_S = START_S
EVERYTHING = Wanted()


def with_limits(snapshot: Snapshot, **limits: tuple[Limit, ...]) -> Snapshot:
    changed: Mapping[str, object] = {
        name: msgspec.structs.replace(snapshot.providers[name], limits=those) for name, those in limits.items()
    }
    return msgspec.structs.replace(snapshot, providers={**snapshot.providers, **changed})


def limit(amount: int, window: Window, *scope: ScopePart, **more: object) -> Limit:
    about = {"unit": Unit.REQUESTS, "source": LimitSource.CONFIGURED, **more}
    return Limit(amount=amount, window=window, scope=scope, **about)  # type: ignore[arg-type]


MINUTE = Window(WindowKind.ROLLING, 60.0)
DAY = Window(WindowKind.DAY)


class Viewed:
    """A view over a real pool and ledger."""

    def __init__(self, environ: Mapping[str, str], **limits: tuple[Limit, ...]) -> None:
        self.ledger = MemoryLedger()
        self.pool = Pool(with_limits(snapshot_of(**environ), **limits), Health(CircuitSettings()))
        self.reported: list[str] = []
        self.learner = Learner(
            self.ledger,
            LearnedBook(),
            Organisations(),
            redactor=Redactor(),
            report=self.reported.append,
            merged=lambda merge: self.reported.append(str(merge)),
        )
        self.view = QuotaView(self.pool, self.ledger, self.learner)

    def candidate(self, key: str, model: str = "m") -> Candidate:
        plan = self.pool.plan(model)
        assert plan is not None
        return next(each for each in plan.candidates() if each.key.label == key)

    def use(self, key: str, times: int = 1, model: str = "m", tokens: int = 0) -> None:
        for _ in range(times):
            amounts = Amounts(1, tokens)
            taken = self.ledger.reserve(self.candidate(key, model).path, amounts, NOW_S)
            assert not isinstance(taken, Refusal)
            self.ledger.settle(taken, amounts, NOW_S, arrived=True)

    def counts(self, wanted: Wanted = EVERYTHING, now_s: float = NOW_S) -> list[CountLine]:
        return [self.view.line(bound, now_s) for bound in self.bounds(wanted)]

    def bounds(self, wanted: Wanted = EVERYTHING) -> list[Bound]:
        return asyncio.run(self.view.bounds(wanted))

    def without_limits(self, wanted: Wanted = EVERYTHING) -> list[tuple[str, str]]:
        lines = self.view.without_limits(wanted, self.bounds(wanted))
        return [(line.provider, line.key) for line in lines]

    def lifespan(self, tokens_per_day: float) -> LifespanReport:
        return asyncio.run(self.view.lifespan(Demand(tokens_per_day=tokens_per_day), NOW_S))


def who(line: CountLine) -> tuple[str | None, str | None, tuple[str, ...], str | None]:
    return line.account, line.key, line.keys, line.model


class TestWhichCounts:
    def test_keys_that_nobody_used_are_there(self) -> None:
        viewed = Viewed(providers("acme", keys=2, ACME_RPM="15"))
        assert list(map(who, viewed.counts())) == [
            ("k00", None, ("k00",), "m"),
            ("k01", None, ("k01",), "m"),
        ]

    def test_keys_of_one_account_share_a_row(self) -> None:
        environ = providers("acme", ACME_API_KEYS="team:a=acme-1,team:b=acme-2,c=acme-3", ACME_RPM="15")
        assert list(map(who, Viewed(environ).counts())) == [
            ("team", None, ("a", "b"), "m"),
            ("c", None, ("c",), "m"),
        ]

    @pytest.mark.parametrize(
        ("scope", "expected"),
        [
            ((ScopePart.PROVIDER,), [(None, None, ("a", "b", "c"), None)]),
            ((ScopePart.ACCOUNT,), [("team", None, ("a", "b"), None), ("c", None, ("c",), None)]),
            (
                (ScopePart.KEY,),
                [("team", "a", ("a",), None), ("team", "b", ("b",), None), ("c", "c", ("c",), None)],
            ),
            ((ScopePart.PROVIDER, ScopePart.MODEL), [(None, None, ("a", "b", "c"), "m")]),
        ],
    )
    def test_a_row_for_each_thing_bound(
        self, scope: tuple[ScopePart, ...], expected: list[tuple[str | None, str | None, tuple[str, ...], str | None]]
    ) -> None:
        environ = providers("acme", ACME_API_KEYS="team:a=acme-1,team:b=acme-2,c=acme-3")
        assert list(map(who, Viewed(environ, acme=(limit(9, DAY, *scope),)).counts())) == expected

    def test_models_in_use_named_and_the_default_one(self) -> None:
        named = limit(9, DAY, ScopePart.ACCOUNT, ScopePart.MODEL, models=("named", "other-*"))
        every = limit(5, MINUTE, ScopePart.ACCOUNT, ScopePart.MODEL)
        viewed = Viewed(providers("acme", ACME_MODELS="m,other-one,other-two"), acme=(named, every))
        assert [(line.model, line.window) for line in viewed.counts()] == [
            ("m", "60s"),
            ("named", "day@UTC"),
            ("named", "60s"),
        ]
        viewed.use("k00", model="other-one")
        assert {line.model for line in viewed.counts()} == {"m", "named", "other-one"}

    def test_a_group_of_models_is_one_row_with_its_patterns(self) -> None:
        group = limit(9, DAY, ScopePart.ACCOUNT, models=("m", "pro-*"))
        (line,) = Viewed(providers("acme"), acme=(group,)).counts()
        assert (line.model, line.models) == (None, ("m", "pro-*"))

    def test_without_any_model_only_what_counts_all_models_has_a_row(self) -> None:
        environ = providers("acme", ACME_MODELS="")
        limits = (limit(9, DAY, ScopePart.ACCOUNT), limit(5, DAY, ScopePart.ACCOUNT, ScopePart.MODEL))
        assert [line.amount for line in Viewed(environ, acme=limits).counts()] == [9]

    def test_keys_without_limits_are_named(self) -> None:
        viewed = Viewed(providers("acme", "best", keys=2, ACME_RPM="15"))
        assert viewed.without_limits() == [("best", "k00"), ("best", "k01")]
        assert viewed.without_limits(Wanted(key="k01")) == [("best", "k01")]
        assert viewed.without_limits(Wanted(account="k00")) == [("best", "k00")]
        assert viewed.without_limits(Wanted(provider="acme")) == []
        assert viewed.without_limits(Wanted(model="m")) == []

    @pytest.mark.parametrize(
        ("wanted", "count"),
        [
            (Wanted(provider="acme"), 3),
            (Wanted(provider="nobody"), 0),
            (Wanted(account="team"), 2),
            (Wanted(key="a"), 2),
            (Wanted(key="c"), 3),
            (Wanted(model="m"), 5),
            (Wanted(model="x"), 1),
            (Wanted(provider="best", key="c"), 1),
        ],
    )
    def test_filters(self, wanted: Wanted, count: int) -> None:
        keys = {"ACME_API_KEYS": "team:a=acme-1,team:b=acme-2,c=acme-3", "BEST_API_KEYS": "c=best-1,d=best-2"}
        each = limit(9, DAY, ScopePart.ACCOUNT, ScopePart.MODEL)
        everyone = limit(9, DAY, ScopePart.PROVIDER)
        viewed = Viewed(providers("acme", "best") | keys, acme=(each, everyone), best=(each,))
        assert len(viewed.counts(wanted)) == count


class TestHowACountStands:
    def test_used_reserved_and_left(self) -> None:
        viewed = Viewed(providers("acme", ACME_RPM="15"))
        viewed.use("k00", 3)
        viewed.ledger.reserve(viewed.candidate("k00").path, Amounts(), NOW_S)
        (line,) = viewed.counts()
        assert (line.amount, line.used, line.reserved, line.remaining) == (15, 4, 1, 11)
        assert line.used_share == pytest.approx(4 / 15, abs=1e-4)
        assert (line.unit, line.window, line.scope) == (Unit.REQUESTS, "60s", (ScopePart.ACCOUNT, ScopePart.MODEL))
        assert (line.source, line.firm, line.source_at, line.learned) == (LimitSource.CONFIGURED, True, None, None)

    def test_the_reset_is_told_as_time_and_as_distance(self) -> None:
        viewed = Viewed(providers("acme"), acme=(limit(15, DAY, ScopePart.KEY),))
        (unused,) = viewed.counts()
        viewed.use("k00")
        (line,) = viewed.counts()
        assert (unused.reset_at, unused.reset_in_s) == (None, None)
        midnight = dt.datetime(2027, 1, 16, tzinfo=dt.UTC)
        assert (line.reset_at, line.reset_in_s) == ("2027-01-16T00:00:00Z", midnight.timestamp() - NOW_S)

    def test_a_limit_of_the_catalogue_is_a_belief_with_its_age(self) -> None:
        viewed = Viewed({"GROQ_API_KEY": "gsk_0123456789abcdef"})
        line = viewed.counts()[0]
        verified_at = viewed.pool.snapshot.providers["groq"].row.verified_at
        assert (line.source, line.firm) == (LimitSource.CATALOGUE, False)
        assert line.source_at == f"{verified_at}T00:00:00Z"
        age = dt.datetime.fromtimestamp(NOW_S, dt.UTC) - dt.datetime.combine(verified_at, dt.time(), dt.UTC)
        assert line.source_age_s == age.total_seconds()

    def test_pace_and_forecast_come_from_all_who_draw_on_the_count(self) -> None:
        environ = providers("acme", ACME_API_KEYS="team:a=acme-1,team:b=acme-2", ACME_RPD="100")
        viewed = Viewed(environ)
        for key, requests in (("a", 20), ("b", 40)):
            viewed.learner.accepted(viewed.candidate(key), Amounts(requests), NOW_S - 3000, NOW_S - 3000)
            viewed.use(key, requests)
        (line,) = viewed.counts()
        assert line.used == 60
        assert line.rate_per_h == pytest.approx(60 * 3600 / 3000 / 2, rel=0.01)
        assert line.forecast.kind is Outlook.RUNS_OUT
        assert line.forecast.at is not None
        assert line.forecast.reason.startswith("At 36 requests an hour it runs out in about 1 h ")

    def test_without_a_tally_there_is_no_rate_and_the_reason_says_so(self) -> None:
        (line,) = Viewed(providers("acme", ACME_RPM="15")).counts()
        assert (line.rate_per_h, line.forecast.kind) == (None, Outlook.UNKNOWN)
        assert "no rate to go by" in line.forecast.reason

    def test_what_was_learned_is_the_source_with_its_time(self) -> None:
        viewed = Viewed({"GROQ_API_KEY": "gsk_0123456789abcdef", "GROQ_TIER": "free"})
        first = viewed.bounds()[0]
        viewed.learner.book.note(
            first.limit_key,
            FactSource.HEADER,
            NOW_S - 60,
            provider_id="groq",
            evidence="x-ratelimit-limit-requests: 7",
            amount=7,
            followed=True,
        )
        viewed.ledger.follow(first.limit_key, NOW_S - 60, amount=7)
        line = viewed.counts()[0]
        assert (line.amount, line.source) == (7, LimitSource.LEARNED)
        assert (line.source_at, line.source_age_s) == (rfc3339(NOW_S - 60), 60.0)
        (fact,) = viewed.view.learned(EVERYTHING, NOW_S)
        assert (fact.id, fact.amount, fact.evidence) == (line.learned, 7, "x-ratelimit-limit-requests: 7")
        assert fact.limit.startswith("7 requests per ")
        assert 0.9 < fact.confidence <= 0.95
        assert viewed.view.learned(Wanted(provider="acme"), NOW_S) == ()


def learn(viewed: Viewed, model: str) -> None:
    key = LimitKey(limit(9, DAY, ScopePart.ACCOUNT, ScopePart.MODEL), ("acct:acme/k00", f"model:{model}"))
    viewed.learner.book.note(key, FactSource.REFUSAL, NOW_S, provider_id="acme", evidence="429", amount=9)


def test_facts_are_forgotten_one_by_one_or_all() -> None:
    viewed = Viewed(providers("acme"))
    for model in "abc":
        learn(viewed, model)
    first = viewed.view.learned(EVERYTHING, NOW_S)[0]
    assert viewed.view.forget(NOW_S, "nonsense") == 0
    assert viewed.view.forget(NOW_S, first.id) == 1
    assert first.id not in {fact.id for fact in viewed.view.learned(EVERYTHING, NOW_S)}
    assert viewed.view.forget(NOW_S) == 2
    assert viewed.view.learned(EVERYTHING, NOW_S) == ()


class TestLifespan:
    def test_what_comes_back_each_day_carries_the_use(self) -> None:
        viewed = Viewed(providers("acme", keys=2, ACME_TPD="30000"))
        report = viewed.lifespan(50_000)
        assert (report.tokens_per_day, report.tokens_per_request) == (50_000, 1_000)
        (line,) = report.providers
        assert (line.provider, line.verdict, line.tokens_per_day) == ("acme", Verdict.LASTS, 60_000)
        assert report.total.verdict is Verdict.LASTS
        partly = viewed.lifespan(120_000).total
        assert (partly.verdict, partly.share) == (Verdict.PARTLY, 0.5)

    def test_credit_runs_out_at_a_time(self) -> None:
        once = limit(100_000, Window(WindowKind.ONCE), ScopePart.ACCOUNT, unit=Unit.TOKENS)
        viewed = Viewed(providers("acme"), acme=(once,))
        viewed.use("k00", tokens=20_000)
        line = viewed.lifespan(40_000).total
        assert (line.verdict, line.days) == (Verdict.RUNS_OUT, 2.0)
        assert line.until is not None
        assert abs(dt.datetime.fromisoformat(line.until).timestamp() - NOW_S - 2 * 86_400) < 2

    def test_money_buys_tokens_at_the_models_list_prices(self) -> None:
        snapshot = snapshot_of(GROQ_API_KEY="gsk_0123456789abcdef")
        provider = snapshot.providers["groq"]
        row = provider.models[provider.default_model]
        assert row.price_input_usd_per_mtok is not None
        assert row.price_output_usd_per_mtok is not None
        money = limit(1_000_000, DAY, ScopePart.ACCOUNT, unit=Unit.USD_MICROS)
        viewed = Viewed({"GROQ_API_KEY": "gsk_0123456789abcdef"}, groq=(money,))
        line = viewed.lifespan(1).total
        per_token = 0.75 * row.price_input_usd_per_mtok + 0.25 * row.price_output_usd_per_mtok
        assert line.tokens_per_day == pytest.approx(1_000_000 / per_token)

    def test_money_without_prices_says_nothing(self) -> None:
        money = limit(1_000_000, DAY, ScopePart.ACCOUNT, unit=Unit.USD_MICROS)
        viewed = Viewed(providers("acme"), acme=(money,))
        assert viewed.lifespan(1).total.verdict is Verdict.UNKNOWN

    def test_a_provider_without_limits_lasts(self) -> None:
        viewed = Viewed(providers("acme", "best", ACME_RPD="1"))
        found = {line.provider: line for line in viewed.lifespan(9e9).providers}
        assert (found["best"].verdict, found["best"].tokens_per_day) == (Verdict.LASTS, None)
        assert found["acme"].verdict is Verdict.PARTLY
