"""What the learner needs besides its state: what it remembers of refusals, whom it tells, and which limit is meant."""

from typing import Protocol

import msgspec

from keyrelay.core.failures import Failure, FailureScope
from keyrelay.core.limits import LimitSource, ScopePart, Unit, Window, WindowKind
from keyrelay.quota.learning import Fact, Identity, Merge
from keyrelay.quota.tally import Tally
from keyrelay.quota.values import LimitKey

PAIR = (ScopePart.ACCOUNT, ScopePart.MODEL)
ACCOUNT = (ScopePart.ACCOUNT,)

_SAME_EVENT_S = 5.0
_LONGER_THAN_A_DAY_S = 26 * 3600.0
_SCOPES: dict[FailureScope, tuple[ScopePart, ...]] = {
    FailureScope.KEY: (ScopePart.KEY,),
    FailureScope.ACCOUNT: ACCOUNT,
    FailureScope.MODEL: (ScopePart.PROVIDER, ScopePart.MODEL),
    FailureScope.PROVIDER: (ScopePart.PROVIDER,),
}


class Refused(msgspec.Struct, frozen=True):
    """A refusal at `at_s` that leaves its limit's amount unsaid; `window` is None when it does not even say that."""

    at_s: float
    unit: Unit
    window: Window | None
    scope: tuple[ScopePart, ...]
    hint_s: float | None
    day: Window
    evidence: str


class Watch(msgspec.Struct, frozen=True):
    """A refusal, the fact inferred from it if any, and the tallies that tell what was accepted by then."""

    refused: Refused
    identity: Identity | None
    tallies: tuple[Tally, ...]
    firm: bool


class LearningWatcher(Protocol):
    """Is told what was learned and forgotten, to tell other workers. Must neither wait nor raise."""

    def learned(self, fact: Fact, *, firm: bool = False) -> None:
        """A fact was noted, for the first time or again; `firm` says that an inferred one is sure."""
        ...

    def forgot(self, facts: tuple[Fact, ...]) -> None:
        """Facts were cleared: by a person, not by age."""
        ...

    def merged(self, merge: Merge) -> None:
        """Two accounts proved to be one."""
        ...


def scope_of(failure: Failure) -> tuple[ScopePart, ...]:
    """The scope of a limit behind a refusal that names none: what the failure binds."""
    return _SCOPES.get(failure.scope, PAIR)


def held_limit(path: tuple[LimitKey, ...], unit: Unit, window: Window, scope: tuple[ScopePart, ...]) -> LimitKey | None:
    """The limit of a path that a word is about: that of its scope, else the catalogue's of any."""
    same = [key for key in path if key.limit.unit is unit and key.limit.window == window]
    own = [key for key in same if key.limit.source is LimitSource.CATALOGUE]
    exact = [key for key in (*own, *same) if set(key.limit.scope) == set(scope)]
    return next(iter((*exact, *own)), None)


def same_event(fact: Fact, window: Window, now_s: float) -> bool:
    """Whether a refusal belongs to the one before: requests that were under way together are refused together."""
    longest_s = min(_SAME_EVENT_S, window.length_s) if window.kind is WindowKind.ROLLING else _SAME_EVENT_S
    return abs(now_s - fact.seen_s) < longest_s


def quota_window(failure: Failure, day: Window, zone: str, now_s: float) -> Window:
    """The window of a failure that was classified as a day's or a month's quota."""
    if failure.until_s is not None and failure.until_s - now_s > _LONGER_THAN_A_DAY_S:
        return Window(WindowKind.MONTH, zone=zone)
    return day
