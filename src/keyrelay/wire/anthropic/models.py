"""What Claude models take of thinking and sampling, by the version in their names.

    before 3.7      no thinking
    3.7 to 4.5      thinking with a budget in tokens; Opus 4.5 takes an effort beside it
    4.6             with a budget, or as the model sees fit, with an effort
    since 4.7       as the model sees fit alone; temperature, top_p and top_k are refused but for their defaults
    4.7 and 4.8     do not think unless they are told to, and may refuse to be told not to

A name without a version is the newest. Models that are not called Claude, on servers that speak this dialect, are
taken to know everything.
"""

import re
from typing import Literal

import msgspec

from keyrelay.core.conversation import Effort

EffortWord = Literal["low", "medium", "high", "xhigh", "max"]

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_WORDS: dict[Effort, EffortWord] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_ALL: tuple[EffortWord, ...] = ("low", "medium", "high", "xhigh", "max")


class ModelRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes.

    `budget`, `adaptive`: thinking with a bound of tokens, and as the model sees fit. `efforts` are those that it knows.
    `samples`: temperature, top_p and top_k. `can_rest`: it may be told not to think.
    """

    budget: bool = True
    adaptive: bool = True
    efforts: tuple[EffortWord, ...] = _ALL
    samples: bool = True
    can_rest: bool = True

    @property
    def thinks(self) -> bool:
        """Whether it can think at all."""
        return self.budget or self.adaptive

    def effort(self, effort: Effort | None) -> EffortWord | None:
        """The model's word for an effort: `high` for one that it does not know, None where it knows none."""
        word = _WORDS.get(effort) if effort is not None else None
        if word is None or not self.efforts:
            return None
        return word if word in self.efforts else "high"


_UNKNOWN = ModelRules()
_UNTHINKING = ModelRules(budget=False, adaptive=False, efforts=(), can_rest=False)
_BUDGETED = ModelRules(adaptive=False, efforts=())
_OPUS_45 = ModelRules(adaptive=False, efforts=("low", "medium", "high"))
_BOTH = ModelRules(efforts=("low", "medium", "high", "max"))
_FITTING = ModelRules(budget=False, samples=False)
_RESTING = msgspec.structs.replace(_FITTING, can_rest=False)


def rules_for(model: str) -> ModelRules:
    """What a model takes."""
    name = model.lower()
    if "claude" not in name:
        return _UNKNOWN
    found = _VERSION.search(name)
    if found is None:
        return _FITTING
    version = int(found[1]), int(found[2] or 0)
    if version < (3, 7):
        return _UNTHINKING
    if version < (4, 6):
        return _OPUS_45 if version == (4, 5) and "opus" in name else _BUDGETED
    if version == (4, 6):
        return _BOTH
    return _RESTING if version < (5, 0) else _FITTING
