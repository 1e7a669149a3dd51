"""One line per request and per failed attempt.

A line is a record's own JSON: records hold no secret and no prompt. Lines are written many at a time, because a
write per line would cost more than the rest of the request.
"""

import datetime as dt
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import msgspec

from keyrelay.core.failures import FAULT_KINDS
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor
from keyrelay.settings import Settings

_FIRST_FAILURE_STATUS: Final = 500

LEVELS: Final = ("debug", "info", "warning", "error")
"""From the least severe on; the settings know the same names."""

_INFO, _WARNING = 1, 2

Entry = tuple[float, RequestRecord, Attempt | bytes]
"""When, which request, and what of it: an attempt that failed, or its own line, when it has ended."""

_encoder: Final = msgspec.json.Encoder()


def logs_json(settings: Settings) -> bool:
    """Whether log lines are JSON: as set, else unless a person is looking."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


class LibraryMessages(logging.Handler):
    """Brings what libraries log (uvicorn's errors, asyncio's complaints) into the same log, redacted."""

    def __init__(self, log: "RequestLog") -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, with its traceback if it has one."""
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        self._log.write_message(record.created, level if level in LEVELS else "info", self.format(record), record.name)


class RequestLog:
    """Writes to a stream, as JSON or as text."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool, redactor: Redactor, least: str = "info") -> None:
        self._stream = stream or sys.stderr
        self._least = LEVELS.index(least)
        self._as_json = as_json
        self._second = 0
        self._second_text = ""
        self._same_from_s = self._same_until_s = 0.0
        self._same_text = ""
        self.redactor = redactor

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self._as_json = logs_json(settings)
        self._least = LEVELS.index(settings.log_level)

    def seal(self, time_s: float, record: RequestRecord) -> bytes:
        """The line of a request that ended at this time, in JSON without a line end; its record says as much."""
        broken = record.status >= _FIRST_FAILURE_STATUS or (record.category and record.category in FAULT_KINDS)
        record.level = LEVELS[_WARNING if broken else _INFO]
        same = self._same_from_s <= time_s < self._same_until_s
        record.time = self._same_text if same else self._moment(time_s)
        if not record.provider:  # a name that was served is known to be a name; this one is the caller's own words
            record.model_asked = self.redactor.redact(record.model_asked)
        return _encoder.encode(record)

    def write(self, entries: list[Entry]) -> None:
        """Write a line for each entry that is severe enough."""
        lines = [line for entry in entries if (line := self._line(*entry))]
        if lines:
            self._write(b"\n".join((*lines, b"")).decode())

    def write_message(self, time_s: float, level: str, message: str, source: str) -> None:
        """Write what a library has to say, without its secrets."""
        self.write_event("message", time_s, level, {"source": source, "message": self.redactor.redact(message)})

    def write_event(self, event: str, time_s: float, level: str, fields: Mapping[str, Any]) -> None:
        """Write a line about something that is no request; `fields` hold no secret."""
        if LEVELS.index(level) >= self._least:
            line = {"event": event, "time": self._moment(time_s), "level": level, **fields}
            self._write(_encoder.encode_lines([line]).decode())

    def _write(self, lines: str) -> None:
        if not self._as_json:
            lines = "".join(
                map(_as_text, lines.removesuffix("\n").split("\n"))
            )  # splitlines would also split at U+2028
        self._stream.write(lines)
        self._stream.flush()

    def _line(self, time_s: float, record: RequestRecord, what: Attempt | bytes) -> bytes:
        """What to write; nothing when it is below the least level."""
        if isinstance(what, bytes):
            return what if self._least <= _INFO or self._least <= LEVELS.index(record.level) else b""
        return _encoder.encode(self._attempt_line(time_s, record, what)) if self._least <= _WARNING else b""

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
        """The time in RFC 3339; the text of a second is made once, that of a millisecond kept while it lasts."""
        second = int(time_s)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        millisecond = int((time_s - second) * 1000)
        self._same_from_s, self._same_until_s = time_s, second + (millisecond + 1) / 1000
        self._same_text = f"{self._second_text}.{millisecond:03d}Z"
        return self._same_text

    def __repr__(self) -> str:
        return f"<RequestLog as {'JSON' if self._as_json else 'text'}>"


def _as_text(line: str) -> str:
    """A line for people: time, level and event, then the rest; what is nested stays JSON."""
    fields = msgspec.json.decode(line, type=dict[str, Any])
    head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('event'):14}"
    words = (f"{name}={_encoder.encode(value).decode().strip(chr(34))}" for name, value in fields.items())
    return f"{head} {' '.join(words)}\n"
