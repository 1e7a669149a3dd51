"""Events about requests and attempts, made of what the observer has taken down; nothing is made that nobody wants."""

from collections.abc import Iterable

import msgspec

from keyrelay.api.request_log import Entry
from keyrelay.core.failures import Failure
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.events import Events, Topic

_encoder = msgspec.json.Encoder()


class AttemptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed; another may have followed."""

    time: str
    request_id: str
    client: str
    provider: str
    key: str
    model: str
    ms: float
    failure: Failure | None


def tell_of_requests(events: Events, entries: Iterable[Entry]) -> None:
    """Tell of requests that have ended, each by its line in the log, and of attempts that have failed."""
    requests, attempts = events.wants(Topic.REQUESTS), events.wants(Topic.ATTEMPTS)
    if not requests and not attempts:
        return
    for at_s, record, what in entries:
        if isinstance(what, bytes):
            if requests:
                events.publish(Topic.REQUESTS, what, client=record.client)
        elif attempts:
            events.publish(Topic.ATTEMPTS, _encoder.encode(_attempt(at_s, record, what)), client=record.client)


def _attempt(at_s: float, record: RequestRecord, attempt: Attempt) -> AttemptEvent:
    return AttemptEvent(
        time=rfc3339(at_s),
        request_id=record.id,
        client=record.client,
        provider=attempt.provider,
        key=attempt.key,
        model=attempt.model,
        ms=attempt.ms,
        failure=attempt.failure,
    )
