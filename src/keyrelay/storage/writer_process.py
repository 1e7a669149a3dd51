"""The process that writes rows for a gateway: `python -m keyrelay.storage.writer_process`, which nobody else starts.

Its standard input is its end of a pair of sockets (`writer_channel`), over which it is told first which database that
is. When the other end is closed, or the gateway has died, it ends, once the batch under way is written.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType

from keyrelay.core.errors import KeyrelayError, StoreError
from keyrelay.storage.batches import LineError
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.writer_channel import (
    BadLine,
    Batch,
    BrokenChannel,
    Done,
    Message,
    Opening,
    Refused,
    open_streams,
    receive,
    send,
)

NICENESS = 5
"""Requests that are being served come first. It still gets a quarter of a processor that it has to share: enough for
more rows than a gateway can make of the other three."""

_NEW_OBJECTS = 50_000
"""Python looks for garbage after so many new objects: after a batch rather than many times in the middle of one."""


async def serve(end: socket.socket) -> None:
    """Write what comes, until nobody is there any more. Raise BrokenChannel, StoreError for a database of no kind."""
    reader, writer = await open_streams(end)
    try:
        opening = await receive(reader, Opening)
        os.environ.update(opening.environment)
        database = open_database(opening.url, Path(opening.data_dir), durable=opening.durable)
        try:
            await send(writer, Done())
            while True:
                batch = await receive(reader, Batch)
                await send(writer, await answer_to(batch, database))
        finally:
            await database.close()
    except (EOFError, OSError):
        return  # the gateway has no more to say, or is gone
    finally:
        writer.close()


async def answer_to(batch: Batch, database: Database) -> Message:
    """Write a batch, and what there is to say about it."""
    try:
        await database.write(batch.lines)
    except LineError as error:
        return BadLine(error.place, error.problem)
    except StoreError as error:
        return Refused(str(error), error.lasting)
    return Done()


def main() -> None:
    """Serve until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the gateway ends it once everything is written
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _tell
    os.nice(NICENESS)
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    asyncio.run(serve(socket.socket(fileno=sys.stdin.fileno())))


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say why it fails, without the text of errors that may hold what was to be written."""
    del traceback
    words = str(error) if isinstance(error, KeyrelayError | BrokenChannel) else kind.__name__
    sys.stderr.write(f"keyrelay: the process that writes rows has failed: {words}\n")


if __name__ == "__main__":
    main()
