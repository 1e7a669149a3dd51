"""What is written down about a request: filled while it runs, read once it has ended."""

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.providers import Operation
from keyrelay.core.usage import Usage

MOST_LEFT_OUT = 50
"""Names of what was left out that are written down of one request."""

_WRITTEN_DOWN = 0.0
"""What `started_at` is once a request has been written down; being the default itself, it is left out of the line."""


class Attempt(msgspec.Struct, eq=False, gc=False, omit_defaults=True):
    """One call to one candidate. `failure` is None when it answered.

    `sent_s` (epoch) is when it was sent; the amounts from `requests` on are what the ledger counted for it in the end.
    """

    provider: str
    key: str
    model: str
    ms: float = 0.0
    failure: Failure | None = None
    sent_s: float = 0.0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd_micros: int = 0
    units: int = 0

    def __repr__(self) -> str:
        outcome = "answered" if self.failure is None else self.failure.kind
        return f"<Attempt {self.key} {self.model} {outcome} {self.ms:g} ms>"


class RequestRecord(
    msgspec.Struct,
    eq=False,
    gc=False,
    omit_defaults=True,
    tag_field="event",
    tag="request",
    rename={"id": "request_id"},
):
    """One request from acceptance to its last byte. Its JSON is its line in the log, so it holds no text of a prompt.

    `started_at` is a reading of the event loop's clock while the request is under way, 0 once it has been written
    down; `time` then says when it ended. `upstream_ms` is the time spent waiting for providers, `waited_ms` that for
    quota, so that the rest is Keyrelay's own; `reserved_…_tokens` is what it was expected to use.
    `first_token_ms` is set for streams. `category` is empty for an answer,
    else the kind of failure or `caller_gone`. `cached` is empty for an answer that a provider gave for this request,
    else `hit` (kept before) or `shared` (made for another request at the same time). `price_version` says which price
    list `cost_usd` is by; without a price there is neither. `left_out` names what of the request the provider could not
    be told, and what of its answer the caller could not. `charged` is what its client's own limits and budgets have
    counted: requests, input tokens, output tokens, millionths of a US dollar; None for a client without any.
    """

    id: str
    started_at: float = _WRITTEN_DOWN
    time: str = ""
    level: str = ""
    client: str = ""
    operation: Operation | str = ""
    model_asked: str = ""
    provider: str = ""
    key: str = ""
    model: str = ""
    status: int = 0
    category: str = ""
    stream: bool = False
    ms: float = 0.0
    upstream_ms: float = 0.0
    waited_ms: float = 0.0
    first_token_ms: float | None = None
    reserved_input_tokens: int = 0
    reserved_output_tokens: int = 0
    usage: Usage | None = None
    cost_usd: float | None = None
    price_version: str = ""
    cached: str = ""
    left_out: tuple[str, ...] = ()
    charged: tuple[int, int, int, int] | None = None
    attempts: list[Attempt] = []

    def mark_written(self) -> None:
        """It has been written down. Nobody else says so: another 0 than the default itself would stand in the line."""
        self.started_at = _WRITTEN_DOWN

    def __repr__(self) -> str:
        return f"<RequestRecord {self.id} {self.status} {self.category or 'ok'} attempts={len(self.attempts)}>"


class Reserved(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the journal keeps of an attempt before it is sent: enough to settle it should this process not live to.

    `attempt` is its place in the record's `attempts`, `sent_s` (epoch) when it was sent, the rest what it reserved.
    """

    request_id: str
    attempt: int
    client: str
    operation: str
    provider: str
    key: str
    model: str
    sent_s: float
    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    usd_micros: int = 0
    units: int = 0


OF_CLIENTS = "client:"
"""Stands for the provider, and a client's label for the key, in what was counted for clients themselves."""


class Used(msgspec.Struct, frozen=True, gc=False):
    """What calls of one key with one model used together; all of them were over at `at_s` (epoch)."""

    provider: str
    key: str
    model: str
    at_s: float
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd_micros: int = 0
    units: int = 0


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with two decimals, cut off: what a log line shows."""
    return int(seconds * 100_000) / 100
