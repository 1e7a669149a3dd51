"""What a Gemini model knows, by its name: one table, first prefix that fits.

Sources: https://ai.google.dev/gemini-api/docs/thinking (budgets, levels), …/thought-signatures, …/function-calling
(pictures in results), …/structured-output (JSON together with tools). What no row names counts as a model of the
newest generation if it is called Gemini, and as one that knows nothing of all this otherwise (Gemma).
"""

from typing import Literal

import msgspec

from keyrelay.core.conversation import Effort

PLACEHOLDER_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that no Gemini model made."""

EFFORT_BUDGETS: dict[Effort, int] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""The tokens that Google's own OpenAI-compatible interface gives for an effort; beyond these, all that there are."""

_LEVELS: tuple[Effort, ...] = ("minimal", "low", "medium", "high")


def _effort_of(budget_tokens: int) -> Effort:
    """The effort that a number of tokens stands for."""
    efforts = ("none", *_LEVELS[1:])
    return next((name for name in efforts if budget_tokens <= EFFORT_BUDGETS[name]), "high")


class ModelRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a model knows.

    `thinking`: told by a level of its own, by a budget in tokens, or not at all. `lowest` is the least level,
    `least_budget` and `most_budget` bound the budget, `can_rest` is whether 0 turns thinking off. `signs`: calls in the
    history need signatures. `pictures_in_results`: results of tools may hold pictures. `json_with_tools`: JSON may be
    wanted together with tools.
    """

    thinking: Literal["level", "budget", "none"] = "level"
    lowest: Effort = "low"
    least_budget: int = 0
    most_budget: int = 24576
    can_rest: bool = True
    signs: bool = True
    pictures_in_results: bool = True
    json_with_tools: bool = True

    def level(self, effort: Effort | None, budget_tokens: int | None) -> tuple[str, bool]:
        """The model's word for an effort, else for a budget, and whether it says just that; empty for its own way."""
        if effort is None:
            if budget_tokens is None or budget_tokens < 0:
                return "", True
            return self._nearest(_effort_of(budget_tokens)).upper(), True
        nearest = self._nearest(effort)
        return nearest.upper(), nearest == effort

    def _nearest(self, effort: Effort) -> Effort:
        if effort in _LEVELS[_LEVELS.index(self.lowest) :]:
            return effort
        return self.lowest if effort in {"none", "minimal"} else "high"

    def budget(self, effort: Effort | None, budget_tokens: int | None) -> tuple[int | None, bool]:
        """The tokens to think with, from a budget, else from an effort, and whether that is just what was said."""
        wanted = budget_tokens
        if wanted is None:
            if effort is None:
                return None, True
            wanted = EFFORT_BUDGETS.get(effort, self.most_budget)
        if wanted < 0:
            return -1, True
        if wanted == 0 and self.can_rest:
            return 0, True
        given = min(max(wanted, self.least_budget), self.most_budget)
        return given, given == wanted and (budget_tokens is not None or effort in EFFORT_BUDGETS)


_UNTHINKING = ModelRules(thinking="none", signs=False, pictures_in_results=False, json_with_tools=False)
_FLASH = msgspec.structs.replace(_UNTHINKING, thinking="budget")
_FLASH_LITE = msgspec.structs.replace(_FLASH, least_budget=512)
_PRO = msgspec.structs.replace(_FLASH, least_budget=128, most_budget=32768, can_rest=False)
_MINIMAL = ModelRules(lowest="minimal")

_TABLE: tuple[tuple[str, ModelRules], ...] = (
    ("gemini-1", _UNTHINKING),
    ("gemini-2.0", _UNTHINKING),
    ("gemini-2.5-flash-image", _UNTHINKING),
    ("gemini-2.5-flash-lite", _FLASH_LITE),
    ("gemini-2.5-flash", _FLASH),
    ("gemini-2.5", _PRO),
    ("gemini-3-flash", _MINIMAL),
    ("gemini-3.1-flash", _MINIMAL),
    ("gemini-3.5-flash", _MINIMAL),
    ("gemini-", ModelRules()),  # 3.7 and 3.8 refuse the level "minimal", and so does every Pro
)


def rules_for(model: str) -> ModelRules:
    """What a model knows."""
    name = model.removeprefix("models/")
    return next((rules for prefix, rules in _TABLE if name.startswith(prefix)), _UNTHINKING)
