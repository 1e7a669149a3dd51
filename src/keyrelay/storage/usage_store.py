"""Rows of ended requests and what belongs to them, for good, in SQLite or PostgreSQL."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from keyrelay.core.records import Used
from keyrelay.storage.apart import WriterApart
from keyrelay.storage.database import Database
from keyrelay.storage.retention import Purged, Retention, purge
from keyrelay.storage.rollups import MINUTE_S, QUARTER_S
from keyrelay.storage.schema import STATES, USED_MINUTES, USED_QUARTERS, USED_SECONDS, USED_SUMS, USED_TOTALS

SECONDS_S = 7_200
"""For how long back what was used is told to the second."""

MINUTES_S = 26 * 3_600
"""For how long back it is told to the minute."""

_NEVER_S = 1 << 40

_NOTE_KEY = sa.text(
    "INSERT INTO keys_seen (provider, label, fingerprint, first_seen_s, last_seen_s)"
    " VALUES (:provider, :label, :fingerprint, :now_s, :now_s)"
    " ON CONFLICT (provider, label, fingerprint) DO UPDATE SET last_seen_s = excluded.last_seen_s"
)
_WRITE_STATE = sa.text(
    "INSERT INTO states (name, value, updated_s) VALUES (:name, :value, :now_s)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_s = excluded.updated_s"
)


class SeenKey(msgspec.Struct, frozen=True, order=True):
    """A key that is configured, without its secret."""

    provider: str
    label: str
    fingerprint: str


class SqlUsageStore:
    """Implements `ports.UsageStore`. Every method raises StoreError when the database cannot do it now.

    `epoch_s` is the present time. Rows that come in numbers are written by `apart`, if there is one.
    """

    __slots__ = ("_apart", "_database", "_epoch_s")

    def __init__(self, database: Database, epoch_s: Callable[[], float], apart: WriterApart | None = None) -> None:
        self._database = database
        self._epoch_s = epoch_s
        self._apart = apart

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows, each a `RequestRecord` in JSON, all or none; a row that is there already changes nothing.

        A line that can never be kept raises `batches.LineError`, which says which one.
        """
        if self._apart is not None and self._apart.takes(lines) and not self._database.lost:
            await self._apart.write(lines)
        elif lines:
            await self._database.write(lines)

    async def used_since(self, since_s: float) -> list[Used]:
        """What was used from this moment (epoch) on, or a little earlier, in order of time.

        To the second for the last `SECONDS_S`, to the minute for the last `MINUTES_S`, and to the quarter of an hour
        before; `at_s` is when the last call of a group was over.
        """
        now_s = self._epoch_s()
        seconds_from_s, minutes_from_s = _whole(now_s - SECONDS_S, MINUTE_S), _whole(now_s - MINUTES_S, QUARTER_S)
        statement = sa.union_all(
            _used_between(USED_QUARTERS, since_s // QUARTER_S * QUARTER_S, minutes_from_s),
            _used_between(USED_MINUTES, max(since_s // MINUTE_S * MINUTE_S, minutes_from_s), seconds_from_s),
            _used_between(USED_SECONDS, max(since_s // 1, seconds_from_s), _NEVER_S),
        ).order_by("last_ms")
        return await self._read_used(statement)

    async def used_ever(self) -> list[Used]:
        """What was ever used, a row for each provider, key and model."""
        return await self._read_used(_used(USED_TOTALS))

    async def note_keys(self, keys: Iterable[SeenKey]) -> None:
        """Remember that these keys are configured now."""
        now_s = int(self._epoch_s())
        values = [msgspec.structs.asdict(key) | {"now_s": now_s} for key in sorted(set(keys))]
        if values:
            await self._database.change(lambda connection: connection.execute(_NOTE_KEY, values).close())

    async def read_state(self, name: str) -> bytes | None:
        """The snapshot of this name; None when there is none."""
        statement = sa.select(STATES.c.value).where(STATES.c.name == name)
        return await self._database.read(lambda connection: connection.execute(statement).scalar())

    async def write_state(self, name: str, value: bytes) -> None:
        """Keep a snapshot in place of the one before."""
        values = {"name": name, "value": value, "now_s": int(self._epoch_s())}
        await self._database.change(lambda connection: connection.execute(_WRITE_STATE, values).close())

    async def purge(self, retention: Retention) -> Purged:
        """Delete what has been kept long enough, a little at a time."""
        return await purge(self._database, retention, self._epoch_s())

    async def _read_used(self, statement: sa.Select[Any] | sa.CompoundSelect[Any]) -> list[Used]:
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [
            Used(provider, key, model, last_ms / 1000, *amounts) for provider, key, model, last_ms, *amounts in rows
        ]

    def __repr__(self) -> str:
        return f"<SqlUsageStore of {self._database!r}>"


def _whole(moment_s: float, length_s: int) -> int:
    return -int(-moment_s // length_s) * length_s


def _used_between(table: sa.Table, from_s: float, to_s: float) -> sa.Select[Any]:
    start = table.c.start_s
    return _used(table).where(start >= int(from_s), start < int(to_s))


def _used(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in ("provider", "key", "model", "last_ms", *USED_SUMS)))
