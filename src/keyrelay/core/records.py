"""What is written down about a request: filled while it runs, read once it has ended."""

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.providers import Operation
from keyrelay.core.usage import Usage


class Attempt(msgspec.Struct, eq=False):
    """One call to one candidate. `failure` is None when it answered."""

    provider: str
    key: str
    model: str
    seconds: float = 0.0
    failure: Failure | None = None

    def __repr__(self) -> str:
        outcome = "answered" if self.failure is None else self.failure.kind
        return f"<Attempt {self.key} {self.model} {outcome} {self.seconds:.3f}s>"


class RequestRecord(msgspec.Struct, eq=False):
    """One request from acceptance to its last byte.

    Times are readings of the event loop's clock in seconds. `upstream_s` is the time spent waiting for
    providers, so that the rest is Keyrelay's own. `category` is empty for an answer, else the kind of failure
    or `caller_gone`.
    """

    id: str
    started_at: float
    operation: Operation = "chat"
    client: str = ""
    model_asked: str = ""
    provider: str = ""
    model: str = ""
    key: str = ""
    status: int = 0
    category: str = ""
    stream: bool = False
    attempts: list[Attempt] = []
    first_token_at: float | None = None
    ended_at: float = 0.0
    upstream_s: float = 0.0
    usage: Usage | None = None
    cost_usd: float | None = None

    def __repr__(self) -> str:
        return f"<RequestRecord {self.id} {self.status} {self.category or 'ok'} attempts={len(self.attempts)}>"
