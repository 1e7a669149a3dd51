"""What outlives the process: the journal, the store, and what moves rows from one to the other.

The journal is opened before anything is served, the store need not be there at all: what is written waits in the
journal for it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from keyrelay.api.health import Check
from keyrelay.configuration.values import Configuration
from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import OF_CLIENTS, Used
from keyrelay.engine.housekeeping import Chore, Housekeeping
from keyrelay.engine.rebuilding import Rebuilding, needed_since_s, together, used_by
from keyrelay.engine.recorder import Recorder
from keyrelay.engine.snapshots import SAVE_EVERY_S, Snapshots
from keyrelay.ports import Clock
from keyrelay.quota.values import Amounts
from keyrelay.settings import Settings
from keyrelay.storage.apart import WriterApart
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.journal.absent import NoJournal
from keyrelay.storage.journal.recovery import Leftover, recover
from keyrelay.storage.journal.rejects import RejectedRows
from keyrelay.storage.journal.writer import FileJournal
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.retention import Retention
from keyrelay.storage.serving_lock import ServingLock
from keyrelay.storage.usage_store import SeenKey, SqlUsageStore

_STORE_AT_START_S = 10.0
"""How long a start waits for a store that cannot be reached, to hear from it what has been used."""

_DRAIN_S = 5.0
"""How long a stop waits for a store that does not answer: what is in the journal is as good as kept."""

_RETRY_S = 0.5
_PURGE_EVERY_S = 3600.0
_NOTE_EVERY_S = 3600.0
_REACH_EVERY_S = 2.0
_TAKE_OVER_EVERY_S = 60.0
_STORE = "keyrelay.store"


class Keeping:
    """Journal, store and recorder of one process. Raise ConfigurationError when the data directory is of no use.

    `snapshot` is the configuration in force. The `chief` is the one worker of an instance that sees to what has to be
    done once. `told`: a ledger was told what the store knows.
    """

    def __init__(
        self,
        configuration: Configuration,
        clock: Clock,
        report: Callable[[str, str], None],
        *,
        snapshot: Callable[[], Snapshot],
        chief: bool = True,
    ) -> None:
        settings = configuration.settings
        self._snapshot = snapshot
        self._directory = settings.data_dir
        self._clock = clock
        self._report = report
        self._chief = chief
        self._reached = False
        self.told = False
        self._left: list[Used] = []
        self._housekeeping: Housekeeping | None = None
        self._retention = Retention(
            requests_days=settings.keep_requests_days,
            minutes_days=settings.keep_minutes_days,
            hours_days=settings.keep_hours_days,
            texts_days=settings.keep_texts_days,
            audit_days=settings.keep_audit_days,
        )
        url, directory, durable = settings.database_url.reveal(), settings.data_dir, settings.journal_fsync
        try:
            self.database = self._open_database(settings)
        except StoreError as error:
            raise ConfigurationError("KEYRELAY_DATABASE_URL", str(error)) from None
        self._apart = WriterApart(url, directory, durable=durable, report=lambda text: report(text, _STORE))
        self.store = SqlUsageStore(self.database, clock.epoch_s, self._apart)
        self.reader = PromptReader(self.database)
        self.elsewhere: Callable[[], list[Used]] = list
        try:
            self._leftovers = self._open_leftovers(settings)
            self.journal = self._open_journal(settings)
        except StoreError as error:
            fix = "Name a directory that can be written."
            raise ConfigurationError("KEYRELAY_DATA_DIR", f"{error}.", fix) from None
        self._serving = ServingLock(settings.data_dir, shared=bool(settings.redis_url))
        self.recorder = Recorder(
            self.store,
            (*self._leftovers, self.journal),
            RejectedRows(settings.data_dir),
            clock=clock,
            random=random.random,
            report=lambda text: report(text, "keyrelay.recorder"),
        )

    def _open_database(self, settings: Settings) -> Database:
        return open_database(settings.database_url.reveal(), settings.data_dir, durable=settings.journal_fsync)

    def _open_leftovers(self, settings: Settings) -> tuple[Leftover, ...]:
        """The journals of processes before this one."""
        return recover(settings.data_dir)

    def _open_journal(self, settings: Settings) -> FileJournal | NoJournal:
        """The one that is written here."""
        return FileJournal.open(
            settings.data_dir,
            max_bytes=settings.journal_max_bytes // settings.workers,
            fsync=settings.journal_fsync,
            leftovers=self._leftovers,
        )

    async def open(
        self, snapshots: Snapshots, known_late: Callable[[], Awaitable[None]], more: tuple[Chore, ...] = ()
    ) -> None:
        """Read what was found out before, and begin to move rows into the store, and to do what `more` there is to do.

        What a process before this one left in its journal goes to the store first. A store that cannot be reached is
        waited for a moment, and then done without; `known_late` is called when it answers after all. Raise
        ConfigurationError when a person has to mend it first, or to stop another gateway.
        """
        await self._serve_alone()
        try:
            await self._reach()
        except StoreError as error:
            if error.lasting:
                raise ConfigurationError("KEYRELAY_DATABASE_URL", str(error)) from None
            self._report(f"what was used before this start is not known yet: {error}", _STORE)
        else:
            await snapshots.restore()
        self.recorder.start()
        drained = await self.recorder.flush(_STORE_AT_START_S if self._reached else 0.0)
        # What has gone to the store is among what the store has; the rest is counted from the journals.
        self._left = [] if drained else await asyncio.to_thread(self._left_over)
        chores = (*self._chores(snapshots, known_late), *more)
        self._housekeeping = Housekeeping(chores, lambda text: self._report(text, _STORE))
        self._housekeeping.start()

    async def _serve_alone(self) -> None:
        """See to it that no other gateway spends the same quotas by counts of its own."""
        try:
            await self._serving.take()
        except StoreError as error:
            raise ConfigurationError("KEYRELAY_DATA_DIR", f"{error}.") from None

    async def tell(self, rebuilding: Rebuilding, *, late: bool = False) -> None:
        """Tell a fresh ledger what has been used; rather too much than too little.

        `late`: the store answers by now; then, and only then, raise StoreError when it does not.
        """
        used: list[Used] = []
        ever: list[Used] = []
        try:
            if self._reached or late:
                used, ever = await self.used()
                self.told = True
        except StoreError as error:
            if late:
                raise
            self._report(f"what was used before this start is not known: {error}", _STORE)
        rebuilding.count(used + self._left)
        rebuilding.count(ever + self._left, once=True)
        self._left = []
        if rebuilding.unknown:
            self._report(f"what {rebuilding.unknown} keys have used that are gone counts no more", _STORE)

    async def used(self) -> tuple[list[Used], list[Used]]:
        """What the store has of the windows that still count, and what was ever used. Raise StoreError."""
        since_s = needed_since_s(self._snapshot(), self._clock.epoch_s())
        used, ever = await self.store.used_since(since_s), await self.store.used_ever()
        elsewhere = self.elsewhere()
        return used + [each for each in elsewhere if each.at_s >= since_s], ever + elsewhere

    @property
    def reached(self) -> bool:
        """Whether the store has answered since the start."""
        return self._reached

    async def charged(self, client: str) -> Amounts:
        """What a client has ever been charged with. Raise StoreError."""
        for each in await self.store.used_ever():
            if each.provider == OF_CLIENTS and each.key == client:
                return Amounts(each.requests, each.input_tokens, each.output_tokens, each.usd_micros)
        return Amounts(requests=0)

    async def close(self, snapshots: Snapshots) -> None:
        """Move what waits into the store if it takes it; the rest stays in the journal for the next start."""
        if self._housekeeping is not None:
            await self._housekeeping.stop()
            await self._save(snapshots)
        if not await self.recorder.drain(_DRAIN_S) and self.journal.rows_waiting:
            self._report("the store did not take all rows; the rest is in the journal for the next start", _STORE)
        self.journal.close()
        for leftover in self._leftovers:
            leftover.close()
        await self.reader.close()
        await self._apart.aclose()
        await self.database.close()
        self._serving.release()

    def journal_check(self) -> Check:
        """Whether requests can be written down, for readiness."""
        waiting = f"{self.journal.bytes_waiting} bytes wait for the store"
        if self.journal.full:
            return Check("journal", ok=False, detail=self.journal.problem or f"full: {waiting}")
        return Check("journal", ok=True, detail=self.journal.problem or waiting, degraded=bool(self.journal.problem))

    def store_check(self) -> Check:
        """Whether the store takes what is written down: requests are served without it."""
        if lost := self.database.lost:
            return Check("store", ok=True, detail=lost, degraded=True)
        trouble = self.recorder.degraded
        if trouble is None:
            return Check("store", ok=True, detail=f"{self.recorder.counts().rows_written} rows written")
        return Check("store", ok=True, detail=f"{trouble.why}, since {rfc3339(trouble.since_s)}", degraded=True)

    def _chores(self, snapshots: Snapshots, known_late: Callable[[], Awaitable[None]]) -> tuple[Chore, ...]:
        """What is done now and then; some of it by one worker of an instance alone."""
        chores: tuple[Chore, ...] = (
            Chore("saving what was found out", SAVE_EVERY_S, lambda: self._save(snapshots), first_s=SAVE_EVERY_S),
            Chore("noting which keys there are", _NOTE_EVERY_S, self._note_keys),
        )
        if not self._reached:
            chores = (*chores, Chore("reaching the store", _REACH_EVERY_S, lambda: self._reach_late(known_late)))
        if not self._chief:
            return chores
        return (
            *chores,
            Chore("deleting old rows", _PURGE_EVERY_S, lambda: self.store.purge(self._retention), first_s=_RETRY_S),
            Chore("taking over journals", _TAKE_OVER_EVERY_S, self._take_over, first_s=_TAKE_OVER_EVERY_S),
        )

    async def _save(self, snapshots: Snapshots) -> None:
        """Save what was found out, unless what was found out before has not been read yet: it would be lost."""
        if self._reached:
            await snapshots.save()

    async def _reach_late(self, known_late: Callable[[], Awaitable[None]]) -> None:
        """Look again for a store that did not answer at the start."""
        if not self._reached:
            await ensure_schema(self.database)
            await self.recorder.flush(_STORE_AT_START_S)
            await known_late()
            self._reached = True

    async def _take_over(self) -> None:
        """Move into the store what workers have left that ended while it was away."""
        for leftover in await asyncio.to_thread(recover, self._directory):
            self._leftovers = (*self._leftovers, leftover)
            self.recorder.add(leftover)

    def _left_over(self) -> list[Used]:
        """What the journals of earlier processes say was used, and the store need not know."""
        sums: dict[tuple[str, str, str, int], Used] = {}
        for leftover in self._leftovers:
            for record in leftover.records():
                for used in used_by(record):
                    place = used.provider, used.key, used.model, int(used.at_s)
                    sums[place] = used if place not in sums else together(sums[place], used)
        return list(sums.values())

    async def _note_keys(self) -> None:
        keys = self._snapshot().keys
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
