"""One alert over time: how many steps of its rule it is at, and since when it is about to be at others."""

import hashlib

import msgspec

from keyrelay.alerting.rules import Rule
from keyrelay.core.alerts import RuleName

_ID_BYTES = 8


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule looks at: the `value` of a `subject`, and a sentence on it without secrets.

    What is of one rule and one `cause` is told together. `keeps`: it makes nothing fire, and nothing end.
    """

    rule: RuleName
    subject: str
    value: float
    detail: str
    cause: str = ""
    keeps: bool = False


class Watched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert that fires, is about to, or is not told to be over yet.

    At `level` steps since `level_s`, firing since `since_s`; since `rising_s` at least at `rising` steps, since
    `sinking_s` at most at `sinking`. `told` steps were told at `told_s`. Times are epoch seconds, 0: not.
    """

    rule: RuleName
    subject: str
    cause: str = ""
    detail: str = ""
    value: float = 0.0
    level: int = 0
    level_s: float = 0.0
    since_s: float = 0.0
    rising: int = 0
    rising_s: float = 0.0
    sinking: int = 0
    sinking_s: float = 0.0
    told: int = 0
    told_s: float = 0.0

    @property
    def id(self) -> str:
        """Its name wherever it is spoken of: the same for the same rule and subject."""
        return alert_id(self.rule, self.subject)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember of it."""
        return not (self.level or self.rising_s or self.told)


def alert_id(rule: RuleName, subject: str) -> str:
    """The name of the alert of a rule on a subject."""
    return f"al_{hashlib.blake2b(f'{rule} {subject}'.encode(), digest_size=_ID_BYTES).hexdigest()}"


def watched_of(fact: Fact) -> Watched:
    """The alert that a fact is about, of which nothing is known yet."""
    return Watched(rule=fact.rule, subject=fact.subject, cause=fact.cause)


def advanced(rule: Rule, before: Watched, fact: Fact | None, now_s: float) -> Watched:
    """The alert as of now. Without a fact there is nothing to fire for any more."""
    reached, held = 0, 0
    if fact is not None:
        reached, held = (0, before.level) if fact.keeps else (rule.reached(fact.value), rule.held(fact.value))
    rising, rising_s = _rising(before, reached, now_s)
    sinking, sinking_s = _sinking(before, held, now_s)
    level = before.level
    if rising_s and now_s - rising_s >= rule.for_s:
        level = rising
        rising, rising_s = (reached, now_s) if reached > level else (0, 0.0)
    elif sinking_s and now_s - sinking_s >= rule.clear_for_s:
        level = sinking
        sinking, sinking_s = (held, now_s) if held < level else (0, 0.0)
    changed = level != before.level
    return msgspec.structs.replace(
        before,
        cause=before.cause if fact is None else fact.cause,
        detail=before.detail if fact is None else fact.detail,
        value=before.value if fact is None else fact.value,
        level=level,
        level_s=now_s if changed else before.level_s,
        since_s=now_s if changed and not before.level else before.since_s,
        rising=rising,
        rising_s=rising_s,
        sinking=sinking,
        sinking_s=sinking_s,
        told=min(before.told, level) if level else before.told,
    )


def _rising(before: Watched, reached: int, now_s: float) -> tuple[int, float]:
    """The least that was reached since when, of what is above the level; a clock that was put back begins anew."""
    if reached <= before.level:
        return 0, 0.0
    if not before.rising_s or before.rising_s > now_s:
        return reached, now_s
    return min(before.rising, reached), before.rising_s


def _sinking(before: Watched, held: int, now_s: float) -> tuple[int, float]:
    """The most that was held since when, of what is below the level."""
    if held >= before.level:
        return 0, 0.0
    if not before.sinking_s or before.sinking_s > now_s:
        return held, now_s
    return max(before.sinking, held), before.sinking_s
