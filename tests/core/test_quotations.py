import html
import json
import re
import sys
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core import quotations
from keyrelay.core.quotations import MOST_SEARCHED, QUOTED, SHORTEST_QUOTE, UNTOLD, texts_of, without_quotes

PROMPT = 'My doctor says: "Grüße & salt" <costs> 40\\50 €.\n\tWhat does\u2028it mean, Dr. O\'Neil? 你好世界你好世界'
BEFORE, BEHIND = "Invalid value: ", ". Supported values are 'auto' and 'none'."
letters = st.characters(exclude_categories=["Cs"])
lower = st.text("abcde \n", min_size=1, max_size=120)


def masked(said: str, *texts: str) -> str:
    (told,) = without_quotes((said,), texts)
    return told


def squeezed(text: str) -> str:
    return "".join(text.split())


def longest_common(one: str, other: str) -> int:
    return max(
        (end - start for start in range(len(one)) for end in range(start, len(one) + 1) if one[start:end] in other),
        default=0,
    )


@pytest.mark.parametrize(
    "write",
    [
        str,
        str.upper,
        repr,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(json.dumps(text)),
        html.escape,
        lambda text: re.sub(r"\s+", " ", text),
        lambda text: text[:40] + "…",
        lambda text: "…" + text[9:],
        lambda text: "\n> ".join(re.findall("(?s).{1,30}", text)),
    ],
)
def test_a_quotation_is_taken_out_in_every_writing_and_the_providers_words_stay(write: Callable[[str], str]) -> None:
    told = masked(f"{BEFORE}{write(PROMPT)}{BEHIND}", "You are a helper.", PROMPT)
    assert told.startswith(BEFORE)
    assert told.endswith(BEHIND)
    assert QUOTED in told
    assert len(told) < len(BEFORE + BEHIND) + 40
    assert not [word for word in ("doctor", "salt", "costs", "mean", "Neil", "世") if word in told], told


@given(lower, lower, lower, lower)
def test_nothing_as_long_as_a_quotation_is_left_of_any_text(first: str, second: str, said: str, quoted: str) -> None:
    told = masked(said + first[:60] + quoted + second[3:], first, second)
    for left in told.split(QUOTED):
        for text in (first, second):
            assert longest_common(squeezed(left), squeezed(text)) < SHORTEST_QUOTE


@given(st.text(letters, min_size=20, max_size=80), st.text(letters, max_size=10))
def test_a_quotation_of_any_letters_leaves_nothing_behind(prompt: str, around: str) -> None:
    said = f"{around}|{prompt}|{around}"
    told = masked(said, prompt)
    if len(squeezed(prompt.casefold()).encode()) >= SHORTEST_QUOTE and not re.search(r"[\\&]", prompt + around):
        assert QUOTED in told
        assert told == said.replace(prompt, QUOTED, 1) or len(told) < len(said)


@given(st.text("abcdefghij .", max_size=300), st.text("KLMNOPQRSTUV .:'", max_size=200))
def test_words_that_the_request_does_not_have_stay(prompt: str, said: str) -> None:
    assert masked(said, prompt) == said or longest_common(squeezed(said), squeezed(prompt)) >= SHORTEST_QUOTE


@given(st.lists(st.sampled_from(["\\", "u", "0041", "0020", "n", "&", "amp;", "#33;", "lt", " ", "\n", "İ", "ß", "x"])))
def test_each_letter_that_is_compared_has_its_place(pieces: list[str]) -> None:
    said = "".join(pieces)
    places = list(quotations._places(said))
    assert len(places) == len(quotations._squeezed(said))
    assert places == sorted(places)
    assert all(0 <= start < end <= len(said) for start, end in places)


def test_what_both_have_by_chance_stays() -> None:
    said = "The model `llama-3.3-70b` is not available to organization org_01 (tokens per minute)."
    assert masked(said, "tell me of tokens per day", "not available") == said
    assert masked("no", "no " * 100) == "no"
    assert without_quotes((), ["x" * 40]) == ()


def test_the_same_letters_are_taken_out_wherever_they_stand() -> None:
    words = "what I said yesterday evening"
    assert masked(f"a {words} between {words} c", words) == f"a {QUOTED} between {QUOTED} c"
    assert masked(f"a {words}, {words} c", words) == f"a {QUOTED} c", "a gap of a mark belongs to them"
    assert masked("x" * 900, "x" * 30) == QUOTED


def test_several_pieces_are_looked_at_together() -> None:
    words = "what I said yesterday evening"
    assert without_quotes((f"a {words}", "code", words), [words]) == (f"a {QUOTED}", "code", QUOTED)
    assert without_quotes(("short", "code"), iter([words])) == ("short", "code")
    others = "and what I said this morning"
    assert masked(f"first {words}, second {others}.", others, words) == f"first {QUOTED}, second {QUOTED}."


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ["a"]),
        (["a", {"content": "b", "n": 1, "no": None}], ["a", "b"]),
        ({"model": "some/model", "name": "get_weather", "role": "user"}, []),
        ({"name": "a name with spaces", "id": "x" * 300}, ["a name with spaces", "x" * 300]),
        ({"parameters": {"required": ["a"], "enum": ["b"], "description": "c"}}, ["c"]),
        (
            {"type": "tool_use", "input": {"name": "患者山田太郎の診断結果", "id": "x1"}},
            ["患者山田太郎の診断結果", "x1"],
        ),
        ({"id": "a.miller@hospital.test", "name": "診断結果"}, ["a.miller@hospital.test", "診断結果"]),
        ({"arguments": {"deeper": [{"type": "mine"}]}}, ["mine"]),
        (7, []),
    ],
)
def test_names_are_no_texts(value: Any, texts: list[str]) -> None:
    assert sorted(texts_of(value)) == sorted(texts)
    assert list(texts_of("gpt-6", "model")) == []


def test_of_a_picture_only_the_ends_are_looked_at() -> None:
    numbers = "".join(f"{number:07}" for number in range(1_000_000))
    picture = f"data:image/png;base64,{numbers}"
    assert masked(f"broken: {picture[:200]}", picture) == f"broken: {QUOTED}"
    assert masked(f"broken: {picture[-200:]}", picture) == f"broken: {QUOTED}"
    assert UNTOLD not in masked(f"broken: {'x' * 20}", picture), "or it would be too long"
    prose = f"{numbers[:9_000]} and then a word of mine about it"
    assert masked("see 'and then a word of mine'", prose) == f"see '{QUOTED}'"


def test_what_would_take_too_long_is_not_told_at_all() -> None:
    long = "one word more " * (MOST_SEARCHED // 14)
    assert without_quotes(("The request is too large.", "code"), [long, "and the rest"]) == (UNTOLD, "code")
    nearly = "y".join(["x" * 12] * 60)
    assert masked(nearly, "xxxxxxxxzzzzzzzz" * 10_000) == UNTOLD
    assert masked(nearly, "xxxxxxxxzzzzzzzz") == nearly


def test_millions_of_texts_and_numbers_are_not_looked_through() -> None:
    assert without_quotes(("The request is too large.", "code"), repeat("")) == (UNTOLD, "code")
    started = [iter(texts_of([[1] * 1_000_000, "after them"]))]
    assert next(started[0]) == "after them"


def test_letters_beyond_the_first_plane_are_found_however_they_are_escaped() -> None:
    prompt = "\U0001f600\U0001f989\U0001f43b\U0001f600\U0001f98a" * 2
    escaped = json.dumps(prompt)[1:-1]
    assert masked(f"'{escaped}' is no name", prompt) == f"'{QUOTED}' is no name"
    assert masked(f"'{prompt}' is no name", escaped) == f"'{QUOTED}' is no name"
    half = json.dumps("\ud83d")[1:-1]
    assert masked(f"a half {half} of one, not said before", prompt) == f"a half {half} of one, not said before"


def test_however_long_the_request_is_as_many_calls_look_through_it() -> None:
    calls = {}
    for times in (1, 20):
        text = "".join(f"{number:06} " for number in range(20_000 * times))
        made: list[str] = []
        sys.setprofile(lambda _frame, event, _what, made=made: made.append(event))  # type: ignore[misc]
        try:
            masked("some words of a provider " * 30, text)
        finally:
            sys.setprofile(None)
        calls[times] = len(made)
    assert calls[20] < calls[1] * 1.1


def test_its_repr_counts_and_does_not_tell() -> None:
    piece = quotations._Piece("what I said yesterday")
    piece.look(b"whatisaidyesterday")
    assert repr(piece) == "<Piece of 21 characters, 18 of 18 bytes quoted>"
