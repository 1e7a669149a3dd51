"""The key ring: data keys by term, wrapped by the master key. Pure values; who keeps them is `keeper`'s business.

One term is current: what is sealed now is sealed under it. Terms before it are there to open what was sealed under
them, until everything has been sealed anew and they are retired. A new master key wraps the same data keys once more,
so nothing that is sealed changes.
"""

import os

import msgspec

from keyrelay.core.errors import RingError, WrongMasterKeyError
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.sealing import KEY_BYTES, MAX_TERM

FORMAT = 1
MAX_TERMS = 64
"""Terms that a ring has at a time; before there are more, old ones have to be retired."""

RETIRE_AFTER_S = 900
"""A term is retired this long after it was current at the earliest: by then every worker has read the ring again."""

_ID_BYTES = 16


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A data key, wrapped; `made_s` and `superseded_s` (epoch) say from when until when it was current."""

    number: int
    wrapped: bytes
    made_s: int
    superseded_s: int | None = None

    def __repr__(self) -> str:
        return f"<Term {self.number}>"


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """All terms, in order. `master` is the mark of the master key that wraps them."""

    id: str
    master: str
    current: int
    terms: tuple[Term, ...]
    format: int = FORMAT

    def __repr__(self) -> str:
        return f"<Ring {self.id} of master key {self.master}, term {self.current} of {len(self.terms)}>"


class DataKeys(msgspec.Struct, frozen=True):
    """The keys of a ring by their terms, and which one is current."""

    by_term: dict[int, bytes]
    current: int

    def __repr__(self) -> str:
        return f"<DataKeys of terms {sorted(self.by_term)}, {self.current} is current>"


def new_ring(master: MasterKey, now_s: float) -> Ring:
    """A ring with one term."""
    ring_id = os.urandom(_ID_BYTES).hex()
    return Ring(id=ring_id, master=master.mark, current=1, terms=(_new_term(master, ring_id, 1, now_s),))


def unwrapped(ring: Ring, master: MasterKey) -> DataKeys:
    """The keys of a ring. Raise WrongMasterKeyError, and RingError for a ring that is damaged."""
    if ring.master != master.mark:
        raise WrongMasterKeyError(
            f"the key ring was made with the master key {ring.master}, and this one is {master.mark} (these are marks, "
            "not keys)"
        )
    by_term = {term.number: master.unwrap(term.wrapped, ring.id, term.number) for term in ring.terms}
    if ring.current not in by_term:
        raise RingError(
            f"the vault's key ring has no term {ring.current}, which should be the current one: "
            "restore the table vault_ring from a backup"
        )
    return DataKeys(by_term, ring.current)


def with_new_term(ring: Ring, master: MasterKey, now_s: float) -> Ring:
    """The ring with one more term, which is current. Raise RingError when it has as many as it may."""
    unwrapped(ring, master)
    number = max(term.number for term in ring.terms) + 1
    if len(ring.terms) >= MAX_TERMS or number > MAX_TERM:
        raise RingError(f"the vault's key ring has {len(ring.terms)} terms, and no more are taken: retire old ones")
    known = (
        msgspec.structs.replace(term, superseded_s=int(now_s)) if term.number == ring.current else term
        for term in ring.terms
    )
    terms = (*known, _new_term(master, ring.id, number, now_s))
    return msgspec.structs.replace(ring, terms=terms, current=number)


def without_term(ring: Ring, number: int, now_s: float) -> Ring:
    """The ring without a term, once nothing is sealed under it any more: what is would be lost.

    Raise RingError for the current one, for one that was until lately, and for one that is not there.
    """
    found = next((term for term in ring.terms if term.number == number), None)
    if found is None:
        raise RingError(f"the vault's key ring has no term {number}")
    if number == ring.current or found.superseded_s is None:
        raise RingError(f"term {number} of the vault's key ring is the current one: add a term first")
    if now_s < found.superseded_s + RETIRE_AFTER_S:
        raise RingError(
            f"term {number} of the vault's key ring was current less than {RETIRE_AFTER_S} s ago, and a worker may "
            "still seal under it: retire it later"
        )
    return msgspec.structs.replace(ring, terms=tuple(term for term in ring.terms if term is not found))


def rewrapped(ring: Ring, old: MasterKey, new: MasterKey) -> Ring:
    """The ring under another master key, with the same data keys. Raise as `unwrapped` does."""
    keys = unwrapped(ring, old).by_term
    terms = tuple(
        msgspec.structs.replace(term, wrapped=new.wrap(keys[term.number], ring.id, term.number)) for term in ring.terms
    )
    return msgspec.structs.replace(ring, master=new.mark, terms=terms)


def encode_ring(ring: Ring) -> bytes:
    """The ring as a store keeps it: JSON."""
    return msgspec.json.encode(ring)


def decode_ring(value: bytes) -> Ring:
    """Raise RingError for what is none, or one of a newer Keyrelay."""
    try:
        ring = msgspec.json.decode(value, type=Ring)
    except msgspec.DecodeError:  # a ValidationError is one
        raise RingError("the vault's key ring cannot be read: restore the table vault_ring from a backup") from None
    if ring.format != FORMAT:
        raise RingError(f"the vault's key ring has format {ring.format}, of a newer Keyrelay: install that one")
    return ring


def _new_term(master: MasterKey, ring_id: str, number: int, now_s: float) -> Term:
    wrapped = master.wrap(os.urandom(KEY_BYTES), ring_id, number)
    return Term(number=number, wrapped=wrapped, made_s=int(now_s))
