"""`/api/v1/vault/public-key`: with what a browser encrypts a secret before it sends it."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.parcels import EncryptedSecret, PublicKey


class PublicKeyView:
    """The route. `public_key` gives the vault's, and raises StoreError."""

    __slots__ = ("_access", "_public_key")

    def __init__(self, access: Access, public_key: Callable[[], Awaitable[PublicKey]]) -> None:
        self._access = access
        self._public_key = public_key

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get(
            "/api/v1/vault/public-key",
            tags=["keys"],
            summary="The key for encrypting secrets in the browser.",
            description="Wherever a body takes a secret it also takes `encrypted`: the secret under a key agreed on "
            "with this one. docs/keys.md has the code.",
            response_class=Response,
            responses=described(PublicKey, _EXAMPLE, 403) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.OPERATOR))],
        )
        async def public_key() -> Response:
            return answer(await from_store(self._public_key()))

    def schemas(self) -> dict[str, Any]:
        """Those of its documents."""
        return schemas_of(PublicKey, EncryptedSecret)

    def __repr__(self) -> str:
        return "<PublicKeyView>"


_EXAMPLE = PublicKey(
    key_id="t1",
    algorithm="ECDH-P256+HKDF-SHA256+AES-256-GCM",
    public_key="BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=",
    jwk={
        "kty": "EC",
        "crv": "P-256",
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    },
    info="keyrelay parcel v1 t1",
)
