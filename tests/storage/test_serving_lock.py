"""One gateway serves from a directory, or several that count together."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyrelay.core.errors import OccupiedError, StoreError
from keyrelay.storage.serving_lock import ServingLock

HOLD = """
import asyncio, sys
from pathlib import Path
from keyrelay.storage.serving_lock import ServingLock
lock = ServingLock(Path(sys.argv[1]), shared=False)
asyncio.run(lock.take())
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(directory: Path, *, shared: bool) -> Iterator[ServingLock]:
    lock = ServingLock(directory, shared=shared)
    try:
        yield lock
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(False, False, "whole quota"), (False, True, "without Redis"), (True, False, "whole quota")],
)
async def test_two_that_do_not_count_together_cannot_both_serve(
    tmp_path: Path, first: bool, second: bool, words: str
) -> None:
    with held(tmp_path, shared=first) as one, held(tmp_path, shared=second) as other:
        await one.take()
        with pytest.raises(OccupiedError, match=rf"another gateway \(process \d+ on .*{words}") as caught:
            await other.take(0.0)
        assert "KEYRELAY_REDIS_URL" in caught.value.fix
        one.release()
        await other.take(0.0)


async def test_those_that_count_together_share_the_directory(tmp_path: Path) -> None:
    with held(tmp_path, shared=True) as one, held(tmp_path, shared=True) as other:
        await one.take()
        await other.take(0.0)
        assert (repr(one), repr(other)) == (f"<ServingLock {tmp_path}/serving.lock shared>",) * 2


def test_one_that_is_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with held(tmp_path, shared=False) as lock:
            with pytest.raises(OccupiedError, match=f"process {holder.pid}"):
                asyncio.run(lock.take(0.0))
            holder.kill()
            asyncio.run(lock.take())


async def test_a_directory_that_cannot_be_locked_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be locked: No such file"):
        await ServingLock(tmp_path / "nowhere", shared=False).take()
