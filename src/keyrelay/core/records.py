"""What is written down about a request: filled while it runs, read once it has ended."""

from keyrelay.core.failures import Failure
from keyrelay.core.providers import Operation
from keyrelay.core.usage import Usage


class Attempt:
    """One call to one candidate. `failure` is None when it answered."""

    __slots__ = ("failure", "key", "model", "provider", "seconds")

    def __init__(self, provider: str, key: str, model: str) -> None:
        self.provider = provider
        self.key = key
        self.model = model
        self.seconds = 0.0
        self.failure: Failure | None = None

    def __repr__(self) -> str:
        outcome = "answered" if self.failure is None else self.failure.kind
        return f"<Attempt {self.key} {self.model} {outcome} {self.seconds:.3f}s>"


class RequestRecord:
    """One request from acceptance to its last byte.

    Times are readings of the event loop's clock in seconds. `upstream_s` is the time spent waiting for
    providers, so that the rest is Keyrelay's own. `category` is empty for an answer, else the kind of failure
    or `caller_gone`.
    """

    __slots__ = (
        "attempts",
        "category",
        "client",
        "cost_usd",
        "ended_at",
        "first_token_at",
        "id",
        "key",
        "model",
        "model_asked",
        "operation",
        "provider",
        "started_at",
        "status",
        "stream",
        "upstream_s",
        "usage",
    )

    def __init__(self, request_id: str, started_at: float) -> None:
        self.id = request_id
        self.started_at = started_at
        self.operation: Operation = "chat"
        self.client = ""
        self.model_asked = ""
        self.provider = ""
        self.model = ""
        self.key = ""
        self.status = 0
        self.category = ""
        self.stream = False
        self.attempts: list[Attempt] = []
        self.first_token_at: float | None = None
        self.ended_at = 0.0
        self.upstream_s = 0.0
        self.usage: Usage | None = None
        self.cost_usd: float | None = None

    def __repr__(self) -> str:
        return f"<RequestRecord {self.id} {self.status} {self.category or 'ok'} attempts={len(self.attempts)}>"
