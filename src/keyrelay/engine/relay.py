"""Passing a stream on, from its first content to its end.

From here on there is no failover: what breaks becomes an error event in the stream, never a `[DONE]` that the
provider did not send. Everything is settled before the last byte goes out.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from keyrelay.core.errors import CallerError
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.quotations import without_quotes
from keyrelay.core.redaction import Redactor
from keyrelay.core.usage import Usage
from keyrelay.engine.asked_texts import asked_texts
from keyrelay.engine.attempts import fault_failure, malformed
from keyrelay.engine.jobs import Job
from keyrelay.engine.outcomes import OpenStream
from keyrelay.engine.recall import kept
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.shapes import StreamShape
from keyrelay.engine.translation import Translator
from keyrelay.ports import Ports, Sink
from keyrelay.routing.candidates import Candidate
from keyrelay.wire.errors import read_error
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.translated import AnswerStream

_STATUS_OF_BREAK: Final = 502


class Relay:
    """Relays one stream after another; holds no state of any."""

    __slots__ = ("_clock", "_journal", "_random", "_settings", "_translator", "redactor")

    def __init__(self, ports: Ports, *, settings: EngineSettings, redactor: Redactor, translator: Translator) -> None:
        self._clock = ports.clock
        self._journal = ports.journal
        self._settings = settings
        self._random = ports.random
        self._translator = translator
        self.redactor = redactor

    def configure(self, settings: EngineSettings) -> None:
        """Go on with other settings."""
        self._settings = settings

    async def run(
        self,
        job: Job,
        stream: OpenStream,
        candidate: Candidate,
        *,
        sink: Sink,
        head: bytes,
        shape: StreamShape | None,
        settle: Callable[[], None],
    ) -> None:
        """Send the head and relay to the end. `settle` is called once before the last byte, whatever that is.

        Cancelled (the caller has gone), it lets go of the provider at once and settles what was used so far.
        """
        record = job.record
        failure = None
        last = b""
        try:
            await sink.start(head)
            last = await self._pump(job, stream, candidate, sink=sink, shape=shape)
            failure = self._verdict(job, stream, candidate)
            record.category = failure.kind if failure else ""
        except BaseException as error:
            stopping = isinstance(error, asyncio.CancelledError) and not sink.gone
            record.category = "shutdown" if stopping else "caller_gone"
            raise
        finally:
            if stream.reader.end is StreamEnd.DONE:
                stream.answer.release()
            else:
                stream.answer.close()
            record.usage = stream.reader.usage or _observed(stream.reader, job)
            settle()
        if failure is not None and job.request.file is not None:
            raise _broken(failure, job)  # there is no event that a file could end with: it must not look whole
        if failure is not None:
            last += self._translator.broken(job, stream.reader, _broken(failure, job))
        elif shape is not None:
            last += shape.end(provider=record.provider, model=record.model, usage=stream.reader.usage)
        if job.keeping is not None:
            await kept(job.keeping)
        if self._journal is not None and self._journal.syncs:
            await self._journal.synced()
        await sink.end(last)

    async def _pump(
        self, job: Job, stream: OpenStream, candidate: Candidate, *, sink: Sink, shape: StreamShape | None
    ) -> bytes:
        """Pass on everything but the last piece, and return that."""
        answer, reader, data = stream.answer, stream.reader, stream.first
        provider, model = candidate.provider.id, candidate.model
        tap = _Tap(stream, sink, self._clock.monotonic_s, gap_s=self._settings.content_gap_s, total_at=job.total_at)
        tap.move_deadline()
        ended = False
        while True:
            if shape is not None and data:
                data = shape.feed(data, provider=provider, model=model, usage=reader.usage)
            if ended or reader.end is not StreamEnd.OPEN:
                return data
            if data and not sink.write_now(data):
                await sink.write(data)
            answer.tap = tap.pass_on if shape is None else None
            chunk = await answer.read()
            answer.tap = None
            data = tap.take_left()
            if reader.end is StreamEnd.OPEN and (chunk or not data):
                ended = not chunk and not tap.stopped
                data += reader.close() if ended else tap.feed(chunk)
            tap.stopped = False

    def _verdict(self, job: Job, stream: OpenStream, candidate: Candidate) -> Failure | None:
        """None for a whole answer; otherwise how it broke, noted against the candidate without what that quotes."""
        reader, answer = stream.reader, stream.answer
        if reader.end is StreamEnd.DONE:
            return None
        if reader.end is StreamEnd.ERROR:
            message = read_error(_STATUS_OF_BREAK, reader.error_data, {}, self._clock.epoch_s()).message
            job.said = message = self.redactor.redact(message)
            (message,) = without_quotes((message,), asked_texts(job.request))
            failure = Failure(kind=FailureKind.SERVICE, scope=FailureScope.PROVIDER, message=message)
        elif reader.end is StreamEnd.MALFORMED:
            failure = malformed(reader.problem)
        elif answer.fault is not None:
            failure = fault_failure(answer.fault, self._clock.epoch_s())
        elif reader.ended_whole(candidate.provider.row.stream.terminator):
            return None
        else:
            failure = malformed("the stream ended before the answer was complete")
        if reader.end is not StreamEnd.ERROR:
            job.said = failure.message
        candidate.failed(failure, self._clock.epoch_s(), self._random)
        return failure

    def __repr__(self) -> str:
        return "<Relay>"


class _Tap:
    """Passes pieces of a stream on in the moment in which they arrive, as long as there is nothing to decide.

    Waking the request's task for each event would cost more than all that is done with it. It stops, and leaves the
    rest to the task, when the stream has ended or the caller does not keep up.
    """

    __slots__ = ("_answer", "_gap_s", "_left", "_monotonic_s", "_reader", "_sink", "_total_at", "stopped")

    def __init__(
        self, stream: OpenStream, sink: Sink, monotonic_s: Callable[[], float], *, gap_s: float, total_at: float
    ) -> None:
        self._answer = stream.answer
        self._reader = stream.reader
        self._sink = sink
        self._monotonic_s = monotonic_s
        self._gap_s = gap_s
        self._total_at = total_at
        self._left = b""
        self.stopped = False

    def pass_on(self, chunk: bytes) -> bool:
        """Read a piece and pass it on; False when the task has to go on."""
        data = self.feed(chunk)
        if self._reader.end is StreamEnd.OPEN and (not data or self._sink.write_now(data)):
            return True
        self._left = data
        self.stopped = True
        return False

    def feed(self, chunk: bytes) -> bytes:
        """Read a piece; content in it moves the deadline on."""
        reader = self._reader
        seen = reader.content_events
        data = reader.feed(chunk) if chunk else b""
        if reader.content_events != seen:
            self.move_deadline()
        return data

    def move_deadline(self) -> None:
        """Allow another gap from now on."""
        self._answer.deadline_at = min(self._monotonic_s() + self._gap_s, self._total_at)

    def take_left(self) -> bytes:
        """What was read and not passed on, once."""
        left, self._left = self._left, b""
        return left

    def __repr__(self) -> str:
        return f"<Tap {'stopped' if self.stopped else 'open'}, {len(self._left)} bytes left>"


def _observed(reader: AnswerStream, job: Job) -> Usage:
    """Usage of a stream that reported none: the estimate of the prompt, and a token for each event with words in it."""
    spoken = 0 if job.request.opaque else reader.content_events
    return Usage(job.amounts.input_tokens, spoken, estimated=True)


def _broken(failure: Failure, job: Job) -> CallerError:
    attempt = job.record.attempts[-1]
    return CallerError(
        _STATUS_OF_BREAK,
        f"The answer of {attempt.provider} broke off: {job.said}. Ask again to get a whole one.",
        kind="upstream_error",
        code="upstream_incomplete",
        detail={"request_id": job.record.id, "kind": failure.kind, "provider": attempt.provider, "key": attempt.key},
    )
