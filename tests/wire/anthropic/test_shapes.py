from typing import get_args

import msgspec
import pytest

from keyrelay.wire.anthropic import shapes


def test_a_block_is_what_its_type_says() -> None:
    block = shapes.blocks.decode(b'{"type":"text","text":"a","citations":null,"of_tomorrow":[1]}')
    assert block == shapes.TextBlock(text="a")
    assert msgspec.json.encode(block) == b'{"type":"text","text":"a"}'


def test_every_known_block_has_a_shape() -> None:
    infos = [msgspec.inspect.type_info(shape) for shape in get_args(shapes.Block)]
    found = {info.tag for info in infos if isinstance(info, msgspec.inspect.StructType)}
    assert found == shapes.KNOWN_BLOCKS


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"type":"server_tool_use","id":"a"}', "server_tool_use"),
        (b'{"type":"text"}', ""),
        (b'{"type":5}', ""),
        (b'{"text":"a"}', ""),
        (b"5", ""),
        (b"{", ""),
    ],
)
def test_which_type_is_not_known(raw: bytes, name: str) -> None:
    assert shapes.unknown_type(raw) == name


@pytest.mark.parametrize(
    ("cache", "raw"), [("5m", b'{"type":"ephemeral"}'), ("1h", b'{"type":"ephemeral","ttl":"1h"}'), ("", b"null")]
)
def test_marks(cache: str, raw: bytes) -> None:
    assert msgspec.json.encode(shapes.marked(cache)) == raw
    assert shapes.mark_of(msgspec.json.decode(raw, type=shapes.CacheControl | None)) == cache


def test_a_mark_of_five_minutes_may_say_so() -> None:
    assert shapes.mark_of(shapes.CacheControl("ephemeral", "5m")) == "5m"


def test_thoughts_say_whose_they_are_even_when_nobodys() -> None:
    assert (
        msgspec.json.encode(shapes.ThinkingBlock(thinking="a")) == b'{"type":"thinking","thinking":"a","signature":""}'
    )
