import pytest

from keyrelay.configuration.findings import Findings, InvalidConfiguration, nearest
from keyrelay.core.errors import ConfigurationError


def test_nothing_is_raised_without_a_problem() -> None:
    findings = Findings()
    findings.warn("here", "all is well.")
    findings.raise_if_any()
    assert findings.warnings == ["here: all is well."]


def test_all_problems_are_raised_together() -> None:
    findings = Findings()
    findings.problem("A", "is wrong.", "Mend it.")
    findings.problem("B", "as well.")
    with pytest.raises(InvalidConfiguration) as caught:
        findings.raise_if_any()
    assert str(caught.value) == "configuration: 2 problems\n  A: is wrong. Mend it.\n  B: as well."
    assert isinstance(caught.value, ConfigurationError)
    assert [problem.where for problem in caught.value.problems] == ["A", "B"]
    assert repr(findings) == "Findings(problems=2, warnings=0)"


def test_a_single_problem_is_counted_in_words() -> None:
    findings = Findings()
    findings.problem("A", "is wrong.")
    with pytest.raises(InvalidConfiguration, match=r"^configuration: 1 problem\n"):
        findings.raise_if_any()


@pytest.mark.parametrize(("name", "suggestion"), [("prot", "Did you mean port?"), ("elephant", "")])
def test_nearest(name: str, suggestion: str) -> None:
    assert nearest(name, ["port", "host"]) == suggestion
