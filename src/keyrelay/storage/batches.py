"""From lines of ended requests to rows and sums: what of a batch's work is the same for both databases.

A row is a tuple in the order of its table's columns. All this costs about as much as the database itself, so it is one
pass, written for speed: each line is looked at once, its row can be let go of as soon as it has been inserted, and sums
are kept by group, in lists of whole numbers.

A call that did what calls do has no row of its own in `attempts`: its request's row says everything about it
(`schema.REQUESTS`), and whoever asks for calls has it made of that (`request_queries`).
"""

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.core.failures import Failure
from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS
from keyrelay.core.records import OF_CLIENTS, Attempt, RequestRecord
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.storage.forms import Form, Rows
from keyrelay.storage.rollups import (
    CACHED,
    COST_NANOS,
    ESTIMATED,
    FIRST_TOKEN_AT,
    FIRST_TOKEN_MS_SUM,
    FIRST_TOKENS,
    INPUT_TOKENS,
    LATENCY_AT,
    MORE_ATTEMPTS,
    MS_SUM,
    OUTPUT_TOKENS,
    RETRIED,
    STREAMS,
    UNPRICED,
    Group,
    GroupKey,
    Row,
    UsedKey,
    add_used,
    sums_of,
)

MAX_TEXT: Final = 256
"""Characters that are kept of a name that a caller or a provider made up."""

MAX_MESSAGE: Final = 1_000
"""Characters that are kept of a provider's error message."""

MAX_COUNT: Final = 10**15
"""No token count or cost is believed to be beyond this: sums of them stay below what a column holds."""

_PREFIX: Final = "req_"
_PREFIX_LENGTH: Final = len(_PREFIX)
_ID_DIGITS: Final = 32
_TIME_DIGITS: Final = 12
_BACKSLASH: Final = ord("\\")
_NUL: Final = b"\\u0000"
_NANOS: Final = 1_000_000_000
_OK: Final = 200
_ANSWERED: Final = ("", "", 0, "")

_UNSEEN_MS: Final = int(TRANSIT_SKEW_S * 1000)
"""How long an attempt whose end nobody saw is taken to have been under way."""

_decode: Final = msgspec.json.Decoder(RequestRecord).decode


class LineError(StoreError):
    """A line that can never be stored, `place` in the batch from 0; None for one of them. Nothing of the batch was."""

    def __init__(self, place: int | None, problem: str) -> None:
        self.place = place
        self.problem = problem
        which = "a line" if place is None else f"line {place}"
        super().__init__(f"{which} of the batch is no record of a request: {problem}", lasting=True)


class Batch:
    """Makes rows of the lines that are added to it, portion by portion, and sums over all of them."""

    __slots__ = ("_form", "_groups", "_used")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._groups: dict[GroupKey, Group] = {}
        self._used: dict[UsedKey, list[int]] = {}

    def add(self, lines: Iterable[bytes], rows: Rows, first_place: int = 0) -> None:
        """Append the rows of lines, which are `first_place` in their batch and behind it.

        Raise LineError at the first line that cannot be stored; then the batch is of no more use.
        """
        place, add = first_place, self._add
        try:
            for place, line in enumerate(lines, first_place):  # noqa: B007 - the handler tells it
                record = _decode(line)
                if _BACKSLASH in line and _NUL in line:  # the first is found ten times faster
                    record = _without_nul(record)
                add(record, rows)
        except (ValueError, OverflowError) as error:  # msgspec's own errors are ValueErrors
            raise LineError(place, str(error)[:MAX_TEXT]) from error

    def sums(self) -> Iterator[tuple[sa.Table, list[Row]]]:
        """What all of it adds to each roll-up, in the order in which every writer has to add them."""
        return sums_of(self._groups.values(), self._used)

    def _add(self, record: RequestRecord, rows: Rows) -> None:
        name, form, calls = record.id, self._form, record.attempts
        digits = name[_PREFIX_LENGTH:]
        if len(digits) != _ID_DIGITS or not name.startswith(_PREFIX):
            raise ValueError("its id is not 'req_' and 32 hexadecimal digits")
        started_ms, identity = int(digits[:_TIME_DIGITS], 16), form.as_id(digits)
        key = record.provider, record.model, record.key, record.client, record.category
        group = self._groups.get(key) or self._new_group(key)
        minute = started_ms // 60_000
        sums = group.minutes.get(minute) or group.new_minute(minute)
        ms, usage, cost_usd, first_token_ms = record.ms, record.usage, record.cost_usd, record.first_token_ms
        whole_ms = int(ms)
        sums[MS_SUM] += whole_ms
        sums[LATENCY_AT + bisect_left(LATENCY_MS, ms)] += 1
        if usage is None:
            input_tokens = output_tokens = 0
            estimated = False
        else:
            input_tokens, output_tokens, estimated = usage.input_tokens, usage.output_tokens, usage.estimated
            if not (0 <= input_tokens <= MAX_COUNT and 0 <= output_tokens <= MAX_COUNT):
                input_tokens, output_tokens = _believable(input_tokens), _believable(output_tokens)
            sums[INPUT_TOKENS] += input_tokens
            sums[OUTPUT_TOKENS] += output_tokens
            if cost_usd is None and not record.cached and (input_tokens or output_tokens):
                sums[UNPRICED] += 1
        if estimated or record.stream or record.cached or first_token_ms is not None:
            _count_rest(sums, record, estimated=estimated)
        sent_ms = _count_plain(group, calls[0], record, input_tokens, output_tokens) if len(calls) == 1 else None
        if sent_ms is None:
            self._add_calls(identity, calls, rows.attempts)
            sums[MORE_ATTEMPTS] += len(calls) - 1
            sums[RETRIED] += len(calls) > 1
        nothing = form.nothing
        row = (
            identity,
            started_ms,
            started_ms + whole_ms if ms or not record.time else _epoch_ms(record.time),
            group.client,
            record.operation,
            record.model_asked[:MAX_TEXT],
            group.provider,
            group.key,
            group.model,
            form.yes if record.stream else form.no,
            ms,
            record.upstream_ms,
            nothing if first_token_ms is None else first_token_ms,
            input_tokens,
            output_tokens,
            nothing if cost_usd is None else _count_cost(sums, cost_usd),
            record.price_version,
            nothing if sent_ms is None else sent_ms,
        )
        if (
            sent_ms is None
            or estimated
            or record.waited_ms
            or record.category
            or record.cached
            or record.status != _OK
            or calls[0].usd_micros
        ):
            usd_micros = nothing if sent_ms is None else calls[0].usd_micros or nothing
            rest = record.status, group.category, record.cached, record.waited_ms, len(calls)
            rows.requests.append((*row, *rest, form.yes if estimated else form.no, usd_micros))
        else:
            rows.usual.append(row)
        if record.charged is not None:
            self._add_charged(record, ended_ms=row[2])

    def _add_charged(self, record: RequestRecord, ended_ms: int) -> None:
        """What the client's own limits have counted."""
        charged = [_believable(amount) for amount in record.charged or ()]
        if any(charged):
            add_used(self._used, (ended_ms // 1000, OF_CLIENTS, record.client, ""), [ended_ms, *charged, 0])

    def _new_group(self, key: GroupKey) -> Group:
        provider, model, label, client, category = key
        group = self._groups[key] = Group(provider, model[:MAX_TEXT], label, client, category[:MAX_TEXT])
        return group

    def _add_calls(self, identity: object, calls: Iterable[Attempt], attempts: list[Row]) -> None:
        """Rows of calls, and what those used."""
        for ordinal, call in enumerate(calls):
            row = _attempt_row(identity, ordinal, call)
            attempts.append(row)
            _, _, sent_ms, ms, provider, label, model, _, _, _, _, *used = row
            if any(used):
                ended_ms = sent_ms + (int(ms) + 1 if ms else _UNSEEN_MS)
                add_used(self._used, (ended_ms // 1000, provider, label, model), [ended_ms, *used])

    def __repr__(self) -> str:
        return f"<Batch of {len(self._groups)} groups>"


def by_id(lines: Sequence[bytes]) -> dict[str, bytes]:
    """Lines that have been made into rows before, by their ids' 32 digits; the first of those that have the same."""
    return {_decode(line).id[_PREFIX_LENGTH:].lower(): line for line in reversed(lines)}


def _count_plain(
    group: Group, call: Attempt, record: RequestRecord, input_tokens: int, output_tokens: int
) -> int | None:
    """Add what the only call of a request used, and return when it was sent (epoch milliseconds).

    None when the request's row does not say everything about it: then nothing has been added.
    """
    if (
        call.failure is not None
        or call.input_tokens != input_tokens
        or call.output_tokens != output_tokens
        or call.requests != 1
        or not call.ms
        or call.ms != record.upstream_ms
        or call.units
        or call.key != record.key
        or call.model != group.model
        or call.provider != record.provider
    ):
        return None
    sent_ms = int(call.sent_s * 1000)
    ended_ms = sent_ms + int(call.ms) + 1
    used = group.seconds.get(ended_ms // 1000) or group.new_second(ended_ms // 1000)
    used[1] += 1
    used[2] += input_tokens
    used[3] += output_tokens
    used[4] += call.usd_micros
    if ended_ms > used[0]:  # noqa: PLR1730 - a call costs more
        used[0] = ended_ms
    return sent_ms


def _count_rest(sums: list[int], record: RequestRecord, *, estimated: bool) -> None:
    """Count what most requests have nothing of."""
    sums[ESTIMATED] += estimated
    sums[STREAMS] += record.stream
    sums[CACHED] += bool(record.cached)
    first_token_ms = record.first_token_ms
    if first_token_ms is not None:
        sums[FIRST_TOKEN_MS_SUM] += int(first_token_ms)
        sums[FIRST_TOKENS] += 1
        sums[FIRST_TOKEN_AT + bisect_left(FIRST_TOKEN_MS, first_token_ms)] += 1


def _count_cost(sums: list[int], usd: float) -> int:
    """Add a cost, and return it in nanos."""
    scaled = usd * _NANOS + 0.5
    nanos = int(scaled) if 0 <= scaled <= MAX_COUNT else _believable_cost(scaled)
    sums[COST_NANOS] += nanos
    return nanos


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


def _believable_cost(nanos: float) -> int:
    return int(min(max(nanos, 0), MAX_COUNT))


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
