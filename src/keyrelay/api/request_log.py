"""One line per request and per failed attempt.

Lines are built from fields that cannot hold a secret or a prompt, collected, and written together: a write per line
would cost more than the rest of the request. A batch is written when it is full, and twice a second.
"""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor

FLUSH_S = 0.5
_BATCH = 256

_encoder = msgspec.json.Encoder()


class RequestLog:
    """Collects lines and writes them to a stream, as JSON or as text."""

    def __init__(
        self, stream: TextIO | None = None, *, as_json: bool, epoch_s: Callable[[], float], redactor: Redactor
    ) -> None:
        self._stream = stream or sys.stderr
        self._render = _render_json if as_json else _render_text
        self._epoch_s = epoch_s
        self._lines: list[dict[str, Any]] = []
        self._scheduled = False
        self.redactor = redactor

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """Log a failed attempt: a failover, or the end of it."""
        failure = attempt.failure
        if failure is None:
            return
        self._add(
            {
                "event": "attempt_failed",
                "request_id": record.id,
                "client": record.client,
                "provider": attempt.provider,
                "key": attempt.key,
                "model": attempt.model,
                "kind": failure.kind,
                "scope": failure.scope,
                "status": failure.status,
                "message": failure.message,
                "ms": round(attempt.seconds * 1000, 1),
            }
        )

    def finished(self, record: RequestRecord) -> None:
        """Log a request that has ended."""
        usage = record.usage
        self._add(
            {
                "event": "request",
                "request_id": record.id,
                "client": record.client,
                "operation": record.operation,
                "model_asked": record.model_asked,
                "provider": record.provider,
                "key": record.key,
                "model": record.model,
                "status": record.status,
                "category": record.category,
                "stream": record.stream,
                "attempts": len(record.attempts),
                "ms": round((record.ended_at - record.started_at) * 1000, 1),
                "upstream_ms": round(record.upstream_s * 1000, 1),
                "tokens_in": usage.input_tokens if usage else 0,
                "tokens_out": usage.output_tokens if usage else 0,
            }
        )

    def flush(self) -> None:
        """Write what has been collected."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        text = "".join(map(self._render, lines))
        self._stream.write(self.redactor.redact(text))
        self._stream.flush()

    def _add(self, line: dict[str, Any]) -> None:
        line["time"] = self._epoch_s()
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


def _moment(epoch_s: float) -> str:
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _render_json(line: dict[str, Any]) -> str:
    return _encoder.encode({"level": _level(line), **line, "time": _moment(line["time"])}).decode() + "\n"


def _render_text(line: dict[str, Any]) -> str:
    words = " ".join(f"{name}={value}" for name, value in line.items() if name not in _SHOWN_FIRST and value != "")
    return f"{_moment(line['time'])} {_level(line):7} {line['event']:14} {words}\n"


_SHOWN_FIRST = frozenset({"time", "event"})
_FIRST_FAILURE_STATUS = 500


def _level(line: dict[str, Any]) -> str:
    failed = line["event"] == "attempt_failed" or line["status"] >= _FIRST_FAILURE_STATUS
    return "warning" if failed else "info"
