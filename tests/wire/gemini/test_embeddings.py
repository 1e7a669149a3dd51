import json
from typing import Any

import pytest

from keyrelay.core.conversation import Embeddings, EmbeddingsAsked, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import EmbeddingFacts, Target, Unreadable, UntranslatableError
from tests.wire.gemini.shared import EVENTS, PROVIDER

TARGET = Target(provider_id="gemini", model="gemini-embedding-001")
CONTENT = {"parts": [{"text": "Hello"}]}


def request(body: Any) -> CallRequest:
    return EVENTS.request("embeddings", json.dumps(body).encode(), max_depth=20, model="models/embed")


def asked(body: Any) -> EmbeddingsAsked:
    return EVENTS.embeddings_asked(request(body))


def facts(*, single: bool) -> EmbeddingFacts:
    return EmbeddingFacts(model="embed", input_tokens=5, asked=EmbeddingsAsked(inputs=("Hello",), single=single))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"content": CONTENT}, EmbeddingsAsked(inputs=("Hello",), single=True)),
        ({"content": "Hello"}, EmbeddingsAsked(inputs=("Hello",), single=True)),
        ({"content": {"parts": {"text": "Hello"}}, "requests": None}, EmbeddingsAsked(inputs=("Hello",), single=True)),
        (
            {
                "content": {"parts": [{"text": "Hel"}, {"text": "lo"}]},
                "task_type": "RETRIEVAL_QUERY",
                "outputDimensionality": 64,
            },
            EmbeddingsAsked(inputs=("Hello",), single=True, purpose="search_query", dimensions=64),
        ),
        (
            {
                "requests": [
                    {"model": "models/embed", "content": CONTENT, "taskType": "retrieval_document", "title": "t"},
                    {"content": {"parts": [{"text": ""}]}, "taskType": "retrieval_document"},
                ]
            },
            EmbeddingsAsked(inputs=("Hello", ""), purpose="search_document", left_out=("title",)),
        ),
        (
            {"content": CONTENT, "taskType": "SEMANTIC_SIMILARITY"},
            EmbeddingsAsked(inputs=("Hello",), single=True, left_out=("taskType",)),
        ),
        ({"content": CONTENT, "taskType": "TASK_TYPE_UNSPECIFIED"}, EmbeddingsAsked(inputs=("Hello",), single=True)),
    ],
)
def test_what_is_asked(body: Any, expected: EmbeddingsAsked) -> None:
    assert asked(body) == expected


def test_what_routing_has_to_know() -> None:
    found = request({"requests": [{"content": CONTENT}]})
    assert (found.operation, found.model, found.stream, found.needs) == ("embeddings", "embed", False, ("embeddings",))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "content"),
        ({"content": None, "requests": None}, "content"),
        ({"requests": []}, "requests"),
        ({"requests": [1]}, "requests[0]"),
        ({"requests": [{}]}, "requests[0].content"),
        ({"content": {"parts": []}}, "content"),
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0]"),
        (
            {"requests": [{"content": CONTENT}, {"content": {"parts": [{"file_data": {}}]}}]},
            "requests[1].content.parts[0]",
        ),
        ({"requests": [{"content": CONTENT}, {"content": CONTENT, "taskType": "A"}]}, "requests[1].taskType"),
        ({"requests": [{"content": CONTENT}, {"content": CONTENT, "task_type": "A"}]}, "requests[1].task_type"),
        ({"content": CONTENT, "output_dimensionality": "x"}, "output_dimensionality"),
    ],
)
def test_bad_input_is_pointed_to(body: Any, param: str) -> None:
    with pytest.raises(CallerError) as error:
        asked(body)
    assert (error.value.status, error.value.param) == (400, param)


def test_the_answer_has_the_shape_of_what_was_asked() -> None:
    vectors = Embeddings(vectors=((0.5, 1.0),), tokens=Tokens(input=3))
    assert json.loads(EVENTS.embeddings(vectors, facts(single=True))) == {
        "embedding": {"values": [0.5, 1.0]},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    assert json.loads(EVENTS.embeddings(Embeddings(vectors=((0.5,), (1.0,))), facts(single=False))) == {
        "embeddings": [{"values": [0.5]}, {"values": [1.0]}],
        "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
    }


def test_a_provider_is_asked_for_a_batch() -> None:
    written = PROVIDER.embeddings_request(
        EmbeddingsAsked(inputs=("a", "b"), purpose="clustering", dimensions=8, single=True, truncate=True), TARGET
    )
    assert written.left_out == ("truncate",)
    assert json.loads(written.body) == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "taskType": "CLUSTERING",
                "outputDimensionality": 8,
            }
            for text in "ab"
        ]
    }


@pytest.mark.parametrize(
    ("model", "purpose", "left_out"),
    [
        ("gemini-embedding-2", "search_query", ("purpose",)),
        ("gemini-embedding-001", "image", ("purpose",)),
        ("gemini-embedding-2", "", ()),
    ],
)
def test_purposes_that_a_model_does_not_know_are_named(model: str, purpose: str, left_out: tuple[str, ...]) -> None:
    written = PROVIDER.embeddings_request(
        EmbeddingsAsked(inputs=("a",), purpose=purpose), Target(provider_id="gemini", model=model)
    )
    assert written.left_out == left_out
    assert b"taskType" not in written.body


def test_numbers_of_tokens_are_no_texts() -> None:
    with pytest.raises(UntranslatableError, match="token numbers"):
        PROVIDER.embeddings_request(EmbeddingsAsked(token_inputs=((1, 2),)), TARGET)


@pytest.mark.parametrize(
    "body", [{"content": CONTENT, "requests": None}, {"requests": [{"model": "models/a", "content": CONTENT}]}]
)
def test_passed_on_they_are_a_batch_for_the_targets_model(body: Any) -> None:
    (item,) = json.loads(PROVIDER.passed(request(body), TARGET).body)["requests"]
    assert item["model"] == "models/gemini-embedding-001"
    assert item["content"] == CONTENT


@pytest.mark.parametrize(
    "asked_for",
    [
        EmbeddingsAsked(inputs=("a",), purpose="search_query"),
        EmbeddingsAsked(inputs=("a", "b"), dimensions=3),
    ],
)
def test_what_is_asked_round_trips(asked_for: EmbeddingsAsked) -> None:
    body = PROVIDER.embeddings_request(asked_for, TARGET).body
    assert EVENTS.embeddings_asked(EVENTS.request("embeddings", body, max_depth=9, model="m")) == asked_for


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"embeddings": [{"values": [0.5, 1]}, {"values": [2]}]}, Embeddings(vectors=((0.5, 1.0), (2.0,)))),
        (
            {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 3}},
            Embeddings(vectors=((0.5,),), tokens=Tokens(input=3)),
        ),
        ({"embeddings": []}, Unreadable(problem="the answer is empty")),
        ({"embeddings": [{}]}, Unreadable(problem="the answer is empty")),
        ([], Unreadable(problem="the answer is not the JSON object that was expected")),
        (
            {"error": {"code": 500}},
            Unreadable(problem="the answer holds an error although its status is 200", is_error=True),
        ),
    ],
)
def test_what_a_provider_answers(body: Any, expected: Any) -> None:
    assert PROVIDER.embeddings(json.dumps(body).encode()) == expected
