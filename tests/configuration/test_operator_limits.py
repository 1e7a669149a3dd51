from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.environment import Environment, Layer
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.operator_limits import SUFFIXES, limit_of, parse_limit, read_limits
from keyrelay.core.limits import Limit, LimitSource, Pacing, ScopePart, Unit, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.upstream.catalogue import load_catalogue
from tests.configuration.helpers import MakeEnvironment, provider_row


def limit_row(unit: Unit, window: str) -> LimitRow:
    return LimitRow(unit=unit, amount=1, window=window)


@pytest.mark.parametrize(
    ("provider_id", "suffix", "text"),
    [
        ("groq", "LIMIT", "7 requests per 24h for (account)"),
        ("cohere", "LIMIT", "7 requests per month@UTC for (account)"),
        ("ai21", "LIMIT", "7 requests per month@UTC for (account)"),
        ("huggingface", "LIMIT", "7 requests per month@UTC for (account)"),
        ("openai", "LIMIT", "7 requests per day@UTC for (account)"),
        ("gemini", "LIMIT", "7 requests per day@America/Los_Angeles for (account)"),
        ("mistral", "LIMIT", "7 tokens per month@UTC for (account)"),
        ("cerebras", "LIMIT", "7 tokens per 24h for (account)"),
        ("groq", "RPM", "7 requests per 60s for (account, model)"),
        ("groq", "RPH", "7 requests per 1h for (account, model)"),
        ("groq", "RPD", "7 requests per 24h for (account, model)"),
        ("groq", "TPM", "7 tokens per 60s for (account, model)"),
        ("groq", "TPD", "7 tokens per 24h for (account, model)"),
        ("gemini", "RPD", "7 requests per day@America/Los_Angeles for (account, model)"),
        ("gemini", "TPM", "7 input_tokens per 60s for (account, model)"),
        ("gemini", "TPD", "7 tokens per day@America/Los_Angeles for (account, model)"),
        ("openai", "RPD", "7 requests per day@UTC for (account, model)"),
    ],
)
def test_what_each_variable_means_at_the_providers_of_the_catalogue(provider_id: str, suffix: str, text: str) -> None:
    limit = limit_of(load_catalogue()[provider_id], suffix, amount=7)
    assert str(limit) == text
    assert (limit.source, limit.firm, limit.models) == (LimitSource.CONFIGURED, True, ())


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ((), "1 requests per day@Asia/Tokyo for (account)"),
        ((limit_row(Unit.REQUESTS, "60s"),), "1 requests per day@Asia/Tokyo for (account)"),
        ((limit_row(Unit.TOKENS, "24h"), limit_row(Unit.REQUESTS, "day@UTC")), "1 requests per day@UTC for (account)"),
        (
            (limit_row(Unit.REQUESTS, "24h"), limit_row(Unit.TOKENS, "month@UTC")),
            "1 tokens per month@UTC for (account)",
        ),
        ((limit_row(Unit.REQUESTS, "month@UTC"), limit_row(Unit.TOKENS, "once")), "1 tokens per once for (account)"),
        ((limit_row(Unit.INPUT_TOKENS, "30d"),), "1 input_tokens per 30d for (account)"),
        (
            (limit_row(Unit.REQUESTS, "day@UTC"), limit_row(Unit.UNITS, "week@UTC")),
            "1 requests per day@UTC for (account)",
        ),
        (
            (limit_row(Unit.REQUESTS, "concurrent"), limit_row(Unit.USD_MICROS, "month:15@UTC")),
            "1 requests per day@Asia/Tokyo for (account)",
        ),
        ((limit_row(Unit.REQUESTS, "concurrent"),), "1 requests per day@Asia/Tokyo for (account)"),
    ],
)
def test_limit_counts_in_the_rows_longest_period(limits: tuple[LimitRow, ...], text: str) -> None:
    assert str(limit_of(provider_row(limits=limits, day_zone="Asia/Tokyo"), "LIMIT", amount=1)) == text


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1e3", "9" * 40, "٣", "gsk_hunter2"])
def test_what_is_no_amount_is_refused_unseen(text: str, environment: MakeEnvironment, findings: Findings) -> None:
    assert read_limits(provider_row(), "GROQ", environment=environment(GROQ_RPM=text), findings=findings) == ()
    (problem,) = map(str, findings.problems)
    assert problem.startswith("environment GROQ_RPM: is not a whole number from 1 to")
    assert "hunter2" not in problem


def test_sources_and_separators(environment: MakeEnvironment, findings: Findings) -> None:
    found = read_limits(provider_row(), "GROQ", environment=environment(GROQ_RPD="14_400"), findings=findings)
    assert [(each.limit.amount, each.source) for each in found] == [(14_400, "environment GROQ_RPD")]


@given(st.dictionaries(st.sampled_from(sorted(SUFFIXES.keys() - {"LIMITS"})), st.integers(1, 10**15)))
def test_every_amount_in_bounds_is_one_firm_limit(amounts: dict[str, int]) -> None:
    findings = Findings()
    variables = {f"X_{suffix}": str(amount) for suffix, amount in amounts.items()}
    layers = (Layer("environment", variables),)
    environment = Environment(layers, directory=Path(), findings=findings)
    found = read_limits(provider_row(), "X", environment=environment, findings=findings)
    assert sorted(each.limit.amount for each in found) == sorted(amounts.values())
    assert all(each.limit.firm and ScopePart.ACCOUNT in each.limit.scope for each in found)
    assert not findings.problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 requests per 60s", "30 requests per 60s for (account)"),
        ("30 requests per 60s for account+model", "30 requests per 60s for (account, model)"),
        ("30 requests per 60s for model", "30 requests per 60s for (model)"),
        ("5 requests concurrent for key", "5 requests concurrent for (key)"),
        ("5 requests per concurrent for provider + model", "5 requests concurrent for (provider, model)"),
        (
            "1_000_000 tokens per week@Europe/Berlin smooth",
            "1000000 tokens per week@Europe/Berlin for (account) smooth",
        ),
        ("10000 units per day@UTC burst", "10000 units per day@UTC for (account)"),
        ("20 usd per month:15@UTC", "20000000 usd_micros per month:15@UTC for (account)"),
        ("0.5 usd per day@UTC for key", "500000 usd_micros per day@UTC for (key)"),
        ("2.000001 usd once:2027-03-01@UTC", "2000001 usd_micros per once:2027-03-01@UTC for (account)"),
        ("7 usd_micros per 1h", "7 usd_micros per 1h for (account)"),
        ("60 requests per hour for key", "60 requests per 1h for (key)"),
        ("5 usd month", "5000000 usd_micros per month@UTC for (account)"),
    ],
)
def test_a_limit_is_read_as_it_is_written_out(text: str, expected: str) -> None:
    limit = parse_limit(text)
    assert str(limit) == expected
    assert (limit.source, limit.firm, limit.models) == (LimitSource.CONFIGURED, True, ())


def test_a_client_is_offered_the_units_that_it_can_be_counted_in() -> None:
    with pytest.raises(ValueError, match=r"one of requests, input_tokens, output_tokens, tokens, usd$"):
        parse_limit("5 hunter per day", scope=ScopePart.CLIENT)


def test_a_limit_may_be_for_some_models() -> None:
    limit = parse_limit("9 requests per 60s for provider of gemini-*,*:free smooth")
    assert (limit.models, limit.scope, limit.pacing) == (("gemini-*", "*:free"), (ScopePart.PROVIDER,), Pacing.SMOOTH)


@given(
    unit=st.sampled_from(Unit),
    amount=st.integers(1, 10**15),
    window=st.sampled_from(
        ("60s", "day@UTC", "week@UTC", "month:31@Asia/Kolkata", "once:2027-03-01@UTC", "concurrent")
    ),
    scope=st.lists(st.sampled_from(ScopePart), min_size=1, max_size=2, unique=True),
    pacing=st.sampled_from(Pacing),
)
def test_what_a_limit_says_of_itself_can_be_read_again(
    unit: Unit, amount: int, window: str, scope: list[ScopePart], pacing: Pacing
) -> None:
    limit = Limit(
        unit=unit,
        amount=amount,
        window=parse_window(window),
        scope=tuple(scope),
        source=LimitSource.CONFIGURED,
        pacing=pacing,
    )
    assert parse_limit(str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gsk_hunter2", "limit 1: it is not written like a limit"),
        ("-5 requests per 60s", "limit 1: it is not written like a limit"),
        ("5 requests per 60s smoothly", "limit 1: it is not written like a limit"),
        ("1.5 requests per 60s", "limit 1: only usd has decimals"),
        (
            "5 hunter per 60s",
            "limit 1: its unit is not one of requests, input_tokens, output_tokens, tokens, units, usd.",
        ),
        ("5 requests per hunter2", "limit 1: its window is not one of minute, hour, day, week, month, 1s, 60s"),
        ("5 requests per 60s for hunter", "limit 1: its scope is not one of key, account, provider, model"),
        ("5 requests per 60s; 6 requests", "limit 2: it is not written like a limit"),
        ("0 requests per 60s", "the amount is not from 1 to"),
        ("5 requests per 60s for key+account", "the scope names key and account"),
        ("5 tokens concurrent", "tokens are not in flight"),
        ("5 requests once smooth", "smooth pacing spreads"),
        ("5 requests per day@Mars/Olympus", "is not an IANA name"),
        ("5 requests per 32d", "a rolling window lasts from 1 s to 31 days"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    text: str, problem: str, environment: MakeEnvironment, findings: Findings
) -> None:
    found = read_limits(provider_row(), "GROQ", environment=environment(GROQ_LIMITS=text), findings=findings)
    (written,) = map(str, findings.problems)
    assert written.startswith("environment GROQ_LIMITS: ")
    assert problem in written
    assert "hunter" not in written
    assert len(found) == text.count(";")


def test_several_limits_are_read_and_empty_places_are_skipped(environment: MakeEnvironment, findings: Findings) -> None:
    variables = environment(GROQ_LIMITS=" 5 requests per 60s;; 5 requests concurrent for key ; ", GROQ_RPD="7")
    found = read_limits(provider_row(), "GROQ", environment=variables, findings=findings)
    assert [(str(each.limit), each.source) for each in found] == [
        ("7 requests per 24h for (account, model)", "environment GROQ_RPD"),
        ("5 requests per 60s for (account)", "environment GROQ_LIMITS"),
        ("5 requests concurrent for (key)", "environment GROQ_LIMITS"),
    ]
    assert not findings.problems


def test_amounts_that_contradict_each_other_are_both_named(environment: MakeEnvironment, findings: Findings) -> None:
    variables = environment(GROQ_LIMITS="20 requests per 60s for account+model", GROQ_RPM="10")
    read_limits(provider_row(), "GROQ", environment=variables, findings=findings)
    (problem,) = map(str, findings.problems)
    assert problem.startswith("limits of groq: 10 requests per 60s for (account, model) and 20 requests per 60s for")
