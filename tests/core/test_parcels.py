"""What a browser sends in place of a secret."""

import msgspec
import pytest

from keyrelay.core.parcels import EncryptedSecret, PublicKey

PARCEL = {"key_id": "t1", "ephemeral_public_key": "BA==", "nonce": "AA==", "ciphertext": "AA=="}


def test_a_parcel_is_complete_and_holds_nothing_else() -> None:
    assert msgspec.convert(PARCEL, EncryptedSecret).key_id == "t1"
    for wrong in ({**PARCEL, "secret": "x"}, {name: text for name, text in PARCEL.items() if name != "nonce"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, EncryptedSecret)


def test_a_public_key_goes_out_as_the_browser_reads_it() -> None:
    key = PublicKey(key_id="t1", algorithm="a", public_key="BA==", jwk={"kty": "EC"}, info="i")
    assert msgspec.json.decode(msgspec.json.encode(key), type=PublicKey) == key
