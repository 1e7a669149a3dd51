"""Where uploads lie: in memory while few, then in a file without a name. What they say to callers is in tests/e2e."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from keyrelay.api.uploads import SPOOL_BYTES, Spool, Uploads, UploadSettings
from keyrelay.core.errors import CallerError

PIECE = bytes(range(256)) * 256


class SlowSpool(Spool):
    """The spool of a slow disk."""

    __slots__ = ()

    def _write(self, pieces: list[bytes]) -> None:
        time.sleep(0.2)
        super()._write(pieces)


def opened(directory: Path | None, *, slow: bool = False, **bounds: int) -> tuple[Uploads, Spool]:
    settings = UploadSettings(directory=directory, **bounds)
    uploads = Uploads(settings)
    return uploads, (SlowSpool if slow else Spool)(uploads, settings)


@pytest.mark.parametrize("count", [0, 1, SPOOL_BYTES // len(PIECE), SPOOL_BYTES // len(PIECE) + 1, 100])
@pytest.mark.parametrize("named", [True, False])
async def test_what_was_written_is_there_and_what_is_much_lies_on_the_disk(
    tmp_path: Path, count: int, named: bool
) -> None:
    uploads, spool = opened(tmp_path if named else None)
    for _ in range(count):
        await spool.write(PIECE)
    content = await spool.content()
    assert bytes(content) == PIECE * count
    size = count * len(PIECE)
    assert uploads.spooled_bytes == (size if size > SPOOL_BYTES else 0)
    assert repr(spool) == f"<Spool {size} bytes, {uploads.spooled_bytes} on disk>"
    spool.close()
    assert uploads.spooled_bytes == 0
    assert bytes(content) == PIECE * count  # whoever still sends it may go on
    assert not os.listdir(tmp_path)  # noqa: PTH208 - an async function may not iterate over a Path


async def test_one_byte_too_many(tmp_path: Path) -> None:
    _, spool = opened(tmp_path, max_upload_bytes=len(PIECE))
    await spool.write(PIECE)
    with pytest.raises(CallerError) as caught:
        await spool.write(b"x")
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    spool.close()


async def test_the_event_loop_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    _, spool = opened(tmp_path, slow=True)
    writing = asyncio.create_task(spool.write(bytes(SPOOL_BYTES + 1)))
    await asyncio.sleep(0.05)
    assert not writing.done()
    await writing
    assert len(await spool.content()) == SPOOL_BYTES + 1
    spool.close()


@pytest.mark.parametrize("directory", ["", "gone"])
async def test_who_leaves_while_the_disk_writes_leaves_nothing(tmp_path: Path, directory: str) -> None:
    uploads, spool = opened(tmp_path / directory, slow=True)
    writing = asyncio.create_task(spool.write(bytes(SPOOL_BYTES + 1)))
    await asyncio.sleep(0.05)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    spool.close()
    assert uploads.spooled_bytes == 0
    await asyncio.sleep(0.3)
    assert spool._file is None or spool._file.closed
