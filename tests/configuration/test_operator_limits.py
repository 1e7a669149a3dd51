from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.environment import Environment, Layer
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.operator_limits import SUFFIXES, limit_of, read_limits
from keyrelay.core.limits import LimitSource, ScopePart, Unit
from keyrelay.core.providers import LimitRow
from keyrelay.upstream.catalogue import load_catalogue
from tests.configuration.helpers import MakeEnvironment, provider_row


def limit_row(unit: Unit, window: str) -> LimitRow:
    return LimitRow(unit=unit, amount=1, window=window)


@pytest.mark.parametrize(
    ("provider_id", "suffix", "text"),
    [
        ("groq", "LIMIT", "7 requests per 86400s for (account)"),
        ("cohere", "LIMIT", "7 requests per month@UTC for (account)"),
        ("ai21", "LIMIT", "7 requests per month@UTC for (account)"),
        ("huggingface", "LIMIT", "7 requests per month@UTC for (account)"),
        ("openai", "LIMIT", "7 requests per day@UTC for (account)"),
        ("gemini", "LIMIT", "7 requests per day@America/Los_Angeles for (account)"),
        ("mistral", "LIMIT", "7 tokens per month@UTC for (account)"),
        ("cerebras", "LIMIT", "7 tokens per 86400s for (account)"),
        ("groq", "RPM", "7 requests per 60s for (account, model)"),
        ("groq", "RPH", "7 requests per 3600s for (account, model)"),
        ("groq", "RPD", "7 requests per 86400s for (account, model)"),
        ("groq", "TPM", "7 tokens per 60s for (account, model)"),
        ("groq", "TPD", "7 tokens per 86400s for (account, model)"),
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
        ((limit_row(Unit.INPUT_TOKENS, "30d"),), "1 input_tokens per 2592000s for (account)"),
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


@given(st.dictionaries(st.sampled_from(sorted(SUFFIXES)), st.integers(1, 10**15)))
def test_every_amount_in_bounds_is_one_firm_limit(amounts: dict[str, int]) -> None:
    findings = Findings()
    variables = {f"X_{suffix}": str(amount) for suffix, amount in amounts.items()}
    layers = (Layer("environment", variables),)
    environment = Environment(layers, directory=Path(), findings=findings)
    found = read_limits(provider_row(), "X", environment=environment, findings=findings)
    assert sorted(each.limit.amount for each in found) == sorted(amounts.values())
    assert all(each.limit.firm and ScopePart.ACCOUNT in each.limit.scope for each in found)
    assert not findings.problems
