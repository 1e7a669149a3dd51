import base64
import struct
from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Embeddings, EmbeddingsAsked, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import EmbeddingFacts, Unreadable, UntranslatableError
from tests.wire.chat.samples import CALLER, PROVIDER, asked, target

NOT_EXPECTED = Unreadable(problem="the answer is not the JSON object that was expected")
EMPTY = Unreadable(problem="the answer is empty")
HOLDS_ERROR = Unreadable(problem="the answer holds an error although its status is 200", is_error=True)


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"input": "a"}, EmbeddingsAsked(inputs=("a",), single=True)),
        ({"input": ["a", "b"]}, EmbeddingsAsked(inputs=("a", "b"))),
        ({"input": [1, 2]}, EmbeddingsAsked(token_inputs=((1, 2),), single=True)),
        ({"input": [[1, 2], [3]]}, EmbeddingsAsked(token_inputs=((1, 2), (3,)))),
        (
            {"input": "a", "dimensions": 3, "encoding_format": "base64", "user": "u", "input_type": "query"},
            EmbeddingsAsked(inputs=("a",), single=True, dimensions=3, base64=True, left_out=("input_type",)),
        ),
        ({"input": "a", "encoding_format": "float"}, EmbeddingsAsked(inputs=("a",), single=True)),
    ],
)
def test_a_request(members: dict[str, Any], wanted: EmbeddingsAsked) -> None:
    assert CALLER.embeddings_asked(asked("embeddings", **members)) == wanted


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": ["a", {}]}, "input[1]"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": "many"}, "dimensions"),
    ],
)
def test_what_is_wrong_is_pointed_to(members: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        CALLER.embeddings_asked(asked("embeddings", **members))
    assert (caught.value.status, caught.value.param) == (400, param)


def answered(embeddings: Embeddings, *, base64: bool = False) -> Any:
    wanted = EmbeddingsAsked(inputs=("a",), base64=base64)
    facts = EmbeddingFacts(model="some-model", input_tokens=9, asked=wanted)
    return msgspec.json.decode(CALLER.embeddings(embeddings, facts))


def test_an_answer_in_numbers() -> None:
    assert answered(Embeddings(vectors=((0.5, 1.0), (2.0,)), tokens=Tokens(input=4))) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [2.0]},
        ],
        "model": "some-model",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


def test_an_answer_in_base64_bounds_what_32_bits_cannot_hold_and_estimates_usage() -> None:
    body = answered(Embeddings(vectors=((0.5, -1.0), (1e300, -1e300, 0.25))), base64=True)
    largest = 3.4028234663852886e38
    assert [item["embedding"] for item in body["data"]] == [packed(0.5, -1.0), packed(largest, -largest, 0.25)]
    assert body["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


@pytest.mark.parametrize(
    ("wanted", "members"),
    [
        (EmbeddingsAsked(inputs=("a",), single=True), {"input": "a"}),
        (EmbeddingsAsked(inputs=("a",)), {"input": ["a"]}),
        (EmbeddingsAsked(inputs=("a", "b"), dimensions=3, base64=True), {"input": ["a", "b"], "dimensions": 3}),
        (EmbeddingsAsked(token_inputs=((1, 2),), single=True), {"input": [1, 2]}),
    ],
)
def test_a_request_for_a_provider_asks_for_numbers(wanted: EmbeddingsAsked, members: dict[str, Any]) -> None:
    out = PROVIDER.embeddings_request(wanted, target())
    assert msgspec.json.decode(out.body) == {"model": "some-model", **members}
    assert out.left_out == ()


def test_a_purpose_is_left_out_and_quirks_apply() -> None:
    wanted = EmbeddingsAsked(inputs=("a",), purpose="search_query", truncate=True, dimensions=3)
    out = PROVIDER.embeddings_request(wanted, target("nvidia", drop=("dimensions",), model_prefix="p/"))
    assert msgspec.json.decode(out.body) == {"model": "p/some-model", "input": ["a"]}
    assert out.left_out == ("purpose", "truncate", "dimensions")
    with pytest.raises(UntranslatableError) as caught:
        PROVIDER.embeddings_request(wanted, target("odd", drop=("input",)))
    assert (caught.value.field, caught.value.reason) == ("input", "odd does not take it")


@pytest.mark.parametrize(
    ("body", "embeddings"),
    [
        (
            {
                "data": [{"index": 1, "embedding": [1, 2]}, {"index": 0, "embedding": packed(0.5)}],
                "model": "e",
                "usage": {"prompt_tokens": 4, "total_tokens": 4},
            },
            Embeddings(vectors=((0.5,), (1.0, 2.0)), tokens=Tokens(input=4), model="e"),
        ),
        ({"data": [{"embedding": [1]}, {"embedding": [2]}]}, Embeddings(vectors=((1.0,), (2.0,)))),
        ({"data": []}, EMPTY),
        ({}, EMPTY),
        ({"error": {"message": "no"}}, HOLDS_ERROR),
        ({"data": [{"embedding": "!!!!"}]}, NOT_EXPECTED),
        ({"data": [{"embedding": "AAAA"}]}, NOT_EXPECTED),
        ({"data": [{"embedding": packed(float("nan"))}]}, NOT_EXPECTED),
        ({"data": [{"embedding": {"float": [1]}}]}, NOT_EXPECTED),
    ],
)
def test_a_providers_answer(body: dict[str, Any], embeddings: Embeddings | Unreadable) -> None:
    assert PROVIDER.embeddings(msgspec.json.encode(body)) == embeddings
