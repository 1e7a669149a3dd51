"""From a store and a master key to a vault, and changes of the ring.

All who share a store share its ring. Whoever comes first makes it; of two who come at once one writes it, and the other
one finds it. Changes are written in place of what was read, or not at all.
"""

from collections.abc import Callable

from keyrelay.core.errors import MasterKeyError, RingError, WrongMasterKeyError
from keyrelay.ports import RingStore
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.master_key_source import MasterKeySource
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

    def __init__(self, store: RingStore, source: MasterKeySource, epoch_s: Callable[[], float]) -> None:
        self._store = store
        self._source = source
        self._epoch_s = epoch_s

    async def open(self) -> Vault:
        """The vault over the store's ring; on the first run ring and master key are made.

        Raise MasterKeyError when there is a ring and not its key.
        """
        stored = await self._store.read_ring()
        if stored is None:
            master = self._source.find() or self._source.make()
            await self._store.write_ring(encode_ring(new_ring(master, self._epoch_s())), replaces=0)
        return Vault(await self._keys())

    async def refresh(self, vault: Vault) -> None:
        """Let a vault go on with the ring as it is now."""
        vault.adopt(await self._keys())

    async def add_term(self) -> Ring:
        """From now on what is sealed is sealed under a new key; other workers follow when they `refresh`."""
        return await self._change(lambda ring: with_new_term(ring, self._master_of(ring), self._epoch_s()))

    async def retire_term(self, number: int) -> Ring:
        """Forget a term under which nothing is sealed any more."""
        return await self._change(lambda ring: without_term(ring, number, self._epoch_s()))

    async def change_master_key(self, new: MasterKey) -> Ring:
        """Wrap the ring by another master key; once is enough, and what is sealed stays as it is.

        Until it has returned the old key opens the ring, from then on the new one: let the source have both until then.
        """

        def change(ring: Ring) -> Ring:
            return ring if ring.master == new.mark else rewrapped(ring, self._master_of(ring), new)

        return await self._change(change)

    async def _change(self, change: Callable[[Ring], Ring]) -> Ring:
        for _ in range(_TRIES):
            stored = await self._store.read_ring()
            if stored is None:
                raise _no_ring()
            before = decode_ring(stored.value)
            after = change(before)
            if after is before or await self._store.write_ring(encode_ring(after), replaces=stored.generation):
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
        return unwrapped(ring, self._master_of(ring))

    def _master_of(self, ring: Ring) -> MasterKey:
        """The key at hand that wraps a ring. Raise MasterKeyError."""
        found = self._source.find_all()
        if not found:
            raise MasterKeyError(
                f"the database has a key ring, and there is no master key in {self._source.place}. {_WHAT_IS_LOST}"
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
