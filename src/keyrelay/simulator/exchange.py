"""One call being served: from its arrival to the last byte of its answer, or to the peer going away."""

import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from keyrelay.simulator.answers import Answer
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events, whole
from keyrelay.simulator.clock import Clock
from keyrelay.simulator.dialects import OPENAI, Dialect
from keyrelay.simulator.errors import Refusal, refusal
from keyrelay.simulator.errors.reasons import JSON, ErrorCase, Reason
from keyrelay.simulator.http import Connection, Headers, Request
from keyrelay.simulator.judge import Call
from keyrelay.simulator.keys import Key
from keyrelay.simulator.limits import Enforcer, Scope
from keyrelay.simulator.rates import rate_headers

_ORGANISATION = "org_simulated"
_NO_LIMIT: dict[str, Any] = {
    "limit": 0, "used": 0, "needed": 0, "unit": "requests", "Unit": "Requests", "unit_one": "request",
    "unit_done": "requests sent", "span": "minute", "per": "requests per min (RPM)", "window_s": 60, "retry_s": 1,
    "retry_ms": 1000, "retry_go": "1s", "google_retry_s": 1, "google_retry_long_s": "1.000000000",
    "reset_epoch_ms": 0, "reset_rfc3339": "", "quota_id": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "quota_metric": "generate_content_free_tier_requests",
}  # fmt: skip


class Exchange:
    """What faults and deliveries work with.

    `dialect` is the one that the call is made in. `answer` and `envelope` are set once the call has been admitted,
    `ready` for an answer that is no generated text. Output is charged when the exchange ends: `sent_tokens` is what has
    been sent by then.
    """

    def __init__(self, connection: Connection, request: Request, call: Call, *, clock: Clock) -> None:
        self.connection = connection
        self.request = request
        self.call = call
        self.clock = clock
        self.dialect: Dialect = OPENAI
        self.prompt = Prompt()
        self.key: Key | None = None
        self.caller = Scope(call.provider)
        self.enforcer: Enforcer | None = None
        self.answer = Answer()
        self.envelope: Envelope | None = None
        self.ready: dict[str, Any] | bytes | None = None
        self.body_bytes = 0
        self.sent_tokens = 0
        connection.on_gone = self._gone

    @property
    def streaming(self) -> bool:
        """Whether the caller asked for a stream."""
        return self.call.stream

    # what is sent

    def whole(self) -> dict[str, Any]:
        """The whole answer's body; empty where it is no JSON."""
        if self.ready is not None:
            return self.ready if isinstance(self.ready, dict) else {}
        assert self.envelope is not None  # noqa: S101 - faults that need an answer strike admitted calls only
        if self.dialect is OPENAI:
            return whole(self.answer, self.envelope, body_bytes=self.body_bytes)
        body = self.dialect.whole(self.answer, self.envelope)
        missing = self.body_bytes - len(msgspec.json.encode(body)) if self.body_bytes else 0
        if missing > 0 and self.answer.tokens:
            self.answer.tokens[-1] += "." * missing
            body = self.dialect.whole(self.answer, self.envelope)
        return body

    def whole_body(self) -> bytes:
        """The same as bytes."""
        return self.ready if isinstance(self.ready, bytes) else msgspec.json.encode(self.whole())

    @property
    def whole_type(self) -> str:
        """The content type of a whole answer."""
        if self.call.operation == "files" and isinstance(self.ready, bytes):
            return "application/octet-stream"
        return self.dialect.ready_type(self.call.operation, self.prompt) if self.ready is not None else JSON

    def events(self) -> Events:
        """The answer's events."""
        assert self.envelope is not None  # noqa: S101 - see whole
        return self.dialect.events(self.answer, self.envelope)

    def force_usage(self, values: Any) -> None:
        """Put these figures where the answer's usage would be, and see that a stream has any."""
        if isinstance(self.ready, dict):
            self.ready["usage"] = values
        elif self.envelope is not None:
            place = "event" if self.envelope.usage == "none" else self.envelope.usage
            self.envelope = msgspec.structs.replace(self.envelope, forced_usage=values, usage=place)

    def payload(self) -> tuple[str, bytes]:
        """Content type and bytes of the answer as the caller asked for it, stream or not."""
        if self.streaming:
            return self.dialect.stream_type, b"".join(self.events().all())
        return self.whole_type, self.whole_body()

    def headers(self, content_type: str = JSON) -> list[tuple[str, str]]:
        """The answer's headers, with the provider's rate headers if it sends any."""
        headers = [("content-type", content_type), ("x-request-id", f"req_{self.call.number:016x}")]
        if self.enforcer is not None:
            now_s = self.clock.now()
            headers += rate_headers(self.call.provider, self.enforcer.standings(self.caller, now_s), now_s)
        return headers

    def refusal(self, case: ErrorCase, facts: dict[str, Any] | None = None, *, own: Reason | None = None) -> Refusal:
        """The provider's own answer in this case; `own` replaces its words."""
        voice = self.dialect.voice or self.call.provider
        if own is None and case == "malformed":
            own = self.prompt.wrong_reason
        return refusal(voice, case, {**_NO_LIMIT, **self._facts(), **(facts or {})}, own=own)

    def refuse(self, case: ErrorCase, facts: dict[str, Any] | None = None) -> None:
        """Send the provider's own error."""
        no = self.refusal(case, facts)
        self.call.error = case
        rates = self.headers()[1:] if case in ("rate", "day", "too_large") else []
        self.respond(no.status, (*no.headers, *rates), no.body)

    def respond(self, status: int, headers: Headers, body: bytes, *, tokens: int = 0) -> None:
        """Send a whole answer of any kind and end the exchange."""
        self.sent_tokens = tokens
        self.end(status)
        self.connection.respond(status, headers, body)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what answers this call; the exchange ends when it does, however it does."""
        self.connection.run(self._ended(work))

    async def _ended(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self.end(self.call.status)

    def end(self, status: int) -> None:
        """Write down how the call ended and charge what was generated; a second time changes nothing."""
        if self.call.ended_s is not None:
            return
        now_s = self.clock.now()
        self.call.status = status
        self.call.ended_s = now_s
        self.call.output_tokens = self.sent_tokens
        if self.enforcer is not None and self.sent_tokens:
            self.enforcer.complete(self.caller, self.sent_tokens, now_s)

    def _gone(self) -> None:
        if self.call.ended_s is None:
            self.call.disconnected_s = self.clock.now()
            self.call.disconnected_mono_s = time.monotonic()

    def _facts(self) -> dict[str, Any]:
        field, problem = self.prompt.wrong or ("", "")
        return {
            "id": f"{self.call.number:016x}",
            "org": _ORGANISATION,
            "model": self.call.model,
            "key_masked": self.key.masked if self.key else "",
            "input": self.call.input_tokens,
            "context": 0,
            "over": 0,
            "field": field,
            "problem": problem,
            "method": self.request.method,
            "path": self.request.path,
        }
