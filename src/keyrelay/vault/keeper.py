"""From a store and a master key to a vault, and changes of the ring.

All who share a store share its ring. Whoever comes first makes it; of two who come at once one writes it, and the other
one finds it. Changes are written in place of what was read, or not at all.
"""

from collections.abc import Awaitable, Callable

from keyrelay.core.errors import MasterKeyError, RingError, WrongMasterKeyError
from keyrelay.ports import AuditEntry, RingStore
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.master_key_source import KeySource
from keyrelay.vault.ring import (
    DataKeys,
    Ring,
    decode_ring,
    encode_ring,
    new_ring,
    rewrapped,
    unwrapped,
    with_new_term,
    without_term,
)
from keyrelay.vault.vault import Vault

Note = Callable[[Ring], AuditEntry]
"""Says what is written down about a changed ring, in one with the change: whoever is killed leaves both or neither."""

_TRIES = 5
"""How often a change is begun anew because somebody else has changed the ring meanwhile."""

_WHAT_IS_LOST = (
    "Put the key there with which the ring was made, from a backup or from the host that made it. Without it nobody "
    "can read what was sealed (kept prompts and answers, stored provider keys); docs/operations.md says how to begin "
    "anew"
)


class RingKeeper:
    """The ring in a store, opened by the master key of a source. Every method raises StoreError and VaultError.

    `epoch_s` is the present time.
    """

    __slots__ = ("_epoch_s", "_source", "_store")

    def __init__(self, store: RingStore, source: KeySource, epoch_s: Callable[[], float]) -> None:
        self._store = store
        self._source = source
        self._epoch_s = epoch_s

    async def open(self) -> Vault:
        """The vault over the store's ring; on the first run ring and master key are made.

        Raise MasterKeyError when there is a ring and not its key.
        """
        stored = await self._store.read_ring()
        if stored is None:
            master = await self._source.first()
            await self._store.write_ring(encode_ring(new_ring(master, self._epoch_s())), replaces=0)
        return Vault(await self._keys())

    async def refresh(self, vault: Vault) -> None:
        """Let a vault go on with the ring as it is now."""
        vault.adopt(await self._keys())

    async def add_term(self, note: Note | None = None) -> Ring:
        """From now on what is sealed is sealed under a new key; other workers follow when they `refresh`."""

        async def change(ring: Ring) -> Ring:
            return with_new_term(ring, await self._master_of(ring), self._epoch_s())

        return await self._change(change, note)

    async def retire_term(self, number: int, note: Note | None = None) -> Ring:
        """Forget a term under which nothing is sealed any more."""

        async def change(ring: Ring) -> Ring:
            return without_term(ring, number, self._epoch_s())

        return await self._change(change, note)

    async def change_master_key(self, new: MasterKey, note: Note | None = None) -> Ring:
        """Wrap the ring by another master key; once is enough, and what is sealed stays as it is.

        Until it has returned the old key opens the ring, from then on the new one: let the source have both until then.
        """

        async def change(ring: Ring) -> Ring:
            return ring if ring.master == new.mark else rewrapped(ring, await self._master_of(ring), new)

        return await self._change(change, note)

    async def _change(self, change: Callable[[Ring], Awaitable[Ring]], note: Note | None) -> Ring:
        for _ in range(_TRIES):
            stored = await self._store.read_ring()
            if stored is None:
                raise _no_ring()
            before = decode_ring(stored.value)
            after = await change(before)
            if after is before:
                return after
            audit = () if note is None else (note(after),)
            if await self._store.write_ring(encode_ring(after), replaces=stored.generation, audit=audit):
                return after
        raise RingError("the vault's key ring is being changed by somebody else all the time: try again later")

    async def ring(self) -> Ring | None:
        """The ring as it is kept; None before there is one."""
        stored = await self._store.read_ring()
        return None if stored is None else decode_ring(stored.value)

    async def _keys(self) -> DataKeys:
        stored = await self._store.read_ring()
        if stored is None:
            raise _no_ring()
        ring = decode_ring(stored.value)
        return unwrapped(ring, await self._master_of(ring))

    async def _master_of(self, ring: Ring) -> MasterKey:
        """The key at hand that wraps a ring. Raise MasterKeyError."""
        found = await self._source.at_hand(ring.master)
        if not found:
            place, remedy = self._source.place_of(ring.master), self._source.remedy(ring.master)
            raise MasterKeyError(
                f"the database has a key ring, and there is no master key in {place}. {remedy}{_WHAT_IS_LOST}"
            )
        master = next((key for key in found if key.mark == ring.master), None)
        if master is None:
            marks = " and ".join(key.mark for key in found)
            raise WrongMasterKeyError(
                f"{self._source.place}: the key ring was made with the master key {ring.master}, and this one is "
                f"{marks} (these are marks, not keys). {_WHAT_IS_LOST}"
            )
        return master

    def __repr__(self) -> str:
        return f"<RingKeeper {self._source!r}>"


def _no_ring() -> RingError:
    return RingError("the store has no key ring: start a gateway that seals something, which makes one")
