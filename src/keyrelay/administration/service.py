"""The one way in which what is administered changes, in this process or in another one.

A change is a pure function from one state to the next. The configuration is read with the next state before anything is
written: one that would not be valid is refused as a whole. What is written raises the store's revision, and every
process looks at that a few times a second, so that what one has changed the others know within a second.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from keyrelay.administration.entries import Difference, differences, read_all, shown, to_stored
from keyrelay.configuration.stored import bound
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Reading, Watch
from keyrelay.core.administered import Administered, Entry, Place
from keyrelay.core.errors import (
    CallerError,
    ConfigurationError,
    RevisionError,
    SealedValueError,
    StoreError,
    VaultError,
)
from keyrelay.core.ids import request_id
from keyrelay.core.secrets import Secret
from keyrelay.ports import AuditEntry, Clock, EntryChanges, EntryStore, StoredEntry, Vault

FOLLOW_EVERY_S = 0.3
"""How often a process looks whether another one has changed something."""

CATCH_UP_S = 1.0
"""How long somebody who asks for an entry waits for what others have changed."""

MAX_TRIES = 5
"""How often a change is made anew when somebody else was first."""

_APART = frozenset({"user", "token"})
"""What the configuration knows nothing of, and need not be read for."""

_ID_BYTES = 10
_ID_BITS = 74

Edit = Callable[[Administered], Administered]


class Author(msgspec.Struct, frozen=True):
    """Who changes something, as the audit log names them: `user:alice`, `token:ci`, `operator`, `keyrelay`."""

    name: str
    address: str = ""


KEYRELAY = Author("keyrelay")
"""Keyrelay itself."""


class Administration:
    """What is administered, as this process knows it.

    `vault` opens the vault when it is first needed; `refresh` lets it go on with a key ring that others have changed.
    """

    __slots__ = ("_clock", "_refresh", "_sealed", "_store", "_vault", "_watch", "unread")

    def __init__(
        self,
        store: EntryStore,
        watch: Watch,
        *,
        vault: Callable[[], Awaitable[Vault]],
        clock: Clock,
        refresh: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._watch = watch
        self._vault = vault
        self._clock = clock
        self._refresh = refresh
        self._sealed: dict[Place, bytes] = {}
        self.unread = True

    @property
    def state(self) -> Administered:
        """What is administered now; to be read once per decision, since it is exchanged as a whole."""
        return self._watch.administered

    @property
    def store(self) -> EntryStore:
        """Where it is kept, for the audit log."""
        return self._store

    async def follow(self) -> None:
        """Take what another process has changed. Raise StoreError when the store cannot say."""
        if await self._stale():
            async with self._watch.lock:
                await self._read()

    async def catch_up(self) -> None:
        """The same before somebody asks for an entry, by which they may have come from another process just now.

        A store that does not answer soon is done without: what is known then is what there is.
        """
        with contextlib.suppress(StoreError, VaultError, TimeoutError):
            await asyncio.wait_for(self.follow(), CATCH_UP_S)

    async def _stale(self) -> bool:
        return self.unread or await self._store.revision() != self.state.revision

    async def change(self, edit: Edit, author: Author, action: str) -> Administered:
        """Change what is administered by a pure function, and return how it is then.

        Raise what `edit` raises, CallerError (409, 422) when it does not fit, StoreError when it cannot be kept. What
        does not fit here may fit what another process has made of it meanwhile.
        """
        async with self._watch.lock:
            for _ in range(MAX_TRIES):
                if self.unread:
                    await self._read()
                try:
                    return await self._change(edit, author, action)
                except RevisionError:
                    self.unread = True
                except CallerError:
                    if not await self._stale():
                        raise
                    self.unread = True
        raise CallerError(409, "Others change the same all the time. Try again.", code="conflict")

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self._watch.configuration

    async def preview(self, edit: Edit) -> Configuration:
        """The configuration as it would be after a change, which is not made. Raise as `change` does."""
        async with self._watch.lock:
            if self.unread:
                await self._read()
            before = self.state
        try:
            return (await self._watch.read_with(self._edited(before, edit))).configuration
        except ConfigurationError as error:
            raise _invalid(error) from None

    async def reread(self) -> None:
        """Read the configuration anew: time has passed, and something has expired."""
        await self._watch.look_again()

    async def note(self, author: Author, action: str, *, kind: str = "", entry: str = "", about: bytes = b"") -> None:
        """Write down what changes no entry."""
        await self._store.note((self._audit(author, action, kind=kind, entry=entry, after=about),))

    def _edited(self, before: Administered, edit: Edit) -> Administered:
        """What an edit makes of a state, each key that is entered by it bound to where it is entered for."""
        snapshot = self.configuration.snapshot
        keys = (*snapshot.keys, *(each.key for each in snapshot.withheld))
        held = (key.secret for key in keys if key.secret is not None and ("key", key.id) not in before.secrets)
        return bound(before, edit(before), frozenset(held))

    async def _change(self, edit: Edit, author: Author, action: str) -> Administered:
        before = self.state
        after = self._edited(before, edit)
        found = differences(before, after)
        if not found:
            return before
        reading = await self._read_with(after) if any(each.place[0] not in _APART for each in found) else None
        vault = await self._vault() if any(each.secret is not None for each in found) else None
        put = tuple(
            to_stored(each, self._sealed.get(each.place, b""), vault) for each in found if each.after is not None
        )
        changes = EntryChanges(
            put=put,
            delete=tuple(each.place for each in found if each.after is None),
            audit=(*(self._audit_of(each, author, action) for each in found), *self._ignored_in(reading)),
        )
        revision = await self._store.commit(before.revision, changes)
        self._note_sealed(put, gone=[each.place for each in found if each.after is None])
        state = msgspec.structs.replace(after, revision=revision)
        self._watch.take(state, reading)
        return state

    async def _read_with(self, after: Administered) -> Reading:
        try:
            return await self._watch.read_with(after)
        except ConfigurationError as error:
            raise _invalid(error) from None

    def _ignored_in(self, reading: Reading | None) -> Iterator[AuditEntry]:
        """A line that says that a change was made while files were not valid."""
        if reading is not None and reading.ignored:
            document = msgspec.json.encode({"problem": reading.ignored})
            yield self._audit(KEYRELAY, "left invalid files out of account", kind="setting", after=document)

    async def _read(self) -> None:
        """Read everything anew and go on with it; an invalid state is refused and the one in force stays."""
        revision, stored = await self._store.read()
        vault = await self._vault() if any(each.sealed for each in stored) else None
        try:
            entries, secrets = await self._opened(stored, vault)
        except ValueError as error:
            raise StoreError(f"what is administered cannot be read: {error}", lasting=True) from error
        state = Administered(revision=revision, entries=entries, secrets=secrets)
        self._sealed = {place: each.sealed for place, each in zip(entries, stored, strict=True) if each.sealed}
        if state != self.state:
            await self._watch.take_administered(state)
        self.unread = False  # not before it counts: a start waits for that

    async def _opened(
        self, stored: tuple[StoredEntry, ...], vault: Vault | None
    ) -> tuple[dict[Place, Entry], dict[Place, Secret]]:
        """Entries and secrets. What does not open may be sealed under a term that the ring has only now."""
        try:
            return read_all(stored, vault)
        except SealedValueError:
            if self._refresh is None:
                raise
            await self._refresh()
            return read_all(stored, vault)

    def _note_sealed(self, put: tuple[StoredEntry, ...], gone: list[Place]) -> None:
        for place in gone:
            self._sealed.pop(place, None)
        for each in put:
            if each.sealed:
                self._sealed[each.kind, each.id] = each.sealed  # type: ignore[index]  # a kind that `to_stored` gave

    def _audit_of(self, difference: Difference, author: Author, action: str) -> AuditEntry:
        kind, entry_id = difference.place
        return self._audit(
            author, action, kind=kind, entry=entry_id, before=shown(difference.before), after=shown(difference.after)
        )

    def _audit(
        self,
        author: Author,
        action: str,
        *,
        kind: str = "",
        entry: str = "",
        before: bytes = b"",
        after: bytes = b"",
    ) -> AuditEntry:
        at_ms = int(self._clock.epoch_s() * 1000)
        random_bits = int.from_bytes(os.urandom(_ID_BYTES), "big") & (1 << _ID_BITS) - 1
        return AuditEntry(
            id=request_id(at_ms, random_bits),
            at_ms=at_ms,
            actor=author.name,
            action=action,
            kind=kind,
            entry=entry,
            before=before,
            after=after,
            address=author.address,
        )

    def __repr__(self) -> str:
        return f"<Administration of {len(self.state.entries)} entries, revision {self.state.revision}>"


def _invalid(error: ConfigurationError) -> CallerError:
    return CallerError(422, str(error), code="invalid_configuration")
