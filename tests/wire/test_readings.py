import msgspec
import pytest

from keyrelay.wire.readings import ABSENT, Answer, NestedSettings, StreamChunk, Tokens


def test_what_is_not_there_can_be_told_from_what_says_nothing() -> None:
    answer = msgspec.json.decode(b'{"choices":[{}],"error":null}', type=Answer)
    assert answer.usage is ABSENT
    assert bytes(answer.error) == b"null"


def test_what_nobody_asks_for_is_passed_over() -> None:
    tokens = msgspec.json.decode(b'{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}', type=Tokens)
    assert (tokens.prompt_tokens, tokens.completion_tokens) == (3, None)


def test_both_spellings_of_how_many_answers_are_wanted_are_read() -> None:
    for text in (b'{"candidateCount":2}', b'{"candidate_count":2}'):
        settings = msgspec.json.decode(text, type=NestedSettings)
        assert b"2" in {bytes(settings.camel), bytes(settings.snake)}


def test_a_chunk_whose_choices_are_none_is_no_chunk() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"choices":{}}', type=StreamChunk)
