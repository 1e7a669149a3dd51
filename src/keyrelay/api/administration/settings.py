"""`/api/v1/settings`: Keyrelay's own settings, where each one comes from, and which can be changed here."""

from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.setting_changes import KnownSetting, SettingChanges, SettingValue
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of

_TAGS: list[Any] = ["settings"]
_PATH = "/api/v1/settings"


class SettingItem(msgspec.Struct, frozen=True, kw_only=True):
    """A setting. `value` is the one in force, as text, masked where it is `secret`; `source` says where it stands.

    `stored` is what is administered here, null for nothing. `editable`: it can be changed here, else `fixed_by` says
    what keeps it. With `needs_restart` a change counts from the next start. `variable` is its name in the environment.
    """

    name: str
    value: str
    default: str
    source: str
    help: str
    kind: str
    expected: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    variable: str
    secret: bool
    needs_restart: bool
    editable: bool
    fixed_by: str
    stored: str | None


class SettingPage(msgspec.Struct, frozen=True):
    """All settings, in the order of the documentation."""

    items: tuple[SettingItem, ...]
    next: str | None = None


class SettingsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings by name, several at once or none of them; null takes away what was said here."""

    settings: dict[str, SettingValue]


class SettingsView:
    """The routes."""

    __slots__ = ("_access", "_changes")

    def __init__(self, access: Access, changes: SettingChanges) -> None:
        self._access = access
        self._changes = changes

    def install(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get(
            _PATH,
            tags=_TAGS,
            summary="All settings, and where they come from.",
            response_class=Response,
            responses=described(SettingPage, SettingPage((_SETTING,)), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER, "setting"))],
        )
        async def settings() -> Response:
            return self._shown()

        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "setting"))

        @app.patch(
            _PATH,
            tags=_TAGS,
            summary="Change settings.",
            description="All of them or none. Those of the environment and the command line win, and are refused here.",
            response_class=Response,
            responses=described(SettingPage, SettingPage((_SETTING,)), 400, 403, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(SettingsChange, SettingsChange({"max_wait_s": 30, "policy": None})),
        )
        async def change(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, SettingsChange)
            await from_store(self._changes.change(body.settings, author_of(who)))
            return self._shown()

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(SettingPage, SettingItem, SettingsChange)

    def _shown(self) -> Response:
        return answer(SettingPage(tuple(map(_item, self._changes.known()))))

    def __repr__(self) -> str:
        return f"<SettingsView of {self._changes!r}>"


def _item(known: KnownSetting) -> SettingItem:
    setting = known.setting
    return SettingItem(
        name=setting.name,
        value=known.value,
        default=setting.default,
        source=known.source,
        help=setting.help,
        kind=setting.kind.value,
        expected=setting.expected,
        choices=setting.choices,
        minimum=setting.minimum,
        maximum=setting.maximum,
        variable=setting.environment_names[0],
        secret=setting.secret,
        needs_restart=known.needs_restart,
        editable=not known.fixed_by,
        fixed_by=known.fixed_by,
        stored=None if known.entry is None else known.entry.text,
    )


_SETTING = SettingItem(
    name="max_wait_s",
    value="30",
    default="60",
    source="store KEYRELAY_MAX_WAIT_S",
    help="Longest wait for quota of a request that names no deadline; 0: none.",
    kind="seconds",
    expected="a number of seconds from 0 to 3600",
    choices=(),
    minimum=0.0,
    maximum=3600.0,
    variable="KEYRELAY_MAX_WAIT_S",
    secret=False,
    needs_restart=False,
    editable=True,
    fixed_by="",
    stored="30",
)
