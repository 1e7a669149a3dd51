"""Secrets that a browser encrypts: with a real WebCrypto, and everything that does not open."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyrelay.core.errors import SealedValueError
from keyrelay.core.parcels import EncryptedSecret, PublicKey
from keyrelay.vault.parcels import Parcels
from keyrelay.vault.ring import DataKeys
from keyrelay.vault.vault import Vault

SECRET = "gsk_test_ünïcode_0123456789"
VAULT = Vault(DataKeys({1: bytes(range(32)), 3: bytes(range(32, 64))}, 3))
PARCELS = Parcels(VAULT)

BROWSER = """
const subtle = globalThis.crypto.subtle;
const text = new TextEncoder();
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
async function encrypt(key, secret) {
  const theirs = await subtle.importKey("jwk", key.jwk, {name: "ECDH", namedCurve: "P-256"}, true, []);
  const own = await subtle.generateKey({name: "ECDH", namedCurve: "P-256"}, false, ["deriveBits"]);
  const ephemeral = new Uint8Array(await subtle.exportKey("raw", own.publicKey));
  const vault = new Uint8Array(await subtle.exportKey("raw", theirs));
  const shared = await subtle.deriveBits({name: "ECDH", public: theirs}, own.privateKey, 256);
  const material = await subtle.importKey("raw", shared, "HKDF", false, ["deriveKey"]);
  const info = text.encode(key.info);
  const hkdf = {name: "HKDF", hash: "SHA-256", salt: new Uint8Array([...ephemeral, ...vault]), info};
  const aes = await subtle.deriveKey(hkdf, material, {name: "AES-GCM", length: 256}, false, ["encrypt"]);
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const gcm = {name: "AES-GCM", iv: nonce, additionalData: info};
  const ciphertext = await subtle.encrypt(gcm, aes, text.encode(secret));
  return {key_id: key.key_id, ephemeral_public_key: base64(ephemeral), nonce: base64(nonce),
          ciphertext: base64(ciphertext)};
}
const {key, secret} = JSON.parse(require("fs").readFileSync(0));
encrypt(key, secret).then((parcel) => console.log(JSON.stringify(parcel)));
"""


def packed(key: PublicKey, secret: bytes) -> EncryptedSecret:
    """What the browser does."""
    own = ec.generate_private_key(ec.SECP256R1())
    vault = base64.b64decode(key.public_key)
    shared = own.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), vault))
    ephemeral = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    aes = HKDF(SHA256(), 32, ephemeral + vault, key.info.encode()).derive(shared)
    nonce = bytes(12)
    ciphertext = AESGCM(aes).encrypt(nonce, secret, key.info.encode())
    return EncryptedSecret(key.key_id, *(base64.b64encode(each).decode() for each in (ephemeral, nonce, ciphertext)))


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to be the browser")
def test_what_webcrypto_encrypts_is_opened() -> None:
    asked = json.dumps({"key": msgspec.to_builtins(PARCELS.public_key()), "secret": SECRET})
    done = subprocess.run(["node", "-e", BROWSER], input=asked, capture_output=True, text=True, timeout=30, check=True)
    assert PARCELS.open(msgspec.json.decode(done.stdout, type=EncryptedSecret)).reveal() == SECRET


def test_who_shares_the_ring_has_the_same_key_and_terms_before_open_too() -> None:
    key = PARCELS.public_key()
    assert (key.key_id, key.info) == ("t3", "keyrelay parcel v1 t3")
    assert Parcels(Vault(DataKeys({3: bytes(range(32, 64))}, 3))).public_key() == key
    before = Parcels(Vault(DataKeys({1: bytes(range(32))}, 1))).public_key()
    assert before.public_key != key.public_key
    assert PARCELS.open(packed(before, SECRET.encode())).reveal() == SECRET
    assert "gsk" not in repr(PARCELS)


def test_base64_of_urls_will_do_as_well() -> None:
    parcel = packed(PARCELS.public_key(), SECRET.encode())
    url_safe = parcel.ciphertext.replace("+", "-").replace("/", "_").rstrip("=")
    assert PARCELS.open(msgspec.structs.replace(parcel, ciphertext=url_safe)).reveal() == SECRET


def flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"ciphertext": flipped(p.ciphertext)}, "changed on the way"),
        (lambda p: {"nonce": flipped(p.nonce)}, "changed on the way"),
        (lambda p: {"key_id": "t1"}, "changed on the way"),
        (lambda p: {"key_id": "t2"}, "not known any more"),
        (lambda p: {"key_id": "3"}, "not known any more"),
        (lambda p: {"key_id": "t"}, "not known any more"),
        (lambda p: {"key_id": "t٣"}, "not known any more"),
        (lambda p: {"key_id": "t" + "9" * 5000}, "not known any more"),
        (lambda p: {"ephemeral_public_key": flipped(p.ephemeral_public_key)}, "no point of the curve"),
        (lambda p: {"ephemeral_public_key": "AAAA"}, "wrong length or form"),
        (lambda p: {"ephemeral_public_key": base64.b64encode(bytes(65)).decode()}, "wrong length or form"),
        (lambda p: {"nonce": "AAAA"}, "wrong length or form"),
        (lambda p: {"ciphertext": ""}, "wrong length or form"),
        (lambda p: {"ciphertext": "%"}, "not base64"),
        (lambda p: {"ciphertext": "ü"}, "not base64"),
    ],
)
def test_what_does_not_open(change: Callable[[EncryptedSecret], dict[str, str]], words: str) -> None:
    parcel = packed(PARCELS.public_key(), SECRET.encode())
    with pytest.raises(SealedValueError, match=words):
        PARCELS.open(msgspec.structs.replace(parcel, **change(parcel)))


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(SealedValueError, match="no text"):
        PARCELS.open(packed(PARCELS.public_key(), b"\xff\xfe"))
