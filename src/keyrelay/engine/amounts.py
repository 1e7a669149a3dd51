"""What a request takes from its limits: expected of a candidate before it is sent, used after; and what it costs."""

from math import ceil

from keyrelay.core.failures import LIMIT_KINDS, Failure, FailureKind
from keyrelay.core.usage import Usage
from keyrelay.engine.jobs import Job
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate

_PER_MILLION = 1_000_000


def expected_amounts(candidate: Candidate, job: Job) -> Amounts:
    """What the request will take of this candidate's limits, by what its model has made of others."""
    request = job.request
    bound = 0 if request.operation == "embeddings" else request.max_output_tokens
    input_tokens, output_tokens = candidate.calibration.estimate(job.raw, bound)
    if not candidate.counts_money:
        return Amounts(1, input_tokens, output_tokens)
    return Amounts(1, input_tokens, output_tokens, _micros(candidate, Usage(input_tokens, output_tokens)))


def used_amounts(candidate: Candidate, usage: Usage | None, expected: Amounts) -> Amounts:
    """What an answer used: as reported, else as expected."""
    if usage is None:
        return expected
    if not candidate.counts_money:
        return Amounts(1, usage.input_tokens, usage.output_tokens)
    return Amounts(1, usage.input_tokens, usage.output_tokens, _micros(candidate, usage))


def failed_amounts(candidate: Candidate, failure: Failure, expected: Amounts) -> Amounts:
    """What a failed attempt used: nothing if it never arrived, all of it if it may have been worked on.

    Whether a call that the provider refused for a limit counts as a request differs by provider.
    """
    if not failure.reached:
        return Amounts(requests=0)
    if failure.kind in {FailureKind.TIMEOUT, FailureKind.NETWORK}:
        return expected
    refused = failure.kind in LIMIT_KINDS
    return Amounts(requests=1 if candidate.provider.row.refused_counts or not refused else 0)


def cost_usd(candidate: Candidate, usage: Usage) -> float | None:
    """Cost at the catalogue's list price; None when the catalogue has no price for the model."""
    row = candidate.model_row
    if row is None or row.price_input_usd_per_mtok is None:
        return None
    price_out = row.price_output_usd_per_mtok or 0.0
    return (usage.input_tokens * row.price_input_usd_per_mtok + usage.output_tokens * price_out) / _PER_MILLION


def _micros(candidate: Candidate, usage: Usage) -> int:
    """Cost in millionths of a US dollar, rounded up; 0 where no price is known."""
    return ceil((cost_usd(candidate, usage) or 0.0) * _PER_MILLION)
