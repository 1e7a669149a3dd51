"""One line per request and per failed attempt.

Lines are built from fields that cannot hold a secret or a prompt, collected, and written together: a write per line
would cost more than the rest of the request. A batch is written when it is full, and twice a second.
"""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable
from typing import TextIO

import msgspec

from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor

FLUSH_S = 0.5
_BATCH = 256
_FIRST_FAILURE_STATUS = 500


class RequestLine(msgspec.Struct, kw_only=True):
    """The line of a request that has ended. Times are in milliseconds."""

    time: str
    level: str
    event: str = "request"
    request_id: str
    client: str
    operation: str
    model_asked: str
    provider: str
    key: str
    model: str
    status: int
    category: str
    stream: bool
    attempts: int
    ms: float
    upstream_ms: float
    tokens_in: int
    tokens_out: int


class AttemptLine(msgspec.Struct, kw_only=True):
    """The line of a failed attempt: a failover, or the end of it."""

    time: str
    level: str = "warning"
    event: str = "attempt_failed"
    request_id: str
    client: str
    provider: str
    key: str
    model: str
    kind: str
    scope: str
    status: int
    message: str
    ms: float


Line = RequestLine | AttemptLine
_encoder = msgspec.json.Encoder()


class RequestLog:
    """Collects lines and writes them to a stream, as JSON or as text."""

    def __init__(
        self, stream: TextIO | None = None, *, as_json: bool, epoch_s: Callable[[], float], redactor: Redactor
    ) -> None:
        self._stream = stream or sys.stderr
        self._render = _render_json if as_json else _render_text
        self._epoch_s = epoch_s
        self._lines: list[Line] = []
        self._scheduled = False
        self._second = 0
        self._second_text = ""
        self.redactor = redactor

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """Log a failed attempt; its message has been redacted where it was classified."""
        failure = attempt.failure
        if failure is None:
            return
        self._add(
            AttemptLine(
                time=self._now(),
                request_id=record.id,
                client=record.client,
                provider=attempt.provider,
                key=attempt.key,
                model=attempt.model,
                kind=failure.kind,
                scope=failure.scope,
                status=failure.status,
                message=failure.message,
                ms=round(attempt.seconds * 1000, 1),
            )
        )

    def finished(self, record: RequestRecord) -> None:
        """Log a request that has ended."""
        usage = record.usage
        self._add(
            RequestLine(
                time=self._now(),
                level="info" if record.status < _FIRST_FAILURE_STATUS else "warning",
                request_id=record.id,
                client=record.client,
                operation=record.operation,
                # The one field in a caller's own words; a name that was served is known to be a name.
                model_asked=record.model_asked if record.provider else self.redactor.redact(record.model_asked),
                provider=record.provider,
                key=record.key,
                model=record.model,
                status=record.status,
                category=record.category,
                stream=record.stream,
                attempts=len(record.attempts),
                ms=round((record.ended_at - record.started_at) * 1000, 1),
                upstream_ms=round(record.upstream_s * 1000, 1),
                tokens_in=usage.input_tokens if usage else 0,
                tokens_out=usage.output_tokens if usage else 0,
            )
        )

    def flush(self) -> None:
        """Write what has been collected."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        self._stream.write("".join(map(self._render, lines)))
        self._stream.flush()

    def _now(self) -> str:
        """The time in RFC 3339; the text of a second is made once."""
        now_s = self._epoch_s()
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((now_s - second) * 1000):03d}Z"

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        if len(self._lines) >= _BATCH:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._on_time)

    def _on_time(self) -> None:
        self._scheduled = False
        self.flush()

    def __repr__(self) -> str:
        return f"<RequestLog {len(self._lines)} lines waiting>"


def _render_json(line: Line) -> str:
    return _encoder.encode(line).decode() + "\n"


def _render_text(line: Line) -> str:
    fields = ((name, getattr(line, name)) for name in line.__struct_fields__ if name not in _SHOWN_FIRST)
    words = " ".join(f"{name}={value}" for name, value in fields if value != "")
    return f"{line.time} {line.level:7} {line.event:14} {words}\n"


_SHOWN_FIRST = frozenset({"time", "level", "event"})
