"""Keys out of whatever people paste."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.administration.pasting import Pasted, read_paste
from keyrelay.administration.suggesting import Suggester
from keyrelay.core.errors import CallerError
from keyrelay.upstream.catalogue import load_catalogue

SUGGESTER = Suggester(load_catalogue().values(), ("mylab",))


def read(text: str, provider: str = "") -> list[tuple[int, str, str, str]]:
    """Line, provider, label and secret of what holds a key without a problem."""
    return [
        (each.line, each.provider, each.label, each.secret.reveal())
        for each in read_paste(text, SUGGESTER, provider)
        if each.secret is not None and not each.problem
    ]


def problems(text: str) -> list[Pasted]:
    return [each for each in read_paste(text, SUGGESTER) if each.problem]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n\n// another\n", []),
        ("gsk_test_a\n", [(1, "groq", "", "gsk_test_a")]),
        ("\ufeffAIzaTest0\n", [(1, "gemini", "", "AIzaTest0")]),
        ("sk-ant-test-1\nsk-or-v1-test\nsk-proj-test\n", [
            (1, "anthropic", "", "sk-ant-test-1"),
            (2, "openrouter", "", "sk-or-v1-test"),
            (3, "openai", "", "sk-proj-test"),
        ]),
        ("0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f", [(1, "sambanova", "", "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f")]),
        ("hf_test", [(1, "huggingface", "", "hf_test")]),
        ("export GROQ_API_KEYS='work=gsk_test_a,b'", [(1, "groq", "work", "gsk_test_a"), (1, "groq", "", "b")]),
        ("GEMINI_API_KEY_2=abc # mine", [(1, "gemini", "", "abc")]),
        ("HF_TOKEN=abc\nCO_API_KEY=def", [(1, "huggingface", "", "abc"), (2, "cohere", "", "def")]),
        ("MYLAB_API_KEY=abc", [(1, "mylab", "", "abc")]),
        ("SOMETHING=gsk_test_a", [(1, "groq", "", "gsk_test_a")]),
        ("work=gsk_test_a", [(1, "groq", "work", "gsk_test_a")]),
        ("groq: gsk_test_a\nmistral abc\nGroq gsk_test_b", [
            (1, "groq", "", "gsk_test_a"), (2, "mistral", "", "abc"), (3, "groq", "", "gsk_test_b"),
        ]),
        ("groq,work,gsk_test_a\nmistral;home;abcdef", [
            (1, "groq", "work", "gsk_test_a"), (2, "mistral", "home", "abcdef"),
        ]),
        ("gsk_test_a, hf_test", [(1, "groq", "", "gsk_test_a"), (1, "huggingface", "", "hf_test")]),
        ("Provider,Label,API Key\ngroq,work,gsk_test_a\n\n,x,hf_test", [
            (2, "groq", "work", "gsk_test_a"), (4, "huggingface", "x", "hf_test"),
        ]),
        ("key\ngsk_test_a", [(2, "groq", "", "gsk_test_a")]),
        ('["gsk_test_a", {"provider": "mistral", "key": "abc", "label": "b"}]', [
            (1, "groq", "", "gsk_test_a"), (2, "mistral", "b", "abc"),
        ]),
        ('{"groq": ["a", "b"], "OPENAI_API_KEY": "c"}', [
            (1, "groq", "", "a"), (2, "groq", "", "b"), (3, "openai", "", "c"),
        ]),
        ('{"api_key": "gsk_test_a", "name": "w"}', [(1, "groq", "w", "gsk_test_a")]),
    ],
)  # fmt: skip
def test_what_stands_there(text: str, expected: list[tuple[int, str, str, str]]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("sk-test-x", 1, "may be of deepseek or openai"),
        ("a\nabc\n", 1, "Nothing says which provider"),
        ("PORT=80", 1, "PORT is no variable of a key"),
        ("OPENAI_API_KEY=changeme", 1, "a placeholder"),
        ("OPENAI_API_KEY='a b'", 1, "holds spaces"),
        ("provider,key\nnobody,abc", 2, "no provider 'nobody'"),
        ("provider,key\ngroq,", 2, "holds no key"),
        ("groq,groq", 1, "holds no key"),
        ("[1]", 1, "neither a text nor an object"),
        ('[{"provider": "groq"}]', 1, "holds no key"),
    ],
)
def test_what_cannot_be_told_is_said_with_its_line(text: str, line: int, words: str) -> None:
    found = problems(text)[0]
    assert found.line == line
    assert words in found.problem


def test_the_provider_that_is_named_beside_holds_where_the_text_names_none() -> None:
    assert read("abc\nGROQ_API_KEY=def\nwork=x1", "mistral") == [
        (1, "mistral", "", "abc"),
        (2, "groq", "", "def"),
        (3, "mistral", "work", "x1"),
    ]


@pytest.mark.parametrize("text", ['["a', "[" * 100_000, "key,x\n" + "a" * 200_000, "x\n" * 1_001])
def test_what_is_too_much_or_broken_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as refused:
        read_paste(text, SUGGESTER)
    assert refused.value.status == 400
    assert refused.value.param == "text"


@given(st.text(max_size=200))
def test_whatever_is_pasted_gets_an_answer(text: str) -> None:
    found: tuple[Pasted, ...] = ()
    with contextlib.suppress(CallerError):
        found = read_paste(text, SUGGESTER)
    lines = max(1, len(text.splitlines()))
    for each in found:
        assert each.secret is not None or each.problem
        assert text.startswith(("[", "{")) or text.strip()[:1] in "[{" or 1 <= each.line <= lines


def test_a_long_line_of_spaces_takes_no_longer_than_any_other() -> None:
    """It is read on the event loop: to try every way of dividing the spaces would stop all requests for minutes."""
    text = f"a{' ' * 50_000}b c"
    began = time.process_time()
    assert [each.secret is None for each in problems(text)] == [False]
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("key", ["c2stdGVzdC0wMTIzNDU2Nzg5MA==", "c2stdGVzdC0wMTIzNDU2Nzg5MDE="])
def test_bug_a_key_that_ends_with_signs_of_equality_became_a_label_that_everybody_sees(key: str) -> None:
    found = read_paste(key, SUGGESTER, "groq")
    assert [(each.label, each.secret.reveal() if each.secret else "") for each in found] == [("", key)]
