"""`/api/v1/alerts/channels`: where messages on alerts go, and trying it out."""

import base64
import os
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Request, Response
from msgspec import UNSET, UnsetType

from keyrelay.administration.alerts import (
    ChannelSecrets,
    adding_channel,
    changing_channel,
    channel_named,
    channels_of,
    removing_channel,
    secret_of,
)
from keyrelay.administration.service import Administration
from keyrelay.alerting.texts import trial_message
from keyrelay.api.access import Access
from keyrelay.api.administration.alert_lines import EXAMPLE_CHANNEL, ChannelItem, channel_item
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.administered import Administered
from keyrelay.core.alerts import (
    DEFAULT_MAIL_PORT,
    AlertMessage,
    Channel,
    ChannelKind,
    MailSecurity,
    Outcome,
    RuleName,
    Severity,
)
from keyrelay.core.ids import request_id

_CREATED = 201
_KEY_BYTES = 32
_SECRETS = ("url", "key", "password")

ChannelName = Annotated[str, Path(alias="name", description="The channel's name.")]


class NewChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel to be added. `webhook` and `slack` take a `url`, `email` takes what follows it.

    `key` signs the messages of a webhook; without one it is made, and shown once in the answer. `rules`: of these only.
    """

    name: str
    kind: ChannelKind
    enabled: bool = True
    least: Severity = Severity.INFO
    rules: tuple[RuleName, ...] = ()
    resolved: bool = True
    url: str = ""
    key: str = ""
    host: str = ""
    port: int = DEFAULT_MAIL_PORT
    security: MailSecurity = "starttls"
    user: str = ""
    password: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()


class ChannelEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another from now on."""

    enabled: bool | UnsetType = UNSET
    least: Severity | UnsetType = UNSET
    rules: tuple[RuleName, ...] | UnsetType = UNSET
    resolved: bool | UnsetType = UNSET
    url: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    security: MailSecurity | UnsetType = UNSET
    user: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    sender: str | UnsetType = UNSET
    recipients: tuple[str, ...] | UnsetType = UNSET


class MadeChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that was just made; a key that was made for it is shown this once, else it is empty."""

    channel: ChannelItem
    key: str


class ChannelList(msgspec.Struct, frozen=True):
    """All channels, in the order of names."""

    items: tuple[ChannelItem, ...]


class TestedChannel(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel made of a test message: `problem` is empty when it was taken."""

    delivered: bool
    problem: str


class RemovedChannel(msgspec.Struct, frozen=True):
    """What is not there any more."""

    removed: str


class AlertChannelsView:
    """The routes. `send` delivers one message to a channel by its name, and says what that made of it."""

    __slots__ = ("_access", "_administration", "_epoch_s", "_send")

    def __init__(
        self,
        access: Access,
        administration: Administration,
        *,
        send: Callable[[str, AlertMessage], Awaitable[Outcome]],
        epoch_s: Callable[[], float],
    ) -> None:
        self._access = access
        self._administration = administration
        self._send = send
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_all(app)
        self._install_one(app)
        self._install_test(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(NewChannel, ChannelEdit, MadeChannel, ChannelList, ChannelItem, TestedChannel, RemovedChannel)

    def _install_all(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/alerts/channels",
            tags=["alerts"],
            summary="Where messages on alerts go.",
            response_class=Response,
            responses=described(ChannelList, ChannelList((EXAMPLE_CHANNEL,)), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "alert"))],
        )
        async def channels() -> Response:
            state = self._administration.state
            return answer(ChannelList(tuple(_item(state, name) for name in channels_of(state))))

        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "alert"))

        @app.post(
            "/api/v1/alerts/channels",
            tags=["alerts"],
            summary="Add a channel.",
            description="The URL, the key and the password are sealed, and in no answer but this one, which has the "
            "key that was made if none was given.",
            status_code=_CREATED,
            response_class=Response,
            responses=described(
                MadeChannel, MadeChannel(channel=EXAMPLE_CHANNEL, key="whsec_AAAA"), 400, 403, 409, status=_CREATED
            )
            | unavailable(),
            openapi_extra=SECURITY
            | body_of(NewChannel, NewChannel(name="ops", kind="webhook", url="https://hooks.example.com/keyrelay")),
        )
        async def add(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewChannel)
            made = ""
            if body.kind == "webhook" and not body.key:
                made = f"whsec_{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"
            shared = {
                field: getattr(body, field)
                for field in NewChannel.__struct_fields__
                if field not in {"name", *_SECRETS}
            }
            channel = Channel(created_s=self._epoch_s(), set_by=who.name, **shared)
            secrets = ChannelSecrets(url=body.url, key=body.key or made, password=body.password)
            state = await self._change(adding_channel(body.name, channel, secrets), who, "add alert channel")
            return answer(MadeChannel(channel=_item(state, body.name), key=made), _CREATED)

    def _install_one(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "alert"))

        @app.patch(
            "/api/v1/alerts/channels/{name}",
            tags=["alerts"],
            summary="Change a channel, or switch it on or off.",
            response_class=Response,
            responses=described(ChannelItem, EXAMPLE_CHANNEL, 400, 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY | body_of(ChannelEdit, ChannelEdit(least=Severity.CRITICAL)),
        )
        async def change(request: Request, name: ChannelName, who: Principal = who_asks) -> Response:
            body = await read_body(request, ChannelEdit)
            given = {
                field: value
                for field in ChannelEdit.__struct_fields__
                if not isinstance(value := getattr(body, field), UnsetType)
            }
            fields = {field: value for field, value in given.items() if field not in _SECRETS}
            secrets = ChannelSecrets(url=body.url, key=body.key, password=body.password)
            state = await self._change(changing_channel(name, fields, secrets), who, "change alert channel")
            return answer(_item(state, name))

        @app.delete(
            "/api/v1/alerts/channels/{name}",
            tags=["alerts"],
            summary="Remove a channel.",
            response_class=Response,
            responses=described(RemovedChannel, RemovedChannel("ops"), 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def remove(name: ChannelName, who: Principal = who_asks) -> Response:
            await self._change(removing_channel(name), who, "remove alert channel")
            return answer(RemovedChannel(name))

    def _install_test(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "alert"))

        @app.post(
            "/api/v1/alerts/channels/{name}/test",
            tags=["alerts"],
            summary="Send a test message, and say what became of it.",
            response_class=Response,
            responses=described(TestedChannel, TestedChannel(delivered=True, problem=""), 403, 404) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def test(name: ChannelName, who: Principal = who_asks) -> Response:
            channel_named(self._administration.state, name)
            author = author_of(who)
            await from_store(self._administration.note(author, "test alert channel", kind="alert", entry=name))
            now_s = self._epoch_s()
            message_id = request_id(int(now_s * 1000), random.getrandbits(74))
            outcome = await self._send(name, trial_message(name, now_s, message_id))
            return answer(TestedChannel(delivered=not outcome.problem, problem=outcome.problem))

    async def _change(self, edit: Callable[[Administered], Administered], who: Principal, action: str) -> Administered:
        return await from_store(self._administration.change(edit, author_of(who), action))

    def __repr__(self) -> str:
        return f"<AlertChannelsView of {self._administration!r}>"


def _item(state: Administered, name: str) -> ChannelItem:
    password_set = bool(secret_of(state, name).password)
    return channel_item(name, channel_named(state, name), password_set=password_set)
