"""Trying out a key by the call that its provider answers at no cost.

Only an answer that says so makes a key invalid: a refusal for another reason, or none at all, leaves it unknown. What
the provider said goes on redacted, since some repeat the key.
"""

import asyncio
import math
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from keyrelay.core.configuration import Credential, Key, Provider
from keyrelay.core.failures import ADVICE, FAULT_KINDS, Failure, FailureKind, FailureScope
from keyrelay.core.origins import Origin, parse_base_url
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.core.providers import NATIVE, ProviderRow
from keyrelay.core.records import milliseconds
from keyrelay.core.redaction import Redactor
from keyrelay.engine.attempts import fault_failure
from keyrelay.ports import Clock, Fault, Upstream, UpstreamCall
from keyrelay.routing.classify import Classifier, Moment
from keyrelay.wire.errors import read_error

PROBE_TIMEOUT_S = 10.0
MAX_AT_ONCE = 8
"""Probes that are under way at a time, over all providers."""

_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_GOOD = range(200, 300)
_CONCLUSIVE: Mapping[FailureKind, ProbeOutcome] = {
    FailureKind.AUTH: ProbeOutcome.INVALID,
    FailureKind.BILLING: ProbeOutcome.OUT_OF_CREDIT,
    FailureKind.QUOTA: ProbeOutcome.VALID,
}
_BLOCKED = Failure(
    kind=FailureKind.AUTH,
    scope=FailureScope.KEY,
    message="the provider says that the key is blocked",
    until_s=math.inf,
)
_EMPTY = Failure(
    kind=FailureKind.BILLING,
    scope=FailureScope.ACCOUNT,
    message="the provider says that the account has no credit",
    until_s=math.inf,
)


class Prober:
    """Asks providers what keys are worth, a few at a time, each within its deadline."""

    __slots__ = ("_clock", "_slots", "_upstream")

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def probe(self, provider: Provider, key: Key) -> Probed:
        """What the provider says of the key now. Never raises for what the other side does."""
        row = provider.row.probe
        if row.method == "none":
            message = f"{provider.row.name} has no free call that tells whether a key is good."
            return Probed(outcome=ProbeOutcome.NOT_CHECKABLE, message=message, limits_of=row.limits_of)
        async with self._slots:
            clock = self._clock
            started_at = clock.monotonic_s()
            place, method = probe_place(provider), provider.row.probe.method
            answer = await self._upstream.send(free_call(provider, key, place, method, started_at + PROBE_TIMEOUT_S))
            ms = milliseconds(clock.monotonic_s() - started_at)
        redactor = Redactor(() if key.secret is None else (key.secret.reveal(),))
        if isinstance(answer, Fault):
            probed = _unreached(provider, fault_failure(answer, clock.epoch_s()))
        else:
            status, body, headers = answer.status, answer.body, answer.headers
            answer.close()
            probed = self._read(provider, status, body, headers)
        return msgspec.structs.replace(
            probed,
            message=redactor.redact(probed.message),
            failure=_redacted(probed.failure, redactor),
            fault=_redacted(probed.fault, redactor),
            proves=row.proves,
            limits_of=row.limits_of,
            ms=ms,
        )

    def _read(self, provider: Provider, status: int, body: bytes, headers: Mapping[str, str]) -> Probed:
        if status in _GOOD:
            return _read_good(provider.row, body)
        now_s = self._clock.epoch_s()
        error = read_error(status, body, headers, now_s)
        moment = Moment(now_s=now_s, zone=provider.row.day_zone)
        failure = Classifier(provider.row.failures).classify(error, moment)
        outcome = _CONCLUSIVE.get(failure.kind, ProbeOutcome.UNKNOWN)
        said = f"{provider.row.name} answered {status}: {failure.message}"
        if outcome is ProbeOutcome.UNKNOWN:
            fault = failure if failure.kind in FAULT_KINDS else None
            return Probed(outcome=outcome, message=f"{said}. That does not say whether the key is good.", fault=fault)
        return Probed(outcome=outcome, message=f"{said}. {ADVICE[failure.kind]}", failure=failure)

    def __repr__(self) -> str:
        return f"<Prober over {self._upstream!r}>"


def free_call(provider: Provider, key: Key, place: tuple[Origin, str], method: str, deadline_at: float) -> UpstreamCall:
    """A call without a body, to an origin and the path there, with a key as the provider wants it."""
    row, (origin, target) = provider.row, place
    auth, headers = row.auth, {"accept": "application/json", **row.extra_headers}
    if row.dialect != "openai":
        native = NATIVE[row.dialect]
        auth = native.auth if row.auth.header == "authorization" else row.auth
        headers |= native.headers
    if method == "POST":
        headers["content-type"] = "application/json"
    secret = key.secret
    return UpstreamCall(
        origin=origin,
        target=target,
        credential=None if secret is None else Credential(origin, auth.header, auth.prefix, secret),
        headers=tuple(headers.items()),
        body=b"",
        method=method,
        first_byte_at=deadline_at,
        total_at=deadline_at,
        max_body_bytes=_MAX_ANSWER_BYTES,
    )


def probe_place(provider: Provider) -> tuple[Origin, str]:
    """Where the probe goes. Who has given the provider another address has it asked there alone."""
    path = provider.row.probe.path
    if not path.startswith("https://"):
        return provider.origin, provider.base_path + path
    parts = urlsplit(path)
    usual = urlsplit(provider.row.base_url).hostname or ""
    if provider.origin.host != usual:
        return provider.origin, provider.base_path + parts.path
    origin, _ = parse_base_url(f"{parts.scheme}://{parts.netloc}", guarded=provider.origin.guarded)
    return origin, parts.path


def _read_good(row: ProviderRow, body: bytes) -> Probed:
    """What a good answer means: for most that the key is good, for some what stands in it."""
    probe = row.probe
    if probe.holds or probe.credit:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = f"{row.name} answered something else than JSON."
            return Probed(outcome=ProbeOutcome.UNKNOWN, message=message)
        wrong = [name for name, good in probe.holds.items() if _member(document, name) not in {None, good}]
        if wrong:
            message = f"{row.name} says that this key may not be used ({', '.join(wrong)})."
            return Probed(outcome=ProbeOutcome.INVALID, message=message, failure=_BLOCKED)
        if any(_is_spent(_member(document, name)) for name in probe.credit):
            message = f"{row.name} accepts the key; its account has no credit. {ADVICE[FailureKind.BILLING]}"
            return Probed(outcome=ProbeOutcome.OUT_OF_CREDIT, message=message, failure=_EMPTY)
    return Probed(outcome=ProbeOutcome.VALID, message=f"{row.name} accepts it: {probe.proves}.")


def _member(document: object, name: str) -> str | float | None:
    for part in name.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document if isinstance(document, str | int | float) else None


def _is_spent(value: str | float | None) -> bool:
    return value is False or (isinstance(value, int | float) and not isinstance(value, bool) and value <= 0)


def _unreached(provider: Provider, failure: Failure) -> Probed:
    message = f"{provider.row.name} could not be asked: {failure.message}. {ADVICE[failure.kind]}"
    return Probed(outcome=ProbeOutcome.UNKNOWN, message=message, fault=failure)


def _redacted(failure: Failure | None, redactor: Redactor) -> Failure | None:
    if failure is None:
        return None
    return msgspec.structs.replace(
        failure, message=redactor.redact(failure.message), code=redactor.redact(failure.code)
    )
