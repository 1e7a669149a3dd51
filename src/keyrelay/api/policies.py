"""Who may do what: every route of the control plane declares one policy, as a dependency of FastAPI's.

    @app.get("/api/v1/keys", dependencies=[Depends(access.requires(Permission.VIEWER, "key"))])

or, where the handler wants to know who asks, `who: Annotated[Principal, Depends(access.requires(…))]`. A test goes
through the table of routes and refuses one that declares none, or two.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from fastapi import Request

from keyrelay.administration.service import Author
from keyrelay.core.administered import ROLES, EntryKind, Role
from keyrelay.core.errors import CallerError


class Permission(StrEnum):
    """What a route asks of those who call it; each one includes those before it, from `client` on."""

    ANYBODY = "anybody"  # nothing at all: health, the sign-in page, documentation
    CLIENT = "client"  # a client's secret: it sees its own, people see everything
    TRUSTED = "trusted"  # an operator; while nobody has a role at all, any client
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    @property
    def needed(self) -> str:
        """What it takes, in words."""
        return "the operator's secret or the role operator" if self is Permission.TRUSTED else f"the role {self}"


_LEAST: Mapping[Permission, Role] = MappingProxyType(
    {
        Permission.VIEWER: "viewer",
        Permission.TRUSTED: "operator",
        Permission.OPERATOR: "operator",
        Permission.ADMINISTRATOR: "administrator",
    }
)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. `name` is how the audit log names them (`user:alice`, `token:ci`, `client:app`, `operator`).

    `role` is None for a client, `client` its label, and `trusted` says that nobody has a role yet. `scopes` narrow a
    token down to some kinds of entries; none: all. `address` is where the request came from.
    """

    name: str
    role: Role | None = None
    client: str = ""
    trusted: bool = False
    scopes: tuple[str, ...] = ()
    address: str = ""

    @property
    def operator(self) -> bool:
        """Whether everything may be seen, whoever's it is."""
        return self.role is not None

    def may_see(self, client: str) -> bool:
        """Whether a client's requests may be shown."""
        return self.operator or (bool(client) and client == self.client)

    def may(self, permission: Permission, kind: EntryKind | None = None) -> bool:
        """Whether this is enough for a route that asks for the permission, about entries of a kind."""
        if permission in {Permission.ANYBODY, Permission.CLIENT}:
            return True
        if self.role is None:
            return self.trusted and permission is Permission.TRUSTED
        if self.scopes and kind not in self.scopes:
            return False
        return ROLES.index(self.role) >= ROLES.index(_LEAST[permission])

    def need(self, permission: Permission, kind: EntryKind | None = None) -> None:
        """Raise CallerError (403) unless this is enough."""
        if not self.may(permission, kind):
            raise CallerError(
                403,
                f"{self.name} may not do this: it takes {permission.needed}.",
                kind="permission_error",
                code="not_permitted",
            )


def author_of(who: Principal) -> Author:
    """Who calls, as the audit log names them."""
    return Author(who.name, who.address)


class Policy:
    """What one route asks for; called by FastAPI before the handler. `identify` says who calls, or raises."""

    __slots__ = ("_identify", "kind", "permission")

    def __init__(
        self, permission: Permission, identify: Callable[[Request], Awaitable[Principal]], kind: EntryKind | None = None
    ) -> None:
        self.permission = permission
        self.kind = kind
        self._identify = identify

    async def __call__(self, request: Request) -> Principal:
        """Who calls, if they may. Raise CallerError (401, 403)."""
        principal = await self._identify(request)
        principal.need(self.permission, self.kind)
        return principal

    def __repr__(self) -> str:
        return f"<Policy {self.permission}{f' of {self.kind}' if self.kind else ''}>"


async def _nobody(request: Request) -> Principal:
    del request
    return Principal(name="anybody")


ANYBODY = Policy(Permission.ANYBODY, _nobody)
"""The policy of routes that everybody may call."""
