"""What the views of kept usage share: the parameters they take, who sees what, and an answer when the store is away.

A client asks about its own requests only, whatever it names; the operator about everybody's.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from fastapi import Depends, Query

from keyrelay.api.policies import Policy, Principal
from keyrelay.api.views import JSON
from keyrelay.core.errors import CallerError, StoreError
from keyrelay.core.moment_texts import moment_of
from keyrelay.core.stored_requests import RequestFilter, StoredRequest
from keyrelay.core.usage_sums import SumsRow, UsageSums
from keyrelay.core.usage_views import Oldest, UsageFilter, UsageQuery

LONGEST_TEXT = 256
NOTHING = "none"
"""What stands in a query for requests that have no provider, model, key or category."""

MAX_TAGGED = 1_000
"""Most clients that may have a tag by which usage is looked up."""

_SOON_S, _LATER_S = 2, 60
_LOWEST_STATUS, _HIGHEST_STATUS = 100, 599

_Answer = TypeVar("_Answer")


class UsageReader(Protocol):
    """Reads the sums of a store. Every method raises StoreError when that cannot answer now, within 3 s."""

    async def oldest(self) -> Oldest:
        """What the oldest sums of each length are."""
        ...

    async def report(self, query: UsageQuery, most_groups: int) -> UsageSums:
        """Everything that a screen wants, of one moment; no more than the largest groups."""
        ...

    async def page(self, query: UsageQuery, after: SumsRow | None, most: int) -> tuple[SumsRow, ...]:
        """Sums in the order of their intervals and groups: at most so many of those that follow the one given."""
        ...


class RequestReader(Protocol):
    """Reads the single requests of a store; raises StoreError as `UsageReader` does."""

    async def page(
        self, wanted: RequestFilter, below: str | None, most: int, *, attempts: bool
    ) -> tuple[StoredRequest, ...]:
        """The newest requests that are wanted, of those with an id below the one given; `attempts` says with calls."""
        ...

    async def find(self, request_id: str) -> StoredRequest | None:
        """One request with its calls."""
        ...


async def from_store(reading: Awaitable[_Answer]) -> _Answer:
    """What a reader answers. Raise CallerError (503) when it cannot.

    What is wrong with the store is the operator's business, and stands in the log and in `/readyz?verbose=true`.
    """
    try:
        return await reading
    except StoreError as error:
        message = (
            "This can be neither looked up nor changed just now: the store does not answer. "
            "Requests are served all the same; `/readyz` says what is wrong."
        )
        headers = (("retry-after", str(_LATER_S if error.lasting else _SOON_S)),)
        raise CallerError(
            503, message, kind="service_unavailable_error", code="store_unavailable", headers=headers
        ) from error


def unavailable() -> dict[int | str, dict[str, Any]]:
    """That answer for OpenAPI."""
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    header = {"retry-after": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}}
    return {503: {"description": "The store does not answer.", "headers": header, "content": error}}


def wrong(name: str, problem: str) -> CallerError:
    """The answer to a parameter that is wrong; `problem` goes on from its name."""
    return CallerError(400, f"{name}: {problem}.", param=name, code="invalid_parameter")


def _name(description: str, example: str) -> Any:
    return Query(max_length=LONGEST_TEXT, description=description, examples=[example])


def wanted_fields(
    provider: Annotated[str | None, _name("Of this provider only; `none`: those that nobody answered.", "groq")] = None,
    model: Annotated[
        str | None, _name("Of this model only, by the name that the provider has for it.", "gpt-oss")
    ] = None,
    key: Annotated[str | None, _name("Of the key with this label only.", "work")] = None,
    client: Annotated[str | None, _name("Of this client only; for the operator.", "my-app")] = None,
    category: Annotated[
        str | None, _name("Those that ended with this kind of failure only; `none`: those answered whole.", "rate")
    ] = None,
) -> UsageFilter:
    """The filter that a query asks for."""
    return UsageFilter(
        provider=_value(provider),
        model=_value(model),
        key=_value(key),
        client=client or None,
        category=_value(category),
    )


def _value(text: str | None) -> str | None:
    """What a column has to hold; an empty parameter asks for nothing."""
    return "" if text == NOTHING else text or None


def seen_by(viewer: Principal, fields: UsageFilter) -> UsageFilter:
    """The filter as far as this viewer may look. Raise CallerError (403) for somebody else's requests."""
    if viewer.operator:
        return fields
    if fields.client not in {None, viewer.client}:
        message = "Other clients' requests are shown with the operator's secret only (KEYRELAY_OPERATOR_SECRET)."
        raise CallerError(403, message, kind="permission_error", code="operator_only", param="client")
    return msgspec.structs.replace(fields, client=viewer.client)


def fields_seen(policy: Policy) -> Callable[..., UsageFilter]:
    """The dependency of a route that asks who looks, and gives the filter as far as they may look."""
    viewer_of = Depends(policy)

    def fields(
        wanted: Annotated[UsageFilter, Depends(wanted_fields)],
        viewer: Principal = viewer_of,
    ) -> UsageFilter:
        return seen_by(viewer, wanted)

    return fields


Tagged = Callable[[str], tuple[str, ...]]
"""The labels of the clients that have a tag now."""


def fields_seen_by_tag(policy: Policy, tagged: Tagged) -> Callable[..., UsageFilter]:
    """The same with the parameter `tag`: of clients that have it."""
    viewer_of = Depends(policy)

    def fields(
        wanted: Annotated[UsageFilter, Depends(wanted_fields)],
        tag: Annotated[
            str, Query(max_length=LONGEST_TEXT, description="Of clients that have this tag now.", examples=["team-a"])
        ] = "",
        viewer: Principal = viewer_of,
    ) -> UsageFilter:
        clients = tagged(tag) if tag else None
        if clients is not None and len(clients) > MAX_TAGGED:
            raise wrong("tag", f"{len(clients)} clients have it, which is more than {MAX_TAGGED}")
        return msgspec.structs.replace(seen_by(viewer, wanted), clients=clients)

    return fields


class Range(msgspec.Struct, frozen=True):
    """The texts of `from` and `to`, None where they were not given."""

    start: str | None
    end: str | None

    def moments(self, now_s: float) -> tuple[float | None, float | None]:
        """Both as epoch seconds. Raise CallerError (400)."""
        start_s, end_s = _moment("from", self.start, now_s), _moment("to", self.end, now_s)
        if start_s is not None and start_s >= (now_s if end_s is None else end_s):
            raise wrong("from", f"must lie before `to`, which is {'now' if end_s is None else repr(self.end)}")
        return start_s, end_s


def wanted_range(
    start: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=LONGEST_TEXT,
            description="Requests that came from this time on: RFC 3339, epoch seconds, or a time ago (`24h`, `7d`).",
            examples=["24h", "2026-11-21T00:00:00Z"],
        ),
    ] = None,
    end: Annotated[
        str | None,
        Query(alias="to", max_length=LONGEST_TEXT, description="Requests that came before this time; by default now."),
    ] = None,
) -> Range:
    """The range that a query asks for."""
    return Range(start or None, end or None)


def _moment(name: str, text: str | None, now_s: float) -> float | None:
    if text is None:
        return None
    try:
        return moment_of(text, now_s)
    except ValueError as error:
        raise wrong(name, str(error)) from None


def wanted_statuses(text: str) -> tuple[int, int]:
    """The lowest and the highest of the statuses that `429`, `4xx` or `400-499` stands for. Raise CallerError (400)."""
    low, _, high = (f"{text[0]}00-{text[0]}99" if text[1:].lower() == "xx" else text).partition("-")
    statuses = [int(each) for each in (low, high or low) if each.isascii() and each.isdigit()]
    match statuses:
        case [lowest, highest] if _LOWEST_STATUS <= lowest <= highest <= _HIGHEST_STATUS:
            return lowest, highest
    raise wrong("status", "must be an HTTP status such as 429, a class such as 4xx, or a range such as 500-504")
