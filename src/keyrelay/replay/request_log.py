"""A request log of the gateway as a trace: its JSON lines hold times, models and usage, and no text.

A line is written when its request has ended, so the arrival is its time less its duration. Of a request that was not
answered nobody knows what it would have used: it gets the mean of the answered ones for the same model, else of all.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from keyrelay.core.errors import ConfigurationError
from keyrelay.core.usage import Usage

UNKNOWN_USAGE = Usage(500, 250)
"""What is assumed where no request of a log was answered."""

_ENTRY = "request"
_CALLERS_OWN = frozenset({400, 401, 403, 404, 413, 415})
"""A request that was refused for its own sake asked no provider for anything."""


class LogLine(msgspec.Struct, frozen=True):
    """What is read of a line; all else in it, and lines of other events, are passed over."""

    event: str = ""
    time: dt.datetime | None = None
    client: str = ""
    operation: str = ""
    model_asked: str = ""
    status: int = 0
    stream: bool = False
    ms: float = 0.0
    usage: Usage | None = None


def is_request_log(lines: Sequence[bytes]) -> bool:
    """Whether this is a log: one of the first lines is an event, which no line of a trace is."""
    return any(line.startswith(b'{"event":') for line in lines[:100])


def from_request_log(lines: Iterable[bytes], where: str) -> tuple[dt.datetime, list[dict[str, Any]]]:
    """Start and requests of a log, as a trace wants them. Raise ConfigurationError naming the line that is no log's."""
    found = list[tuple[dt.datetime, LogLine]]()
    for number, text in enumerate(lines, 1):
        if not text.startswith(b'{"event":'):
            continue  # what the server says beside the log
        try:
            line = msgspec.json.decode(text, type=LogLine)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{where} line {number}", f"this is no line of a request log: {error}.") from None
        if line.event == _ENTRY and line.time is not None and line.model_asked and line.status not in _CALLERS_OWN:
            found.append((line.time - dt.timedelta(milliseconds=line.ms), line))
    if not found:
        fix = "Log with KEYRELAY_LOG_FORMAT=json and KEYRELAY_LOG_LEVEL=info."
        raise ConfigurationError(where, "the log holds no request.", fix)
    found.sort(key=lambda pair: pair[0])
    start = found[0][0]
    guesses = _guesses(line for _, line in found)
    return start, [_request(line, (at - start).total_seconds(), guesses) for at, line in found]


def _request(line: LogLine, at_s: float, guesses: dict[str, Usage]) -> dict[str, Any]:
    usage = line.usage or guesses.get(line.model_asked) or guesses[""]
    return {
        "at_s": round(at_s, 3),
        "client": line.client,
        "model": line.model_asked,
        "operation": line.operation or "chat",
        "stream": line.stream,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }


def _guesses(lines: Iterable[LogLine]) -> dict[str, Usage]:
    """Mean usage by model asked, and of all under an empty name."""
    seen = defaultdict[str, list[Usage]](list)
    for line in lines:
        if line.usage is not None:
            seen[line.model_asked].append(line.usage)
            seen[""].append(line.usage)
    means = {name: _mean(usages) for name, usages in seen.items()}
    return {"": UNKNOWN_USAGE} | means


def _mean(usages: list[Usage]) -> Usage:
    count = len(usages)
    return Usage(sum(use.input_tokens for use in usages) // count, sum(use.output_tokens for use in usages) // count)
