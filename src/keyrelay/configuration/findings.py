"""Problems and warnings, collected while a configuration is read and reported together."""

import difflib
from collections.abc import Iterable

from keyrelay.core.errors import ConfigurationError


class InvalidConfiguration(ConfigurationError):  # noqa: N818 - reads as what it is; the base says Error
    """A configuration with one or more `problems`, each of which names place, problem and what would be right."""

    def __init__(self, problems: tuple[ConfigurationError, ...]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("configuration", count)

    def __str__(self) -> str:
        return "\n".join([f"{self.where}: {self.problem}", *(f"  {problem}" for problem in self.problems)])


class Findings:
    """Collects problems, with which the process must not start, and warnings, with which it may."""

    def __init__(self) -> None:
        self.problems: list[ConfigurationError] = []
        self.warnings: list[str] = []

    def problem(self, where: str, problem: str, fix: str = "") -> None:
        """Note that something has to be changed. The arguments are those of `ConfigurationError`."""
        self.problems.append(ConfigurationError(where, problem, fix))

    def warn(self, where: str, text: str) -> None:
        """Note something that is put up with."""
        self.warnings.append(f"{where}: {text}")

    def raise_if_any(self) -> None:
        """Raise InvalidConfiguration with every problem so far; return when there is none."""
        if self.problems:
            raise InvalidConfiguration(tuple(self.problems))

    def __repr__(self) -> str:
        return f"Findings(problems={len(self.problems)}, warnings={len(self.warnings)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `Did you mean X?` for the known name most like this one, or nothing when none is like it."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"Did you mean {close[0]}?" if close else ""
