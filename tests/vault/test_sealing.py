"""What is sealed comes back whole at its own place, and nowhere else, and never changed."""

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyrelay.core.errors import SealedValueError, VaultError
from keyrelay.vault import sealing
from keyrelay.vault.sealing import (
    MAX_PLAINTEXT_BYTES,
    MAX_TERM,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    joined,
    open_sealed,
    seal,
    term_of,
)

KEY = bytes(range(32))
PLACE = ("texts", "req_1", "request")
PLAINTEXT = b"a prompt that nobody else may read"

places = st.tuples(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
terms = st.integers(0, MAX_TERM)


def opened(sealed: bytes, key: bytes = KEY, place: tuple[str, str, str] = PLACE) -> bytes:
    """As the vault does it: the term decides about the key, so that a changed one finds the same key here."""
    term_of(sealed)
    return open_sealed(key, sealed, place)


@given(plaintext=st.binary(max_size=300), term=terms, place=places)
def test_what_is_sealed_comes_back(plaintext: bytes, term: int, place: tuple[str, str, str]) -> None:
    sealed = seal(KEY, term, plaintext, place)
    assert term_of(sealed) == term
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert open_sealed(KEY, sealed, place) == plaintext


@given(data=st.data(), plaintext=st.binary(max_size=64))
def test_a_bit_that_flips_anywhere_is_noticed(data: st.DataObject, plaintext: bytes) -> None:
    sealed = bytearray(seal(KEY, 7, plaintext, PLACE))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises(SealedValueError):
        opened(bytes(sealed))


def test_every_single_bit_is_covered() -> None:
    sealed = seal(KEY, 7, b"ab", PLACE)
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(SealedValueError):
            opened(bytes(changed))


@given(length=st.integers(0, 200), more=st.binary(min_size=1, max_size=40))
def test_a_value_that_is_cut_short_or_goes_on_is_noticed(length: int, more: bytes) -> None:
    sealed = seal(KEY, 1, PLAINTEXT, PLACE)
    for changed in (sealed[: min(length, len(sealed) - 1)], sealed + more, more + sealed):
        with pytest.raises(SealedValueError):
            opened(changed)


@given(place=places, other=places)
def test_a_value_opens_at_no_other_place(place: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assume(place != other)
    with pytest.raises(SealedValueError):
        opened(seal(KEY, 1, PLAINTEXT, place), place=other)


@pytest.mark.parametrize(
    "other",
    [
        ("requests", "req_1", "request"),
        ("texts", "req_2", "request"),
        ("texts", "req_1", "answer"),
        ("texts", "req_1request", ""),
        ("textsreq_1", "", "request"),
    ],
)
def test_a_value_that_was_swapped_is_noticed(other: tuple[str, str, str]) -> None:
    with pytest.raises(SealedValueError, match="Restore that row from a backup"):
        opened(seal(KEY, 1, PLAINTEXT, PLACE), place=other)


@given(key=st.binary(min_size=32, max_size=32))
def test_a_value_opens_with_no_other_key(key: bytes) -> None:
    assume(key != KEY)
    with pytest.raises(SealedValueError):
        opened(seal(KEY, 1, PLAINTEXT, PLACE), key)


def test_a_term_that_was_put_in_the_place_of_another_is_noticed() -> None:
    sealed = bytearray(seal(KEY, 1, PLAINTEXT, PLACE))
    sealed[4] = 2
    assert term_of(bytes(sealed)) == 2
    with pytest.raises(SealedValueError):
        opened(bytes(sealed))


@given(parts=st.lists(st.binary(max_size=4), max_size=4), others=st.lists(st.binary(max_size=4), max_size=4))
def test_no_two_places_give_the_same_data(parts: list[bytes], others: list[bytes]) -> None:
    assert (joined(*parts) == joined(*others)) is (parts == others)


def test_no_nonce_comes_twice() -> None:
    nonces = {seal(KEY, 1, b"", PLACE)[5 : 5 + NONCE_BYTES] for _ in range(5_000)}
    assert len(nonces) == 5_000


def test_nonces_come_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    monkeypatch.setattr(os, "urandom", urandom)
    assert seal(KEY, 1, b"", PLACE)[5 : 5 + NONCE_BYTES] == bytes(NONCE_BYTES)
    assert asked == [NONCE_BYTES]


def test_places_have_keys_of_their_own() -> None:
    """Else two values with the same nonce would give each other away; here both have one that is all zeros."""
    first, second = (
        sealing._cipher(KEY, joined(*map(str.encode, place))).encrypt(bytes(NONCE_BYTES), bytes(64), b"")
        for place in (PLACE, ("texts", "req_2", "request"))
    )
    assert all(first[at : at + 4] != second[at : at + 4] for at in range(0, 64, 4))


def test_the_text_is_not_to_be_seen() -> None:
    assert PLAINTEXT[:8] not in seal(KEY, 1, PLAINTEXT, PLACE)


def test_a_value_that_is_too_long_is_refused() -> None:
    with pytest.raises(VaultError, match="67108865 bytes"):
        seal(KEY, 1, bytes(MAX_PLAINTEXT_BYTES + 1), PLACE)


def test_a_newer_format_is_named() -> None:
    sealed = bytearray(seal(KEY, 1, PLAINTEXT, PLACE))
    sealed[0] = 2
    with pytest.raises(SealedValueError, match=r"format 2, .* newer Keyrelay"):
        term_of(bytes(sealed))


def test_what_is_too_short_is_said_to_be() -> None:
    with pytest.raises(SealedValueError, match="has 0 bytes, less than the 33"):
        term_of(b"")
