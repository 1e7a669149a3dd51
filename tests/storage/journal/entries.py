"""Attempts and ends of made-up requests, and a journal whose process is gone."""

import contextlib
import os
from pathlib import Path

import msgspec

from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.core.usage import Usage
from keyrelay.storage.journal.recovery import Leftover, recover
from keyrelay.storage.journal.writer import FileJournal

SENT_S = 1_790_000_000.25
MIB = 1024 * 1024


def request_id(number: int) -> str:
    return f"req_{number:032x}"


def reserved(number: int, attempt: int = 0, **amounts: int) -> Reserved:
    return Reserved(
        request_id(number), attempt, "team", "chat", "gemini", f"key-{attempt}", "flash", SENT_S + attempt, **amounts
    )


def line(number: int, *, words: str = "") -> bytes:
    return msgspec.json.encode(
        RequestRecord(
            id=request_id(number),
            time="2027-01-15T08:00:00.123Z",
            client="team",
            operation="chat",
            model_asked=words or "auto",
            provider="gemini",
            key="key-0",
            model="flash",
            status=200,
            usage=Usage(420, 180),
            attempts=[Attempt("gemini", "key-0", "flash", 811.9, None, SENT_S, 1, 420, 180)],
        )
    )


def id_of(row: bytes) -> str:
    return str(msgspec.json.decode(row)["request_id"])


def number_of(row: bytes) -> int:
    return int(id_of(row).removeprefix("req_"), 16)


def opened(data_dir: Path, *, max_bytes: int = MIB, fsync: bool = False) -> FileJournal:
    return FileJournal.open(data_dir, max_bytes=max_bytes, fsync=fsync)


def forget(journal: FileJournal) -> None:
    """Let it know its rows by its files alone."""
    journal._tail.begin(journal._written)


def kill(journal: FileJournal) -> None:
    """What is left when the process is killed: no tidying up, and the lock is free."""
    with contextlib.suppress(OSError):
        os.close(journal._fd)
    if journal._spare is not None:
        os.close(journal._spare.fd)
    journal._drain.close()
    os.close(journal._lock)


def only(leftovers: tuple[Leftover, ...]) -> Leftover:
    (leftover,) = leftovers
    return leftover


def recovered(data_dir: Path) -> Leftover:
    return only(recover(data_dir))


async def all_rows(journal: FileJournal | Leftover, *, max_rows: int = 100, max_bytes: int = 64 * 1024) -> list[bytes]:
    """Everything that the recorder would get, each batch confirmed."""
    found: list[bytes] = []
    while rows := await journal.read(max_rows, max_bytes):
        found += rows
        await journal.kept()
    return found
