"""What is written down about a request: filled while it runs, read once it has ended."""

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.providers import Operation
from keyrelay.core.usage import Usage

WRITTEN_DOWN = 0.0
"""What `started_at` is once a request has been written down; being the default, it is left out of the line."""


class Attempt(msgspec.Struct, eq=False, gc=False, omit_defaults=True):
    """One call to one candidate. `failure` is None when it answered."""

    provider: str
    key: str
    model: str
    ms: float = 0.0
    failure: Failure | None = None

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
    else the kind of failure or `caller_gone`.
    """

    id: str
    started_at: float = WRITTEN_DOWN
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
    attempts: list[Attempt] = []

    def __repr__(self) -> str:
        return f"<RequestRecord {self.id} {self.status} {self.category or 'ok'} attempts={len(self.attempts)}>"


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with two decimals, cut off: what a log line shows."""
    return int(seconds * 100_000) / 100
