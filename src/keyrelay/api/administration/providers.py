"""`/api/v1/providers`: which providers there are, what is said of them, and what they say themselves."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request, Response

from keyrelay.administration.key_edits import check_secret
from keyrelay.administration.provider_edits import MAX_MODELS, ProviderFields
from keyrelay.administration.providers import Found, FoundModel, Providers
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.provider_lines import EXAMPLE_PROVIDER, ProviderItem, ProviderLister
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.probes import Listing
from keyrelay.core.providers import ProviderDialect
from keyrelay.core.secrets import Secret

_TAGS: list[Any] = ["providers"]
_ERRORS = (400, 403, 409, 413, 415, 422)

ProviderId = Annotated[str, Path(max_length=64, description="Its id, such as `groq`.")]


class ProviderPage(msgspec.Struct, frozen=True):
    """Providers in the order in which they are tried, those behind them that are not in use."""

    items: tuple[ProviderItem, ...]
    next: str | None = None


class ProviderChange(ProviderFields, frozen=True, kw_only=True):
    """What is to be said of a provider.

    What PATCH leaves out stays as it is, and PUT says nothing of. null says nothing any more. `confirm_keys` names the
    address (`https://host`) that all of its keys in the store may go to from now on, though they were entered for
    another one.
    """

    confirm_keys: str | None = None


class ProviderOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ids of providers, the first to be tried first."""

    order: tuple[str, ...]


class KeyChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The label of the key to ask with; empty for the first one that serves."""

    key: str = ""


class Discovery(KeyChoice, frozen=True, forbid_unknown_fields=True):
    """With `apply`, those named by `models`, or all that are new, can be asked for from now on."""

    apply: bool = False
    models: tuple[str, ...] | None = None


class ProviderPreview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address to look at, with a key if it needs one; nothing of it is kept."""

    base_url: str
    key: str = ""
    dialect: ProviderDialect | None = None


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of one of its keys. `proves` says what a good answer means, `limits_of` what not."""

    provider: str
    key: str
    outcome: Literal["valid", "invalid", "out_of_credit", "unknown", "not_checkable"]
    message: str
    proves: str
    limits_of: str
    ms: float


class DiscoveredModels(msgspec.Struct, frozen=True, kw_only=True):
    """The models that a provider lists for a key, or the `problem`.

    `missing` are known here and not listed there; `added` can be asked for since this request.
    """

    provider: str
    key: str
    problem: str
    models: tuple[FoundModel, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    ms: float


class PreviewedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a list of models was found. `base_url` is the address that works, else the one asked for.

    `status` is that of the answer, 0 when there was none; `problem` says in a sentence what is wrong.
    """

    compatible: bool
    base_url: str
    status: int
    problem: str
    models: tuple[str, ...]
    ms: float


class RemovedProvider(msgspec.Struct, frozen=True):
    """The provider of which nothing is administered any more."""

    removed_provider: str


class ProvidersView:
    """The routes."""

    __slots__ = ("_access", "_lister", "_providers")

    def __init__(self, access: Access, providers: Providers, lister: ProviderLister) -> None:
        self._access = access
        self._providers = providers
        self._lister = lister

    def install(self, app: FastAPI) -> None:
        """Add the routes; the order before what takes any id."""
        self._install_looking(app)
        self._install_order(app)
        self._install_changing(app)
        self._install_switching(app)
        self._install_asking(app)
        self._install_preview(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(
            ProviderPage,
            ProviderItem,
            ProviderChange,
            ProviderOrder,
            KeyChoice,
            Discovery,
            ProviderPreview,
            ProviderTest,
            DiscoveredModels,
            PreviewedProvider,
            RemovedProvider,
        )

    def _install_looking(self, app: FastAPI) -> None:
        looking = [Depends(self._access.requires(Permission.VIEWER, "provider"))]

        @app.get(
            "/api/v1/providers",
            tags=_TAGS,
            summary="The providers, first priority first.",
            description="Those in use and those that are administered; with `all`, whatever the catalogue knows.",
            response_class=Response,
            responses=described(ProviderPage, ProviderPage((EXAMPLE_PROVIDER,)), 400, 403),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def providers(
            everything: Annotated[bool, Query(alias="all", description="Those of the catalogue as well.")] = False,  # noqa: FBT002 - a parameter of the query, always by name
        ) -> Response:
            return answer(ProviderPage(self._lister.lines(everything=everything)))

        @app.get(
            "/api/v1/providers/{provider}",
            tags=_TAGS,
            summary="One provider.",
            response_class=Response,
            responses=described(ProviderItem, EXAMPLE_PROVIDER, 403, 404),
            openapi_extra=SECURITY,
            dependencies=looking,
        )
        async def one(provider: ProviderId) -> Response:
            return self._shown(provider)

    def _install_order(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "provider"))

        @app.put(
            "/api/v1/providers/order",
            tags=_TAGS,
            summary="In which order providers are tried.",
            description="Those in use that are not named follow in the order that they have. One change, or none.",
            response_class=Response,
            responses=described(ProviderOrder, _ORDER, *_ERRORS, 404) | unavailable(),
            openapi_extra=SECURITY | body_of(ProviderOrder, _ORDER),
        )
        async def order(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, ProviderOrder)
            made = await from_store(self._providers.order(body.order[:MAX_MODELS], author_of(who)))
            return answer(ProviderOrder(tuple(made)))

    def _install_changing(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "provider"))
        responses = described(ProviderItem, EXAMPLE_PROVIDER, *_ERRORS) | unavailable()

        @app.put(
            "/api/v1/providers/{provider}",
            tags=_TAGS,
            summary="Add a provider, or say anew what is said of one.",
            description="Any server that speaks OpenAI's dialect, or another one that `dialect` names. What the body "
            "leaves out is not said any more.",
            response_class=Response,
            responses=responses,
            openapi_extra=SECURITY | body_of(ProviderChange, _CHANGE),
        )
        async def put(request: Request, provider: ProviderId, who: Principal = who_asks) -> Response:
            return await self._change(request, provider, who, whole=True)

        @app.patch(
            "/api/v1/providers/{provider}",
            tags=_TAGS,
            summary="Change some of what is said of a provider.",
            response_class=Response,
            responses=responses,
            openapi_extra=SECURITY | body_of(ProviderChange, ProviderChange(priority=1, tier="paid")),
        )
        async def patch(request: Request, provider: ProviderId, who: Principal = who_asks) -> Response:
            return await self._change(request, provider, who, whole=False)

        @app.delete(
            "/api/v1/providers/{provider}",
            tags=_TAGS,
            summary="Forget what is administered of a provider.",
            description="One of the catalogue is then as that has it. Keys in the store keep it from going.",
            response_class=Response,
            responses=described(RemovedProvider, RemovedProvider("my_llm"), 400, 403, 404, 409, 422) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def delete(
            provider: ProviderId,
            *,
            with_keys: Annotated[bool, Query(description="Delete its keys in the store too.")] = False,
            who: Principal = who_asks,
        ) -> Response:
            if with_keys:
                who.need(Permission.ADMINISTRATOR, "key")
            await from_store(self._providers.remove(provider, author_of(who), with_keys=with_keys))
            return answer(RemovedProvider(provider))

    def _install_switching(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "provider"))
        responses = described(ProviderItem, EXAMPLE_PROVIDER, 403, 404, 409, 422) | unavailable()

        @app.post(
            "/api/v1/providers/{provider}/enable",
            tags=_TAGS,
            summary="Switch a provider on.",
            description="One that needs no key serves from then on without any.",
            response_class=Response,
            responses=responses,
            openapi_extra=SECURITY,
        )
        async def enable(provider: ProviderId, who: Principal = who_asks) -> Response:
            await from_store(self._providers.switch(provider, author_of(who), enabled=True))
            return self._shown(provider)

        @app.post(
            "/api/v1/providers/{provider}/disable",
            tags=_TAGS,
            summary="Switch a provider off.",
            description="What is under way ends; nothing new goes there.",
            response_class=Response,
            responses=responses,
            openapi_extra=SECURITY,
        )
        async def disable(provider: ProviderId, who: Principal = who_asks) -> Response:
            await from_store(self._providers.switch(provider, author_of(who), enabled=False))
            return self._shown(provider)

    def _install_asking(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "provider"))

        @app.post(
            "/api/v1/providers/{provider}/test",
            tags=_TAGS,
            summary="Ask a provider whether one of its keys is good.",
            description="By the call that costs nothing, where the provider has one.",
            response_class=Response,
            responses=described(ProviderTest, _TEST, 400, 403, 404, 409, 413, 415),
            openapi_extra=SECURITY | body_of(KeyChoice, KeyChoice("work")),
            dependencies=[who_asks],
        )
        async def test(request: Request, provider: ProviderId) -> Response:
            body = await read_body(request, KeyChoice)
            known, probed = await self._providers.test(provider, body.key)
            return answer(
                ProviderTest(
                    provider=provider,
                    key=known.key.label,
                    outcome=probed.outcome.value,
                    message=probed.message,
                    proves=probed.proves,
                    limits_of=probed.limits_of,
                    ms=probed.ms,
                )
            )

        @app.post(
            "/api/v1/providers/{provider}/discover",
            tags=_TAGS,
            summary="Ask a provider which models it has.",
            description="To `apply` what is found takes an administrator.",
            response_class=Response,
            responses=described(DiscoveredModels, _DISCOVERED, *_ERRORS, 404) | unavailable(),
            openapi_extra=SECURITY | body_of(Discovery, Discovery("work", apply=True)),
        )
        async def discover(request: Request, provider: ProviderId, who: Principal = who_asks) -> Response:
            body = await read_body(request, Discovery)
            if body.apply:
                who.need(Permission.ADMINISTRATOR, "provider")
            found = await self._providers.discover(provider, body.key)
            if body.apply:
                found = await from_store(self._providers.apply(provider, found, body.models, author_of(who)))
            return answer(_discovered(provider, found))

    def _install_preview(self, app: FastAPI) -> None:
        @app.post(
            "/api/v1/providers/preview",
            tags=_TAGS,
            summary="Look at an address before it becomes a provider.",
            description="Asks for its list of models, also behind `/v1` where that is missing. Nothing is kept.",
            response_class=Response,
            responses=described(PreviewedProvider, _PREVIEWED, 400, 403, 413, 415, 422),
            openapi_extra=SECURITY
            | body_of(ProviderPreview, ProviderPreview("https://llm.example.com", "sk-f7c3bc1d808e0473")),
            dependencies=[Depends(self._access.requires(Permission.ADMINISTRATOR, "provider"))],
        )
        async def preview(request: Request) -> Response:
            body = await read_body(request, ProviderPreview)
            secret = Secret(body.key) if body.key else None
            if secret is not None:
                check_secret(secret, "key")
            found = await self._providers.preview(body.base_url, body.dialect, secret)
            return answer(_previewed(found.base_url, found.listing, compatible=found.compatible))

    async def _change(self, request: Request, provider_id: str, who: Principal, *, whole: bool) -> Response:
        body = await read_body(request, ProviderChange)
        if body.confirm_keys is not None:
            who.need(Permission.ADMINISTRATOR, "key")  # it is keys that go to another host then
        change = self._providers.put(provider_id, body, author_of(who), whole=whole, confirm_keys=body.confirm_keys)
        await from_store(change)
        return self._shown(provider_id)

    def _shown(self, provider_id: str) -> Response:
        self._providers.check(provider_id)
        return answer(self._lister.line(provider_id))

    def __repr__(self) -> str:
        return f"<ProvidersView of {self._providers!r}>"


def _discovered(provider_id: str, found: Found) -> DiscoveredModels:
    return DiscoveredModels(
        provider=provider_id,
        key=found.key,
        problem=found.listing.problem,
        models=found.models,
        missing=found.missing,
        added=found.added,
        ms=found.listing.ms,
    )


def _previewed(base_url: str, listing: Listing, *, compatible: bool) -> PreviewedProvider:
    problem = "" if compatible else listing.problem or "It lists no model."
    return PreviewedProvider(
        compatible=compatible,
        base_url=base_url,
        status=listing.status,
        problem=problem,
        models=listing.models,
        ms=listing.ms,
    )


_ORDER = ProviderOrder(("groq", "gemini", "my_llm"))
_CHANGE = ProviderChange(base_url="https://llm.example.com/v1", models=("large", "small"), priority=5)
_TEST = ProviderTest(
    provider="groq",
    key="work",
    outcome="valid",
    message="Groq accepts it: the key is alive.",
    proves="the key is alive",
    limits_of="",
    ms=112.4,
)
_DISCOVERED = DiscoveredModels(
    provider="my_llm",
    key="main",
    problem="",
    models=(FoundModel(id="large", known=True, priced=False), FoundModel(id="huge", known=False, priced=False)),
    missing=(),
    added=("huge",),
    ms=88.0,
)
_PREVIEWED = PreviewedProvider(
    compatible=True, base_url="https://llm.example.com/v1", status=200, problem="", models=("large", "small"), ms=91.3
)
