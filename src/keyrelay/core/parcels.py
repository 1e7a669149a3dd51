"""A secret as a browser has encrypted it before it was sent."""

import msgspec


class EncryptedSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret under a key that a browser and the vault have agreed on; bytes in base64, any of its alphabets.

    `key_id` is that of `GET /api/v1/vault/public-key`. `ephemeral_public_key` is the browser's point on P-256,
    uncompressed (65 bytes), `nonce` has 12 bytes, `ciphertext` ends with its tag of 16 bytes.
    """

    key_id: str
    ephemeral_public_key: str
    nonce: str
    ciphertext: str


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """The vault's public key. `public_key` is the point on P-256, uncompressed, in base64; `jwk` the same as a JWK.

    `info` is what HKDF-SHA-256 takes (its salt is the browser's public key followed by this one), and what AES-256-GCM
    takes as associated data.
    """

    key_id: str
    algorithm: str
    public_key: str
    jwk: dict[str, str]
    info: str
