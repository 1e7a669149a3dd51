import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Embeddings,
    EmbeddingsAsked,
    Event,
    Finish,
    Finished,
    Image,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import EmbeddingFacts, StreamEnded
from keyrelay.wire.ollama.answering import OllamaWriter
from keyrelay.wire.ollama.caller import OllamaCaller
from keyrelay.wire.ollama.lines import LineSplitter
from keyrelay.wire.ollama.provider import OllamaProvider
from tests.wire.ollama.samples import CHAT, CREATED, EXAMPLES, GENERATE, answers, event_lists, facts

PROVIDER = OllamaProvider()
METRICS = {
    "total_duration": 1,
    "load_duration": 0,
    "prompt_eval_count": 3,
    "prompt_eval_duration": 0,
    "eval_count": 5,
    "eval_duration": 1,
}
TOKENS = Tokens(input=3, output=5)
BROKEN = ToolCall(id="call_1", name="f", arguments='{"a": ')


def written(events: list[Event], *, caller: OllamaCaller = CHAT, think: object = None) -> list[Any]:
    writer = caller.writer(facts(think=think))
    stream = b"".join([*map(writer.write, events), writer.end()])
    assert stream.endswith(b"\n")
    return [json.loads(line) for line in stream.split(b"\n")[:-1]]


def test_a_whole_answer() -> None:
    call = ToolCall(id="call_1", name="f", arguments='{"a": 1}')
    answer = Answer(parts=(Thinking(text="Hm."), Text(text="Hi "), Text(text="you"), call), tokens=TOKENS)
    assert json.loads(CHAT.answer(answer, facts(think=True))) == {
        "model": "llama3",
        "created_at": CREATED,
        "message": {
            "role": "assistant",
            "content": "Hi you",
            "thinking": "Hm.",
            "tool_calls": [{"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
        },
        "done": True,
        "done_reason": "stop",
        **METRICS,
    }


def test_a_whole_answer_to_a_prompt() -> None:
    answer = Answer(parts=(Thinking(text="Hm."), Refusal(text="No")), finish="length", tokens=TOKENS)
    body = GENERATE.answer(answer, msgspec.structs.replace(facts(think="low"), took_s=1.5))
    assert json.loads(body) == {
        "model": "llama3",
        "created_at": CREATED,
        "response": "No",
        "thinking": "Hm.",
        "done": True,
        "done_reason": "length",
        "context": [],
        **METRICS,
        "total_duration": 1_500_000_000,
        "eval_duration": 1_500_000_000,
    }


@pytest.mark.parametrize("think", [None, False])
def test_thoughts_go_to_those_who_asked(think: object) -> None:
    answer = Answer(parts=(Thinking(text="Hm."), Text(text="Hi")), tokens=TOKENS)
    assert "thinking" not in json.loads(CHAT.answer(answer, facts(think=think)))["message"]
    lines = written([Begun(), ThinkingPiece(text="Hm."), TextPiece(text="Hi"), Finished(finish="stop")], think=think)
    assert [line["message"] for line in lines] == [
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("tool_calls", "stop"),
        ("content_filter", "stop"),
        ("error", "stop"),
        ("length", "length"),
    ],
)
def test_ollama_knows_two_reasons(finish: Finish, reason: str) -> None:
    answer = Answer(parts=(Text(text="Hi"),), finish=finish)
    assert json.loads(CHAT.answer(answer, facts()))["done_reason"] == reason
    assert written([Begun(), TextPiece(text="Hi"), Finished(finish=finish)])[-1]["done_reason"] == reason


def test_a_call_that_was_cut_through_is_left_out() -> None:
    whole = ToolCall(id="call_0", name="f", arguments="{}")
    answer = Answer(parts=(whole, BROKEN), finish="length", tokens=TOKENS)
    message = json.loads(CHAT.answer(answer, facts()))["message"]
    assert [call["id"] for call in message["tool_calls"]] == ["call_0"]
    alone = json.loads(CHAT.answer(Answer(parts=(BROKEN,), finish="length"), facts()))
    assert "tool_calls" not in alone["message"]
    begun, piece = CallBegun(id="call_1", name="f"), CallPiece(arguments='{"a": ')
    assert len(written([Begun(), begun, piece, Finished(finish="length")])) == 1


@pytest.mark.parametrize("custom", [False, True])
def test_arguments_that_are_no_object_become_one(custom: bool) -> None:
    call = ToolCall(id="call_1", name="f", arguments="echo 1", custom=custom)
    message = json.loads(CHAT.answer(Answer(parts=(call,), finish="tool_calls"), facts()))["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == {"input": "echo 1"}


def test_a_stream_of_everything() -> None:
    events: list[Event] = [
        Begun(id="x", model="other", tokens=Tokens(input=3)),
        ThinkingPiece(text="Hm."),
        ThinkingPiece(signature="signed", signed_by="anthropic"),
        TextPiece(text="Hi"),
        TextPiece(text=""),
        RefusalPiece(text=" no"),
        CallBegun(id="call_1", name="f"),
        CallPiece(arguments='{"a":'),
        CallPiece(arguments="\n 1}"),
        CallBegun(id="call_2", name="g"),
        Finished(finish="tool_calls"),
        Counted(tokens=Tokens(input=1, output=1)),
        Counted(tokens=TOKENS),
    ]

    def line(**said: object) -> dict[str, object]:
        message = {"role": "assistant", "content": "", **said}
        return {"model": "llama3", "created_at": CREATED, "message": message, "done": False}

    def call(index: int, name: str, arguments: object) -> list[object]:
        function = {"index": index, "name": name, "arguments": arguments}
        return [{"id": f"call_{index + 1}", "function": function}]

    assert written(events, think=True) == [
        line(thinking="Hm."),
        line(content="Hi"),
        line(content=" no"),
        line(tool_calls=call(0, "f", {"a": 1})),
        line(tool_calls=call(1, "g", {})),
        {**line(), "done": True, "done_reason": "stop", **METRICS},
    ]


def test_a_stream_of_a_prompt() -> None:
    head = {"model": "llama3", "created_at": CREATED}
    events: list[Event] = [Begun(), ThinkingPiece(text="Hm."), TextPiece(text="Hi"), Counted(tokens=TOKENS)]
    assert written(events, caller=GENERATE, think=True) == [
        {**head, "response": "", "thinking": "Hm.", "done": False},
        {**head, "response": "Hi", "done": False},
        {**head, "response": "", "done": True, "done_reason": "stop", "context": [], **METRICS},
    ]


def test_a_call_that_nothing_follows_is_written_at_the_end() -> None:
    lines = written([Begun(), CallBegun(id="call_1", name="f")])
    assert lines[0]["message"]["tool_calls"][0]["id"] == "call_1"


def test_what_ends_a_stream_early_is_said_by_the_error_event_alone() -> None:
    assert CHAT.writer(facts()).fail(CallerError(502, "It broke off.")) == b""


@pytest.mark.parametrize(("known", "expected"), [(None, 7), (Tokens(input=30), 30)])
def test_what_nobody_counted_is_estimated(known: Tokens | None, expected: int) -> None:
    events: list[Event] = [
        Begun(tokens=known),
        ThinkingPiece(text="12345678"),
        TextPiece(text="1234"),
        CallBegun(id="call_1", name="f"),
        CallPiece(arguments="{  }"),
        Finished(finish="tool_calls"),
    ]
    last = written(events)[-1]
    assert (last["prompt_eval_count"], last["eval_count"]) == (expected, 4)
    call = ToolCall(id="call_1", name="f", arguments="{  }")
    answer = Answer(parts=(Thinking(text="12345678"), Text(text="1234"), call))
    whole = json.loads(CHAT.answer(answer, facts()))
    assert (whole["prompt_eval_count"], whole["eval_count"]) == (7, 4)


def test_who_knows_the_time_says_it_at_the_end() -> None:
    writer = CHAT.writer(facts())
    last = json.loads(writer.end((), 0.25))
    assert (last["total_duration"], last["eval_duration"], last["load_duration"]) == (250_000_000, 250_000_000, 0)


def test_a_writer_says_how_far_it_is() -> None:
    writer = OllamaWriter(facts(), generate=False)
    writer.write(TextPiece(text="Hi"))
    assert repr(writer) == "<OllamaWriter open 2 characters 0 calls>"
    writer.write(Finished(finish="stop"))
    assert repr(writer) == "<OllamaWriter stop 2 characters 0 calls>"


@settings(max_examples=EXAMPLES)
@given(answer=answers())
def test_an_answer_survives_both_sides(answer: Answer) -> None:
    for caller in (CHAT, GENERATE):
        assert PROVIDER.answer(caller.answer(answer, facts(think=True))) == answer


def read(chunks: list[bytes]) -> list[object]:
    splitter, reader = LineSplitter(1_000_000), PROVIDER.reader()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [item for line in [*lines, splitter.rest()] for item in reader.read(line)]


@settings(max_examples=EXAMPLES)
@given(events=event_lists())
def test_events_survive_both_sides(events: list[Event]) -> None:
    for caller in (CHAT, GENERATE):
        writer = caller.writer(facts(think=True))
        stream = b"".join([*map(writer.write, events), writer.end()])
        assert read([stream]) == [*events, StreamEnded()]


EMBEDDINGS = Embeddings(vectors=((0.5, -1.0), (0.25, 2.0)), tokens=Tokens(input=4))


def embedding_facts(*, single: bool = False) -> EmbeddingFacts:
    return EmbeddingFacts(model="m", input_tokens=9, asked=EmbeddingsAsked(inputs=("a", "b"), single=single))


@pytest.mark.parametrize(("tokens", "count"), [(Tokens(input=4), 4), (None, 9)])
def test_vectors(tokens: Tokens | None, count: int) -> None:
    embeddings = Embeddings(vectors=EMBEDDINGS.vectors, tokens=tokens)
    assert json.loads(CHAT.embeddings(embeddings, embedding_facts())) == {
        "model": "m",
        "embeddings": [[0.5, -1.0], [0.25, 2.0]],
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": count,
    }


def test_one_vector_in_the_older_form() -> None:
    assert json.loads(CHAT.embeddings(EMBEDDINGS, embedding_facts(single=True))) == {"embedding": [0.5, -1.0]}
    nothing = Embeddings(vectors=())
    assert json.loads(CHAT.embeddings(nothing, embedding_facts(single=True))) == {"embedding": []}


def test_vectors_survive_both_sides() -> None:
    assert PROVIDER.embeddings(CHAT.embeddings(EMBEDDINGS, embedding_facts())) == Embeddings(
        vectors=EMBEDDINGS.vectors, tokens=Tokens(input=4), model="m"
    )


def test_what_has_no_place_is_not_written_and_what_was_left_out_is_told() -> None:
    picture = Image(url="https://a.example/b.png")
    assert not CHAT.shows(picture, facts().request)
    assert json.loads(CHAT.answer(Answer(parts=(picture,)), facts()))["message"]["content"] == ""
    assert json.loads(CHAT.writer(facts()).end(("a", "b")))["keyrelay"] == {"left_out": ["a", "b"]}
