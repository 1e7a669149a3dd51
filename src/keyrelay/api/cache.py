"""`/api/v1/cache`: what the response cache did, and emptying it; the same figures for Prometheus."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission, Principal
from keyrelay.api.views import JSON, SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError, StoreError
from keyrelay.engine.cache import AnswerCache
from keyrelay.engine.cache_counts import Saved
from keyrelay.engine.kept import Wrong
from keyrelay.wire.cache_answers import NotKept

EVERYBODY = "*"
_LONGEST_NAME = 256


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the response cache of this process did since it started.

    `entries` and `bytes` say what is kept, null where that is Redis's to know; `under_way` how many calls are being
    made whose answers may be shared or kept. Of the requests that the cache had a say in, `hits` got an answer given
    before, `shared` one that was made for another request at the same time, `misses` one of their own. `stored` answers
    were kept, `not_kept` says by reason why others were not, `evicted` how many had to make room. `wrong` counts values
    that did not come back as they were put away: damaged, or those of another key or client; none was ever given to
    anybody. `saved` is what the answers given without a call would have used.
    """

    entries: int | None
    bytes: int | None
    under_way: int
    hits: int
    shared: int
    misses: int
    stored: int
    not_kept: dict[NotKept, int]
    evicted: int
    wrong: dict[Wrong, int]
    saved: Saved


class Purged(msgspec.Struct, frozen=True):
    """How many answers were forgotten."""

    purged: int


class CacheRoutes:
    """The routes of `/api/v1/cache`. `shared`: answers are kept for all clients together."""

    __slots__ = ("_access", "_answers", "_shared")

    def __init__(self, answers: AnswerCache, access: Access, *, shared: bool) -> None:
        self._answers = answers
        self._access = access
        self._shared = shared

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        who_asks = Depends(self._access.requires(Permission.CLIENT))

        @app.get(
            "/api/v1/cache",
            tags=["cache"],
            summary="What the response cache did.",
            description="Counted by this process since it started.",
            response_class=Response,
            responses=described(CacheReport, _EXAMPLE),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.CLIENT))],
        )
        async def report() -> Response:
            return answer(report_of(self._answers))

        @app.delete(
            "/api/v1/cache",
            tags=["cache"],
            summary="Forget kept answers.",
            description="A client forgets its own, the operator everything or those of one client. What others have is "
            "the operator's to forget; any client's while no operator's secret is set.",
            response_class=Response,
            responses={**described(Purged, Purged(12), 403), 503: _UNAVAILABLE},
            openapi_extra=SECURITY,
        )
        async def purge(
            client: Annotated[
                str, Query(max_length=_LONGEST_NAME, description="Whose answers; `*` stands for all clients'.")
            ] = "",
            who: Principal = who_asks,
        ) -> Response:
            whose = self._whose(who, client)
            try:
                return answer(Purged(await self._answers.purge(whose)))
            except StoreError as error:
                headers = (("retry-after", "1"),)
                raise CallerError(
                    503, f"{error}.", kind="service_unavailable_error", code="cache_unavailable", headers=headers
                ) from error

    def _whose(self, who: Principal, client: str) -> str | None:
        """The client whose answers are to be forgotten, None for all. Raise CallerError (403)."""
        whose = client or (None if who.operator else who.client)
        if self._shared or client == EVERYBODY:
            whose = None
        if whose is None or whose != who.client:
            who.need(Permission.TRUSTED)
        return whose

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(CacheReport, Purged)

    def __repr__(self) -> str:
        return f"<CacheRoutes of {self._answers!r}>"


class CacheCollector(Collector):
    """The figures for Prometheus."""

    def __init__(self, answers: AnswerCache) -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus-client wants them."""
        report = report_of(self._answers)
        results = {"hit": report.hits, "shared": report.shared, "miss": report.misses}
        yield _counter("keyrelay_cache_requests", "Requests that the cache had a say in.", "result", results)
        kept = {"stored": report.stored, **{reason.value: count for reason, count in report.not_kept.items()}}
        yield _counter("keyrelay_cache_answers", "Answers kept, or by reason not kept.", "outcome", kept)
        wrong = {reason.value: report.wrong.get(reason, 0) for reason in Wrong}
        yield _counter("keyrelay_cache_wrong", "Kept answers thrown away as not what was kept.", "reason", wrong)
        saved = {"input": report.saved.input_tokens, "output": report.saved.output_tokens}
        yield _counter("keyrelay_cache_saved_tokens", "Tokens of answers given without a call.", "kind", saved)
        cost = CounterMetricFamily("keyrelay_cache_saved_cost_usd", "Cost of those, where known.")
        cost.add_metric((), report.saved.cost_usd)
        evicted = CounterMetricFamily("keyrelay_cache_evicted", "Kept answers that had to make room.")
        evicted.add_metric((), report.evicted)
        yield from (cost, evicted)
        if report.entries is not None and report.bytes is not None:
            yield GaugeMetricFamily("keyrelay_cache_entries", "Answers kept.", value=report.entries)
            yield GaugeMetricFamily("keyrelay_cache_bytes", "Bytes that they take.", value=report.bytes)


def report_of(answers: AnswerCache) -> CacheReport:
    """What the cache did until now."""
    counts = answers.counts
    entries, size = answers.size() or (None, None)
    return CacheReport(
        entries=entries,
        bytes=size,
        under_way=len(answers.flights),
        hits=counts.hits,
        shared=counts.shared,
        misses=counts.misses,
        stored=counts.stored,
        not_kept=counts.not_kept,
        evicted=answers.evicted,
        wrong=counts.wrong,
        saved=counts.saved,
    )


def _counter(name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


_UNAVAILABLE: dict[str, Any] = {
    "description": "Redis does not answer; what is kept there expires by itself.",
    "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
}

_EXAMPLE = CacheReport(
    entries=318,
    bytes=1_204_113,
    under_way=2,
    hits=1_204,
    shared=31,
    misses=402,
    stored=371,
    not_kept={NotKept.UNFINISHED: 22, NotKept.TOOL_CALLS: 9},
    evicted=53,
    wrong={},
    saved=Saved(input_tokens=511_204, output_tokens=204_117, cost_usd=0.8123, unpriced=17),
)
