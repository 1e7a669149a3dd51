import asyncio
import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.api.worker_channel import (
    MAX_FRAME_BYTES,
    Answer,
    Answers,
    AnyMessage,
    Ask,
    BrokenChannel,
    Channel,
    Drain,
    Farewell,
    Frames,
    Orders,
    Ready,
    Reload,
    Scrape,
    Scraped,
    Stop,
    encode,
    receive_first,
)
from tests.e2e.harness import until

MESSAGES: list[AnyMessage] = [
    Orders({"port": "9000"}, 7, 8, "web1-8787", 2),
    Reload(),
    Drain(handing_over=True),
    Stop(),
    Ready(),
    Farewell(b"counts"),
    Ask(1, "explain", b"x" * 100_000),
    Answer(1, None),
    Answer(2, b""),
    Answers(1, (b"one", b"")),
    Scrape(3, b"counts"),
    Scraped(3, b"counts", 4, 3),
]
STREAM = b"".join(map(encode, MESSAGES))


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_messages_come_whole_however_their_bytes_do(cuts: list[int]) -> None:
    frames = Frames()
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(places)]
    assert [message for piece in pieces for message in frames.feed(piece)] == MESSAGES
    assert repr(frames) == "<Frames 0 bytes waiting>"


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x02\x91\xa0",
        b"\x00\x00\x00\x08\x91\xa6Unsure",
    ],
    ids=["too large", "no MessagePack", "no name", "an unknown message"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenChannel):
        Frames().feed(data)


def test_the_first_message_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = encode(MESSAGES[0])
        ours.sendall(data[:10])
        ours.sendall(data[10:])
        assert receive_first(theirs) == MESSAGES[0]
        ours.close()
        with pytest.raises(BrokenChannel, match="gone"):
            receive_first(theirs)


async def test_what_was_said_behind_the_first_message_is_heard() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(encode(MESSAGES[0]) + encode(Drain(handing_over=False)) + encode(Stop()))
        assert receive_first(theirs) == MESSAGES[0]
        end = End()
        channel = await Channel.over(theirs, end.got.append, end.over.set)
        await until(lambda: len(end.got) == 2, "the rest has come")
        assert end.got == [Drain(handing_over=False), Stop()]
        channel.close()
        await asyncio.wait_for(end.over.wait(), 5)


class End:
    """One end of a channel, and what came there."""

    def __init__(self) -> None:
        self.got: list[AnyMessage] = []
        self.over = asyncio.Event()


async def test_both_ends_hear_each_other_and_the_end() -> None:
    one, other = End(), End()
    ours, theirs = socket.socketpair()
    first = await Channel.over(ours, one.got.append, one.over.set)
    second = await Channel.over(theirs, other.got.append, other.over.set)
    for message in MESSAGES:
        first.send(message)
    second.send(Ready())
    first.close()
    await asyncio.wait_for(other.over.wait(), 5)
    await asyncio.wait_for(one.over.wait(), 5)
    assert other.got == MESSAGES, "what was sent before the end arrives"
    second.send(Ready())
    assert repr(second) == "<Channel 0 bytes waiting>"


async def test_a_channel_with_something_else_on_it_is_ended() -> None:
    end = End()
    ours, theirs = socket.socketpair()
    with theirs:
        await Channel.over(ours, end.got.append, end.over.set)
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(end.over.wait(), 5)
    assert end.got == []
