import pytest

from keyrelay.wire.anthropic.models import rules_for


@pytest.mark.parametrize(
    ("model", "budget", "adaptive", "samples", "efforts"),
    [
        ("claude-2.1", False, False, True, 0),
        ("claude-3-opus-20240229", False, False, True, 0),
        ("claude-3-5-sonnet-latest", False, False, True, 0),
        ("anthropic/claude-3.5-sonnet", False, False, True, 0),
        ("claude-3-7-sonnet-20250219", True, False, True, 0),
        ("claude-sonnet-4-20250514", True, False, True, 0),
        ("claude-opus-4-1-20250805", True, False, True, 0),
        ("claude-haiku-4-5-20251001", True, False, True, 0),
        ("claude-opus-4-5", True, False, True, 3),
        ("us.anthropic.claude-opus-4-6-v1:0", True, True, True, 4),
        ("claude-sonnet-4.6", True, True, True, 4),
        ("claude-opus-4-7", False, True, False, 5),
        ("claude-sonnet-5", False, True, False, 5),
        ("Claude-Haiku-5-5", False, True, False, 5),
        ("claude-opus-latest", False, True, False, 5),
        ("claude-mythos-10-1", False, True, False, 5),
        ("kimi-k3", True, True, True, 5),
    ],
)
def test_what_a_model_takes_is_told_by_its_name(
    model: str, *, budget: bool, adaptive: bool, samples: bool, efforts: int
) -> None:
    rules = rules_for(model)
    assert (rules.budget, rules.adaptive, rules.samples, len(rules.efforts)) == (budget, adaptive, samples, efforts)
    assert rules.thinks == (budget or adaptive)


@pytest.mark.parametrize(
    ("model", "rests"), [("claude-opus-4-7", False), ("claude-opus-4-8", False), ("claude-3-opus", False)]
)
def test_some_may_not_be_told_not_to_think(model: str, *, rests: bool) -> None:
    assert rules_for(model).can_rest is rests
    assert rules_for("claude-sonnet-5").can_rest


def test_an_effort_that_a_model_does_not_know_is_high() -> None:
    assert rules_for("claude-opus-4-5").effort("max") == "high"
    assert rules_for("claude-opus-4-5").effort("minimal") == "low"
    assert rules_for("claude-opus-5").effort("xhigh") == "xhigh"
    assert rules_for("claude-sonnet-4-5").effort("low") is None
    assert rules_for("claude-opus-5").effort("none") is None
    assert rules_for("claude-opus-5").effort(None) is None
