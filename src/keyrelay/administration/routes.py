"""Routes, as people administer them: names of their own for an ordered set of models."""

import msgspec

from keyrelay.administration.service import Administration, Author
from keyrelay.configuration.stored import STORE
from keyrelay.configuration.toml_file import ROUTE_NAME
from keyrelay.core.administered import Administered, RouteEntry
from keyrelay.core.configuration import CacheMode, PolicyName, Route
from keyrelay.core.errors import CallerError

MAX_ROUTES = 1_000
MAX_TARGETS = 200
MAX_NOTES = 2_000
_LONGEST_TARGET = 300


class KnownRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route in force and where it stands; `entry` is what is administered of it, `warnings` what is put up with."""

    route: Route
    source: str
    entry: RouteEntry | None = None
    warnings: tuple[str, ...] = ()


class RouteFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route. Targets are `provider/model`, or a provider alone for its default model.

    Without a `policy` or `cache` the settings' count. `fallback` targets are tried when no target can serve.
    """

    targets: tuple[str, ...]
    policy: PolicyName | None = None
    fallback: tuple[str, ...] = ()
    cache: CacheMode | None = None
    notes: str = ""


class Routes:
    """The routes. Everything raises CallerError, and StoreError when it cannot be kept."""

    __slots__ = ("_administration",)

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def known(self) -> list[KnownRoute]:
        """All routes in force: `auto`, those of the file, those administered."""
        configuration, state = self._administration.configuration, self._administration.state
        sources = {value.name: value.source for value in configuration.values}
        return [
            KnownRoute(
                route=route,
                source=sources.get(f"routes.{name}.targets", ""),
                entry=state.get(RouteEntry, name),
                warnings=tuple(text for text in configuration.warnings if text.startswith(f"{STORE} route {name} ")),
            )
            for name, route in configuration.snapshot.routes.items()
        ]

    def find(self, name: str) -> KnownRoute:
        """One route. Raise CallerError (404)."""
        found = next((known for known in self.known() if known.route.name == name), None)
        if found is None:
            message = f"There is no route {name[:64]!a}; GET /api/v1/routes lists what there is."
            raise CallerError(404, message, param="name", code="route_not_found")
        return found

    async def put(self, name: str, fields: RouteFields, author: Author) -> None:
        """Make a route, or say one anew; it comes before one of the same name in the file."""
        _check(name, fields)
        entry = RouteEntry(
            name=name,
            targets=fields.targets,
            policy=None if fields.policy is None else fields.policy.value,
            fallback=fields.fallback or None,
            cache=fields.cache,
            notes=fields.notes,
        )

        def edit(state: Administered) -> Administered:
            if state.get(RouteEntry, name) is None and len(state.all(RouteEntry)) >= MAX_ROUTES:
                raise CallerError(409, f"There are {MAX_ROUTES} routes already.", code="too_many")
            return state.put(entry)

        await self._administration.change(edit, author, "put route")

    async def remove(self, name: str, author: Author) -> None:
        """Forget a route of the store; one of the same name in the file, or the usual `auto`, is back then."""
        known = self.find(name)

        def edit(state: Administered) -> Administered:
            if state.get(RouteEntry, name) is None:
                place = f"It stands in {known.source}: take it out there"
                place = (
                    place if known.source != "default" else "It is always there; a route of that name can replace it"
                )
                raise CallerError(409, f"{place}.", param="name", code="not_here")
            return state.without("route", name)

        await self._administration.change(edit, author, "remove route")

    def __repr__(self) -> str:
        return f"<Routes of {self._administration!r}>"


def _check(name: str, fields: RouteFields) -> None:
    """Raise CallerError (400) for what cannot be a route, whatever providers there are."""
    if not ROUTE_NAME.fullmatch(name):
        raise _wrong("name", "is made of 1 to 64 letters, digits, `.`, `_` and `-`")
    if not fields.targets:
        raise _wrong("targets", "names no target; write provider/model")
    for param, targets in (("targets", fields.targets), ("fallback", fields.fallback)):
        if len(targets) > MAX_TARGETS or any(not 0 < len(text.strip()) <= _LONGEST_TARGET for text in targets):
            raise _wrong(param, f"at most {MAX_TARGETS}, each of 1 to {_LONGEST_TARGET} characters")
    if len(fields.notes) > MAX_NOTES:
        raise _wrong("notes", f"at most {MAX_NOTES} characters")


def _wrong(param: str, problem: str) -> CallerError:
    return CallerError(400, f"{param}: {problem}.", param=param, code="invalid_parameter")
