"""What an operator does to the vault, for the commands `keyrelay secrets …`: on the host, with the store at hand.

The master key travels over no network. Gateways that run go on meanwhile: a new master key wraps the same data keys,
which they have in memory, and of a new term they learn with the first value that is sealed under it. Everything is done
in steps, each of which is whole or not at all; who was killed begins again, and goes on where it ended.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from keyrelay.administration.entries import COLUMN, TABLE, kind_of, row_of
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.core.errors import MasterKeyError, RevisionError, RingError, VaultError
from keyrelay.core.ids import request_id
from keyrelay.core.kept_texts import ANSWER, REQUEST
from keyrelay.core.kept_texts import TABLE as TEXTS_TABLE
from keyrelay.core.secrets import Secret
from keyrelay.ports import AuditEntry, EntryChanges, SealedTexts, StoredEntry
from keyrelay.settings import Settings
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.sealed_rows import SqlSealedRows
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.ring import RETIRE_AFTER_S, Ring
from keyrelay.vault.vault import Vault

ENTRIES_AT_ONCE = 500
TEXTS_AT_ONCE = 32
_TRIES = 20
"""How often entries are read anew because somebody changes them at the same time."""

Progress = Callable[[int, int], object]
"""Is told how many values are done, and of how many."""


class TermStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A term of the ring: from when until when it was current (epoch), and how many values are sealed under it."""

    number: int
    current: bool
    made_s: int
    superseded_s: int | None
    values: int


class SecretsStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The vault. Marks tell which master key is meant, and nothing about it; `known` are those at hand.

    `problem` says why the ring cannot be opened, empty when it can.
    """

    place: str
    ring: str
    master: str
    known: tuple[str, ...]
    problem: str
    terms: tuple[TermStanding, ...]


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """A master key that took another one's place: their marks, and in words where the new one and the old one are.

    `aside` is empty when they stand in a setting, which has to be changed by hand.
    """

    before: str
    after: str
    place: str
    aside: str


class Resealed(msgspec.Struct, frozen=True, kw_only=True):
    """What was sealed anew, under which term; the terms that were retired, and those that wait until a time (epoch)."""

    term: int
    values: int
    retired: tuple[int, ...]
    waiting: tuple[int, ...]
    retire_at_s: float


class SecretKeeping:
    """The vault of one store. Every method raises StoreError and VaultError."""

    def __init__(self, database: Database, settings: Settings) -> None:
        clock = SystemClock()
        opener = VaultOpener(settings, database, clock)
        self._keeper = opener.keeper()
        self._source = opener.source()
        self._entries = SqlEntryStore(database)
        self._rows = SqlSealedRows(database)
        self._epoch_s = clock.epoch_s

    async def standing(self) -> SecretsStanding:
        """How the vault stands."""
        ring = await self._keeper.ring()
        place = self._source.place
        known, problem = tuple[str, ...](), ""
        if ring is None:
            try:
                await self._source.look()
            except VaultError as error:
                problem = str(error)
            return SecretsStanding(place=place, ring="", master="", known=(), problem=problem, terms=())
        try:
            known = tuple(key.mark for key in await self._source.at_hand(ring.master))
            await self._keeper.open()
        except VaultError as error:
            problem = str(error)
        counts = await self._counts()
        terms = tuple(
            TermStanding(
                number=term.number,
                current=term.number == ring.current,
                made_s=term.made_s,
                superseded_s=term.superseded_s,
                values=counts.get(term.number, 0),
            )
            for term in ring.terms
        )
        return SecretsStanding(place=place, ring=ring.id, master=ring.master, known=known, problem=problem, terms=terms)

    async def rotate_master_key(self, given: Secret | None, *, generate: bool = False) -> Rotated:
        """Let another master key wrap the ring: the one that is given or made, or the last one that the source has.

        Both are there until the ring is wrapped by the new one: whoever starts meanwhile finds the right one.
        """
        ring = await self._ring()
        await self._keeper.open()
        keys = await self._source.at_hand(ring.master)
        new = self._chosen(keys, ring, given, generate=generate)
        old = next((key for key in keys if key.mark != new.mark), None)
        if old is None:
            return Rotated(before=new.mark, after=new.mark, place=self._source.place, aside="")
        aside = await self._source.stand_by(old, new)
        about = {"before": old.mark, "after": new.mark}
        await self._keeper.change_master_key(new, lambda _: self._line("rotate master key", about))
        await self._source.settle(new)
        return Rotated(before=old.mark, after=new.mark, place=self._source.place_of(new.mark), aside=aside)

    async def rotate_term(self, progress: Progress) -> Resealed:
        """Seal everything under a new term; where that was begun and not ended, go on with it."""
        ring = await self._ring()
        await self._keeper.open()
        counts = await self._counts()
        if all(term == ring.current for term in counts):
            await self._keeper.add_term(lambda changed: self._line("rotate term", {"term": changed.current}))
        return await self.reseal(progress)

    async def reseal(self, progress: Progress) -> Resealed:
        """Seal everything under the current term, and retire the terms that are done with long enough."""
        ring = await self._ring()
        vault = await self._keeper.open()
        stale = {term: count for term, count in (await self._counts()).items() if term != ring.current}
        total = sum(stale.values())
        done = await self._reseal_entries(vault, lambda count: progress(count, total))
        texts = sum(count for term, count in (await self._counts()).items() if term != ring.current)
        if texts:
            await self._entries.note((self._line("reseal", {"term": ring.current, "texts": texts}),))
        done += await self._reseal_texts(vault, lambda count: progress(done + count, total))
        retired, waiting, at_s = await self._retire()
        return Resealed(term=ring.current, values=done, retired=retired, waiting=waiting, retire_at_s=at_s)

    def _chosen(self, keys: tuple[MasterKey, ...], ring: Ring, given: Secret | None, *, generate: bool) -> MasterKey:
        """The key that the ring is to be wrapped by. Raise MasterKeyError."""
        begun = keys[-1] if len(keys) > 1 else None
        new = None if given is None else MasterKey.of_text(given.reveal())
        if new is None and begun is None and generate:
            new = MasterKey.new()
        if begun is not None and new is not None and new.mark != begun.mark:
            raise MasterKeyError(
                f"{self._source.place} holds two keys already: a change to {begun.mark} was begun. Do this without a "
                "new key first, which ends it"
            )
        chosen = new or begun
        if chosen is None:
            raise MasterKeyError("no new master key is given: name its file, send it on stdin, or have one made")
        if chosen.mark == ring.master and begun is None:
            raise MasterKeyError(f"the key ring is wrapped by this master key already ({ring.master})")
        return chosen

    async def _ring(self) -> Ring:
        ring = await self._keeper.ring()
        if ring is None:
            raise RingError("nothing has been sealed yet, and so there is no key ring: there is nothing to rotate")
        return ring

    async def _counts(self) -> dict[int, int]:
        """How many values are sealed under each term."""
        counts = dict[int, int]()
        for head, count in (await self._rows.heads()).items():
            term = int.from_bytes(head[1:], "big")
            counts[term] = counts.get(term, 0) + count
        return counts

    async def _reseal_entries(self, vault: Vault, progress: Callable[[int], object]) -> int:
        """Entries are sealed anew like any other change of them, so that processes that have read them read again."""
        done = tries = 0
        while tries < _TRIES:
            revision, stored = await self._entries.read()
            stale = [each for each in stored if each.sealed and vault.needs_reseal(each.sealed)][:ENTRIES_AT_ONCE]
            if not stale:
                return done
            line = self._line("reseal", {"term": vault.current_term, "values": len(stale)})
            try:
                put = tuple(_resealed(each, vault) for each in stale)
                await self._entries.commit(revision, EntryChanges(put=put, audit=(line,)))
            except RevisionError:
                tries += 1
                continue
            tries = 0
            done += len(stale)
            progress(done)
        raise RingError("others change what is administered all the time: do this again later")

    async def _reseal_texts(self, vault: Vault, progress: Callable[[int], object]) -> int:
        done, after = 0, ""
        while rows := await self._rows.texts(after, TEXTS_AT_ONCE):
            after = rows[-1].request_id
            changed = [each for row in rows if (each := _resealed_texts(row, vault)) != row]
            await self._rows.replace(changed)
            done += sum((row.request is not None) + (row.answer is not None) for row in changed)
            progress(done)
        return done

    async def _retire(self) -> tuple[tuple[int, ...], tuple[int, ...], float]:
        """Retire the terms that nothing is sealed under any more; those that have to wait, and until when."""
        ring, counts, now_s = await self._ring(), await self._counts(), self._epoch_s()
        retired, waiting, at_s = list[int](), list[int](), 0.0
        for term in ring.terms:
            if term.number == ring.current:
                continue
            until_s = (term.superseded_s or now_s) + RETIRE_AFTER_S
            if counts.get(term.number) or now_s < until_s:
                waiting.append(term.number)
                at_s = max(at_s, until_s)
            else:
                await self._retire_term(term.number)
                retired.append(term.number)
        return tuple(retired), tuple(waiting), at_s

    async def _retire_term(self, number: int) -> None:
        await self._keeper.retire_term(number, lambda _: self._line("retire term", {"term": number}))

    def _line(self, action: str, about: Mapping[str, object]) -> AuditEntry:
        """What the log says of a step. It is written in one with the step, or, where that is many, before the first."""
        at_ms = int(self._epoch_s() * 1000)
        name = request_id(at_ms, int.from_bytes(os.urandom(10), "big") & (1 << 74) - 1)
        return AuditEntry(id=name, at_ms=at_ms, actor="local", action=action, after=msgspec.json.encode(about))

    def __repr__(self) -> str:
        return f"<SecretKeeping {self._keeper!r}>"


@contextlib.asynccontextmanager
async def secrets_of_store(settings: Settings) -> AsyncIterator[SecretKeeping]:
    """What is needed for the vault of the store that the settings name. Raise StoreError and VaultError."""
    database = open_database(settings.database_url.reveal(), settings.data_dir, patient=True)
    try:
        await ensure_schema(database)
        yield SecretKeeping(database, settings)
    finally:
        await database.close()


def _resealed(entry: StoredEntry, vault: Vault) -> StoredEntry:
    kind = kind_of(entry.kind)
    if kind is None:
        raise RingError(f"there is an entry of kind {entry.kind!r}, of a newer Keyrelay: do this with that one")
    sealed = vault.reseal(entry.sealed, table=TABLE, row=row_of((kind, entry.id)), column=COLUMN)
    return msgspec.structs.replace(entry, sealed=sealed)


def _resealed_texts(row: SealedTexts, vault: Vault) -> SealedTexts:
    name = row.request_id
    request, answer = (
        None if sealed is None else vault.reseal(sealed, table=TEXTS_TABLE, row=name, column=column)
        for sealed, column in ((row.request, REQUEST), (row.answer, ANSWER))
    )
    return SealedTexts(request_id=name, request=request, answer=answer)
