"""What a request takes from its limits: expected of a candidate before it is sent, used after; and what it costs."""

from keyrelay.core.failures import LIMIT_KINDS, Failure, FailureKind
from keyrelay.core.prices import MILLION, rounded_up
from keyrelay.core.records import RequestRecord
from keyrelay.core.usage import Usage
from keyrelay.engine.jobs import Job
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate


def expected_amounts(candidate: Candidate, job: Job, now_s: float | None = None) -> Amounts:
    """What the request will take of this candidate's limits, by what its model has made of others.

    Prices are those of now (epoch); when that is not said, those of the dearest time.
    """
    request, raw = job.request, job.raw
    bound = 0 if request.operation == "embeddings" else request.max_output_tokens
    input_tokens, output_tokens = candidate.calibration.estimate(raw, bound)
    if raw.exact is not None:
        input_tokens = raw.exact_input_tokens(candidate.tokeniser) or input_tokens
    if not candidate.counts_costs:
        return Amounts(1, input_tokens, output_tokens)
    return _with_costs(candidate, input_tokens, output_tokens, now_s)


def used_amounts(candidate: Candidate, usage: Usage | None, expected: Amounts, sent_s: float | None = None) -> Amounts:
    """What an answer used: as reported, else as expected. `sent_s` (epoch) is when the request was sent."""
    if usage is None:
        return expected
    if not candidate.counts_costs:
        return Amounts(1, usage.input_tokens, usage.output_tokens)
    return _with_costs(candidate, usage.input_tokens, usage.output_tokens, sent_s)


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


def note_cost(record: RequestRecord, candidate: Candidate, sent_s: float) -> None:
    """Write down what a request costs by its usage, and by which price; neither is known without both."""
    price, usage = candidate.price, record.usage
    if price is not None and usage is not None:
        record.cost_usd = price.millionths(usage.input_tokens, usage.output_tokens, sent_s) / MILLION
        record.price_version = price.version


def _with_costs(candidate: Candidate, input_tokens: int, output_tokens: int, at_s: float | None) -> Amounts:
    """The amounts with what they come to in money and in the provider's own units, as far as that is limited."""
    micros = units = 0
    if candidate.counts_money and candidate.price is not None:
        micros = rounded_up(candidate.price.millionths(input_tokens, output_tokens, at_s))
    if candidate.counts_units and candidate.unit_price is not None:
        units = rounded_up(candidate.unit_price.millionths(input_tokens, output_tokens, at_s) / MILLION)
    return Amounts(1, input_tokens, output_tokens, micros, units)
