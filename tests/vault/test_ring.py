import msgspec
import pytest

from keyrelay.core.errors import RingError, WrongMasterKeyError
from keyrelay.vault.ring import (
    MAX_TERMS,
    RETIRE_AFTER_S,
    Ring,
    decode_ring,
    encode_ring,
    new_ring,
    rewrapped,
    unwrapped,
    with_new_term,
    without_term,
)
from tests.vault.rings import A_KEY, ANOTHER_KEY, NOW_S

LATER_S = NOW_S + 100
MUCH_LATER_S = LATER_S + RETIRE_AFTER_S


def two_terms() -> Ring:
    return with_new_term(new_ring(A_KEY, NOW_S), A_KEY, LATER_S)


def test_a_new_ring_has_one_key() -> None:
    ring = new_ring(A_KEY, NOW_S)
    keys = unwrapped(ring, A_KEY)
    assert (list(keys.by_term), keys.current, len(keys.by_term[1])) == ([1], 1, 32)
    assert unwrapped(new_ring(A_KEY, NOW_S), A_KEY).by_term[1] != keys.by_term[1]
    assert ring.id != new_ring(A_KEY, NOW_S).id


def test_a_new_term_is_current_and_the_others_stay() -> None:
    first = new_ring(A_KEY, NOW_S)
    ring = with_new_term(first, A_KEY, LATER_S)
    before, after = unwrapped(first, A_KEY), unwrapped(ring, A_KEY)
    assert after.current == ring.current == 2
    assert after.by_term[1] == before.by_term[1] != after.by_term[2]
    assert [(term.number, term.made_s, term.superseded_s) for term in ring.terms] == [
        (1, NOW_S, LATER_S),
        (2, LATER_S, None),
    ]


def test_a_ring_survives_being_kept() -> None:
    ring = two_terms()
    assert decode_ring(encode_ring(ring)) == ring


def test_another_master_key_wraps_the_same_keys() -> None:
    ring = two_terms()
    changed = rewrapped(ring, A_KEY, ANOTHER_KEY)
    assert unwrapped(changed, ANOTHER_KEY) == unwrapped(ring, A_KEY)
    assert (changed.id, changed.master) == (ring.id, ANOTHER_KEY.mark)
    with pytest.raises(WrongMasterKeyError):
        unwrapped(changed, A_KEY)


def test_a_wrong_master_key_is_told_from_a_damaged_ring() -> None:
    ring = two_terms()
    with pytest.raises(WrongMasterKeyError, match=f"master key {A_KEY.mark}, and this one is {ANOTHER_KEY.mark}"):
        unwrapped(ring, ANOTHER_KEY)
    first, second = ring.terms
    swapped = (
        msgspec.structs.replace(first, wrapped=second.wrapped),
        msgspec.structs.replace(second, wrapped=first.wrapped),
    )
    for damaged in (
        msgspec.structs.replace(ring, terms=swapped),
        msgspec.structs.replace(ring, id="0" * 32),
        msgspec.structs.replace(ring, current=3),
        msgspec.structs.replace(ring, terms=()),
        msgspec.structs.replace(ring, terms=(msgspec.structs.replace(first, wrapped=b""), second)),
    ):
        with pytest.raises(RingError, match="restore the table vault_ring"):
            unwrapped(damaged, A_KEY)


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b'{"id":1}', b"\xff", encode_ring(two_terms())[:-1]])
def test_what_is_no_ring_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(RingError, match="restore the table vault_ring"):
        decode_ring(value)


def test_a_ring_of_a_newer_keyrelay_is_left_alone() -> None:
    with pytest.raises(RingError, match="format 2, of a newer Keyrelay"):
        decode_ring(encode_ring(msgspec.structs.replace(two_terms(), format=2)))


def test_a_term_is_retired_once_nobody_seals_under_it() -> None:
    ring = without_term(two_terms(), 1, MUCH_LATER_S)
    assert list(unwrapped(ring, A_KEY).by_term) == [2]
    assert with_new_term(ring, A_KEY, MUCH_LATER_S).current == 3


@pytest.mark.parametrize(
    ("number", "now_s", "words"),
    [
        (2, MUCH_LATER_S, "is the current one"),
        (3, MUCH_LATER_S, "has no term 3"),
        (1, MUCH_LATER_S - 1, "less than 900 s ago"),
    ],
)
def test_a_term_that_is_needed_stays(number: int, now_s: float, words: str) -> None:
    with pytest.raises(RingError, match=words):
        without_term(two_terms(), number, now_s)


def test_a_ring_has_a_bound() -> None:
    ring = new_ring(A_KEY, NOW_S)
    for _ in range(MAX_TERMS - 1):
        ring = with_new_term(ring, A_KEY, NOW_S)
    with pytest.raises(RingError, match="retire old ones"):
        with_new_term(ring, A_KEY, NOW_S)


def test_nobody_adds_a_term_with_another_key() -> None:
    with pytest.raises(WrongMasterKeyError):
        with_new_term(two_terms(), ANOTHER_KEY, NOW_S)


def test_nothing_shows_a_key() -> None:
    ring = two_terms()
    keys = unwrapped(ring, A_KEY)
    shown = f"{ring!r} {ring.terms!r} {keys!r}"
    assert shown == (
        f"<Ring {ring.id} of master key {A_KEY.mark}, term 2 of 2> (<Term 1>, <Term 2>) "
        "<DataKeys of terms [1, 2], 2 is current>"
    )
    kept = encode_ring(ring)
    assert not any(key in kept or key.hex().encode() in kept for key in keys.by_term.values())
