"""`/api/v1/keys`: all keys with their states, and what can be changed of one."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response

from keyrelay.administration.key_edits import KeyFields
from keyrelay.administration.keys import Keys
from keyrelay.administration.known_keys import find_key
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.key_bodies import KeyPatch, LabelName, ProviderName, changed_fields
from keyrelay.api.administration.key_lines import EXAMPLE_KEY, KeyItem, KeyLister
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of

MAX_KEYS = 10_000
_KEYS = 1_000
_LONGEST_NAME = 256

StateName = Literal[
    "", "ready", "resting", "exhausted", "invalid", "out_of_credit", "disabled", "expired", "other_host", "unknown"
]


class KeyPage(msgspec.Struct, frozen=True):
    """Keys in the order of their ids. `next` is the value of `after` for the page behind this one, null at the end.

    `states` counts all keys that pass the filter by provider, by their state.
    """

    items: tuple[KeyItem, ...]
    next: str | None
    states: dict[str, int]


class RemovedKey(msgspec.Struct, frozen=True):
    """The key that is not there any more."""

    removed_key: str


class KeysView:
    """The routes of keys that are there."""

    __slots__ = ("_access", "_epoch_s", "_keys", "_lister")

    def __init__(self, access: Access, keys: Keys, lister: KeyLister, epoch_s: Callable[[], float]) -> None:
        self._access = access
        self._keys = keys
        self._lister = lister
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_looking(app)
        self._install_changing(app)
        self._install_switching(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(KeyPage, KeyItem, KeyPatch, RemovedKey)

    def _install_looking(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/keys",
            tags=["keys"],
            summary="All keys, with their states.",
            description="Those of the store and those of the environment; never a secret.",
            response_class=Response,
            responses=described(KeyPage, KeyPage((EXAMPLE_KEY,), None, {"exhausted": 1}), 400, 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "key"))],
        )
        async def keys(
            provider: Annotated[str, Query(max_length=_LONGEST_NAME, description="Of this provider only.")] = "",
            state: Annotated[StateName, Query(description="In this state only.")] = "",
            after: Annotated[str, Query(max_length=_LONGEST_NAME, description="The `next` of the page before.")] = "",
            limit: Annotated[int, Query(ge=1, le=MAX_KEYS, description="At most so many keys.")] = _KEYS,
        ) -> Response:
            return answer(await self.page(provider, state, after=after, limit=limit))

        @app.get(
            "/api/v1/keys/{provider}/{label}",
            tags=["keys"],
            summary="One key.",
            response_class=Response,
            responses=described(KeyItem, EXAMPLE_KEY, 403, 404),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "key"))],
        )
        async def key(provider: ProviderName, label: LabelName) -> Response:
            return await self._shown(provider, label)

    def _install_changing(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "key"))

        @app.patch(
            "/api/v1/keys/{provider}/{label}",
            tags=["keys"],
            summary="Change what is said of a key.",
            description="Of a key of the environment as well, except for its label: that stands in its variable.",
            response_class=Response,
            responses=described(KeyItem, EXAMPLE_KEY, 400, 403, 404, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(KeyPatch, KeyPatch(priority=1, backup=True)),
        )
        async def change(
            request: Request, provider: ProviderName, label: LabelName, who: Principal = who_asks
        ) -> Response:
            fields = changed_fields(await read_body(request, KeyPatch), self._epoch_s())
            known = self._keys.find(provider, label)
            key_id = await from_store(self._keys.edit(known, fields, author_of(who), "change key"))
            return await self._shown(*key_id.split("/", 1))

        @app.delete(
            "/api/v1/keys/{provider}/{label}",
            tags=["keys"],
            summary="Remove a key from the store.",
            description="What it was used for stays in the usage. A key of the environment is removed there.",
            response_class=Response,
            responses=described(RemovedKey, RemovedKey("groq/work"), 403, 404, 409, 422) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def remove(provider: ProviderName, label: LabelName, who: Principal = who_asks) -> Response:
            known = self._keys.find(provider, label)
            await from_store(self._keys.remove(known, author_of(who)))
            return answer(RemovedKey(known.key.id))

    def _install_switching(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "key"))
        answers = described(KeyItem, EXAMPLE_KEY, 403, 404, 409, 422) | unavailable()

        @app.post(
            "/api/v1/keys/{provider}/{label}/enable",
            tags=["keys"],
            summary="Let a key take requests.",
            response_class=Response,
            responses=answers,
            openapi_extra=SECURITY,
        )
        async def enable(provider: ProviderName, label: LabelName, who: Principal = who_asks) -> Response:
            return await self._switch(provider, label, who, enabled=True)

        @app.post(
            "/api/v1/keys/{provider}/{label}/disable",
            tags=["keys"],
            summary="Let a key take no more requests.",
            description="Requests under way end with it.",
            response_class=Response,
            responses=answers,
            openapi_extra=SECURITY,
        )
        async def disable(provider: ProviderName, label: LabelName, who: Principal = who_asks) -> Response:
            return await self._switch(provider, label, who, enabled=False)

        @app.post(
            "/api/v1/keys/{provider}/{label}/wake",
            tags=["keys"],
            summary="End the rest of a key.",
            description="Whatever keeps it back is forgotten: refusals of the key and its account, and that its "
            "provider was failing. Counts stay as they are.",
            response_class=Response,
            responses=answers,
            openapi_extra=SECURITY,
        )
        async def wake(provider: ProviderName, label: LabelName, who: Principal = who_asks) -> Response:
            await from_store(self._keys.wake(self._keys.find(provider, label), author_of(who)))
            return await self._shown(provider, label)

    async def page(self, provider: str, state: str, *, after: str, limit: int) -> KeyPage:
        """A page of keys."""
        known = [each for each in self._keys.known().values() if provider in {"", each.key.provider_id}]
        lines = await self._lister.lines(known)
        states = dict[str, int]()
        for line in lines:
            states[line.state] = states.get(line.state, 0) + 1
        wanted = [line for line in lines if state in {"", line.state} and line.id > after]
        following = wanted[limit - 1].id if len(wanted) > limit else None
        return KeyPage(tuple(wanted[:limit]), following, states)

    async def _switch(self, provider: str, label: str, who: Principal, *, enabled: bool) -> Response:
        known, action = self._keys.find(provider, label), "enable key" if enabled else "disable key"
        await from_store(self._keys.edit(known, KeyFields(enabled=enabled), author_of(who), action))
        return await self._shown(provider, label)

    async def _shown(self, provider: str, label: str) -> Response:
        return answer(await self._lister.line(find_key(self._keys.known(), provider, label)))

    def __repr__(self) -> str:
        return f"<KeysView of {self._keys!r}>"
