import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import MasterKeyError, RingError
from keyrelay.vault.master_key import MasterKey
from tests.vault.rings import A_KEY, ANOTHER_KEY

RAW = bytes(range(200, 232))
BASE64 = base64.b64encode(RAW).decode()
URLSAFE = base64.urlsafe_b64encode(RAW).decode()
RANDOM = st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) >= 16)


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        BASE64.rstrip("="),
        URLSAFE,
        URLSAFE.rstrip("="),
        RAW.hex(),
        RAW.hex().upper(),
        f"  {BASE64}\n",
    ],
)
def test_a_key_is_read_in_whatever_way_it_is_written(text: str) -> None:
    assert MasterKey.of_text(text).reveal() == BASE64


@given(key=RANDOM)
def test_a_key_that_is_written_is_read(key: bytes) -> None:
    master = MasterKey(key)
    assert MasterKey.of_text(master.reveal()).mark == master.mark
    assert MasterKey.of_text(key.hex()).mark == master.mark
    assert MasterKey.of_text(base64.urlsafe_b64encode(key).decode()).mark == master.mark


@pytest.mark.parametrize(
    "text",
    [
        "",
        "correct horse battery staple",
        "a" * 64,
        "A" * 43,
        "0123" * 16,
        RAW.hex()[:-1],
        BASE64[:-2],
        BASE64 + "=",
        BASE64[:-2] + "é=",
        "changeme" * 4,
    ],
)
def test_what_is_no_random_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(MasterKeyError, match="head -c 32 /dev/urandom") as caught:
        MasterKey.of_text(text)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_new_key_is_always_another() -> None:
    assert len({MasterKey.new().reveal() for _ in range(100)}) == 100


@given(key=RANDOM)
def test_nothing_shows_the_key(key: bytes) -> None:
    shown = repr(MasterKey(key))
    assert shown == f"<MasterKey {MasterKey(key).mark}>"
    assert not any(form in shown for form in (key.hex()[:8], base64.b64encode(key).decode()[:8]))


def test_a_data_key_is_unwrapped_by_its_own_key_for_its_own_ring_and_term_only() -> None:
    data_key = bytes(reversed(range(32)))
    wrapped = A_KEY.wrap(data_key, "ring", 1)
    assert A_KEY.unwrap(wrapped, "ring", 1) == data_key
    assert wrapped != A_KEY.wrap(data_key, "ring", 1)
    for key, ring, term in ((ANOTHER_KEY, "ring", 1), (A_KEY, "other", 1), (A_KEY, "ring", 2), (A_KEY, "ring1", 1)):
        with pytest.raises(RingError, match=f"term {term} .* damaged"):
            key.unwrap(wrapped, ring, term)


@given(data=st.data())
def test_a_wrapped_key_that_was_changed_is_noticed(data: st.DataObject) -> None:
    wrapped = bytearray(A_KEY.wrap(bytes(32), "ring", 1))
    place = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    wrapped[place // 8] ^= 1 << place % 8
    short = A_KEY.wrap(bytes(32), "ring", 1)[: place // 8]
    for changed in (bytes(wrapped), short):
        with pytest.raises(RingError):
            A_KEY.unwrap(changed, "ring", 1)
