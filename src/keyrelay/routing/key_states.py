"""In which state a key is, why, since whom, and how it comes back: one answer out of all that is known of it.

What a person has said comes first, then what the provider said of the key or its account, then what was found out
about the provider, then its counts. A rest of one model is one of the key only when no other model is left.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

import msgspec

from keyrelay.core.failures import ADVICE, Failure, FailureKind, FailureScope
from keyrelay.core.limits import ScopePart, WindowKind
from keyrelay.quota.values import Standing
from keyrelay.routing.health import Cell, Health, cell_names

_PASSING_WINDOWS = frozenset({WindowKind.ROLLING, WindowKind.CONCURRENT})


class KeyState(StrEnum):
    """What a key is good for just now."""

    READY = "ready"
    RESTING = "resting"  # back by itself, soon
    EXHAUSTED = "exhausted"  # its quota is used up, until it resets
    INVALID = "invalid"  # the provider does not accept it
    OUT_OF_CREDIT = "out_of_credit"
    DISABLED = "disabled"  # by a person
    EXPIRED = "expired"  # its own expiry has passed
    OTHER_HOST = "other_host"  # it was entered for another address than its provider's
    UNKNOWN = "unknown"  # nobody has used or tested it since Keyrelay started


SetBy = str
"""Who put a key into its state: `provider`, `keyrelay`, the name of a person, or empty for nobody."""


class KeyCondition(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a key or of one model on it.

    `until_s` (epoch) is when that ends by itself, None when it does not or needs not. `kind` is the failure behind it,
    `message` a sentence, redacted. `way_back` says what to do; empty when there is nothing to do.
    """

    state: KeyState
    until_s: float | None = None
    kind: FailureKind | None = None
    message: str = ""
    set_by: SetBy = ""
    way_back: str = ""


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key from elsewhere than `Health`.

    `standings` are the counts that it draws on, with those of each model it was used for by the model's name;
    `set_by` is who disabled it, `elsewhere` says that it belongs to another address, empty when it does not.
    """

    provider_id: str
    account: str
    label: str
    enabled: bool = True
    keyless: bool = False
    expires_s: float = 0.0
    set_by: str = ""
    elsewhere: str = ""
    standings: Mapping[str, Sequence[Standing]] = MappingProxyType({})


READY = KeyCondition(state=KeyState.READY)
UNTRIED = KeyCondition(
    state=KeyState.UNKNOWN,
    message="Nobody has used or tested it since Keyrelay started.",
    way_back="Test it, or send a request: one at a time goes to it until one has been answered.",
)


def key_condition(health: Health, facts: KeyFacts, now_s: float) -> KeyCondition:
    """The state that a key is in now."""
    if not facts.enabled:
        return KeyCondition(
            state=KeyState.DISABLED,
            message="It was disabled, and takes no requests.",
            set_by=facts.set_by,
            way_back="Enable it.",
        )
    if 0.0 < facts.expires_s <= now_s:
        return KeyCondition(
            state=KeyState.EXPIRED,
            message="Its expiry has passed, and it takes no requests.",
            set_by=facts.set_by,
            way_back="Rotate it, or give it a later expiry.",
        )
    if facts.elsewhere:
        return KeyCondition(
            state=KeyState.OTHER_HOST,
            message=f"It takes no requests: {facts.elsewhere}.",
            set_by="keyrelay",
            way_back="Enter it again, or confirm its provider's address (confirm_keys).",
        )
    found = _of_scopes(health, facts, now_s) or _of_circuits(health, facts, now_s) or _of_models(health, facts, now_s)
    if found is not None:
        return found
    proven = facts.keyless or health.proof(f"key:{facts.provider_id}/{facts.label}").proven
    return READY if proven else UNTRIED


def model_conditions(health: Health, facts: KeyFacts, now_s: float) -> dict[str, KeyCondition]:
    """The models that the key was used for and that it cannot serve now, by name."""
    found = dict[str, KeyCondition]()
    for model, standings in facts.standings.items():
        names = cell_names(facts.provider_id, facts.account, facts.label, model)
        cells = [health.cell(names[scope]) for scope in (FailureScope.PAIR, FailureScope.MODEL)]
        condition = _of_cells(cells, now_s) or _of_standings([each for each in standings if _of_one_model(each)])
        if model and condition is not None:
            found[model] = condition
    return found


def _of_scopes(health: Health, facts: KeyFacts, now_s: float) -> KeyCondition | None:
    names = cell_names(facts.provider_id, facts.account, facts.label, "")
    scopes = (FailureScope.KEY, FailureScope.ACCOUNT, FailureScope.PROVIDER)
    return _of_cells([health.cell(names[scope]) for scope in scopes], now_s)


def _of_cells(cells: Sequence[Cell], now_s: float) -> KeyCondition | None:
    """What rests longest decides."""
    resting = [(cell.until_s, cell.failure) for cell in cells if cell.failure is not None and cell.until_s > now_s]
    if not resting:
        return None
    until_s, failure = max(resting, key=lambda each: each[0])
    return _resting(until_s, failure)


def _resting(until_s: float, failure: Failure) -> KeyCondition:
    for_good = math.isinf(until_s)
    kind = failure.kind
    if kind is FailureKind.BILLING:
        state, way_back = KeyState.OUT_OF_CREDIT, "Top the account up, then test the key or end its rest."
    elif kind in {FailureKind.AUTH, FailureKind.PERMISSION}:
        state, way_back = KeyState.INVALID, "Rotate it; if the provider was wrong, test it or end its rest."
    elif for_good:
        state, way_back = KeyState.INVALID, "Mend what the message says, then test it or end its rest."
    elif kind is FailureKind.QUOTA:
        state, way_back = KeyState.EXHAUSTED, "It comes back by itself; end its rest if the provider has given more."
    else:
        state, way_back = KeyState.RESTING, "It comes back by itself; end its rest to try it sooner."
    return KeyCondition(
        state=state,
        until_s=None if for_good else until_s,
        kind=kind,
        message=f"{failure.message.rstrip('.')}. {ADVICE[kind]}",
        set_by="provider",
        way_back=way_back,
    )


def _of_circuits(health: Health, facts: KeyFacts, now_s: float) -> KeyCondition | None:
    for name in (f"key:{facts.provider_id}/{facts.label}", f"provider:{facts.provider_id}"):
        circuit = health.circuit(name)
        if not circuit.closed and circuit.open_until_s > now_s:
            return KeyCondition(
                state=KeyState.RESTING,
                until_s=circuit.open_until_s,
                kind=FailureKind.SERVICE,
                message=f"Calls keep failing: {circuit.reason.rstrip('.')}.",
                set_by="keyrelay",
                way_back="One request finds out by itself when it is back; end its rest to try it sooner.",
            )
    return None


def _of_models(health: Health, facts: KeyFacts, now_s: float) -> KeyCondition | None:
    """Counts of the key as a whole; else, when no model that it was used for is left, the one that is back first."""
    wide = _of_standings([each for all_ in facts.standings.values() for each in all_ if not _of_one_model(each)])
    if wide is not None:
        return wide
    models = [model for model in facts.standings if model]
    out = model_conditions(health, facts, now_s)
    if not models or len(out) < len(models):
        return None
    return min(out.values(), key=lambda each: math.inf if each.until_s is None else each.until_s)


def _of_one_model(standing: Standing) -> bool:
    return ScopePart.MODEL in standing.limit.limit.scope or bool(standing.limit.limit.models)


def _of_standings(standings: Sequence[Standing]) -> KeyCondition | None:
    """The first count of which nothing is left, those that take longest to come back first."""
    full = [each for each in standings if each.used >= each.amount]
    if not full:
        return None
    last = max(full, key=lambda each: math.inf if each.reset_s is None else each.reset_s)
    limit = last.limit.limit
    passing = limit.window.kind in _PASSING_WINDOWS
    return KeyCondition(
        state=KeyState.RESTING if passing else KeyState.EXHAUSTED,
        until_s=last.reset_s,
        kind=FailureKind.RATE if passing else FailureKind.QUOTA,
        message=f"{last.used} of {last.amount} {limit.unit} per {limit.window.words} are used.",
        set_by="keyrelay",
        way_back="It comes back by itself." if last.reset_s is not None else "Raise the limit, or add another key.",
    )
