"""Keys as the API shows them: never a secret, but everything that is known of one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal

import msgspec

from keyrelay.administration.key_edits import tail_of
from keyrelay.administration.keys import Keys
from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.suggestions import Seen, Suggestion, suggestions_of
from keyrelay.api.siblings import Siblings
from keyrelay.core.administered import KeyEntry
from keyrelay.core.failures import FailureKind
from keyrelay.core.moments import known_moment, past_moment
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.core.usage_sums import SumsRow
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import together
from keyrelay.engine.pasts import Past
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.key_states import KeyCondition, KeyState

QUESTION = "key history"
_AT_ONCE = 50
_NANOS = 1_000_000_000

Usage = Mapping[tuple[str, str], SumsRow]
"""What was used of each key, by provider and label."""


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of a key, redacted.

    `outcome`: `valid`, `invalid`, `out_of_credit`, `unknown` (the provider could not be asked, or did not say),
    `not_checkable` (no free call would tell). `proves` is what a good answer means, `limits_of` what it does not show.
    """

    outcome: ProbeOutcome
    message: str
    proves: str = ""
    limits_of: str = ""
    ms: float = 0.0


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """The last call that failed."""

    at: str
    kind: FailureKind | None
    status: int
    message: str


class LastTest(msgspec.Struct, frozen=True, kw_only=True):
    """The last test."""

    at: str
    outcome: ProbeOutcome
    message: str


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the key cannot serve just now."""

    model: str
    state: KeyState
    until: str | None
    message: str


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a key in the last 24 hours, by the kept rows.

    `requests` were sent to the provider with it, whoever answered in the end; `failed` of them came to nothing.
    """

    requests: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class KeyItem(msgspec.Struct, frozen=True, kw_only=True):
    """A key.

    `source` is where its secret stands; `editable` says that it can be exchanged and removed here, `note` what is
    special about it. `tail` are the last four characters, `fingerprint` eight digits of a digest. `state` holds until
    `until` (RFC 3339; null: for good, or nobody knows); `reason` is the kind of failure behind it and `message` says it
    in a sentence, `set_by` is who put it there, `way_back` what to do. `models` are those that it cannot serve.
    `rotation`: `adding` while a new key waits beside it, `draining` while the old one does. `usage` is null while the
    store does not answer.
    """

    id: str
    provider: str
    label: str
    account: str
    source: str
    editable: bool
    note: str
    tail: str
    fingerprint: str
    enabled: bool
    backup: bool
    priority: int
    weight: float
    limits: tuple[str, ...]
    notes: str
    created_at: str | None
    rotated_at: str | None
    expires_at: str | None
    state: KeyState
    until: str | None
    reason: FailureKind | None
    message: str
    set_by: str
    way_back: str
    models: tuple[ModelState, ...]
    replaces: str
    rotation: Literal["", "adding", "draining"]
    retires_at: str | None
    last_used_at: str | None
    last_success_at: str | None
    last_error: LastError | None
    last_test: LastTest | None
    usage: KeyUse | None
    suggestions: tuple[Suggestion, ...]


class KeyLister:
    """Makes lines of keys. `usage` gives what was used of each key lately, None when that is not known now."""

    __slots__ = ("_epoch_s", "_health", "_keys", "_siblings", "_usage")

    def __init__(
        self,
        keys: Keys,
        health: KeyHealth,
        *,
        siblings: Siblings,
        usage: Callable[[], Awaitable[Usage | None]],
        epoch_s: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._health = health
        self._siblings = siblings
        self._usage = usage
        self._epoch_s = epoch_s
        siblings.answer(QUESTION, self._packed)

    async def lines(self, wanted: Iterable[KnownKey]) -> list[KeyItem]:
        """The lines of keys; others get a turn while there are many."""
        pasts = together(self._health.history.all(), await self._siblings.ask(QUESTION))
        usage, candidates, known = await self._usage(), self._health.candidates(), self._keys.known()
        lines = list[KeyItem]()
        for each in wanted:
            lines.append(self._line(each, known, pasts.get(each.key.id) or Past(), candidates, usage))
            if not len(lines) % _AT_ONCE:
                await asyncio.sleep(0)
        return lines

    async def line(self, known: KnownKey) -> KeyItem:
        """The line of one key."""
        (line,) = await self.lines((known,))
        return line

    def _line(
        self,
        known: KnownKey,
        everything: Mapping[str, KnownKey],
        past: Past,
        candidates: Mapping[str, list[Candidate]],
        usage: Usage | None,
    ) -> KeyItem:
        key, entry = known.key, known.said
        state, models = self._health.condition(
            key, known.withheld, candidates.get(key.id, ()), expires_s=entry.expires_s
        )
        state = _rotated(entry, state)
        row = None if usage is None else usage.get((key.provider_id, key.label))
        adding, draining = f"{key.id}.next" in everything, f"{key.id}.old" in everything
        seen = Seen(
            now_s=self._epoch_s(),
            state=state.state,
            requests=0 if row is None else row.sums.requests,
            failed=0 if row is None else row.sums.failed,
            contradictions=self._health.contradictions(key),
            error=past.error,
        )
        return KeyItem(
            id=key.id,
            provider=key.provider_id,
            label=key.label,
            account=key.account,
            source=known.source,
            editable=known.owned,
            note=known.note,
            tail=tail_of(key.secret) or entry.tail,
            fingerprint=entry.fingerprint if key.secret is None else key.secret.fingerprint,
            enabled=entry.enabled,
            backup=key.backup,
            priority=key.priority,
            weight=key.weight,
            limits=entry.limits,
            notes=entry.notes,
            created_at=past_moment(entry.created_s),
            rotated_at=past_moment(entry.rotated_s),
            expires_at=past_moment(entry.expires_s),
            state=state.state,
            until=known_moment(state.until_s),
            reason=state.kind,
            message=state.message,
            set_by=state.set_by,
            way_back=state.way_back,
            models=tuple(_model_state(model, each) for model, each in sorted(models.items())),
            replaces=entry.replaces,
            rotation="adding" if adding else "draining" if draining else "",
            retires_at=past_moment(entry.retire_s),
            last_used_at=past_moment(past.used_s),
            last_success_at=past_moment(past.success_s),
            last_error=_last_error(past),
            last_test=_last_test(past),
            usage=None if usage is None else _use(row),
            suggestions=suggestions_of(known, seen),
        )

    async def _packed(self, payload: bytes) -> bytes:
        del payload
        return self._health.history.packed()

    def __repr__(self) -> str:
        return f"<KeyLister of {self._keys!r}>"


def validation_of(probed: Probed) -> Validation:
    """What a provider said, for people."""
    return Validation(
        outcome=probed.outcome,
        message=probed.message,
        proves=probed.proves,
        limits_of=probed.limits_of,
        ms=probed.ms,
    )


def _rotated(entry: KeyEntry, condition: KeyCondition) -> KeyCondition:
    """The condition of a key, in a rotation's own words where it is beside another for one."""
    if not entry.replaces:
        return condition
    name, retired = f"{entry.provider}/{entry.replaces}", past_moment(entry.retire_s)
    if retired is None:
        message, way_back = f"The new secret of {name}, not in use yet.", "Let the rotation go on, or abort it."
    else:
        message, way_back = f"The old secret of {name}, out of use since the rotation; retired at {retired}.", ""
    return msgspec.structs.replace(condition, message=message, way_back=way_back)


def _model_state(model: str, condition: KeyCondition) -> ModelState:
    return ModelState(
        model=model, state=condition.state, until=known_moment(condition.until_s), message=condition.message
    )


def _last_error(past: Past) -> LastError | None:
    at, failure = past_moment(past.error_s), past.error
    if at is None:
        return None
    if failure is None:
        return LastError(at=at, kind=None, status=0, message="")
    return LastError(at=at, kind=failure.kind, status=failure.status, message=failure.message)


def _last_test(past: Past) -> LastTest | None:
    at, probed = past_moment(past.tested_s), past.test
    return None if at is None or probed is None else LastTest(at=at, outcome=probed.outcome, message=probed.message)


def _use(row: SumsRow | None) -> KeyUse:
    if row is None:
        return KeyUse(requests=0, failed=0, input_tokens=0, output_tokens=0, cost_usd=0.0)
    sums = row.sums
    return KeyUse(
        requests=sums.requests,
        failed=sums.failed,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=sums.cost_nanos / _NANOS,
    )


EXAMPLE_KEY = KeyItem(
    id="groq/work",
    provider="groq",
    label="work",
    account="work",
    source="store",
    editable=True,
    note="",
    tail="f00d",
    fingerprint="8a1b2c3d",
    enabled=True,
    backup=False,
    priority=0,
    weight=1.0,
    limits=("1000 requests per day@UTC",),
    notes="the team's",
    created_at="2026-11-21T12:00:00Z",
    rotated_at=None,
    expires_at=None,
    state=KeyState.EXHAUSTED,
    until="2026-11-22T00:00:00Z",
    reason=FailureKind.QUOTA,
    message="1000 of 1000 requests per day@UTC are used.",
    set_by="keyrelay",
    way_back="It comes back by itself.",
    models=(),
    replaces="",
    rotation="",
    retires_at=None,
    last_used_at="2026-11-21T12:30:00Z",
    last_success_at="2026-11-21T12:30:00Z",
    last_error=None,
    last_test=LastTest(at="2026-11-21T12:00:00Z", outcome=ProbeOutcome.VALID, message="Groq accepts it."),
    usage=KeyUse(requests=1000, failed=2, input_tokens=120_000, output_tokens=64_000, cost_usd=0.0),
    suggestions=(),
)
EXAMPLE_VALIDATION = Validation(
    outcome=ProbeOutcome.VALID,
    message="Groq accepts it: the key is alive and its organisation is not restricted.",
    proves="the key is alive and its organisation is not restricted",
    limits_of="What is left of the quota.",
    ms=181.2,
)
