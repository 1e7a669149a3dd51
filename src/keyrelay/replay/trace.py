"""Traces: what was asked when, without a word of it. JSON lines, gzip allowed, written by one run and read by another.

The first line is the header, each further line a request:

    {"trace": "day", "version": 1, "start": "2026-11-16T08:00:00Z", "seed": 1, "description": "…"}
    {"at_s": 12.5, "client": "chat", "model": "gemini-3.1-flash-lite", "input_tokens": 812, "output_tokens": 140, …}
"""

import datetime as dt
import gzip
import zlib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from keyrelay.core.errors import ConfigurationError
from keyrelay.core.providers import Operation
from keyrelay.replay.request_log import from_request_log, is_request_log

VERSION = 1
SUFFIX = ".jsonl.gz"
MAX_REQUESTS = 1_000_000
MAX_BYTES = 512 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_ADVICE = "docs/cli.md describes the format."

Seconds = Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)]
Priority = Literal["", "interactive", "agent", "batch"]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request. `at_s` counts from the trace's start; `output_tokens` is what the answer had.

    `max_tokens` is the caller's bound, `deadline_s` how long the caller was ready to wait in all; None where the caller
    said nothing. `priority` is the name of a class, empty for the usual one.
    """

    at_s: Seconds
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    client: str = ""
    operation: Operation = "chat"
    stream: bool = False
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    max_tokens: Tokens | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    priority: Priority = ""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trace's first line: its name, the moment that `at_s` counts from, and the seed of everything drawn."""

    trace: str
    version: int
    start: dt.datetime
    seed: int = 1
    description: str = ""


class Trace(msgspec.Struct, frozen=True):
    """A header and its requests, in order of time."""

    header: Header
    requests: tuple[TraceRequest, ...]

    @property
    def start_s(self) -> float:
        """The start in epoch seconds."""
        return self.header.start.timestamp()


def load_trace(name: str) -> Trace:
    """Read a trace: a shipped one by its name (`day`), else a file, which may also be a request log of the gateway.

    Raise ConfigurationError that names file, line and field.
    """
    shipped = files("keyrelay.replay") / "traces" / f"{name}{SUFFIX}"
    if name.isidentifier() and shipped.is_file():
        return read_trace(shipped.read_bytes(), name)
    try:
        return read_trace(Path(name).read_bytes(), name)
    except OSError as error:
        fix = f"Name a file, or one of the shipped traces: {', '.join(shipped_traces())}."
        raise ConfigurationError(name, f"the trace cannot be read: {error.strerror}.", fix) from error


def shipped_traces() -> list[str]:
    """The names of the traces that come with the package."""
    entries = (files("keyrelay.replay") / "traces").iterdir()
    return sorted(entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX))


def read_trace(data: bytes, where: str) -> Trace:
    """Read a trace or a request log, packed or not; `where` is what messages call it. Raise ConfigurationError."""
    lines = _unpacked(data, where).split(b"\n")
    if is_request_log(lines):
        start, entries = from_request_log(lines, where)
        header = Header(trace=Path(where).name, version=VERSION, start=start, description="from a request log")
        return Trace(header, msgspec.convert(entries, tuple[TraceRequest, ...]))
    header = _line(lines[0], Header, f"{where} line 1")
    if header.version != VERSION:
        raise ConfigurationError(f"{where} line 1: version", f"{header.version} is not {VERSION}.", _ADVICE)
    if header.start.tzinfo is None:
        raise ConfigurationError(f"{where} line 1: start", "the time has no zone.", "Write a Z behind it for UTC.")
    requests = list[TraceRequest]()
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        request = _line(line, TraceRequest, f"{where} line {number}")
        if requests and request.at_s < requests[-1].at_s:
            raise ConfigurationError(f"{where} line {number}: at_s", "goes back in time.", "Sort the lines by at_s.")
        requests.append(request)
        if len(requests) > MAX_REQUESTS:
            raise ConfigurationError(f"{where} line {number}", f"there are more than {MAX_REQUESTS} requests.")
    if not requests:
        raise ConfigurationError(where, "the trace holds no request.", _ADVICE)
    return Trace(header, tuple(requests))


def write_trace(header: Header, requests: Iterable[TraceRequest]) -> bytes:
    """A trace as it is kept: JSON lines in gzip. The same trace gives the same bytes with the same zlib."""
    return gzip.compress(msgspec.json.Encoder().encode_lines([header, *requests]), mtime=0)


def _unpacked(data: bytes, where: str) -> bytes:
    if data.startswith(_GZIP):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_BYTES)
        except zlib.error as error:
            raise ConfigurationError(where, f"the gzip is broken: {error}.") from None
        if not unpacker.eof:
            raise ConfigurationError(where, f"the gzip is cut off, or holds more than {MAX_BYTES} bytes.")
    return data


def _line(line: bytes, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise ConfigurationError(f"{where}: {place.rstrip('`')}" if place else where, f"{problem}.", _ADVICE) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(where, f"this is not JSON: {error}.", _ADVICE) from None
