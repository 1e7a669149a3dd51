import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.administration.importing.found import Found
from keyrelay.administration.importing.usage_file import MAX_AMOUNT, MAX_PROVIDERS, read_usage
from tests.administration.importing.files import KNOWN, NOW_S, reasons

AT = dt.datetime(2027, 1, 10, 12, 0, tzinfo=dt.UTC)


def read(document: object) -> Found:
    return read_usage("api_usage.json", json.dumps(document), KNOWN, NOW_S)


def used(found: Found) -> list[tuple[str, int, float]]:
    return [(each.provider, each.requests or each.tokens, each.at_s) for each in found.usage]


def test_what_the_old_router_wrote_is_read() -> None:
    providers = {
        "groq": {"usage": 120, "limit": 14400, "last_updated": AT.isoformat()},
        "google": {"usage": 7, "limit": 5000},
        "ai21": {"usage": 0, "limit": 300_000},
    }
    found = read({"providers": providers, "last_reset": "2027-01-01T00:00:00+00:00"})
    first = dt.datetime(2027, 1, 1, tzinfo=dt.UTC).timestamp()
    assert used(found) == [("groq", 120, AT.timestamp()), ("gemini", 7, first)]
    assert not found.left


def test_a_time_without_a_zone_is_this_machines() -> None:
    naive = AT.replace(tzinfo=None)
    assert used(read({"groq": {"used": 1, "timestamp": naive.isoformat()}})) == [("groq", 1, naive.timestamp())]


@pytest.mark.parametrize(
    "document",
    [
        {"groq": 5},
        {"groq": {"tokens_used": 5}, "version": 2},
        {"providers": {"Groq": {"requests": 4.2}}, "date": "yesterday"},
        {"groq": {"usage": 5, "last_updated": NOW_S + 1000}},
    ],
)
def test_other_shapes_that_say_the_same_are_read(document: object) -> None:
    assert used(read(document)) == [("groq", 5, NOW_S)]


@pytest.mark.parametrize(
    ("document", "amounts"),
    [
        ({"groq": {"usage": 5}}, (5, 0)),
        ({"cohere": {"usage": 5}}, (0, 5)),
        ({"groq": {"tokens_used": 5}}, (0, 5)),
        ({"cohere": {"requests": 5}}, (5, 0)),
    ],
)
def test_the_unit_is_that_of_the_old_limit_unless_the_name_says_it(document: object, amounts: tuple[int, int]) -> None:
    (found,) = read(document).usage
    assert (found.requests, found.tokens) == amounts


@pytest.mark.parametrize(
    ("document", "source", "words"),
    [
        ([], "the file", "no object"),
        ({"providers": {"nlpcloud": {"usage": 1}}}, "nlpcloud", "No provider"),
        ({"groq": {"usage": "many"}}, "groq", "no number"),
        ({"groq": {"usage": True}}, "groq", "no number"),
        ({"groq": {"usage": -1}}, "groq", "no number"),
        ({"groq": None}, "groq", "no number"),
    ],
)
def test_what_stays_behind_is_named_with_the_reason(document: object, source: str, words: str) -> None:
    found = read(document)
    assert words in reasons(found)[source]
    assert not found.usage


def test_what_is_no_json_says_so_and_nothing_of_itself() -> None:
    found = read_usage("api_usage.json", "gsk_test_0123456789", KNOWN, NOW_S)
    assert reasons(found) == {"the file": "It is not JSON."}


def test_amounts_and_providers_are_bounded() -> None:
    assert used(read({"groq": 1e30})) == [("groq", MAX_AMOUNT, NOW_S)]
    found = read({f"p{number}": 1 for number in range(MAX_PROVIDERS + 1)})
    assert "at once" in reasons(found)["the file"]


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["providers", "groq", "usage", "last_updated", "date", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(_values)
def test_whatever_stands_there_is_read_or_left(document: object) -> None:
    for each in read(document).usage:
        assert 0 < each.requests + each.tokens <= MAX_AMOUNT
        assert 0 <= each.at_s <= NOW_S


@given(st.text(max_size=100))
def test_a_text_that_is_anything_raises_nothing(text: str) -> None:
    read_usage("x", text, KNOWN, NOW_S)
