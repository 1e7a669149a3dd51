"""One attempt: send a reserved request to one candidate and see whether it becomes an answer.

The outcome is a value: a whole answer, a stream whose first content has come, or a failure. Whatever happens, the
candidate's state is updated and, unless a stream goes on, the reservation is settled.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from keyrelay.core.failures import ADDRESS_REST_S, Failure, FailureKind, FailureScope, ProviderError
from keyrelay.core.quotations import without_quotes
from keyrelay.core.records import Attempt, Reserved, milliseconds
from keyrelay.core.requests import CallRequest, FileCall
from keyrelay.engine.amounts import failed_amounts, used_amounts
from keyrelay.engine.asked_texts import asked_texts
from keyrelay.engine.files import Files, Located
from keyrelay.engine.jobs import Job
from keyrelay.engine.learner import Learner
from keyrelay.engine.outcomes import OpenStream, WholeAnswer
from keyrelay.engine.passages import FilePassage, OpaquePassage, Passage, PlainPassage, TranslatedPassage
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.translation import Translator, is_plain
from keyrelay.ports import Fault, Ports, Reservation, UpstreamAnswer, UpstreamCall
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.classify import Classifier, Moment
from keyrelay.routing.ways import Way
from keyrelay.wire.errors import embedded_status, read_error
from keyrelay.wire.files import with_own_ids
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.translated import AnswerStream

_OK: Final = 200
_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""What is a word for programs, whoever says it too."""
_USAGE_WORDS: Final = re.compile(r"stream_options|include_usage", re.IGNORECASE)
_FAULT_KINDS: Final = {
    "network": FailureKind.NETWORK,
    "timeout": FailureKind.TIMEOUT,
    "malformed": FailureKind.MALFORMED,
    "address": FailureKind.ADDRESS,
}


class AttemptRunner:
    """Runs attempts against the upstream port."""

    __slots__ = (
        "_clock",
        "_files",
        "_journal",
        "_learner",
        "_ledger",
        "_opaque",
        "_plain",
        "_random",
        "_settings",
        "_translated",
        "_upstream",
        "redactor",
    )

    def __init__(
        self,
        ports: Ports,
        *,
        settings: EngineSettings,
        learner: Learner,
        translator: Translator,
        files: Files | None = None,
    ) -> None:
        self._learner = learner
        self._plain = PlainPassage(settings)
        self._opaque = OpaquePassage(settings)
        self._files = None if files is None else FilePassage(files)
        self._translated = TranslatedPassage(settings, translator)
        self._journal = ports.journal
        self._upstream = ports.upstream
        self._ledger = ports.ledger
        self._clock = ports.clock
        self._settings = settings
        self._random = ports.random
        self.redactor = learner.redactor

    def configure(self, settings: EngineSettings) -> None:
        """Go on with other settings."""
        self._settings = self._plain.settings = self._opaque.settings = self._translated.settings = settings

    async def run(
        self, job: Job, candidate: Candidate, reservation: Reservation, classifier: Classifier
    ) -> WholeAnswer | OpenStream | Failure:
        """Send and wait until the outcome is known. Cancelled, it settles and lets go before it passes that on."""
        clock, record = self._clock, job.record
        started_at = clock.monotonic_s()
        job.sent_s = sent_s = clock.epoch_s()
        attempt = Attempt(candidate.provider_id, candidate.key.label, candidate.model, sent_s=sent_s)
        record.attempts.append(attempt)
        if self._journal is not None:
            self._journal.reserved(_reserved(job, attempt))
        if candidate.clear_as_of != candidate.health.changes:
            candidate.begin(sent_s)
        request = job.request
        way = candidate.ways.of(request.dialect)[request.operation]
        passage = self._plain if way.plain and request.plain else self._passage(request, way)
        outcome: WholeAnswer | OpenStream | Failure | ProviderError
        try:
            call = self._call(job, candidate, way, passage, started_at)
            answer = await self._upstream.send(call)
            if isinstance(answer, Fault):
                outcome = fault_failure(answer, clock.epoch_s())
            elif answer.status != _OK:
                outcome = self._read_refusal(answer, reservation)
            elif answer.streaming:
                self._ledger.answered(reservation, clock.epoch_s())
                reader = passage.stream(job, candidate, way)
                outcome = await self._begin_stream(job, reader, answer, call.first_byte_at)
            else:
                outcome = self._read_whole(job, candidate, way, passage, answer)
        except BaseException:
            candidate.released()
            self._settle(reservation, attempt, job.amounts, clock.epoch_s())
            raise
        finally:
            attempt.ms = milliseconds(clock.monotonic_s() - started_at)
            record.upstream_ms += attempt.ms
        if isinstance(outcome, WholeAnswer):
            self._served(job, candidate, reservation, outcome)
            return outcome
        if isinstance(outcome, OpenStream):
            candidate.succeeded()
            if self._learner.due(candidate, sent_s):
                self._learner.answered(candidate, outcome.answer.headers, clock.epoch_s(), settled=False)
            return outcome
        headers = {} if isinstance(answer, Fault) else answer.headers
        attempt.failure = self._failed(job, candidate, reservation, outcome, classifier=classifier, headers=headers)
        return attempt.failure

    def _failed(
        self,
        job: Job,
        candidate: Candidate,
        reservation: Reservation,
        problem: Failure | ProviderError,
        *,
        classifier: Classifier,
        headers: Mapping[str, str],
    ) -> Failure:
        """Settle an attempt that came to nothing, rest what it binds, and learn from what the provider said."""
        now_s = self._clock.epoch_s()
        error = problem if isinstance(problem, ProviderError) else None
        if isinstance(problem, ProviderError):
            problem = classifier.classify(problem, self._moment(candidate, now_s))
            if job.request.file is not None and self._files is not None:
                problem = self._files.refused(job, problem)
            elif problem.kind is FailureKind.MODEL and job.request.opaque:
                problem = msgspec.structs.replace(problem, until_s=None)  # it may do all else that it is asked
        failure, said = self._to_be_kept(job, problem, error)
        self._settle(reservation, job.record.attempts[-1], failed_amounts(candidate, failure, job.amounts), now_s)
        candidate.failed(failure, now_s, self._random)
        if error is not None:
            self._learner.refused(candidate, error, failure, now_s, headers=headers, said=said)
        return failure

    def _to_be_kept(self, job: Job, problem: Failure, error: ProviderError | None) -> tuple[Failure, str]:
        """A failure without secrets and quotations, and all that the provider said; its caller alone is told the rest.

        `candidate.failed`, the log, the row and whatever is made of them get nothing else.
        """
        redact = self.redactor.redact
        message, code, detail = redact(problem.message), redact(problem.code), ""
        if job.files is not None:
            message = job.files.as_named(message)
        job.said = message
        if error is not None:
            said = (message, "" if _CODE.fullmatch(code) else code, redact(error.detail))
            message, not_a_code, detail = without_quotes(said, asked_texts(job.request))
            code = not_a_code or code
        words = message if error is None or error.message else ""
        return msgspec.structs.replace(problem, message=message, code=code), f"{words} {detail}".strip()

    def _served(self, job: Job, candidate: Candidate, reservation: Reservation, whole: WholeAnswer) -> None:
        """Settle a whole answer, and learn from it."""
        learner, now_s = self._learner, self._clock.epoch_s()
        used = used_amounts(candidate, whole.usage, job.amounts, job.sent_s)
        candidate.succeeded()
        self._settle(reservation, job.record.attempts[-1], used, now_s, arrived=True)
        learner.accepted(candidate, used, job.sent_s, now_s)
        if whole.usage is not None:
            candidate.calibration.observe(job.raw, job.amounts, whole.usage)
        if learner.due(candidate, now_s):
            learner.answered(candidate, whole.answer.headers, now_s)

    def settle_stream(self, job: Job, candidate: Candidate, reservation: Reservation) -> None:
        """Settle a stream that has ended, one way or another, to what it used; learn from one that ended well."""
        usage, now_s = job.record.usage, self._clock.epoch_s()
        used = used_amounts(candidate, usage, job.amounts, job.sent_s)
        self._settle(reservation, job.record.attempts[-1], used, now_s)
        self._learner.accepted(candidate, used, job.sent_s, now_s)
        if usage is not None and not usage.estimated and not job.record.category:
            candidate.calibration.observe(job.raw, job.amounts, usage)

    def _settle(
        self, reservation: Reservation, attempt: Attempt, used: Amounts, now_s: float, *, arrived: bool = False
    ) -> None:
        """Correct the ledger to what an attempt used, and write that down with it."""
        self._ledger.settle(reservation, used, now_s, arrived=arrived)
        attempt.requests, attempt.input_tokens, attempt.output_tokens = (
            used.requests,
            used.input_tokens,
            used.output_tokens,
        )
        if used.usd_micros or used.units:
            attempt.usd_micros, attempt.units = used.usd_micros, used.units

    def took_back(self, job: Job, candidate: Candidate, failure: Failure) -> bool:
        """Whether the provider refused only what Keyrelay itself had put in: then it is left out from now on."""
        ours = self._plain.asks_usage(job, candidate)
        if not ours or failure.kind is not FailureKind.REQUEST or not _USAGE_WORDS.search(job.said):
            return False
        self._plain.without_usage.add(candidate.provider_id)
        return True

    def _passage(self, request: CallRequest, way: Way) -> Passage:
        """How a request gets through on this way."""
        if request.opaque:
            return self._opaque if request.file is None or self._files is None else self._files
        return self._plain if is_plain(way, request) else self._translated

    def _call(self, job: Job, candidate: Candidate, way: Way, passage: Passage, started_at: float) -> UpstreamCall:
        request, provider, settings = job.request, candidate.provider, self._settings
        form = request.form
        body, headers, parts = passage.write(job, candidate, way)
        target, file = way.path if way.plain else way.path_for(candidate.model, stream=request.stream), request.file
        if job.files is not None:
            if file is None:
                body = with_own_ids(body, job.files.ids)
            else:
                target += _path_of(file, job.files)
        first_byte_s = settings.first_byte_s if request.stream and form is None else settings.answer_s
        if provider.row.first_byte_timeout_s is not None:
            first_byte_s = max(first_byte_s, provider.row.first_byte_timeout_s)
        first_byte_at, total_at = started_at + first_byte_s, job.total_at
        return UpstreamCall(
            origin=provider.origin,
            target=target,
            credential=way.credential,
            headers=headers,
            body=body,
            first_byte_at=min(first_byte_at, total_at),
            total_at=total_at,
            max_body_bytes=settings.max_answer_bytes,
            parts=parts,
            content_type="" if form is None else form.content_type,
            method="POST" if file is None else file.method,
            streams=file is not None and file.content,
        )

    def _read_refusal(self, answer: UpstreamAnswer, reservation: Reservation) -> ProviderError:
        now_s = self._clock.epoch_s()
        self._ledger.answered(reservation, now_s)
        body = answer.body
        answer.close()
        return read_error(answer.status, body, answer.headers, now_s)

    def _read_whole(
        self, job: Job, candidate: Candidate, way: Way, passage: Passage, answer: UpstreamAnswer
    ) -> WholeAnswer | Failure | ProviderError:
        reading = passage.whole(job, candidate, way, answer)
        answer.close()
        if isinstance(reading, WholeAnswer):
            return reading
        if reading.is_error:
            body = reading.error or answer.body
            return read_error(embedded_status(body), body, {}, self._clock.epoch_s())
        return malformed(reading.problem)

    async def _begin_stream(
        self, job: Job, reader: AnswerStream, answer: UpstreamAnswer, first_at: float
    ) -> OpenStream | Failure | ProviderError:
        if not job.request.stream:
            answer.close()
            return malformed("a whole answer was asked for and a stream came")
        answer.deadline_at = first_at
        try:
            while True:
                chunk = await answer.read()
                first = reader.feed(chunk) if chunk else reader.close()
                if reader.end in {StreamEnd.ERROR, StreamEnd.MALFORMED}:
                    return self._stream_failure(reader)
                if reader.committed:
                    return OpenStream(answer, reader, first)
                if not chunk or reader.end is StreamEnd.DONE:
                    return (
                        fault_failure(answer.fault, self._clock.epoch_s())
                        if answer.fault
                        else malformed("the stream ended without content")
                    )
        finally:
            if not reader.committed:
                answer.close()

    def _stream_failure(self, reader: AnswerStream) -> Failure | ProviderError:
        if reader.end is StreamEnd.ERROR:
            data = reader.error_data
            return read_error(embedded_status(data), data, {}, self._clock.epoch_s())
        return malformed(reader.problem)

    def _moment(self, candidate: Candidate, now_s: float) -> Moment:
        zone = candidate.provider.row.day_zone
        return Moment(now_s=now_s, zone=zone, strikes=candidate.strikes, random=self._random())

    def __repr__(self) -> str:
        return f"<AttemptRunner over {self._upstream!r}>"


def _path_of(file: FileCall, located: Located) -> str:
    """What the path of one file has behind that of all."""
    ((_, own),) = located.ids
    return f"/{quote(own, safe='')}/content" if file.content else f"/{quote(own, safe='')}"


def _reserved(job: Job, attempt: Attempt) -> Reserved:
    """What the journal has to know of an attempt that is about to be sent."""
    record, amounts = job.record, job.amounts
    return Reserved(
        record.id,
        len(record.attempts) - 1,
        record.client,
        record.operation,
        attempt.provider,
        attempt.key,
        attempt.model,
        attempt.sent_s,
        amounts.requests,
        amounts.input_tokens,
        amounts.output_tokens,
        amounts.usd_micros or job.held_micros,
        amounts.units,
    )


def fault_failure(fault: Fault, now_s: float) -> Failure:
    """The failure that a fault below HTTP means."""
    return Failure(
        kind=_FAULT_KINDS[fault.kind],
        scope=FailureScope.PROVIDER,
        message=fault.message,
        until_s=now_s + ADDRESS_REST_S if fault.kind == "address" else None,
        reached=fault.reached,
    )


def malformed(message: str) -> Failure:
    """The failure of an answer that cannot be used."""
    return Failure(kind=FailureKind.MALFORMED, scope=FailureScope.PROVIDER, message=message)
