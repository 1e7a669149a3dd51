"""One line per request and per failed attempt.

A line is a record's own JSON: records hold no secret and no prompt. Lines are written many at a time, because a
write per line would cost more than the rest of the request.
"""

import datetime as dt
import sys
from typing import Any, TextIO

import msgspec

from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor

_FIRST_FAILURE_STATUS = 500

Entry = tuple[float, RequestRecord, Attempt | None]
"""When, which request, and for a failed attempt that attempt."""

_encoder = msgspec.json.Encoder()


class RequestLog:
    """Writes to a stream, as JSON or as text."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool, redactor: Redactor) -> None:
        self._stream = stream or sys.stderr
        self._as_json = as_json
        self._second = 0
        self._second_text = ""
        self.redactor = redactor

    def write(self, entries: list[Entry]) -> None:
        """Write a line for each entry."""
        if not entries:
            return
        lines = _encoder.encode_lines([self._line(*entry) for entry in entries]).decode()
        if not self._as_json:
            lines = "".join(map(_as_text, lines.splitlines()))
        self._stream.write(lines)
        self._stream.flush()

    def _line(self, time_s: float, record: RequestRecord, attempt: Attempt | None) -> object:
        if attempt is not None:
            return self._attempt_line(time_s, record, attempt)
        record.time = self._moment(time_s)
        record.level = "info" if record.status < _FIRST_FAILURE_STATUS else "warning"
        if not record.provider:  # a name that was served is known to be a name; this one is the caller's own words
            record.model_asked = self.redactor.redact(record.model_asked)
        return record

    def _attempt_line(self, time_s: float, record: RequestRecord, attempt: Attempt) -> dict[str, Any]:
        about = {
            "event": "attempt_failed",
            "request_id": record.id,
            "time": self._moment(time_s),
            "level": "warning",
            "client": record.client,
            "provider": attempt.provider,
            "key": attempt.key,
            "model": attempt.model,
            "ms": attempt.ms,
        }
        failure = attempt.failure
        if failure is None:
            return about
        message = self.redactor.redact(failure.message)
        return {**about, "kind": failure.kind, "scope": failure.scope, "status": failure.status, "message": message}

    def _moment(self, time_s: float) -> str:
        """The time in RFC 3339; the text of a second is made once."""
        second = int(time_s)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((time_s - second) * 1000):03d}Z"

    def __repr__(self) -> str:
        return f"<RequestLog as {'JSON' if self._as_json else 'text'}>"


def _as_text(line: str) -> str:
    """A line for people: time, level and event, then the rest; what is nested stays JSON."""
    fields = msgspec.json.decode(line, type=dict[str, Any])
    head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('event'):14}"
    words = (f"{name}={_encoder.encode(value).decode().strip(chr(34))}" for name, value in fields.items())
    return f"{head} {' '.join(words)}\n"
