"""What came of a replay, in numbers that can be laid side by side."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

from keyrelay.core.records import RequestRecord
from keyrelay.replay.plan import Plan
from keyrelay.replay.provider import Tally
from keyrelay.replay.trace import TraceRequest

_OK = 200
_WAITED_MS = 1.0
"""On a virtual clock deciding takes no time at all: what is not spent at a provider was waited."""

_MEDIAN = 0.50
_NEARLY_ALL = 0.99


class Outcome(msgspec.Struct, frozen=True):
    """How one request ended. `reason` is empty for an answer. Times in milliseconds."""

    reason: str
    status: int
    ms: float
    waited_ms: float
    cost_usd: float

    @classmethod
    def of(cls, record: RequestRecord) -> Self:
        """Read a record that has been written down."""
        answered = record.status == _OK and not record.category
        until_content_ms = record.ms if record.first_token_ms is None else record.first_token_ms
        return cls(
            "" if answered else record.category or str(record.status),
            record.status,
            record.ms,
            max(0.0, until_content_ms - record.upstream_ms),
            record.cost_usd or 0.0,
        )


class OfModel(msgspec.Struct, frozen=True):
    """The share of one model name: what was asked, could have been answered, and was."""

    requests: int
    usable: int
    answered: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the comparison.

    `usable` is how many requests the quota could have answered (see `oracle`), `quota_yield` the share of it that was.
    `waited` are answers for which a request waited at Keyrelay, `refused` requests that got none, for the `reasons`
    counted. `upstream_429` are refusals by providers, `self_caused` those for a limit that the gateway had been told.
    Latencies are those of answers, from the request's arrival to the last byte. `cost_usd` is at list prices.
    """

    plan: str
    description: str
    requests: int
    answered: int
    waited: int
    refused: int
    reasons: dict[str, int]
    upstream_calls: int
    upstream_429: int
    self_caused: int
    usable: int
    quota_yield: float
    cost_usd: float
    latency_p50_ms: float
    latency_p99_ms: float
    wait_p50_ms: float
    wait_p99_ms: float
    models: dict[str, OfModel]


def figures_of(
    plan: Plan,
    requests: Sequence[TraceRequest],
    outcomes: Sequence[Outcome],
    *,
    usable: Sequence[bool],
    tallies: Iterable[Tally],
) -> Figures:
    """Count what came of a trace; `outcomes` and `usable` stand in the order of `requests`."""
    answers = [outcome for outcome in outcomes if not outcome.reason]
    waits = sorted(outcome.waited_ms for outcome in answers if outcome.waited_ms > _WAITED_MS)
    latencies = sorted(outcome.ms for outcome in answers)
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    counted = list(tallies)
    return Figures(
        plan=plan.name,
        description=plan.description,
        requests=len(requests),
        answered=len(answers),
        waited=len(waits),
        refused=len(outcomes) - len(answers),
        reasons=dict(reasons.most_common()),
        upstream_calls=sum(tally.calls for tally in counted),
        upstream_429=sum(tally.too_many for tally in counted),
        self_caused=sum(tally.limited for tally in counted),
        usable=sum(usable),
        quota_yield=len(answers) / sum(usable) if any(usable) else 0.0,
        cost_usd=math.fsum(outcome.cost_usd for outcome in answers),
        latency_p50_ms=percentile(latencies, _MEDIAN),
        latency_p99_ms=percentile(latencies, _NEARLY_ALL),
        wait_p50_ms=percentile(waits, _MEDIAN),
        wait_p99_ms=percentile(waits, _NEARLY_ALL),
        models=_by_model(requests, outcomes, usable),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least such a share of the ordered values does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _by_model(
    requests: Sequence[TraceRequest], outcomes: Sequence[Outcome], usable: Sequence[bool]
) -> dict[str, OfModel]:
    asked = Counter(request.model for request in requests)
    could = Counter(request.model for request, could in zip(requests, usable, strict=True) if could)
    did = Counter(request.model for request, outcome in zip(requests, outcomes, strict=True) if not outcome.reason)
    return {model: OfModel(count, could[model], did[model]) for model, count in asked.most_common()}


def rows(columns: Sequence[Figures]) -> list[tuple[str, ...]]:
    """The comparison, a row for each figure and a column for each plan."""
    lines = (
        ("requests", [str(each.requests) for each in columns]),
        ("answered", [str(each.answered) for each in columns]),
        ("of these after waiting", [str(each.waited) for each in columns]),
        ("refused", [str(each.refused) for each in columns]),
        ("calls to providers", [str(each.upstream_calls) for each in columns]),
        ("429 from providers", [str(each.upstream_429) for each in columns]),
        ("self-caused refusals", [str(each.self_caused) for each in columns]),
        ("answerable with the quota", [str(each.usable) for each in columns]),
        ("yield", [f"{each.quota_yield:.2%}" for each in columns]),
        ("cost at list prices, USD", [f"{each.cost_usd:.4f}" for each in columns]),
        ("latency p50", [_seconds(each.latency_p50_ms) for each in columns]),
        ("latency p99", [_seconds(each.latency_p99_ms) for each in columns]),
        ("wait p50 of those who waited", [_seconds(each.wait_p50_ms) for each in columns]),
        ("wait p99 of those who waited", [_seconds(each.wait_p99_ms) for each in columns]),
    )
    return [(name, *cells) for name, cells in lines]


def model_rows(columns: Sequence[Figures]) -> list[tuple[str, ...]]:
    """For each model asked for: answered of answerable, and how many asked."""
    names = dict.fromkeys(name for each in columns for name in each.models)
    return [
        (name, str(columns[0].models[name].requests), *(_share(each.models[name]) for each in columns))
        for name in names
    ]


def markdown(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    marks = ["---", *["---:" for _ in headers[1:]]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headers, marks, *lines))


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s"


def _share(of_model: OfModel) -> str:
    return f"{of_model.answered} of {of_model.usable}"
