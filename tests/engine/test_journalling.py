import asyncio
import contextlib
from collections.abc import Awaitable

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord, Reserved
from keyrelay.ports import Fault, UpstreamCall
from tests.engine.rig import FakeAnswer, ListSink, Notes, Outcome, Rig, delta, error, providers, stream_of


class Story:
    """A journal, an observer and a sink that tell in which order things happened."""

    def __init__(self, *, syncs: bool = False) -> None:
        self.full = False
        self.syncs = syncs
        self.events: list[str] = []
        self.entries: list[Reserved] = []

    def reserved(self, entry: Reserved) -> None:
        self.entries.append(entry)
        self.events.append(f"reserved {entry.provider} {entry.attempt}")

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        raise AssertionError("the observer writes the end")

    async def synced(self) -> None:
        self.events.append("syncing")
        await asyncio.sleep(0)
        self.events.append("synced")


class StorySink(ListSink):
    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story

    async def end(self, data: bytes) -> None:
        self.story.events.append("last byte")
        await super().end(data)


class StoryNotes(Notes):
    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story

    def finished(self, record: RequestRecord) -> None:
        self.story.events.append("ended")
        super().finished(record)


def rig_of(story: Story, *outcomes: Outcome) -> Rig:
    left = list(outcomes)

    def script(_: str, call: UpstreamCall) -> Awaitable[Outcome]:
        async def later() -> Outcome:
            story.events.append("sent")
            await asyncio.sleep(0)
            return left.pop(0)

        return later()

    return Rig(script, providers("acme", "best"), journal=story, notes=StoryNotes(story))


async def test_an_attempt_is_written_down_before_it_is_sent_and_the_end_before_the_answer() -> None:
    story = Story()
    rig = rig_of(story, error(500), FakeAnswer())
    await rig.ask()
    assert story.events == ["reserved acme 0", "sent", "reserved best 1", "sent", "ended"]
    assert [(entry.request_id, entry.key, entry.model, entry.requests) for entry in story.entries] == [
        ("req_0", "k00", "m", 1),
        ("req_0", "k00", "m", 1),
    ]
    assert all(entry.input_tokens > 0 and entry.sent_s > 1e9 for entry in story.entries)


async def test_a_streams_end_is_written_down_before_its_last_byte() -> None:
    story = Story()
    rig = rig_of(story, stream_of(delta("a"), delta("b")))
    await rig.ask(sink=StorySink(story))
    assert story.events == ["reserved acme 0", "sent", "ended", "last byte"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_with_syncing_the_answer_waits_for_the_disk(streamed: bool) -> None:
    story = Story(syncs=True)
    rig = rig_of(story, stream_of(delta("a")) if streamed else FakeAnswer())
    await rig.ask(sink=StorySink(story) if streamed else None)
    story.events.append("answered")
    end = ["ended", "syncing", "synced", *(["last byte"] if streamed else []), "answered"]
    assert story.events == ["reserved acme 0", "sent", *end]


async def test_nothing_is_admitted_that_could_not_be_written_down() -> None:
    story = Story()
    story.full = True
    rig = rig_of(story)
    refused = await rig.refusal()
    assert (refused.status, refused.code) == (503, "journal_full")
    assert dict(refused.headers)["retry-after"] == "5"
    assert story.events == ["ended"], "it is not sent, and its end is known all the same"


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (FakeAnswer(), (1, 3, 2)),
        (error(500), (1, 0, 0)),
        (Fault(kind="network", message="refused", reached=False), (0, 0, 0)),
    ],
)
async def test_each_attempt_says_what_was_counted_for_it(outcome: Outcome, counted: tuple[int, int, int]) -> None:
    rig = rig_of(Story(), outcome, FakeAnswer())
    await rig.ask()
    first = rig.records[0].attempts[0]
    assert (first.requests, first.input_tokens, first.output_tokens) == counted


@pytest.mark.parametrize("steps", range(1, 9))
async def test_whatever_is_cancelled_ends_once_and_counts_what_it_reserved(steps: int) -> None:
    story = Story(syncs=True)
    rig = rig_of(story, error(500), stream_of(delta("a"), delta("b"), delta("c")))
    task = asyncio.create_task(rig.ask(sink=StorySink(story)))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, CallerError):
        await task
    assert story.events.count("ended") == 1
    record = rig.notes.ended[0]
    assert len(record.attempts) == len(story.entries), "no attempt without a reservation"
    assert all(attempt.requests for attempt in record.attempts), "each has arrived, as far as anybody knows"
