"""What is wrong with a parameter, in words of ours in place of those of the library that has looked at it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        "bool_parsing": "is not true or false",
        "bool_type": "is not true or false",
        "float_parsing": "is not a number",
        "finite_number": "is not a finite number",
        "greater_than": "is not above {gt}",
        "greater_than_equal": "is not at least {ge}",
        "int_from_float": "is not a whole number",
        "int_parsing": "is not a whole number",
        "int_parsing_size": "is not a whole number of that size",
        "less_than": "is not below {lt}",
        "less_than_equal": "is not at most {le}",
        "missing": "is missing",
        "string_pattern_mismatch": "does not look like one (`{pattern}`)",
        "string_too_long": "takes at most {max_length} characters",
        "string_too_short": "takes at least {min_length} characters",
    }
)
"""Problems by pydantic's names for them; what stands in braces is in their context."""

_WORDS = frozenset({"enum", "literal_error"})
_LONGEST = 64


def problem_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the parameter that an error of pydantic's is about, and a sentence on it."""
    place, kind = found.get("loc") or ("",), str(found.get("type", ""))
    name, context = str(place[-1]), found.get("ctx") or {}
    if kind in _WORDS:
        words = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        return name, f"{name}: {str(found.get('input'))[:_LONGEST]!a} is not one of {words}."
    if kind == "value_error":
        return name, f"{name}: {context.get('error', 'is wrong')}."
    if kind in _PROBLEMS:
        return name, f"{name}: {_PROBLEMS[kind].format_map(context)}."
    return name, f"{name}: {found.get('msg', 'is wrong')}."
