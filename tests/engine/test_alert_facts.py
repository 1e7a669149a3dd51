"""What alerts go by, of a pool and a ledger as they are."""

import pytest

from keyrelay.alerting.levels import Fact
from keyrelay.core.alerts import RuleName
from keyrelay.core.configuration import Key
from keyrelay.core.errors import StoreError
from keyrelay.core.limits import LimitSource, ScopePart, Unit
from keyrelay.core.usage_sums import Sums, SumsRow
from keyrelay.core.usage_views import Dimension, Group, Interval, UsageQuery
from keyrelay.engine.alert_facts import key_facts, quota_facts
from keyrelay.engine.alert_usage import ASK_EVERY_S, RULES, UsageFacts
from keyrelay.engine.quota_view import CountLine, ForecastLine
from keyrelay.quota.forecast import Outlook
from keyrelay.routing.key_states import KeyCondition, KeyState

NOW_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z
KEY = Key(provider_id="groq", label="work", account="work", secret=None)
DAY_S = 86_400.0


def count(kind: Outlook, at: str | None = None, *, share: float = 0.8) -> CountLine:
    return CountLine(
        provider="groq",
        account="work",
        key=None,
        keys=("work",),
        model="m",
        models=(),
        unit=Unit.REQUESTS,
        window="day@UTC",
        scope=(ScopePart.ACCOUNT, ScopePart.MODEL),
        amount=1_000,
        used=int(share * 1_000),
        reserved=0,
        remaining=200,
        used_share=share,
        reset_at="2027-01-16T00:00:00Z",
        reset_in_s=57_600.0,
        rate_per_h=100.0,
        forecast=ForecastLine(kind=kind, at=at, reason="At 100 requests an hour it runs out."),
        source=LimitSource.CATALOGUE,
        source_at=None,
        source_age_s=None,
        learned=None,
        firm=True,
        paced_until=None,
    )


def test_a_count_says_its_share_and_when_it_runs_out() -> None:
    share, end = quota_facts(count(Outlook.RUNS_OUT, "2027-01-15T09:30:00Z"), NOW_S)
    assert share == Fact(
        rule=RuleName.QUOTA,
        subject="groq account work m requests per day@UTC",
        value=0.8,
        detail="800 requests of 1,000 requests (80%) are used, more come back at 2027-01-16T00:00:00Z.",
        cause="groq",
    )
    assert (end.rule, end.value, end.keeps) == (RuleName.EXHAUSTION, 1.5, False)


def test_what_has_run_out_is_not_over_and_what_lasts_says_nothing() -> None:
    _, end = quota_facts(count(Outlook.EXHAUSTED, share=1.0), NOW_S)
    assert end.keeps
    assert len(list(quota_facts(count(Outlook.LASTS), NOW_S))) == 1
    assert len(list(quota_facts(count(Outlook.UNKNOWN), NOW_S))) == 1


@pytest.mark.parametrize(
    ("state", "expires_s", "expected"),
    [
        (KeyState.READY, 0.0, []),
        (KeyState.RESTING, 0.0, []),
        (KeyState.INVALID, 0.0, [(RuleName.KEY_INVALID, 1.0)]),
        (KeyState.OUT_OF_CREDIT, 0.0, [(RuleName.KEY_CREDIT, 1.0)]),
        (KeyState.READY, NOW_S + 5 * DAY_S, [(RuleName.KEY_EXPIRING, 5.0)]),
        (KeyState.EXPIRED, NOW_S - DAY_S, [(RuleName.KEY_EXPIRING, 0.0)]),
        (KeyState.EXPIRED, NOW_S - 8 * DAY_S, []),
        (KeyState.DISABLED, NOW_S + DAY_S, []),
    ],
)
def test_a_key_says_what_it_lacks(state: KeyState, expires_s: float, expected: list[tuple[RuleName, float]]) -> None:
    condition = KeyCondition(state=state, message="A line\nand  another.")
    facts = list(key_facts(KEY, condition, expires_s, NOW_S))
    assert [(fact.rule, fact.value) for fact in facts] == expected
    assert all(fact.subject == "groq/work" and "\n" not in fact.detail for fact in facts)


class Books:
    """Answers queries with sums: by category for the last minutes, of money for days and months."""

    def __init__(self) -> None:
        self.queries: list[UsageQuery] = []
        self.recent: dict[str, int] = {}
        self.away = False

    async def ask(self, query: UsageQuery) -> list[SumsRow]:
        self.queries.append(query)
        if self.away:
            raise StoreError("away")
        if query.group_by is Dimension.CATEGORY:
            slow = (0,) * 19 + (1,) + (0,) * 7
            return [
                SumsRow(0, Group(name), Sums(requests=number, latency=tuple(number * each for each in slow)))
                for name, number in self.recent.items()
            ]
        days = (query.pieces[-1].span.to_s - query.pieces[0].span.from_s) // 86_400 + 1
        return [SumsRow(0, Group(), Sums(requests=1, cost_nanos=days * 2_500_000_000))]


async def test_failures_that_callers_have_to_mend_are_none_of_ours() -> None:
    books = Books()
    books.recent = {"": 60, "network": 10, "no_candidate_available": 10, "request": 15, "invalid_api_key": 5}
    facts = {fact.rule: fact for fact in (await UsageFacts(books.ask).facts(NOW_S)).facts}
    assert facts[RuleName.ERROR_RATE].value == 0.2
    assert facts[RuleName.ERROR_RATE].detail == "20 of 100 requests (20%) failed in the last 10 minutes."
    assert 40.0 < facts[RuleName.LATENCY_P95].value < 101.0
    assert facts[RuleName.SPEND_DAY].value == 2.5
    assert facts[RuleName.SPEND_MONTH].value == 2.5 * 15
    assert "2027" not in facts[RuleName.SPEND_MONTH].detail


async def test_of_few_requests_nothing_is_said() -> None:
    books = Books()
    books.recent = {"network": 19}
    rules = {fact.rule for fact in (await UsageFacts(books.ask).facts(NOW_S)).facts}
    assert rules == {RuleName.SPEND_DAY, RuleName.SPEND_MONTH}


async def test_the_store_is_asked_seldom_and_not_for_single_requests() -> None:
    books = Books()
    usage = UsageFacts(books.ask)
    for second in range(0, int(ASK_EVERY_S), 5):
        await usage.facts(NOW_S + second)
    assert len(books.queries) == 3
    assert sum(len(query.pieces) for query in books.queries) <= 7
    assert books.queries[0].pieces[0].interval is Interval.MINUTE
    await usage.facts(NOW_S + ASK_EVERY_S)
    assert len(books.queries) == 6


async def test_without_the_store_nothing_is_known() -> None:
    books = Books()
    books.away = True
    usage = UsageFacts(books.ask)
    assert (await usage.facts(NOW_S)).unknown == RULES
    books.away = False
    assert (await usage.facts(NOW_S + ASK_EVERY_S)).unknown == frozenset()
