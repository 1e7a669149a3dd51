"""A raw client, small rows and a server to run against: what the simulator's tests are made of."""

import asyncio
import datetime as dt
import json
from typing import Any, Self

import msgspec

from keyrelay.core.providers import LimitRow, ModelRow, ProviderRow
from keyrelay.simulator import ProviderPlan, Scenario, Simulator, VirtualClock

NOON = dt.datetime(2026, 11, 21, 20, 0, tzinfo=dt.UTC).timestamp()  # noon in Los Angeles
MODELS = (
    ModelRow(id="small", context_tokens=1000),
    ModelRow(id="thinker", capabilities=("chat", "reasoning")),
    ModelRow(id="embedder", capabilities=("embeddings",)),
)


def row(name: str, base_url: str = "https://api.example/v1", **fields: Any) -> ProviderRow:
    made = {"name": name, "base_url": base_url, "verified_at": dt.date(2026, 11, 21), "priority": 1, "models": MODELS}
    return ProviderRow(id=name, **{**made, **fields})


def per(amount: int, window: str, unit: str = "requests", **fields: Any) -> LimitRow:
    return msgspec.convert({"unit": unit, "amount": amount, "window": window, **fields}, LimitRow)


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes
    clean: bool  # the peer said FIN or sent a whole answer, no RST

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The events' data as a correct parser reads them."""
        text = self.body.decode().lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        data = [block[6:] for block in text.split("\n") if block.startswith("data: ")]
        return [json.loads(item) for item in data if item != "[DONE]"]

    @property
    def text(self) -> str:
        choices = [event["choices"][0] for event in self.events if event.get("choices")]
        return "".join(c["delta"].get("content") or "" for c in choices)


def chat(model: str = "small", content: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


def request_bytes(path: str, body: Any, *, method: str = "POST", headers: dict[str, str] | None = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    lines = {"host": "x", "content-length": str(len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data


async def raw(port: int, data: bytes, *, seconds: float = 5.0) -> tuple[bytes, str]:
    """Everything that comes until the end, and how it ended: `fin`, `rst` or `silence`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(data)
        async with asyncio.timeout(seconds):
            while part := await reader.read(1 << 20):
                received += part
    except ConnectionResetError:
        return received, "rst"
    except TimeoutError:
        return received, "silence"
    finally:
        writer.transport.abort()
    return received, "fin"


def dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + rest[:length], rest[length + 2 :]
        if not length:
            break
    return body


class Bench:
    """A simulator with a virtual clock, and calls to it."""

    def __init__(self, *rows: ProviderRow, seed: int = 1, **plans: ProviderPlan) -> None:
        self.clock = VirtualClock(NOON)
        self.simulator = Simulator(Scenario(seed=seed, providers=plans), {r.id: r for r in rows}, self.clock)
        self.judge = self.simulator.judge
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self.simulator.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.simulator.stop()

    async def send(
        self, provider: str, body: Any = None, *, key: str = "sim-a", path: str = "/v1/chat/completions", **headers: str
    ) -> Answer:
        method = headers.pop("method", "POST")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["authorization"] = f"Bearer {key}"
        sent["connection"] = "close"
        target = path if path.startswith("/__simulator") else f"/{provider}{path}"
        data, end = await raw(self.port, request_bytes(target, body, method=method, headers=sent))
        return parse(data, clean=end == "fin")

    async def ask(self, provider: str, body: Any = None, **fields: Any) -> Answer:
        return await self.send(provider, body or chat(), **fields)


def parse(data: bytes, *, clean: bool = True) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Answer(int(first.split(" ")[1]), headers, body, clean)
