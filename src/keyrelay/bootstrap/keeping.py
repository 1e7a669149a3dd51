"""What outlives the process: the journal, the store, and what moves rows from one to the other.

The journal is opened before anything is served, the store need not be there at all: what is written waits in the
journal for it.
"""

import asyncio
import random
from collections.abc import Callable

from keyrelay.api.health import Check
from keyrelay.configuration.values import Configuration
from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import Used
from keyrelay.engine.housekeeping import Chore, Housekeeping
from keyrelay.engine.rebuilding import Rebuilding, needed_since_s, used_by
from keyrelay.engine.recorder import Recorder
from keyrelay.engine.snapshots import SAVE_EVERY_S, Snapshots
from keyrelay.ports import Clock
from keyrelay.storage.database import open_database
from keyrelay.storage.journal.recovery import recover
from keyrelay.storage.journal.rejects import RejectedRows
from keyrelay.storage.journal.writer import FileJournal
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.retention import Retention
from keyrelay.storage.usage_store import SeenKey, SqlUsageStore

_STORE_AT_START_S = 10.0
"""How long a start waits for a store that cannot be reached, to hear from it what has been used."""

_RETRY_S = 0.5
_PURGE_EVERY_S = 3600.0
_DAY_S = 86_400.0
_STORE = "keyrelay.store"


class Keeping:
    """Journal, store and recorder of one process. Raise ConfigurationError when the data directory is of no use.

    The `chief` is the one worker of an instance that sees to what has to be done once.
    """

    def __init__(
        self, configuration: Configuration, clock: Clock, report: Callable[[str, str], None], *, chief: bool = True
    ) -> None:
        settings = configuration.settings
        self._snapshot = configuration.snapshot
        self._clock = clock
        self._report = report
        self._drain_s = settings.drain_timeout_s
        self._chief = chief
        self._reached = False
        self._left: list[Used] = []
        self._housekeeping: Housekeeping | None = None
        self._retention = Retention(
            requests_days=settings.keep_requests_days,
            minutes_days=settings.keep_minutes_days,
            hours_days=settings.keep_hours_days,
        )
        self.database = open_database(settings.database_url.reveal(), settings.data_dir, durable=settings.journal_fsync)
        self.store = SqlUsageStore(self.database, clock.epoch_s)
        self.reader = PromptReader(self.database)
        try:
            self._leftovers = recover(settings.data_dir)
            self.journal = FileJournal.open(
                settings.data_dir,
                max_bytes=settings.journal_max_bytes // settings.workers,
                fsync=settings.journal_fsync,
                leftovers=self._leftovers,
            )
        except StoreError as error:
            raise ConfigurationError("KEYRELAY_DATA_DIR", str(error), "Name a directory that can be written.") from None
        self.recorder = Recorder(
            self.store,
            (*self._leftovers, self.journal),
            RejectedRows(settings.data_dir),
            clock=clock,
            random=random.random,
            report=lambda text: report(text, "keyrelay.recorder"),
        )

    async def open(self, snapshots: Snapshots) -> None:
        """Read what was found out before, and begin to move rows into the store.

        What a process before this one left in its journal goes to the store first. A store that cannot be reached is
        waited for a moment, and then done without. Raise ConfigurationError when a person has to mend it first.
        """
        self._left = [used for leftover in self._leftovers for record in leftover.records() for used in used_by(record)]
        try:
            await self._reach()
        except StoreError as error:
            if error.lasting:
                raise ConfigurationError("KEYRELAY_DATABASE_URL", str(error)) from None
            self._report(f"what was used before this start is not known: {error}", _STORE)
        else:
            await snapshots.restore()
        self.recorder.start()
        self._housekeeping = Housekeeping(self._chores(snapshots), lambda text: self._report(text, _STORE))
        self._housekeeping.start()
        if await self.recorder.flush(_STORE_AT_START_S if self._reached else 0.0):
            self._left = []  # it is among what the store has

    async def tell(self, rebuilding: Rebuilding) -> None:
        """Tell a fresh ledger what has been used; rather too much than too little."""
        used: list[Used] = []
        ever: list[Used] = []
        try:
            if self._reached:
                used = await self.used(self._snapshot)
                ever = await self.store.used_ever()
        except StoreError as error:
            self._report(f"what was used before this start is not known: {error}", _STORE)
        rebuilding.count(used + self._left)
        rebuilding.count(ever + self._left, once=True)
        self._left = []
        if rebuilding.unknown:
            self._report(f"what {rebuilding.unknown} keys have used that are gone counts no more", _STORE)

    async def used(self, snapshot: Snapshot) -> list[Used]:
        """What the store has of the windows that still count. Raise StoreError."""
        return await self.store.used_since(needed_since_s(snapshot, self._clock.epoch_s()))

    async def close(self, snapshots: Snapshots) -> None:
        """Move what waits into the store if it takes it; the rest stays in the journal for the next start."""
        if self._housekeeping is not None:
            await self._housekeeping.stop()
            await snapshots.save()
        if not await self.recorder.drain(self._drain_s):
            self._report("the store did not take all rows; the rest is in the journal for the next start", _STORE)
        self.journal.close()
        for leftover in self._leftovers:
            leftover.close()
        await self.reader.close()
        await self.database.close()

    def journal_check(self) -> Check:
        """Whether requests can be written down, for readiness."""
        waiting = f"{self.journal.bytes_waiting} bytes wait for the store"
        if self.journal.full:
            return Check("journal", ok=False, detail=self.journal.problem or f"full: {waiting}")
        return Check("journal", ok=True, detail=self.journal.problem or waiting, degraded=bool(self.journal.problem))

    def store_check(self) -> Check:
        """Whether the store takes what is written down: requests are served without it."""
        trouble = self.recorder.degraded
        if trouble is None:
            return Check("store", ok=True, detail=f"{self.recorder.counts().rows_written} rows written")
        return Check("store", ok=True, detail=f"{trouble.why}, since {rfc3339(trouble.since_s)}", degraded=True)

    def _chores(self, snapshots: Snapshots) -> tuple[Chore, ...]:
        """What is done now and then; deleting is done by one worker of an instance."""
        chores = (
            Chore("saving what was found out", SAVE_EVERY_S, snapshots.save, first_s=SAVE_EVERY_S),
            Chore("noting which keys there are", _DAY_S, self._note_keys),
        )
        purge = Chore("deleting old rows", _PURGE_EVERY_S, lambda: self.store.purge(self._retention), first_s=_RETRY_S)
        return (*chores, purge) if self._chief else chores

    async def _note_keys(self) -> None:
        keys = self._snapshot.keys
        await self.store.note_keys(
            SeenKey(key.provider_id, key.label, key.secret.fingerprint) for key in keys if key.secret is not None
        )

    async def _reach(self) -> None:
        """Wait until the store answers, with the tables that it should have; not for ever."""
        until_at = self._clock.monotonic_s() + _STORE_AT_START_S
        while True:
            try:
                await ensure_schema(self.database)
            except StoreError as error:
                if error.lasting or self._clock.monotonic_s() >= until_at:
                    raise
            else:
                self._reached = True
                return
            await asyncio.sleep(_RETRY_S)

    def __repr__(self) -> str:
        return f"<Keeping {self.journal!r} {self.recorder!r}>"
