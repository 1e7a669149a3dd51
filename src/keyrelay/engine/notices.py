"""What workers tell each other, as values: small, in MessagePack, each about one subject, the newest word counting.

Workers' clocks may be some seconds apart, so a rest or an open circuit is told as how much longer it lasts. How long
ago that was said is known from the clock of whoever carries the notice, the same for all.

`secret` is the fingerprint of the key that a subject is about: while a key is being replaced under the same label, what
is known of the old one says nothing of the new.
"""

import math

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.limits import Unit, Window
from keyrelay.quota.learning import FORGOTTEN, HALF_LIFE_S, Fact, Merge
from keyrelay.routing.circuit import CircuitState

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S


class CellRests(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="rests"):
    """A scope rests for so much longer: infinity when only a person can end it."""

    name: str
    rest_s: float
    failure: Failure
    strikes: int
    secret: str = ""


class CellAwake(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="awake"):
    """A scope has answered."""

    name: str
    secret: str = ""


class ProofStands(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="proof"):
    """Whether a key has answered, or is being tried."""

    name: str
    proven: bool
    trying: bool
    secret: str = ""


class CircuitStands(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="circuit"):
    """How a circuit stands; None is closed."""

    name: str
    state: CircuitState | None
    secret: str = ""


class FactLearned(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="fact"):
    """A limit as learned; `firm` says that an inferred one is sure."""

    fact: Fact
    firm: bool = False


class FactForgotten(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="forgotten"):
    """A person has cleared the fact about this."""

    bound: tuple[str, ...]
    unit: Unit
    window: Window


class AccountsMerged(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="merged"):
    """Two accounts are one."""

    merge: Merge


Notice = CellRests | CellAwake | ProofStands | CircuitStands | FactLearned | FactForgotten | AccountsMerged

_decoder = msgspec.msgpack.Decoder(Notice)


def decode(value: bytes) -> Notice | None:
    """A notice as another worker wrote it; None when it comes from a version that says other things."""
    try:
        notice: Notice = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    return notice


def subject_of(notice: Notice) -> str:
    """What a notice is about: of notices about the same subject only the newest counts."""
    if isinstance(notice, CellRests | CellAwake):
        return f"cell:{notice.name}"
    if isinstance(notice, ProofStands):
        return f"proof:{notice.name}"
    if isinstance(notice, CircuitStands):
        return f"circuit:{notice.name}"
    if isinstance(notice, AccountsMerged):
        return f"merge:{notice.merge.provider_id}/{notice.merge.account} {notice.merge.into}"
    if isinstance(notice, FactLearned):
        key = notice.fact.key
        return _about(key.bound, key.limit.unit, key.limit.window)
    return _about(notice.bound, notice.unit, notice.window)


def _about(bound: tuple[str, ...], unit: Unit, window: Window) -> str:
    return f"fact:{' '.join(bound)} {unit} {window}"


def lasts_s(notice: Notice, now_s: float) -> float:
    """For how many seconds who comes later should still hear of it; 0: it is for those who are there now.

    What only a person can end is not kept: to start anew is a person's act, and costs one call to find out again.
    """
    if isinstance(notice, CellRests):
        return 0.0 if math.isinf(notice.rest_s) else notice.rest_s
    if isinstance(notice, ProofStands):
        return 0.0 if notice.trying else _DAY_S
    if isinstance(notice, CircuitStands) and notice.state is not None:
        return notice.state.open_for_s + _HOUR_S
    if isinstance(notice, FactLearned):
        fact = notice.fact
        left = math.log2(max(fact.confidence_at(now_s), FORGOTTEN) / FORGOTTEN)
        return HALF_LIFE_S[fact.source] * left
    if isinstance(notice, AccountsMerged):
        return 30 * _DAY_S
    return _DAY_S
