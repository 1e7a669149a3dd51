"""One line per request and per failed attempt.

Lines are built from fields that cannot hold a secret or a prompt, and written many at a time: a write per line would
cost more than the rest of the request. The line of a request is the one piece of text that every request costs, so
it is put together by hand.
"""

import datetime as dt
import sys
from typing import TextIO

import msgspec

from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor

Entry = tuple[float, RequestRecord, Attempt | None]
"""When, which request, and for a failed attempt that attempt."""

_FIRST_FAILURE_STATUS = 500
_MAX_QUOTED = 10_000


class RequestLog:
    """Writes to a stream, as JSON or as text."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool, redactor: Redactor) -> None:
        self._stream = stream or sys.stderr
        self._as_json = as_json
        self._quoted = _Quoted()
        self._second = 0
        self._second_text = ""
        self.redactor = redactor

    def write(self, entries: list[Entry]) -> None:
        """Write a line for each entry."""
        if entries:
            self._stream.write("".join([self._line(*entry) for entry in entries]))
            self._stream.flush()

    def _line(self, time_s: float, record: RequestRecord, attempt: Attempt | None) -> str:
        text = self._request(time_s, record) if attempt is None else self._attempt(time_s, record, attempt)
        return text if self._as_json else _as_text(text)

    def _request(self, time_s: float, record: RequestRecord) -> str:
        quoted, usage = self._quoted, record.usage
        # The one field in a caller's own words; a name that was served is known to be a name.
        asked = record.model_asked if record.provider else self.redactor.redact(record.model_asked)
        return (
            f'{{"time":"{self._moment(time_s)}","level":"{_level(record.status)}","event":"request",'
            f'"request_id":"{record.id}","client":{quoted[record.client]},"operation":"{record.operation}",'
            f'"model_asked":{quoted[asked]},"provider":{quoted[record.provider]},"key":{quoted[record.key]},'
            f'"model":{quoted[record.model]},"status":{record.status},"category":{quoted[record.category]},'
            f'"stream":{"true" if record.stream else "false"},"attempts":{len(record.attempts)},'
            f'"ms":{(record.ended_at - record.started_at) * 1000:.1f},"upstream_ms":{record.upstream_s * 1000:.1f},'
            f'"tokens_in":{usage.input_tokens if usage else 0},"tokens_out":{usage.output_tokens if usage else 0}}}\n'
        )

    def _attempt(self, time_s: float, record: RequestRecord, attempt: Attempt) -> str:
        failure = attempt.failure
        fields = {
            "time": self._moment(time_s),
            "level": "warning",
            "event": "attempt_failed",
            "request_id": record.id,
            "client": record.client,
            "provider": attempt.provider,
            "key": attempt.key,
            "model": attempt.model,
            "kind": failure.kind if failure else "",
            "scope": failure.scope if failure else "",
            "status": failure.status if failure else 0,
            "message": self.redactor.redact(failure.message) if failure else "",
            "ms": round(attempt.seconds * 1000, 1),
        }
        return msgspec.json.encode(fields).decode() + "\n"

    def _moment(self, time_s: float) -> str:
        """The time in RFC 3339; the text of a second is made once."""
        second = int(time_s)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((time_s - second) * 1000):03d}Z"

    def __repr__(self) -> str:
        return f"<RequestLog as {'JSON' if self._as_json else 'text'}>"


class _Quoted(dict[str, str]):
    """Text as JSON, made once for each of the few names that come again and again."""

    def __missing__(self, text: str) -> str:
        if len(self) >= _MAX_QUOTED:
            self.clear()
        quoted = self[text] = msgspec.json.encode(text).decode()
        return quoted


def _level(status: int) -> str:
    return "info" if status < _FIRST_FAILURE_STATUS else "warning"


def _as_text(line: str) -> str:
    """A line for people: time, level and event, then what is not empty."""
    fields = msgspec.json.decode(line, type=dict[str, str | int | float | bool])
    head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('event'):14}"
    return f"{head} {' '.join(f'{name}={value}' for name, value in fields.items() if value != '')}\n"
