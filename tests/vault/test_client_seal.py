import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import SealedValueError
from keyrelay.vault.client_seal import ClientSeal

DIGEST, ANOTHER = b"d" * 32, b"e" * 32


@given(st.text(), st.text(), st.binary(max_size=200))
def test_a_value_opens_for_its_client_and_its_id(client: str, entry_id: str, value: bytes) -> None:
    seal = ClientSeal(client, DIGEST)
    sealed = seal.seal(entry_id, value)
    assert ClientSeal(client, DIGEST).open(entry_id, sealed) == value
    assert sealed[:1] != b"\x00"
    assert seal.seal(entry_id, value) != sealed


@pytest.mark.parametrize(
    ("client", "digest", "entry_id"), [("b", DIGEST, "1"), ("a", ANOTHER, "1"), ("a", DIGEST, "2")]
)
def test_it_opens_for_nobody_else_and_under_no_other_id(client: str, digest: bytes, entry_id: str) -> None:
    sealed, other = ClientSeal("a", DIGEST).seal("1", b"value"), ClientSeal(client, digest)
    with pytest.raises(SealedValueError):
        other.open(entry_id, sealed)
    assert other.name(entry_id) != ClientSeal("a", DIGEST).name("1")


@given(st.data())
def test_a_value_that_was_changed_or_cut_does_not_open(data: st.DataObject) -> None:
    seal = ClientSeal("a", DIGEST)
    sealed = bytearray(seal.seal("1", b"some value"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        del sealed[place:]
    else:
        sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealedValueError):
        seal.open("1", bytes(sealed))


def test_names_say_nothing_and_stay_the_same() -> None:
    seal = ClientSeal("a", DIGEST)
    assert seal.name("1") == ClientSeal("a", DIGEST).name("1")
    assert len(bytes.fromhex(seal.name("1"))) == 16
    assert repr(seal) == "<ClientSeal>"
