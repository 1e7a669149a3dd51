"""YAML as plain values, bounded: a short text with references to references may stand for one without end."""

from typing import Any

import yaml

MAX_MERGED = 100_000
"""Members that `<<` may bring together."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # which of the two there is depends on the machine
    """The safe loader, whose merges end."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Bring in what `<<` names, unless that is too much."""
        self._merged = getattr(self, "_merged", 0)
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            for each in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                if isinstance(each, yaml.MappingNode):
                    self.flatten_mapping(each)
                    self._merged += len(each.value)
            if self._merged > MAX_MERGED:
                raise yaml.YAMLError("its references bring in more and more")
        super().flatten_mapping(node)


def read_yaml(text: str) -> object:
    """The document. Raise ValueError, without anything of the text, for what is none."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ValueError(f"it is not YAML{line}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError, KeyError, AttributeError):
        raise ValueError("it is not YAML that can be read") from None
