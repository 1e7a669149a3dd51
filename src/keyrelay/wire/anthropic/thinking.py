"""How much Anthropic's models are to think: `thinking` and `output_config.effort`.

    not at all          {"type":"disabled"}
    a budget            {"type":"enabled","budget_tokens":…}: at least 1,024, and less than `max_tokens`, which grows
                        with it where the caller set no bound of its own
    an effort, or as    {"type":"adaptive"}, with the effort beside it (`minimal` is `low` here)
    the model sees fit

Models before 4.6 are given a budget for an effort (8,192 tokens where nothing is said), those since 4.7 an effort for a
budget (see `models`). Thinking is impossible where a tool has to be called; with a budget also after calls that were
made without signed thoughts, as another provider's are. It is then left out, and said so.
"""

from typing import Literal

import msgspec

from keyrelay.core.conversation import Reasoning
from keyrelay.wire.anthropic.models import EffortWord, ModelRules
from keyrelay.wire.parts import budget_of, effort_of

LEAST_BUDGET = 1024
"""The smallest budget that Anthropic takes."""

ANSWER_TOKENS = 4096
"""What an answer may have beyond the thoughts where the caller set no bound."""

_USUAL_BUDGET = 8192


class Thinking(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The member `thinking`."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int = 0
    display: Literal["summarized", "omitted"] | None = None


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of thinking; `max_tokens` is its bound after that."""

    max_tokens: int
    thinking: Thinking | None = None
    effort: EffortWord | None = None
    left_out: tuple[str, ...] = ()

    @property
    def thinks(self) -> bool:
        """Whether the model is to think."""
        return self.thinking is not None and self.thinking.type != "disabled"


def thought_for(
    reasoning: Reasoning | None,
    rules: ModelRules,
    *,
    max_tokens: int,
    most: int,
    may_grow: bool,
    may_think: bool,
    may_budget: bool,
) -> Thought:
    """What to say of thinking.

    `max_tokens` is the bound so far, which `may_grow` up to `most` (0: no end). `may_think` is whether thinking is
    possible, `may_budget` whether it is with a budget.
    """
    if reasoning is None or (reasoning.effort is None and reasoning.budget_tokens is None):
        return Thought(max_tokens=max_tokens)
    effort, budget = rules.effort(reasoning.effort), reasoning.budget_tokens
    if budget == 0 or reasoning.effort == "none":
        thinking = Thinking("disabled") if rules.can_rest else None
        return Thought(max_tokens=max_tokens, thinking=thinking, effort=effort)
    if not may_think or not rules.thinks:
        return Thought(max_tokens=max_tokens, effort=effort, left_out=("reasoning",))
    display: Literal["summarized", "omitted"] | None = None
    if reasoning.shown is not None:
        display = "summarized" if reasoning.shown else "omitted"
    fits = budget is None or budget < 0
    if not rules.budget or (fits and rules.adaptive):
        effort = effort or rules.effort(effort_of(reasoning))
        lost = () if fits else ("reasoning.budget_tokens",)
        thinking = Thinking("adaptive", display=display)
        return Thought(max_tokens=max_tokens, thinking=thinking, effort=effort, left_out=lost)
    wanted = (_USUAL_BUDGET if reasoning.effort is None else budget_of(reasoning)) if fits else budget
    budget = max(wanted or 0, LEAST_BUDGET)
    room = max_tokens
    if may_grow:
        room = max(max_tokens, budget + ANSWER_TOKENS)
        room = min(room, most) if most else room
    if room <= LEAST_BUDGET or not may_budget:
        return Thought(max_tokens=max_tokens, effort=effort, left_out=("reasoning",))
    thinking = Thinking("enabled", min(budget, room - 1), display)
    return Thought(max_tokens=room, thinking=thinking, effort=effort)
