"""`/api/v1/routes`: the names that stand for an ordered set of models."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Request, Response

from keyrelay.administration.routes import KnownRoute, RouteFields, Routes
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.administered import RouteEntry
from keyrelay.core.configuration import CacheMode, PolicyName

_TAGS: list[Any] = ["routes"]

RouteName = Annotated[str, Path(max_length=128, description="The route's name, as callers send it as `model`.")]


class RouteItem(msgspec.Struct, frozen=True, kw_only=True):
    """A route in force. `source` is `default`, the file, or `store`; `entry` is what is administered, null for nothing.

    `cache` null: as the setting says. `warnings` say what is put up with, such as a provider without a key.
    """

    name: str
    targets: tuple[str, ...]
    policy: PolicyName
    fallback: tuple[str, ...]
    cache: CacheMode | None
    source: str
    entry: RouteEntry | None
    warnings: tuple[str, ...]


class RoutePage(msgspec.Struct, frozen=True):
    """All routes, `auto` first."""

    items: tuple[RouteItem, ...]
    next: str | None = None


class RemovedRoute(msgspec.Struct, frozen=True):
    """The route that is not administered any more."""

    removed_route: str


class RoutesView:
    """The routes of routes."""

    __slots__ = ("_access", "_routes")

    def __init__(self, access: Access, routes: Routes) -> None:
        self._access = access
        self._routes = routes

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_looking(app)
        self._install_changing(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(RoutePage, RouteItem, RouteFields, RemovedRoute)

    def _install_looking(self, app: FastAPI) -> None:
        looking = [Depends(self._access.requires(Permission.VIEWER, "route"))]

        @app.get(
            "/api/v1/routes",
            tags=_TAGS,
            summary="All routes.",
            description="`auto`, those of `keyrelay.toml`, and those that are administered.",
            response_class=Response,
            responses=described(RoutePage, RoutePage((_ROUTE,)), 403),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def routes() -> Response:
            return answer(RoutePage(tuple(map(_item, self._routes.known()))))

        @app.get(
            "/api/v1/routes/{name}",
            tags=_TAGS,
            summary="One route.",
            response_class=Response,
            responses=described(RouteItem, _ROUTE, 403, 404),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def route(name: RouteName) -> Response:
            return answer(_item(self._routes.find(name)))

    def _install_changing(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "route"))

        @app.put(
            "/api/v1/routes/{name}",
            tags=_TAGS,
            summary="Make a route, or say one anew.",
            description="It comes before one of the same name in the file, and before the usual `auto`.",
            response_class=Response,
            responses=described(RouteItem, _ROUTE, 400, 403, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(RouteFields, RouteFields(targets=("groq/openai/gpt-oss-20b", "gemini"))),
        )
        async def put(request: Request, name: RouteName, who: Principal = who_asks) -> Response:
            body = await read_body(request, RouteFields)
            await from_store(self._routes.put(name, body, author_of(who)))
            return answer(_item(self._routes.find(name)))

        @app.delete(
            "/api/v1/routes/{name}",
            tags=_TAGS,
            summary="Forget a route of the store.",
            description="One of the same name in the file, or the usual `auto`, is back then.",
            response_class=Response,
            responses=described(RemovedRoute, RemovedRoute("fast"), 403, 404, 409, 422) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def delete(name: RouteName, who: Principal = who_asks) -> Response:
            await from_store(self._routes.remove(name, author_of(who)))
            return answer(RemovedRoute(name))

    def __repr__(self) -> str:
        return f"<RoutesView of {self._routes!r}>"


def _item(known: KnownRoute) -> RouteItem:
    route = known.route
    return RouteItem(
        name=route.name,
        targets=tuple(map(str, route.targets)),
        policy=route.policy,
        fallback=tuple(map(str, route.fallback)),
        cache=route.cache,
        source=known.source,
        entry=known.entry,
        warnings=known.warnings,
    )


_ROUTE = RouteItem(
    name="fast",
    targets=("groq/openai/gpt-oss-20b", "gemini/gemini-3.1-flash-lite"),
    policy=PolicyName.PRIORITY,
    fallback=("openai/gpt-5.4-mini",),
    cache=None,
    source="store",
    entry=RouteEntry(
        name="fast",
        targets=("groq/openai/gpt-oss-20b", "gemini/gemini-3.1-flash-lite"),
        policy="priority",
        fallback=("openai/gpt-5.4-mini",),
    ),
    warnings=(),
)
