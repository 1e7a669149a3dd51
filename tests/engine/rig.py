"""An engine over real implementations of its ports: an upstream with a script, the ledger in memory, a clock."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.configuration import load_configuration
from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Operation
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.redaction import Redactor
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.learner import Learner
from keyrelay.engine.merging import merge_accounts
from keyrelay.engine.pool import Pool
from keyrelay.engine.reasons import Decision
from keyrelay.engine.recall import recall_in_memory, recall_shared
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.shared_continuity import SharedState
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.engine.wishes import NO_WISHES, Wishes
from keyrelay.ports import Confirm, Fault, Journal, Ports, UpstreamCall
from keyrelay.quota.learning import LearnedBook, Organisations
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.wire.openai import decode_request
from keyrelay.wire.registry import DIALECTS
from tests.shipped import shipped_rows

START_S = 1_800_000_000.0
_encoder = msgspec.json.Encoder()
GOOD = {
    "id": "x",
    "choices": [{"message": {"content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


class FakeClock:
    """The event loop's clock, and wall time that a test may move on."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def epoch_s(self) -> float:
        return START_S + self.monotonic_s() % 10_000 + self.moved_s


class FakeAnswer:
    """A whole answer, or a stream of pieces."""

    def __init__(self, status: int = 200, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(GOOD if body is None else body)
        self.streaming = False
        self.fault: Fault | None = None
        self.deadline_at = 0.0
        self.tap: Callable[[bytes], bool] | None = None
        self.pieces: list[bytes] = []
        self.closed = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        return self.pieces.pop(0) if self.pieces else b""

    def release(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


def stream_of(*events: object, done: bool = True, fault: Fault | None = None) -> FakeAnswer:
    answer = FakeAnswer()
    answer.streaming = True
    answer.pieces = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    answer.pieces += [b"data: [DONE]\n\n"] if done else []
    answer.fault = fault
    return answer


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def error(status: int, message: str = "no", *, code: str = "", **headers: str) -> FakeAnswer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return FakeAnswer(status, {"error": {"message": message, "code": code or None}}, fields)


Outcome = FakeAnswer | Fault
Script = Callable[[str, UpstreamCall], Outcome | Awaitable[Outcome]]


class FakeUpstream:
    """Answers as a script says: a function of the key and the call."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[str] = []
        self.running = 0
        self.most_running = 0

    async def send(self, call: UpstreamCall) -> Outcome:
        key = call.credential.secret.reveal() if call.credential else ""
        self.calls.append(key)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            outcome = self.script(key, call)
            return outcome if isinstance(outcome, FakeAnswer | Fault) else await outcome
        finally:
            self.running -= 1


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.failed: list[Attempt] = []
        self.ended: list[RequestRecord] = []
        self.decisions: Decisions | None = None

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        self.failed.append(attempt)

    def finished(self, record: RequestRecord) -> None:
        self.ended.append(record)
        if self.decisions is not None:
            self.decisions.remember(_encoder.encode_lines([record]), 1)


def newest_first(decisions: Decisions) -> Iterator[Decision]:
    """All decisions kept, from the newest on."""
    decisions.refresh()
    for page, _ in reversed(decisions._pages):
        for line in reversed(page.splitlines()):
            if line.startswith(b'{"event":"request"'):
                yield decisions._decision(line)


class ListSink:
    """A caller who takes everything at once."""

    def __init__(self, *, keeps_up: bool = True) -> None:
        self.keeps_up = keeps_up
        self.head = b""
        self.pieces: list[bytes] = []
        self.ended = False

    gone = True

    async def start(self, head: bytes) -> None:
        self.head = head

    def write_now(self, data: bytes) -> bool:
        if not self.keeps_up:
            return False
        self.pieces.append(data)
        return True

    async def write(self, data: bytes) -> None:
        self.pieces.append(data)

    async def end(self, data: bytes) -> None:
        self.pieces.append(data)
        self.ended = True

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()


def snapshot_of(**environ: str) -> Snapshot:
    """A snapshot as the environment would make it; `ACME_…` and `BEST_…` are providers of the operator's own."""
    return load_configuration(
        environ, directory=Path("/nowhere"), overrides={"data_dir": "/nowhere"}, catalogue=shipped_rows()
    ).snapshot


def providers(*names: str, keys: int = 1, **more: str) -> dict[str, str]:
    """Providers with one model `m` and so many keys each: `acme-00`, `acme-01` and so on."""
    environ = {}
    for name in names:
        environ[f"{name.upper()}_BASE_URL"] = f"http://{name}.example/v1"
        environ[f"{name.upper()}_API_KEYS"] = ",".join(f"k{n:02}={name}-{n:02}" for n in range(keys))
        environ[f"{name.upper()}_MODELS"] = "m"
    return environ | more


class Rig:
    """A gateway with everything that a test may look at."""

    def __init__(
        self,
        script: Script,
        environ: Mapping[str, str],
        settings: EngineSettings | None = None,
        circuits: CircuitSettings | None = None,
        journal: Journal | None = None,
        confirm: Confirm | None = None,
        notes: "Notes | None" = None,
        state: SharedState | None = None,
    ) -> None:
        self.upstream = FakeUpstream(script)
        self.clock = FakeClock()
        self.notes = notes or Notes()
        self.ledger = MemoryLedger()
        self.pool = Pool(snapshot_of(**environ), Health(circuits or CircuitSettings()))
        self.reports: list[str] = []
        self.learner = Learner(
            self.ledger,
            LearnedBook(),
            Organisations(),
            redactor=Redactor(["acme-00"]),
            report=self.reports.append,
            merged=lambda merge: merge_accounts(self.pool, self.ledger, merge, self.clock.epoch_s()),
        )
        self.gateway = Gateway(
            self.pool,
            Ports(
                upstream=self.upstream,
                ledger=self.ledger,
                clock=self.clock,
                observer=self.notes,
                random=random.Random(7).random,
                journal=journal,
                confirm=confirm,
            ),
            settings=settings or EngineSettings(waiting=WaitingSettings(wait_s=0.0)),
            learner=self.learner,
            dialects=DIALECTS,
            recall=recall_in_memory(1_000_000, 3_600.0) if state is None else recall_shared(1_000_000, 3_600.0, state),
        )
        self.notes.decisions = self.gateway.decisions
        self.records: list[RequestRecord] = []

    async def ask(
        self, model: str = "m", *, sink: ListSink | None = None, wishes: Wishes = NO_WISHES, **more: Any
    ) -> bytes | None:
        """The body of a whole answer, None for a stream. Raises CallerError as the gateway does."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        if sink is not None:
            body["stream"] = True
        operation: Operation = "chat"
        request = decode_request(operation, msgspec.json.encode(body), max_depth=64)
        record = RequestRecord(f"req_{len(self.records)}", self.clock.monotonic_s())
        self.records.append(record)
        try:
            reply = await self.gateway.serve(request, record, sink or ListSink(), wishes)
        finally:
            self.gateway.finish(record)
        return None if reply is None else reply[1]

    async def refusal(self, model: str = "m", **more: Any) -> CallerError:
        """The error that a request ends in."""
        try:
            await self.ask(model, **more)
        except CallerError as refused:
            return refused
        raise AssertionError("it was answered")
