from typing import Any

import pytest

from keyrelay.core.conversation import Reasoning, Text
from keyrelay.wire.dialects import Target
from keyrelay.wire.gemini.models import rules_for
from tests.wire.gemini.shared import PROVIDER, said, written


@pytest.mark.parametrize(
    ("model", "effort", "budget", "expected", "left_out"),
    [
        ("gemini-3-flash-preview", "none", None, {"thinkingLevel": "MINIMAL"}, "reasoning.effort"),
        ("gemini-3-flash-preview", "minimal", None, {"thinkingLevel": "MINIMAL"}, ""),
        ("gemini-3.8-flash", "minimal", None, {"thinkingLevel": "LOW"}, "reasoning.effort"),
        ("models/gemini-3.1-pro-preview", "medium", None, {"thinkingLevel": "MEDIUM"}, ""),
        ("gemini-flash-latest", "max", None, {"thinkingLevel": "HIGH"}, "reasoning.effort"),
        ("gemini-3.8-flash", None, 0, {"thinkingLevel": "LOW"}, ""),
        ("gemini-3-flash-preview", None, 0, {"thinkingLevel": "MINIMAL"}, ""),
        ("gemini-3.8-flash", None, 1000, {"thinkingLevel": "LOW"}, ""),
        ("gemini-3.8-flash", None, 5000, {"thinkingLevel": "MEDIUM"}, ""),
        ("gemini-3.8-flash", None, 20000, {"thinkingLevel": "HIGH"}, ""),
        ("gemini-3.8-flash", None, 90000, {"thinkingLevel": "HIGH"}, ""),
        ("gemini-3.8-flash", None, -1, None, ""),
        ("gemini-3.8-flash", "low", 90000, {"thinkingLevel": "LOW"}, ""),
        ("gemini-2.5-flash", "none", None, {"thinkingBudget": 0}, ""),
        ("gemini-2.5-flash", "minimal", None, {"thinkingBudget": 1024}, ""),
        ("gemini-2.5-flash", "medium", None, {"thinkingBudget": 8192}, ""),
        ("gemini-2.5-flash", "max", None, {"thinkingBudget": 24576}, "reasoning.effort"),
        ("gemini-2.5-flash", None, 90000, {"thinkingBudget": 24576}, "reasoning.budget_tokens"),
        ("gemini-2.5-flash", None, -1, {"thinkingBudget": -1}, ""),
        ("gemini-2.5-flash-lite", None, 100, {"thinkingBudget": 512}, "reasoning.budget_tokens"),
        ("gemini-2.5-pro", "none", None, {"thinkingBudget": 128}, "reasoning.effort"),
        ("gemini-2.5-pro", "xhigh", None, {"thinkingBudget": 32768}, "reasoning.effort"),
        ("gemini-2.5-pro", None, 30000, {"thinkingBudget": 30000}, ""),
        ("gemini-2.0-flash", "high", None, None, "reasoning"),
        ("gemini-2.0-flash", None, 5, None, "reasoning"),
        ("gemini-2.0-flash", "none", None, None, ""),
        ("gemma-3-27b-it", "none", 0, None, ""),
    ],
)
def test_how_much_to_think_by_model(model: str, effort: Any, budget: int | None, expected: Any, left_out: str) -> None:
    conversation = said(Text(text="a"), reasoning=Reasoning(effort=effort, budget_tokens=budget))
    target = Target(provider_id="gemini", model=model)
    assert written(conversation, target).get("generationConfig", {}).get("thinkingConfig") == expected
    assert PROVIDER.request(conversation, target).left_out == ((left_out,) if left_out else ())


@pytest.mark.parametrize(
    ("model", "expected"), [("gemini-2.5-pro", {"includeThoughts": True}), ("gemini-2.0-flash", None)]
)
def test_thoughts_are_asked_for_where_there_are_any(model: str, expected: Any) -> None:
    body = written(said(Text(text="a"), reasoning=Reasoning(shown=True)), Target(provider_id="g", model=model))
    assert body.get("generationConfig", {}).get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("model", "signs", "json_with_tools"),
    [
        ("gemini-3-pro-preview", True, True),
        ("gemini-4-ultra", True, True),
        ("gemini-2.5-pro", False, False),
        ("gemini-1.5-flash", False, False),
        ("gemma-3-27b-it", False, False),
    ],
)
def test_what_a_model_knows(model: str, signs: bool, json_with_tools: bool) -> None:
    rules = rules_for(model)
    assert (rules.signs, rules.json_with_tools, rules.pictures_in_results) == (signs, json_with_tools, signs)
