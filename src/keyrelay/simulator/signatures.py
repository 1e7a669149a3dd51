"""Signatures that prove where thoughts came from: opaque to everyone, and checked when they come back."""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64

_SALT = b"simulated"
_BYTES = 24


def sign(maker: str, text: str) -> str:
    """The signature of `maker` (a dialect) under a text, in base64."""
    return b64encode(_digest(maker, text)).decode()


def is_genuine(maker: str, text: str, signature: str) -> bool:
    """Whether `maker` signed just this text."""
    return signature == sign(maker, text)


def seal(maker: str, text: str) -> str:
    """A signature that can be recognised without the text under it."""
    nonce = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return b64encode(nonce + _digest(maker, nonce.hex())).decode()


_STANDARD = str.maketrans("-_", "+/")


def is_sealed(maker: str, signature: str) -> bool:
    """Whether `maker` made this seal."""
    try:
        data = b64decode(signature.translate(_STANDARD), validate=True)  # Google's SDKs write it URL-safe
    except (NotBase64, ValueError):
        return False
    return data[8:] == _digest(maker, data[:8].hex())


def _digest(maker: str, text: str) -> bytes:
    return hashlib.blake2b(f"{maker}\n{text}".encode(), digest_size=_BYTES, key=_SALT).digest()
