import typing
from pathlib import Path

import msgspec
import pytest

from keyrelay.configuration.setting_values import default_settings
from keyrelay.core.configuration import CacheMode, PolicyName
from keyrelay.core.secrets import Secret
from keyrelay.settings import (
    SETTINGS,
    CacheScope,
    KeepTexts,
    Kind,
    LogFormat,
    LogLevel,
    MasterKeySourceName,
    Setting,
    Settings,
    TokenCounterName,
)

TYPES: dict[Kind, set[object]] = {
    Kind.TEXT: {str, Secret},
    Kind.NUMBER: {int},
    Kind.SECONDS: {float},
    Kind.SWITCH: {bool},
    Kind.CHOICE: {
        PolicyName,
        LogLevel,
        LogFormat,
        CacheMode,
        CacheScope,
        KeepTexts,
        MasterKeySourceName,
        TokenCounterName,
    },
    Kind.PATH: {Path},
    Kind.LIST: {tuple[str, ...]},
}


def test_table_and_struct_have_the_same_names_in_the_same_order() -> None:
    assert [setting.name for setting in SETTINGS] == list(Settings.__struct_fields__)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
class TestEachSetting:
    def test_type_in_the_struct_fits_the_kind(self, setting: Setting) -> None:
        assert typing.get_type_hints(Settings)[setting.name] in TYPES[setting.kind]

    def test_choices_are_those_of_the_type(self, setting: Setting) -> None:
        if setting.kind is Kind.CHOICE:
            hint = typing.get_type_hints(Settings)[setting.name]
            expected = [policy.value for policy in PolicyName] if hint is PolicyName else typing.get_args(hint)
            assert list(setting.choices) == list(expected)

    def test_secret_settings_are_secrets_in_the_struct(self, setting: Setting) -> None:
        assert setting.secret == (typing.get_type_hints(Settings)[setting.name] is Secret)

    def test_numbers_are_bounded_and_carry_their_unit(self, setting: Setting) -> None:
        if setting.kind in {Kind.NUMBER, Kind.SECONDS}:
            assert setting.minimum is not None
            assert setting.maximum is not None
            assert setting.minimum <= float(setting.default) <= setting.maximum
        if setting.kind is Kind.SECONDS:
            assert setting.name.endswith("_s")

    def test_help_is_one_sentence(self, setting: Setting) -> None:
        assert setting.help.endswith(".")
        assert "\n" not in setting.help

    def test_environment_name_comes_from_the_name(self, setting: Setting) -> None:
        assert setting.environment_names[0] == f"KEYRELAY_{setting.name.upper()}"


def test_defaults_read_as_themselves() -> None:
    settings = default_settings()
    assert (settings.host, settings.port, settings.policy) == ("127.0.0.1", 8787, PolicyName.ROUND_ROBIN)
    assert settings.first_byte_timeout_s == 60.0
    assert settings.fallback == ()
    assert not settings.upstream_proxy
    assert settings.answer_headers is True


def test_defaults_may_be_changed() -> None:
    assert default_settings(port=9, fallback=("ollama/x",)).fallback == ("ollama/x",)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        default_settings().port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        msgspec.structs.replace(default_settings(), prt=1)


def test_proxy_password_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(default_settings(upstream_proxy=Secret("http://me:hunter2@proxy:3128")))


def test_expected_says_what_would_be_right() -> None:
    assert Setting("x", Kind.SWITCH, "true", "Help.").expected == "true or false"
    assert Setting("x", Kind.TEXT, "", "Help.").expected == "a text"
    assert Setting("x", Kind.NUMBER, "1", "Help.", 1, 9).expected == "a whole number from 1 to 9"
    assert Setting("x_s", Kind.SECONDS, "1", "Help.", 0.5, 9).expected == "a number of seconds from 0.5 to 9"
    assert Setting("x", Kind.CHOICE, "a", "Help.", choices=("a", "b")).expected == "one of a, b"
