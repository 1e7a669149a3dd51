"""The sink of a caller who is kept alive while it waits."""

from keyrelay.engine.heads import STREAM_HEAD
from keyrelay.ports import Sink


class PatientSink:
    """The sink of a caller who hears comments while it waits: its head has gone by the time the answer comes."""

    __slots__ = ("_request_id", "_sink", "begun")

    def __init__(self, sink: Sink, request_id: str) -> None:
        self._sink = sink
        self._request_id = request_id
        self.begun = False

    @property
    def gone(self) -> bool:
        """Whether the caller has left, or does not read."""
        return self._sink.gone

    async def __call__(self) -> None:
        """Say that the request still waits."""
        if not self.begun:
            self.begun = True
            await self._sink.start(f"x-request-id: {self._request_id}\r\n{STREAM_HEAD}".encode("ascii"))
        await self.write(b": waiting for quota\n\n")

    async def start(self, head: bytes) -> None:
        """Say who answers as a comment, since the head has gone."""
        lines = head.decode("ascii").split("\r\n")
        named = ", ".join(line for line in lines if line.startswith("x-keyrelay-"))
        if named:
            await self.write(f": {named}\n\n".encode("ascii"))

    def write_now(self, data: bytes) -> bool:
        """Send a piece if that takes no waiting; False when it does, and nothing was sent."""
        return self._sink.write_now(data)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if not self._sink.write_now(data):
            await self._sink.write(data)

    async def end(self, data: bytes) -> None:
        """Send the last piece."""
        await self._sink.end(data)

    def __repr__(self) -> str:
        return f"<PatientSink {'begun' if self.begun else 'not begun'}>"
