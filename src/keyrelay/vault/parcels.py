"""Secrets that a browser has encrypted before it sent them, with what WebCrypto has: ECDH, HKDF and AES-GCM.

The browser makes a key pair for one secret, agrees on a key with the vault's public one, and throws its own away:

    shared      = ECDH(ephemeral private key, vault's public key)       32 bytes, the x coordinate
    key         = HKDF-SHA-256(shared, salt = ephemeral public key | vault's public key, info = INFO | key id)
    ciphertext  = AES-256-GCM(key, nonce of 12 random bytes, secret, associated data = INFO | key id)

Public keys are uncompressed points (65 bytes). So a secret is in no body in the clear, whoever terminates TLS or writes
bodies down on the way. It does not replace TLS: who can change the page can take the secret before.

The vault's pair is made of a term's data key, so that every worker that shares the ring has the same one, and nothing
has to be kept. It changes with the term; parcels for terms before it open for as long as the ring has those.
"""

import base64
import binascii
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyrelay.core.errors import SealedValueError
from keyrelay.core.parcels import EncryptedSecret, PublicKey
from keyrelay.core.secrets import Secret
from keyrelay.vault.sealing import KEY_BYTES, NONCE_BYTES, TAG_BYTES
from keyrelay.vault.vault import Vault

ALGORITHM = "ECDH-P256+HKDF-SHA256+AES-256-GCM"
INFO = "keyrelay parcel v1 "
MAX_SECRET_BYTES = 1024 * 1024

_PURPOSE = b"keyrelay parcel key pair"
_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BYTES = 48
"""Half as long again as the order, so that what is left of the division is as good as uniform (FIPS 186-5, A.2.1)."""

_POINT_BYTES = 65
_COORDINATE_BYTES = 32
_UNCOMPRESSED = 4
_TERM_PREFIX = "t"
_STANDARD = str.maketrans("-_", "+/")


class Parcels:
    """Opens parcels with the keys of a vault."""

    __slots__ = ("_vault",)

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def public_key(self) -> PublicKey:
        """The public key of the current term."""
        term = self._vault.current_term
        key_id, point = f"{_TERM_PREFIX}{term}", _point(self._private_key(term).public_key())
        x, y = point[1 : 1 + _COORDINATE_BYTES], point[1 + _COORDINATE_BYTES :]
        return PublicKey(
            key_id=key_id,
            algorithm=ALGORITHM,
            public_key=base64.b64encode(point).decode(),
            jwk={"kty": "EC", "crv": "P-256", "x": _url_safe(x), "y": _url_safe(y)},
            info=INFO + key_id,
        )

    def open(self, parcel: EncryptedSecret) -> Secret:
        """What is in a parcel. Raise SealedValueError for one that does not open; it says nothing of what is in it."""
        private = self._private_key(self._term_of(parcel.key_id))
        point = _bytes(parcel.ephemeral_public_key, "ephemeral_public_key", _is_point)
        nonce = _bytes(parcel.nonce, "nonce", lambda value: len(value) == NONCE_BYTES)
        ciphertext = _bytes(parcel.ciphertext, "ciphertext", _is_ciphertext)
        info = (INFO + parcel.key_id).encode()
        try:
            shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point))
            salt = point + _point(private.public_key())
            key = HKDF(SHA256(), KEY_BYTES, salt, info).derive(shared)
            return Secret(AESGCM(key).decrypt(nonce, ciphertext, info).decode())
        except InvalidTag:
            raise SealedValueError("it was changed on the way, or encrypted for another key") from None
        except UnicodeDecodeError:
            raise SealedValueError("what is in it is no text") from None
        except ValueError:
            raise SealedValueError("ephemeral_public_key is no point of the curve P-256") from None

    def _term_of(self, key_id: str) -> int:
        """The term of a key. Raise SealedValueError for one that the ring does not have."""
        number = key_id.removeprefix(_TERM_PREFIX)
        if key_id == f"{_TERM_PREFIX}{number}" and number.isascii() and number.isdigit():
            term = int(number[:10])
            if self._vault.has_term(term):
                return term
        raise SealedValueError("it is for a key that is not known any more: ask for the public key again")

    def _private_key(self, term: int) -> ec.EllipticCurvePrivateKey:
        seed = HKDF(SHA256(), _SCALAR_BYTES, None, _PURPOSE).derive(self._vault.derived(_PURPOSE, term))
        return ec.derive_private_key(int.from_bytes(seed, "big") % (_ORDER - 1) + 1, _CURVE)

    def __repr__(self) -> str:
        return f"<Parcels for {self._vault!r}>"


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _is_point(value: bytes) -> bool:
    return len(value) == _POINT_BYTES and value[0] == _UNCOMPRESSED


def _is_ciphertext(value: bytes) -> bool:
    return TAG_BYTES < len(value) <= MAX_SECRET_BYTES


def _bytes(text: str, name: str, is_right: Callable[[bytes], bool]) -> bytes:
    """What a member holds. Raise SealedValueError."""
    bare = text.rstrip("=").translate(_STANDARD)
    try:
        value = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SealedValueError(f"{name} is not base64") from None
    if not is_right(value):
        raise SealedValueError(f"{name} has the wrong length or form")
    return value


def _url_safe(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
