"""Keyrelay's own settings, as people look at them and change them."""

from collections.abc import Mapping

import msgspec

from keyrelay.administration.service import Administration, Author, Edit
from keyrelay.configuration.findings import nearest
from keyrelay.configuration.setting_values import BY_NAME
from keyrelay.configuration.stored import is_administered
from keyrelay.configuration.values import EffectiveValue
from keyrelay.configuration.watching import AFTER_RESTART
from keyrelay.core.administered import Administered, SettingEntry
from keyrelay.core.errors import CallerError
from keyrelay.settings import SETTINGS, Setting

MAX_TEXT = 10_000

SettingValue = bool | int | float | str | list[str] | None
"""A setting as JSON may say it; null: not any more."""


class KnownSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting and its value in force, as it may be shown.

    `entry` is what is administered. `fixed_by` is the variable, option or file that wins over the store, or why it
    cannot be administered at all; empty when it can be changed here.
    """

    setting: Setting
    value: str
    source: str
    needs_restart: bool
    fixed_by: str
    entry: SettingEntry | None = None


class SettingChanges:
    """The settings. Everything raises CallerError, and StoreError when it cannot be kept.

    `names` are the settings given on the command line, which win over everything.
    """

    __slots__ = ("_administration",)

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def known(self) -> list[KnownSetting]:
        """All settings in the order in which the documentation has them."""
        configuration, state = self._administration.configuration, self._administration.state
        values = {value.name: value for value in configuration.values}
        return [
            _known(setting, values[f"settings.{setting.name}"], state.get(SettingEntry, setting.name))
            for setting in SETTINGS
        ]

    async def change(self, wanted: Mapping[str, SettingValue], author: Author) -> None:
        """Set several at once; what is null is as the file or the default says."""
        known = {each.setting.name: each for each in self.known()}
        for name, value in wanted.items():
            if name not in known:
                near = nearest(name, BY_NAME)
                message = f"settings.{name[:64]}: there is no such setting. {near}".strip()
                raise CallerError(400, message, param=f"settings.{name[:64]}", code="setting_not_found")
            if known[name].fixed_by and not (value is None and known[name].entry is not None):
                message = f"settings.{name}: {known[name].fixed_by}."
                raise CallerError(409, message, param=f"settings.{name}", code="not_editable")
        await self._administration.change(_setting(wanted), author, "change settings")

    def __repr__(self) -> str:
        return f"<SettingChanges of {self._administration!r}>"


def _known(setting: Setting, value: EffectiveValue, entry: SettingEntry | None) -> KnownSetting:
    return KnownSetting(
        setting=setting,
        value=value.value,
        source=value.source,
        needs_restart=setting.name in AFTER_RESTART,
        fixed_by=_fixed_by(setting, value.source),
        entry=entry,
    )


def _fixed_by(setting: Setting, source: str) -> str:
    """What keeps a setting from being changed here; empty for nothing."""
    layer, _, variable = source.partition(" ")
    if not is_administered(setting):
        return f"it is up to whoever runs the machine: set {setting.environment_names[0]} in the environment"
    if source == "command line":
        return "the command line says it, and wins"
    if layer in {"environment", ".env"} or (variable and variable in setting.environment_names and layer != "store"):
        return f"{variable} in {'the environment' if layer == 'environment' else layer} says it, and wins"
    return ""


def _setting(wanted: Mapping[str, SettingValue]) -> Edit:
    def edit(state: Administered) -> Administered:
        for name, value in wanted.items():
            if value is None:
                state = state.without("setting", name)
            else:
                state = state.put(SettingEntry(name=name, text=_text(name, value)))
        return state

    return edit


def _text(name: str, value: SettingValue) -> str:
    """A value as the environment would hold it. Raise CallerError (400)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ",".join(value) if isinstance(value, list) else f"{value:.15g}" if isinstance(value, float) else str(value)
    if len(text) > MAX_TEXT or not text.strip() or "\0" in text:
        message = f"settings.{name}: 1 to {MAX_TEXT} characters; null takes it away."
        raise CallerError(400, message, param=f"settings.{name}", code="invalid_parameter")
    return text
