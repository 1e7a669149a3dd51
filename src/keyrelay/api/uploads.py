"""Taking in forms with files: read while they arrive, and kept where they take no memory.

A form has to be there as a whole before it is sent on: the model may stand behind the file, and when one key refuses,
another gets the same bytes. So what is more than a little goes to a file without a name in the data directory, and is
sent from a map of that file. The disk is written to from a thread; until it has the bytes, no more are read.
"""

import asyncio
import mmap
import tempfile
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import msgspec

from keyrelay.api.callers import RequestHead, check_encoding, too_large
from keyrelay.api.visits import Ended, Visit
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.multipart import FormReader, form_type, read_boundary

SPOOL_BYTES = 1024 * 1024
"""What of a form is kept in memory; also how much is written to the disk at a time."""


class UploadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of forms; times in seconds. `max_spool_bytes` is for all that lie on the disk together.

    `timeout_s` bounds the whole of one. Without a `directory` they lie in that of the system.
    """

    directory: Path | None = None
    max_upload_bytes: int = 200 * 1024 * 1024
    max_spool_bytes: int = 2 * 1024 * 1024 * 1024
    timeout_s: float = 600.0


class Uploads:
    """Reads forms. `spooled_bytes` is what lies on the disk now."""

    __slots__ = ("_settings", "spooled_bytes")

    def __init__(self, settings: UploadSettings) -> None:
        self._settings = settings
        self.spooled_bytes = 0

    def configure(self, settings: UploadSettings) -> None:
        """Go on with other bounds, for forms that begin from now on."""
        self._settings = settings

    async def read(self, visit: Visit, head: RequestHead, decode: Callable[..., CallRequest]) -> CallRequest:
        """Read the form that a visit brings; `decode` makes a request of it. Raise CallerError.

        The visit holds what it takes until it leaves.
        """
        settings = self._settings
        check_encoding(head)
        boundary = read_boundary(head.content_type)
        if head.content_length > settings.max_upload_bytes:
            raise too_large(settings.max_upload_bytes, "max_upload_bytes")
        reader = FormReader(boundary)
        visit.spool = spool = Spool(self, settings)
        whole = visit.take_body()
        more = whole is None
        if whole:
            reader.feed(whole)
            await spool.write(whole)
        while more:
            piece, more = await _next_piece(visit, settings.timeout_s)
            reader.feed(piece)
            await spool.write(piece)
        return decode(reader.close(), await spool.content(), form_type(boundary))

    def __repr__(self) -> str:
        return f"<Uploads {self.spooled_bytes} bytes on disk>"


async def _next_piece(visit: Visit, timeout_s: float) -> tuple[bytes, bool]:
    """A piece of the body, and whether more is to come. The wait for the next one begins anew with each."""
    message = await visit.receive()
    if message["type"] == "http.disconnect":
        visit.ended = Ended.GONE
        raise asyncio.CancelledError
    visit.reading_since = now = asyncio.get_running_loop().time()
    if now - visit.since > timeout_s:
        error = CallerError(408, f"The upload did not arrive within {timeout_s:g} s.", code="body_timeout")
        error.headers = (("connection", "close"),)
        raise error
    return message.get("body", b""), message.get("more_body", False)


class Spool:
    """The bytes of one upload, in memory as long as they are few."""

    __slots__ = ("_file", "_pieces", "_settings", "_size", "_spooled", "_uploads", "_waiting", "_writing")

    def __init__(self, uploads: Uploads, settings: UploadSettings) -> None:
        self._uploads = uploads
        self._settings = settings
        self._pieces: list[bytes] = []
        self._waiting = 0  # bytes in `_pieces`
        self._size = 0
        self._spooled = 0
        self._file: FileIO | None = None
        self._writing: asyncio.Future[None] | None = None

    async def write(self, piece: bytes) -> None:
        """Keep a piece. Raise CallerError when it is one too many, or nothing more can be kept."""
        self._size += len(piece)
        if self._size > self._settings.max_upload_bytes:
            raise too_large(self._settings.max_upload_bytes, "max_upload_bytes")
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting > SPOOL_BYTES:
            await self._flush()

    async def content(self) -> memoryview:
        """Everything that was written; from now on nothing more may be. Raise CallerError."""
        if not self._spooled:
            return memoryview(b"".join(self._pieces))
        await self._flush()
        if self._file is None:
            raise RuntimeError("what was spooled has a file")
        try:
            # The map lives as long as somebody looks at it.
            return memoryview(mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ))
        except OSError as error:
            raise _not_kept() from error

    def close(self) -> None:
        """Take no more room. What is being written is written first: its file must not be another's by then."""
        self._uploads.spooled_bytes -= self._spooled
        self._spooled = 0
        self._pieces.clear()
        if self._writing is not None and not self._writing.done():
            self._writing.add_done_callback(self._written)
        elif self._file is not None:
            self._file.close()

    def _written(self, writing: asyncio.Future[None]) -> None:
        writing.exception()  # nobody waits for it any more
        if self._file is not None:
            self._file.close()

    async def _flush(self) -> None:
        """Bring what is in memory to the disk."""
        pieces, self._pieces = self._pieces, []
        self._spooled += self._waiting
        self._uploads.spooled_bytes += self._waiting
        self._waiting = 0
        if self._uploads.spooled_bytes > self._settings.max_spool_bytes:
            raise _no_room()
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, pieces)
        try:
            await asyncio.shield(self._writing)
        except OSError as error:
            raise _not_kept() from error

    def _write(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._settings.directory, buffering=0)  # noqa: SIM115 - see close
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]

    def __repr__(self) -> str:
        return f"<Spool {self._size} bytes, {self._spooled} on disk>"


def _no_room() -> CallerError:
    return CallerError(
        503,
        "Uploads under way take as much of the disk as they may (KEYRELAY_MAX_SPOOL_BYTES). Try again shortly.",
        kind="service_unavailable_error",
        code="too_busy",
        headers=(("retry-after", "1"), ("x-should-retry", "true")),
    )


def _not_kept() -> CallerError:
    return CallerError(
        503,
        "The upload could not be kept: the disk of Keyrelay's data directory is full or fails.",
        kind="service_unavailable_error",
        code="upload_not_kept",
        headers=(("retry-after", "5"), ("x-should-retry", "true")),
    )
