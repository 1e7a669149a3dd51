from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from keyrelay.api.wrong_parameters import problem_of


class Kind(StrEnum):
    QUOTA = "quota"
    RATE = "rate"


def _refuse(text: str) -> str:
    message = f"{text!r} is not one of 2xx, 4xx"
    raise ValueError(message)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Kind, "foo", "'foo' is not one of quota, rate"),
        (Literal["quota", "rate", "none"], "foo", "'foo' is not one of quota, rate, none"),
        (Annotated[str, AfterValidator(_refuse)], "foo", "'foo' is not one of 2xx, 4xx"),
        (bool, "perhaps", "is not true or false"),
        (int, "x", "is not a whole number"),
        (float, "x", "is not a number"),
        (Annotated[int, Field(ge=1, le=9)], 0, "is not at least 1"),
        (Annotated[int, Field(ge=1, le=9)], 10, "is not at most 9"),
        (Annotated[str, Field(max_length=2)], "abc", "takes at most 2 characters"),
        (Annotated[str, Field(pattern="^a$")], "b", "does not look like one (`^a$`)"),
        (dict, 1, "Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_ours(kind: Any, value: object, problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(value)
    assert problem_of({**refused.value.errors()[0], "loc": ("query", "kind")}) == ("kind", f"kind: {problem}.")


def test_a_parameter_that_is_missing_or_of_which_nothing_is_known() -> None:
    assert problem_of({"type": "missing", "loc": ("query", "nonce")}) == ("nonce", "nonce: is missing.")
    assert problem_of({}) == ("", ": is wrong.")
