"""`/api/v1/local-proof`: by which a command makes sure that it talks to the gateway of its data directory."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import ANYBODY
from keyrelay.api.views import answer, described, schemas_of
from keyrelay.configuration.local_proof import NONCE, PATH


class LocalProof(msgspec.Struct, frozen=True):
    """What only who can read `local.secret` could have answered, at this address."""

    proof: str


class LocalProofView:
    """The route."""

    __slots__ = ("_access",)

    def __init__(self, access: Access) -> None:
        self._access = access

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get(
            PATH,
            tags=["access"],
            summary="Prove to a command on the same machine which gateway this is.",
            description="The HMAC-SHA256 of the nonce and of the address at which the connection arrives, under "
            "`local.secret`. docs/security.md says what for.",
            response_class=Response,
            responses=described(LocalProof, LocalProof("9f86d081884c7d65" * 4), 400, 404),
            dependencies=[Depends(ANYBODY)],
        )
        async def local_proof(request: Request, nonce: Annotated[str, Query(pattern=f"^{NONCE.pattern}$")]) -> Response:
            return answer(LocalProof(self._access.proof(request, nonce)))

    def schemas(self) -> dict[str, Any]:
        """That of its document."""
        return schemas_of(LocalProof)

    def __repr__(self) -> str:
        return "<LocalProofView>"
