"""Who may do what: every route of the control plane declares one policy, as a dependency of FastAPI's.

    @app.get("/api/v1/keys", dependencies=[Depends(access.requires(Permission.VIEWER, "key"))])

or, where the handler wants to know who asks, `who: Annotated[Principal, Depends(access.requires(…))]`. A test goes
through the table of routes and refuses one that declares none, or two.

Because each route has one, it is here that parameters which the route does not know are refused: a `?dry_run=true` that
is passed over would change what was only to be looked at.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from keyrelay.administration.service import Author
from keyrelay.configuration.findings import nearest
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

_STRICT = "/api/v1/"
_LONGEST_NAME = 64


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. `name` is how the audit log names them (`user:alice`, `token:ci`, `client:app`, `operator`).

    `role` is None for a client, `client` its label, and `trusted` says that nobody has a role yet. `scopes` narrow a
    token down to some kinds of entries, of which `usage` stands for requests too; none: all. `address` is where the
    request came from.
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
        if not self._in_scope(permission, kind):
            return False
        if permission in {Permission.ANYBODY, Permission.CLIENT}:
            return True
        if self.role is None:
            return self.trusted and permission is Permission.TRUSTED
        return ROLES.index(self.role) >= ROLES.index(_LEAST[permission])

    def _in_scope(self, permission: Permission, kind: EntryKind | None) -> bool:
        """Whether its scopes leave room for it: what a client may do that is about no kind of entries takes none."""
        if not self.scopes or permission is Permission.ANYBODY:
            return True
        return kind in self.scopes or (kind is None and permission is Permission.CLIENT)

    def need(self, permission: Permission, kind: EntryKind | None = None) -> None:
        """Raise CallerError (403) unless this is enough."""
        if not self.may(permission, kind):
            needed = permission.needed
            if not self._in_scope(permission, kind):
                needed = "a token without scopes" if kind is None else f"the scope {kind}"
            raise CallerError(
                403,
                f"{self.name} may not do this: it takes {needed}.",
                kind="permission_error",
                code="not_permitted",
            )


def author_of(who: Principal) -> Author:
    """Who calls, as the audit log names them."""
    return Author(who.name, who.address)


class Policy:
    """What one route asks for; called by FastAPI before the handler. `identify` says who calls, or raises.

    `catch_up` takes what other processes have changed, before entries of a kind are looked at: whoever has changed them
    there finds here what they have left.
    """

    __slots__ = ("_catch_up", "_identify", "kind", "permission")

    def __init__(
        self,
        permission: Permission,
        identify: Callable[[Request], Awaitable[Principal]],
        kind: EntryKind | None = None,
        catch_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.permission = permission
        self.kind = kind
        self._identify = identify
        self._catch_up = catch_up

    async def __call__(self, request: Request) -> Principal:
        """Who calls, if they may. Raise CallerError (401, 403; 400 for a parameter that the route does not know)."""
        principal = await self._identify(request)
        principal.need(self.permission, self.kind)
        check_parameters(request)
        if self._catch_up is not None and self.kind is not None and self.permission is not Permission.CLIENT:
            await self._catch_up()
        return principal

    def __repr__(self) -> str:
        return f"<Policy {self.permission}{f' of {self.kind}' if self.kind else ''}>"


def check_parameters(request: Request) -> None:
    """Raise CallerError (400) for a parameter of the query that a route of the API does not know.

    Health, metrics and pages put up with any: what asks for those adds its own, against caches.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.path.startswith(_STRICT):
        return
    known = sorted(_parameters(route.dependant))
    for name in request.query_params:
        if name in known:
            continue
        takes = f"It takes {', '.join(known)}." if known else "It takes none."
        told = f"{name[:_LONGEST_NAME]!r} is no parameter of {request.method} {route.path}."
        message = " ".join(filter(None, (told, nearest(name[:_LONGEST_NAME], known), takes)))
        raise CallerError(400, message, param=name[:_LONGEST_NAME], code="invalid_parameter")


def _parameters(dependant: Dependant) -> Iterator[str]:
    """The names that a route and what it depends on take from the query."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for deeper in dependant.dependencies:
        yield from _parameters(deeper)


async def _nobody(request: Request) -> Principal:
    del request
    return Principal(name="anybody")


ANYBODY = Policy(Permission.ANYBODY, _nobody)
"""The policy of routes that everybody may call."""
