from typing import Any

import pytest

from keyrelay.core.conversation import Reasoning
from keyrelay.wire.anthropic.models import rules_for
from keyrelay.wire.anthropic.thinking import Thinking, Thought, thought_for

ADAPTIVE = Thinking("adaptive")
OFF = Thinking("disabled")


def thought(reasoning: Reasoning | None, model: str = "some-model", **members: Any) -> Thought:
    known = {"max_tokens": 8000, "most": 0, "may_grow": False, "may_think": True, "may_budget": True}
    return thought_for(reasoning, rules_for(model), **{**known, **members})


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort", "thinks"),
    [
        (None, None, None, False),
        (Reasoning(shown=True), None, None, False),
        (Reasoning(budget_tokens=0), OFF, None, False),
        (Reasoning(budget_tokens=0, effort="low"), OFF, "low", False),
        (Reasoning(effort="none"), OFF, None, False),
        (Reasoning(effort="minimal"), ADAPTIVE, "low", True),
        (Reasoning(effort="max"), ADAPTIVE, "max", True),
        (Reasoning(budget_tokens=-1), ADAPTIVE, None, True),
        (Reasoning(effort="high", shown=True), Thinking("adaptive", display="summarized"), "high", True),
        (Reasoning(effort="high", shown=False), Thinking("adaptive", display="omitted"), "high", True),
        (Reasoning(budget_tokens=2000, effort="high"), Thinking("enabled", 2000), "high", True),
        (Reasoning(budget_tokens=2000, shown=False), Thinking("enabled", 2000, "omitted"), None, True),
        (Reasoning(budget_tokens=1), Thinking("enabled", 1024), None, True),
        (Reasoning(budget_tokens=8000), Thinking("enabled", 7999), None, True),
    ],
)
def test_how_much(reasoning: Reasoning | None, thinking: Thinking | None, effort: str | None, thinks: bool) -> None:
    found = thought(reasoning)
    assert (found.thinking, found.effort, found.thinks) == (thinking, effort, thinks)
    assert (found.max_tokens, found.left_out) == (8000, ())


@pytest.mark.parametrize(
    ("budget", "most", "grown"),
    [(30_000, 0, 34_096), (30_000, 64_000, 34_096), (30_000, 31_000, 31_000), (1024, 0, 8000)],
)
def test_a_bound_of_nobodys_grows_with_the_budget(budget: int, most: int, grown: int) -> None:
    found = thought(Reasoning(budget_tokens=budget), may_grow=True, most=most)
    assert (found.max_tokens, found.thinking) == (grown, Thinking("enabled", budget))


@pytest.mark.parametrize(
    ("reasoning", "members"),
    [
        (Reasoning(effort="high"), {"may_think": False}),
        (Reasoning(budget_tokens=2000, effort="high"), {"may_think": False}),
        (Reasoning(budget_tokens=2000, effort="high"), {"max_tokens": 1024}),
        (Reasoning(budget_tokens=9000, effort="high"), {"may_budget": False, "may_grow": True}),
    ],
)
def test_where_it_is_impossible_it_is_left_out(reasoning: Reasoning, members: dict[str, Any]) -> None:
    found = thought(reasoning, **members)
    bound = members.get("max_tokens", 8000)
    assert found == Thought(max_tokens=bound, effort="high", left_out=("reasoning",))


def test_thinking_that_adapts_asks_for_no_earlier_thoughts() -> None:
    assert thought(Reasoning(effort="low"), may_budget=False).thinking == ADAPTIVE


@pytest.mark.parametrize(
    ("model", "reasoning", "expected"),
    [
        ("claude-3-5-haiku-20241022", Reasoning(effort="high"), Thought(max_tokens=8000, left_out=("reasoning",))),
        ("claude-3-5-haiku-20241022", Reasoning(effort="none"), Thought(max_tokens=8000)),
        ("claude-sonnet-4-5", Reasoning(effort="low"), Thought(max_tokens=8000, thinking=Thinking("enabled", 1024))),
        ("claude-sonnet-4-5", Reasoning(effort="high"), Thought(max_tokens=8000, thinking=Thinking("enabled", 7999))),
        ("claude-haiku-4-5", Reasoning(budget_tokens=-1), Thought(max_tokens=8000, thinking=Thinking("enabled", 7999))),
        ("claude-haiku-4-5", Reasoning(effort="none"), Thought(max_tokens=8000, thinking=OFF)),
        (
            "claude-opus-4-5",
            Reasoning(effort="medium", shown=True),
            Thought(max_tokens=8000, thinking=Thinking("enabled", 7999, "summarized"), effort="medium"),
        ),
        ("claude-opus-4-6", Reasoning(effort="xhigh"), Thought(max_tokens=8000, thinking=ADAPTIVE, effort="high")),
        (
            "claude-opus-4-6",
            Reasoning(budget_tokens=2000),
            Thought(max_tokens=8000, thinking=Thinking("enabled", 2000)),
        ),
        (
            "claude-opus-4-7",
            Reasoning(budget_tokens=2000),
            Thought(max_tokens=8000, thinking=ADAPTIVE, effort="medium", left_out=("reasoning.budget_tokens",)),
        ),
        ("claude-opus-4-8", Reasoning(budget_tokens=0), Thought(max_tokens=8000)),
        ("claude-opus-5-5", Reasoning(budget_tokens=0), Thought(max_tokens=8000, thinking=OFF)),
        ("claude-opus-5-5", Reasoning(effort="max"), Thought(max_tokens=8000, thinking=ADAPTIVE, effort="max")),
        ("claude-opus-5-5", Reasoning(budget_tokens=-1), Thought(max_tokens=8000, thinking=ADAPTIVE)),
    ],
)
def test_each_model_is_told_what_it_takes(model: str, reasoning: Reasoning, expected: Thought) -> None:
    assert thought(reasoning, model) == expected


def test_a_budget_made_up_for_a_model_lets_a_bound_of_nobodys_grow() -> None:
    found = thought(Reasoning(budget_tokens=-1), "claude-sonnet-4-5", may_grow=True)
    assert (found.max_tokens, found.thinking) == (12_288, Thinking("enabled", 8192))
