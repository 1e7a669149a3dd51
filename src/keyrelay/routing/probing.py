"""When a key, or a provider that fails, is to be asked by a call that costs nothing.

**Idle keys**, every `every_s`: a key that has answered within that time has shown more than a probe would and is left
alone; one whose probes fail is asked less and less often, down to once in IDLE_MAX_S.

**Failing providers**, every `recovery_s` at first and less often each time, down to once in RECOVERY_MAX_S: so that one
comes back without a caller's request having to find out. What a probe asks is not what callers ask: if calls fail again
right after a probe has brought a provider back, its probes are not believed for DISTRUST_S or until a call is answered.

Every wait is jittered, and no key is asked more than `per_day` times in a day (UTC).
"""

from collections.abc import Collection, Iterable

import msgspec

IDLE_MAX_S = 86_400.0
RECOVERY_MAX_S = 300.0
DISTRUST_S = 600.0
JITTER = 0.2
_DOUBLINGS = 16
_DAY_S = 86_400.0


class ProbeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How often is asked: `every_s` and `recovery_s` (0: never), and at most `per_day` times a key."""

    every_s: float = 0.0
    recovery_s: float = 0.0
    per_day: int = 0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe may be sent about: a key, or (`failing`) the provider or the key whose circuit is not closed.

    `name` tells subjects apart, `key` is the id of the key to ask with, `today` how often that was asked today. Times
    are epoch seconds, 0 for never: `seen_s` when a call was answered, `probed_s` when a probe ended, `since_s` since
    when it is looked after, `revived_s` when a probe brought it back. `failures` are probes in a row without a good
    answer, `chance` a number from 0 to 1 that stays the same until the next probe.
    """

    name: str
    provider: str
    key: str
    failing: bool = False
    today: int = 0
    seen_s: float = 0.0
    probed_s: float = 0.0
    since_s: float = 0.0
    revived_s: float = 0.0
    failures: int = 0
    chance: float = 0.5


def due_s(subject: Subject, rules: ProbeRules) -> float | None:
    """When to ask next (epoch seconds), if nothing shows the same before; None for never."""
    if subject.today >= rules.per_day:
        return None
    base_s, max_s = (rules.recovery_s, RECOVERY_MAX_S) if subject.failing else (rules.every_s, IDLE_MAX_S)
    if base_s <= 0:
        return None
    wait_s = min(base_s * 2.0 ** min(subject.failures, _DOUBLINGS), max(base_s, max_s))
    wait_s *= 1 + JITTER * (2 * subject.chance - 1)
    if not subject.failing:
        return max(subject.seen_s, subject.probed_s, subject.since_s) + wait_s
    at_s = max(subject.probed_s, subject.since_s) + wait_s
    distrusted = subject.revived_s > 0 and subject.seen_s <= subject.revived_s
    return max(at_s, subject.revived_s + DISTRUST_S) if distrusted else at_s


def choose(
    subjects: Iterable[Subject], rules: ProbeRules, now_s: float, *, busy: Collection[str], most: int
) -> list[Subject]:
    """What to ask now: at most so many, one of each provider that is not `busy`; what has waited longest first."""
    waiting = [(at_s, subject) for subject in subjects if (at_s := due_s(subject, rules)) is not None and at_s <= now_s]
    waiting.sort(key=lambda each: (not each[1].failing, each[0], each[1].name))
    chosen = dict[str, Subject]()
    for _, subject in waiting:
        if subject.provider not in busy:
            chosen.setdefault(subject.provider, subject)
    return list(chosen.values())[:most]


def day_of(epoch_s: float) -> int:
    """The number of a day in UTC: probes are counted by it."""
    return int(epoch_s // _DAY_S)
