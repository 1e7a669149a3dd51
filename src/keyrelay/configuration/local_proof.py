"""How a command and the gateway of one data directory know each other: both can read `local.secret`, and none sends it.

Another user of the machine may listen where the gateway is expected. So the gateway proves itself first, by a digest of
a number that the command has just made up, under the secret, and the command then signs what it asks for. Both are
made for the address at which the command's connection has arrived. Somebody who passes questions on to the gateway at
another address gets answers from it that the command does not take, and signatures that the gateway does not.
"""

import hashlib
import hmac
import ipaddress
import re

import msgspec

from keyrelay.core.addresses import unwrapped
from keyrelay.core.secrets import Secret

PATH = "/api/v1/local-proof"
SIGNATURE_PREFIX = "krl-"
LASTS_S = 30.0
"""A signature counts for as long, and may come as early by a clock that was set meanwhile."""

NONCE = re.compile(r"[0-9a-f]{32,128}")

_PROOF, _SIGNATURE = "keyrelay local proof 1", "keyrelay local request 1"
_SIGNATURE_FORM = re.compile(rf"{SIGNATURE_PREFIX}([0-9]{{1,12}})-([0-9a-f]{{64}})")


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is about. `place`: where the connection arrives; `target`: path and query as they are sent."""

    place: str
    method: str
    target: str
    body: bytes = b""


def place_of(host: str, port: int) -> str:
    """One end of a connection, the same from both sides. Raise ValueError for a host that is no address."""
    return f"{unwrapped(ipaddress.ip_address(host.partition('%')[0]))} {port}"


def proof_of(secret: Secret, nonce: str, place: str) -> str:
    """With what a gateway that is reached at `place` answers the nonce."""
    return _digest(secret, _PROOF, place, nonce)


def is_proof(secret: Secret, nonce: str, place: str, proof: str) -> bool:
    """Whether this proves that who answers at `place` knows the secret."""
    return hmac.compare_digest(proof.encode(), proof_of(secret, nonce, place).encode())


def sign(secret: Secret, request: SignedRequest, now_s: float) -> str:
    """What is sent in the place of a bearer secret with this very request, and with no other one."""
    made_s = str(int(now_s))
    return f"{SIGNATURE_PREFIX}{made_s}-{_signature(secret, request, made_s)}"


def is_signed(secret: Secret, request: SignedRequest, text: str, now_s: float) -> bool:
    """Whether `text` signs the request, and was made just now; never by an empty secret."""
    found = _SIGNATURE_FORM.fullmatch(text)
    if not secret or found is None or abs(now_s - int(found[1])) > LASTS_S:
        return False
    return hmac.compare_digest(found[2], _signature(secret, request, found[1]))


def _signature(secret: Secret, request: SignedRequest, made_s: str) -> str:
    body = hashlib.sha256(request.body).hexdigest()
    return _digest(secret, _SIGNATURE, request.place, made_s, request.method, request.target, body)


def _digest(secret: Secret, *parts: str) -> str:
    """A keyed digest of texts, none of which holds a line's end."""
    return hmac.digest(secret.reveal().encode(), "\n".join(parts).encode(), "sha256").hex()
