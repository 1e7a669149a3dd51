import pytest

from keyrelay.core.errors import SealedValueError
from keyrelay.vault.ring import new_ring, unwrapped, with_new_term
from keyrelay.vault.vault import Vault
from tests.vault.rings import A_KEY, NOW_S

FIRST = new_ring(A_KEY, NOW_S)
SECOND = with_new_term(FIRST, A_KEY, NOW_S)
PLACE = {"table": "entries", "row": "key/1", "column": "secret"}


def vault_of(ring: object = FIRST) -> Vault:
    return Vault(unwrapped(SECOND if ring is SECOND else FIRST, A_KEY))


def test_what_is_sealed_comes_back_whatever_its_term() -> None:
    vault = vault_of()
    sealed = vault.seal(b"sk-test-1", **PLACE)
    vault.adopt(unwrapped(SECOND, A_KEY))
    assert vault.open(sealed, **PLACE) == b"sk-test-1"
    assert vault.open(vault.seal(b"sk-test-2", **PLACE), **PLACE) == b"sk-test-2"


def test_what_is_of_an_older_term_is_sealed_anew_once() -> None:
    sealed = vault_of().seal(b"sk-test-1", **PLACE)
    vault = vault_of(SECOND)
    assert vault.needs_reseal(sealed)
    again = vault.reseal(sealed, **PLACE)
    assert not vault.needs_reseal(again)
    assert vault.reseal(again, **PLACE) == again
    assert vault.open(again, **PLACE) == b"sk-test-1"
    with pytest.raises(SealedValueError):
        vault.reseal(sealed, **(PLACE | {"row": "key/2"}))


def test_a_term_that_is_not_known_here_is_told_from_damage() -> None:
    sealed = vault_of(SECOND).seal(b"sk-test-1", **PLACE)
    vault = vault_of()
    assert not vault.knows(sealed)
    with pytest.raises(SealedValueError, match=r"term 2, which the key ring does not have"):
        vault.open(sealed, **PLACE)
    assert vault.knows(vault.seal(b"", **PLACE))
    for check in (vault.knows, vault.needs_reseal):
        with pytest.raises(SealedValueError):
            check(b"\x01")


@pytest.mark.parametrize("name", ["table", "row", "column"])
def test_a_value_of_another_place_does_not_open(name: str) -> None:
    vault = vault_of()
    with pytest.raises(SealedValueError):
        vault.open(vault.seal(b"sk-test-1", **PLACE), **(PLACE | {name: "other"}))


def test_a_value_of_another_ring_does_not_open() -> None:
    other = Vault(unwrapped(new_ring(A_KEY, NOW_S), A_KEY))
    with pytest.raises(SealedValueError):
        vault_of().open(other.seal(b"sk-test-1", **PLACE), **PLACE)


def test_nothing_shows_a_key() -> None:
    assert repr(vault_of()) == "<Vault with <DataKeys of terms [1], 1 is current>>"
