"""When a key should be exchanged, and why: by its age, by its errors, and when somebody else seems to use it."""

from typing import Literal

import msgspec

from keyrelay.administration.known_keys import KnownKey
from keyrelay.core.failures import Failure, FailureKind
from keyrelay.routing.key_states import KeyState

OLD_AFTER_S = 90 * 86_400.0
"""The age at which a key should be exchanged."""

SOON_S = 14 * 86_400.0
"""How long before its expiry a key should be exchanged."""

LEAK_AFTER = 3
"""So often has the provider to have counted more than was sent before that is more than chance."""

_FEW_REQUESTS = 20
_HIGH_SHARE = 0.5
_DAY_S = 86_400.0


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """That a key should be exchanged: why, and a sentence about it."""

    why: Literal["age", "expiry", "errors", "leak", "invalid"]
    message: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key's use in the last 24 hours: calls made with it, and those of them that failed.

    `contradictions` is how often the provider had counted more than what was sent from here.
    """

    now_s: float
    state: KeyState
    requests: int = 0
    failed: int = 0
    contradictions: int = 0
    error: Failure | None = None


def suggestions_of(known: KnownKey, seen: Seen) -> tuple[Suggestion, ...]:
    """What is to be said of one key, the most pressing first."""
    if known.key.secret is None or known.said.replaces:
        return ()
    found = list[Suggestion]()
    if seen.contradictions >= LEAK_AFTER:
        message = (
            f"The provider counted more than was sent from here {seen.contradictions} times: somebody else seems to "
            "use this key. If that is nobody you know, rotate it and revoke the old one at the provider."
        )
        found.append(Suggestion(why="leak", message=message))
    if seen.state is KeyState.INVALID and seen.error is not None and seen.error.kind is FailureKind.AUTH:
        found.append(Suggestion(why="invalid", message="The provider does not accept it any more: rotate it."))
    elif seen.requests >= _FEW_REQUESTS and seen.failed >= seen.requests * _HIGH_SHARE:
        share = f"{seen.failed} of {seen.requests} calls of the last 24 hours"
        found.append(Suggestion(why="errors", message=f"{share} failed with it: test it, and rotate it if it fails."))
    entry = known.said
    left_s = entry.expires_s - seen.now_s
    if 0.0 < left_s <= SOON_S:
        days = max(1, round(left_s / _DAY_S))
        found.append(Suggestion(why="expiry", message=f"It expires within {days} d: rotate it before."))
    since_s = entry.rotated_s or entry.created_s
    if since_s and seen.now_s - since_s >= OLD_AFTER_S:
        days = int((seen.now_s - since_s) / _DAY_S)
        found.append(Suggestion(why="age", message=f"It is {days} days old: rotate it, as one does every 90 days."))
    return tuple(found)
