import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.model_names import ModelNames

PROVIDERS = ("openai", "groq")


@pytest.mark.parametrize(
    ("names", "asked", "allowed"),
    [
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "GPT-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-*",), "gpt-4o-mini", True),
        (("gpt-*",), "openai/gpt-4o", True),
        (("gpt-*",), "someone/gpt-4o", False),
        (("openai/*",), "openai/gpt-4o", True),
        (("openai/*",), "gpt-4o", False),
        (("*",), "anything/at-all:1", True),
        (("a.c",), "abc", False),
        (("fast", "*-mini"), "o4-mini", True),
        (("fast", "*-mini"), "fast-one", False),
        (("fast",), "fast\nx", False),
        (("*mini",), "fast\nmini", True),
    ],
)
def test_names_with_and_without_wildcards(names: tuple[str, ...], asked: str, allowed: bool) -> None:
    assert ModelNames(names).allow(asked, PROVIDERS) is allowed


@given(st.text(max_size=30))
def test_every_name_without_a_star_allows_itself(name: str) -> None:
    assert ModelNames((name,)).allow(name)


def test_two_of_the_same_names_are_equal() -> None:
    one, other = ModelNames(["a", "b*"]), ModelNames(("a", "b*"))
    assert one == other
    assert hash(one) == hash(other)
    assert one != ModelNames(("a",))
    assert one != "a"
    assert repr(one) == "<ModelNames a, b*>"
