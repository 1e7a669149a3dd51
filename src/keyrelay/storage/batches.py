"""From lines of ended requests to rows: what of a batch's work is the same for both databases.

A row is a tuple in the order of its table's columns. Decoding and summing cost about as much as the database itself, so
they are written for speed: a tuple per row, no further objects.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.core.failures import Failure
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.storage.rollups import Row

MAX_TEXT = 256
"""Characters that are kept of a name that a caller or a provider made up."""

MAX_MESSAGE = 1_000
"""Characters that are kept of a provider's error message."""

MAX_COUNT = 10**15
"""No token count or cost is believed to be beyond this: sums of them stay below what a column holds."""

_ID_LENGTH = 36
_PREFIX_LENGTH = 4
_TIME_DIGITS = 16
_NANOS = 1_000_000_000
_ANSWERED = ("", "", 0, "")

_decoder = msgspec.json.Decoder(RequestRecord)


class LineError(StoreError):
    """A line that can never be stored, `place` in the batch from 0; None for one of them. Nothing of the batch was."""

    def __init__(self, place: int | None, problem: str) -> None:
        self.place = place
        self.problem = problem
        which = "a line" if place is None else f"line {place}"
        super().__init__(f"{which} of the batch is no record of a request: {problem}", lasting=True)


AsId = Callable[[str], object]
"""Makes of an id's 32 hex digits what the database's driver takes."""


def rows_of(lines: Sequence[bytes], as_id: AsId, first_place: int = 0) -> Iterator[tuple[Row, list[Row]]]:
    """The row of `requests` and those of `attempts` for each line, which is `first_place` in its batch or behind it.

    Raise LineError at the first line that cannot be stored.
    """
    for place, line in enumerate(lines, first_place):
        try:
            record = _decoder.decode(line)
            if b"\\u0000" in line:
                record = _without_nul(record)
            yield _rows(record, as_id)
        except (ValueError, OverflowError) as error:  # msgspec's own errors are ValueErrors
            raise LineError(place, str(error)[:MAX_TEXT]) from error


def _rows(record: RequestRecord, as_id: AsId) -> tuple[Row, list[Row]]:
    name = record.id
    if len(name) != _ID_LENGTH or not name.startswith("req_"):
        raise ValueError("its id is not 'req_' and 32 hexadecimal digits")
    digits = name[_PREFIX_LENGTH:]
    started_ms = int(digits[:12], 16)
    identity = as_id(digits)
    ms, usage, cost_usd, attempts = record.ms, record.usage, record.cost_usd, record.attempts
    if usage is None:
        input_tokens = output_tokens = 0
        estimated = False
    else:
        input_tokens, output_tokens, estimated = usage.input_tokens, usage.output_tokens, usage.estimated
        if not (0 <= input_tokens <= MAX_COUNT and 0 <= output_tokens <= MAX_COUNT):
            input_tokens, output_tokens = _believable(input_tokens), _believable(output_tokens)
    row = (
        identity,
        started_ms,
        started_ms + int(ms) if ms or not record.time else _epoch_ms(record.time),
        record.client,
        record.operation,
        record.model_asked[:MAX_TEXT],
        record.provider,
        record.key,
        record.model[:MAX_TEXT],
        record.status,
        record.category[:MAX_TEXT],
        record.stream,
        record.cached,
        ms,
        record.upstream_ms,
        record.waited_ms,
        record.first_token_ms,
        len(attempts),
        input_tokens,
        output_tokens,
        estimated,
        None if cost_usd is None else _nanos(cost_usd),
        record.price_version,
    )
    if len(attempts) == 1:  # as nearly always
        return row, [_attempt_row(identity, 0, attempts[0])]
    return row, [_attempt_row(identity, ordinal, attempt) for ordinal, attempt in enumerate(attempts)]


def _attempt_row(identity: object, ordinal: int, attempt: Attempt) -> Row:
    failure = attempt.failure
    kind, scope, status, message = _ANSWERED if failure is None else _failure_columns(failure)
    input_tokens, output_tokens = attempt.input_tokens, attempt.output_tokens
    if input_tokens + output_tokens > MAX_COUNT:
        input_tokens, output_tokens = _believable(input_tokens), _believable(output_tokens)
    return (
        identity,
        ordinal,
        int(attempt.sent_s * 1000),
        attempt.ms,
        attempt.provider,
        attempt.key,
        attempt.model[:MAX_TEXT],
        kind,
        scope,
        status,
        message,
        attempt.requests,
        input_tokens,
        output_tokens,
        attempt.usd_micros,
        attempt.units,
    )


def _failure_columns(failure: Failure) -> tuple[str, str, int, str]:
    return failure.kind.value, failure.scope.value, failure.status, failure.message[:MAX_MESSAGE]


def _epoch_ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp() * 1000)


def _nanos(usd: float) -> int:
    return int(min(max(usd * _NANOS + 0.5, 0), MAX_COUNT))


def _believable(count: int) -> int:
    return min(max(count, 0), MAX_COUNT)


def _without_nul(record: RequestRecord) -> RequestRecord:
    """The record without U+0000, which PostgreSQL keeps in no text."""
    return msgspec.convert(_cleaned(msgspec.to_builtins(record)), RequestRecord)


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {name: _cleaned(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_cleaned(member) for member in value]
    return value
