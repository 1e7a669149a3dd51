"""A gateway with a response cache in front of it, asked as the data plane asks."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.cache import AnswerCache, Ride
from keyrelay.engine.cache_counts import CacheCounts
from keyrelay.engine.shelf import Asked, Cache, CacheSettings, Shelf
from keyrelay.engine.wishes import NO_WISHES, Wishes
from keyrelay.ports import Fault, Journal, Ports, Sink, UpstreamCall
from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.wire.cache_wishes import read_cache_wishes
from keyrelay.wire.openai import decode_request
from tests.engine.rig import FakeAnswer, ListSink, Outcome, Rig, Script, delta, providers, stream_of

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}


def answer_of(text: str = "hello", finish: str = "stop", **message: Any) -> FakeAnswer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return FakeAnswer(body={"id": "x", "choices": [choice], "usage": USAGE})


def prompt_of(call: UpstreamCall) -> str:
    content: str = msgspec.json.decode(call.body)["messages"][0]["content"]
    return content


def streams(call: UpstreamCall) -> bool:
    return bool(msgspec.json.decode(call.body).get("stream"))


def echo(_: str, call: UpstreamCall) -> Outcome:
    """Says what was asked, whole or streamed."""
    words = f"you said {prompt_of(call)}"
    return stream_of(*map(delta, words), STOP) if streams(call) else answer_of(words)


class PacedStream(FakeAnswer):
    """A stream whose pieces come when a test sends them."""

    def __init__(self) -> None:
        super().__init__()
        self.streaming = True
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(1000)

    def send(self, *events: object) -> None:
        for event in events:
            text = event if isinstance(event, str) else msgspec.json.encode(event).decode()
            self.arrived.put_nowait(f"data: {text}\n\n".encode())

    def finish(self) -> None:
        self.send(STOP, "[DONE]")

    def break_off(self) -> None:
        self.fault = Fault(kind="network", message="reset")
        self.arrived.put_nowait(b"")

    async def read(self) -> bytes:
        return await self.arrived.get()


class Straight:
    """The rig's gateway, as the origin of answers."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def serve(
        self, request: CallRequest, record: RequestRecord, sink: Sink, wishes: Wishes, *, fresh: bool
    ) -> tuple[bytes, bytes] | None:
        assert fresh
        return await self._rig.gateway.serve(request, record, sink, wishes)

    async def keep_response(self, request: CallRequest, record: RequestRecord, response: bytes) -> None:
        await self._rig.gateway.keep_response(request, record, response)

    def finish(self, record: RequestRecord) -> None:
        self._rig.gateway.finish(record)


class Asking(msgspec.Struct):
    """One request: its record as the data plane holds it, its sink, and what came of it."""

    record: RequestRecord
    sink: ListSink
    head: bytes = b""
    body: bytes = b""
    error: CallerError | None = None

    @property
    def fields(self) -> dict[str, str]:
        lines = (self.head or self.sink.head).decode().split("\r\n")
        return {name: value for name, _, value in (line.partition(": ") for line in lines if line)}

    @property
    def cache(self) -> str:
        return self.fields.get("x-keyrelay-cache", "")

    @property
    def text(self) -> str:
        """What the model said."""
        body = self.body or b"".join(self.sink.pieces)
        if body.startswith(b"{"):
            return str(msgspec.json.decode(body)["choices"][0]["message"]["content"])
        events = [line[6:] for line in body.decode().split("\n") if line.startswith("data: {")]
        deltas = [choice["delta"] for event in events for choice in msgspec.json.decode(event).get("choices", ())]
        return "".join(each.get("content", "") for each in deltas)


class Front:
    """A rig and the cache before it."""

    def __init__(
        self,
        script: Script = echo,
        settings: CacheSettings | None = None,
        *,
        cache: Cache | None = None,
        environ: Mapping[str, str] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.rig = rig = Rig(script, environ or providers("acme"), journal=journal)
        ports = Ports(
            upstream=rig.upstream,
            ledger=rig.ledger,
            clock=rig.clock,
            observer=rig.notes,
            random=random.Random(7).random,
            journal=journal,
        )
        settings = settings or CacheSettings(mode="all")
        self.counts = CacheCounts()
        self.cache: Cache = cache or MemoryCache(1 << 24)
        self.reports: list[str] = []
        shelf = Shelf(self.cache, rig.clock, self.counts, settings=settings, report=self.reports.append)
        self.answers = AnswerCache(rig.pool, ports, shelf, self.counts, settings=settings)
        self._origin = Straight(rig)
        self._asked = 0

    @property
    def calls(self) -> int:
        return len(self.rig.upstream.calls)

    @property
    def rows(self) -> list[RequestRecord]:
        return self.rig.notes.ended

    def row_of(self, asking: Asking) -> RequestRecord:
        (row,) = [row for row in self.rows if row.id == asking.record.id]
        return row

    def asked(
        self, body: Mapping[str, Any], client: str = "app", own: str = "", wishes: Wishes = NO_WISHES
    ) -> Asked | None:
        request = decode_request("chat", msgspec.json.encode(body), max_depth=64)
        record = RequestRecord("req_x", 1.0, client=client)
        return self.answers.asked(request, record, NO_WISHES, read_cache_wishes(own))

    async def ask(
        self,
        prompt: str = "hi",
        *,
        client: str = "app",
        stream: bool = False,
        own: str = "",
        standard: str = "",
        wishes: Wishes = NO_WISHES,
        sink: ListSink | None = None,
        **more: Any,
    ) -> Asking:
        """Ask as the data plane does; a CallerError becomes part of the outcome."""
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}
        request = decode_request(
            "chat", msgspec.json.encode({**body, "stream": True} if stream else body), max_depth=64
        )
        self._asked += 1
        record = RequestRecord(f"req_{self._asked}", self.rig.clock.monotonic_s(), client=client)
        asking = Asking(record, sink or ListSink())
        record.operation, record.model_asked, record.stream = request.operation, request.model, request.stream
        try:
            asked = self.answers.asked(request, record, wishes, read_cache_wishes(own, standard))
            if asked is None:
                reply = await self.rig.gateway.serve(request, record, asking.sink, wishes)
            else:
                ride = Ride(self._origin, request, record, asking.sink, wishes)
                reply = await self.answers.serve(asked, ride)
            if reply is not None:
                asking.head, asking.body = reply
        except CallerError as error:
            record.status, record.category = error.status, record.category or error.code or error.kind
            asking.error = error
        except asyncio.CancelledError:
            record.category = "caller_gone"
            raise
        finally:
            self.rig.gateway.finish(record)
        return asking

    def start(self, prompt: str = "hi", **more: Any) -> "asyncio.Task[Asking]":
        return asyncio.create_task(self.ask(prompt, **more))


async def turn(times: int = 10) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to that")
