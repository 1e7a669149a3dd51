"""Keyrelay's own settings: which layer's text is in force, and what it reads as."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from keyrelay.configuration.environment import Environment, Found
from keyrelay.configuration.findings import Findings, nearest
from keyrelay.configuration.values import COMMAND_LINE, DEFAULT, EffectiveValue
from keyrelay.core.addresses import parse_networks
from keyrelay.core.configuration import PolicyName
from keyrelay.core.secrets import HiddenSecret, Secret
from keyrelay.settings import DATABASE_SCHEMES, PREFIX, REDIS_SCHEMES, SETTINGS, Kind, Setting, Settings

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}

LOCATORS = ("config_file", "env_file")
"""Settings that say where others are found; the files they name cannot set them."""

_LONGEST_SHOWN = 40
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_ORCHESTRATOR = re.compile(r"KEYRELAY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)")
_ORCHESTRATOR_PORT = re.compile(r"(tcp|udp|sctp)://.*")


class Choice(msgspec.Struct, frozen=True):
    """The text chosen for a setting, where it came from and how to call that place in a message."""

    setting: Setting
    text: str
    source: str
    where: str


def without_orchestrator_names(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Leave out what Kubernetes and Docker links inject for a service called `keyrelay`.

    `KEYRELAY_SERVICE_HOST`, `KEYRELAY_PORT_8787_TCP`, and a `KEYRELAY_PORT` that reads `tcp://10.0.0.1:8787` are not
    the operator's words.
    """
    return {
        name: text
        for name, text in environ.items()
        if not (name.startswith(PREFIX) and (_ORCHESTRATOR.fullmatch(name) or _is_link(name, text)))
    }


def _is_link(name: str, text: str) -> bool:
    return name.endswith("_PORT") and _ORCHESTRATOR_PORT.fullmatch(text) is not None


def known_names() -> frozenset[str]:
    """Every environment name that begins with KEYRELAY_ and means something."""
    names = {name for setting in SETTINGS for name in setting.environment_names}
    names |= {name for setting in SETTINGS for name in setting.file_names}
    return frozenset(name for name in names if name.startswith(PREFIX))


def refuse_unknown_names(environment: Environment, findings: Findings) -> None:
    """Note a problem for each KEYRELAY_ name that no setting has."""
    known = known_names()
    for name in sorted(environment.names):
        if name.startswith(PREFIX) and name not in known:
            findings.problem(
                name, "Keyrelay has no such setting.", nearest(name, known) or "See `keyrelay config show`."
            )


def refuse_unknown_overrides(overrides: Mapping[str, str], findings: Findings) -> None:
    """Note a problem for each override that no setting has."""
    for name in sorted(overrides.keys() - BY_NAME.keys()):
        findings.problem(f"{COMMAND_LINE} {name}", "Keyrelay has no such setting.", nearest(name, BY_NAME))


def choose(
    setting: Setting, environment: Environment, *, table: Mapping[str, Choice], overrides: Mapping[str, str]
) -> Choice:
    """Return the text in force: command line over environment over file over default."""
    if setting.name in overrides:
        return Choice(setting, overrides[setting.name], COMMAND_LINE, f"{COMMAND_LINE} {setting.name}")
    found = _find(setting, environment)
    if found:
        return Choice(setting, found.text, found.source, found.source)
    if setting.name in table:
        return table[setting.name]
    share = environment.find("XDG_DATA_HOME") if setting.name == "data_dir" else None
    if share and share.text.startswith("/"):
        return Choice(setting, f"{share.text}/keyrelay", share.source, share.source)
    return Choice(setting, setting.default, DEFAULT, f"{DEFAULT} {setting.name}")


def _find(setting: Setting, environment: Environment) -> Found | None:
    if setting.secret and not setting.own_file:
        found = (environment.find_secret(name) for name in setting.environment_names)
        return next((each for each in found if each is not None), None)
    return environment.find(*setting.environment_names)


def read_choice(choice: Choice, *, directory: Path, home: Path | None, findings: Findings) -> Any:
    """Return the value that a setting's text stands for; with a problem noted, the default's."""
    setting = choice.setting
    try:
        if setting.kind is Kind.PATH:
            return _path(choice.text, directory=directory, home=home)
        return _READERS[setting.kind](setting, choice.text)
    except ValueError as error:
        shown = "" if setting.secret or len(choice.text) > _LONGEST_SHOWN else f"{choice.text!r} "
        suggestion = nearest(choice.text, setting.choices)
        findings.problem(choice.where, f"{shown}{error}.", suggestion)
        return directory if setting.kind is Kind.PATH else _READERS[setting.kind](setting, setting.default)


def refuse_wrong_schemes(choices: Mapping[str, Choice], findings: Findings) -> None:
    """Note a problem for each address of a store that is of another kind; only what opens stores needs to know."""
    for name, schemes in (("database_url", DATABASE_SCHEMES), ("redis_url", REDIS_SCHEMES)):
        choice = choices[name]
        if choice.text and not choice.text.startswith(schemes):
            fix = f"Begin it with {schemes[0]}, or leave it out ({choice.setting.environment_names[0]})."
            findings.problem(choice.where, f"is of a kind that Keyrelay cannot use for {name}.", fix)


def _path(text: str, *, directory: Path, home: Path | None) -> Path:
    if "\0" in text or not text:
        raise ValueError("is not a path")
    if text == "~" or text.startswith("~/"):
        if home is None:
            raise ValueError("begins with ~ and this user has no home directory: give an absolute path")
        return home / text[2:]
    return directory / text


def _text(setting: Setting, text: str) -> str:
    if any(character <= " " or character == "\x7f" for character in text) or not text:
        raise ValueError(f"is not {setting.expected} without spaces")
    return text


def _proxy(setting: Setting, text: str) -> Secret:
    del setting
    if text in {"", "none"}:
        return Secret("")
    address = text if "://" in text else f"http://{text}"
    if not _is_proxy(address):
        raise ValueError("is not of the form http://[user:password@]host:port")
    return Secret(address.rstrip("/"))


def _is_proxy(address: str) -> bool:
    """Whether an address is plain http with host and port, perhaps a user, and nothing behind them."""
    try:
        parts = urlsplit(address)
        plain = parts.port != 0 and not any(character <= " " for character in address)
    except ValueError:  # its text may repeat the password
        return False
    behind = parts.path.strip("/") or parts.query or parts.fragment
    return plain and parts.scheme == "http" and bool(parts.hostname) and not behind


def _secret(setting: Setting, text: str) -> Secret:
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise ValueError(f"is not {setting.expected} that a header can carry")
    return Secret(text)


def _address(setting: Setting, text: str) -> str:
    del setting
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("is not an address such as http://127.0.0.1:8787")
    return text.rstrip("/")


def _hidden(setting: Setting, text: str) -> Secret:
    return HiddenSecret(_secret(setting, text).reveal())


def _file(setting: Setting, text: str) -> str:
    del setting
    if text and (not text.startswith("/") or not text.isprintable()):
        raise ValueError("is not an absolute path")
    return text


_OF_NAME: Mapping[str, Callable[[Setting, str], Any]] = {
    "master_key": _hidden,
    "master_key_file": _file,
    "upstream_proxy": _proxy,
    "url": _address,
}
"""Texts with a form of their own."""


def _plain(setting: Setting, text: str) -> Any:
    return _OF_NAME.get(setting.name, _secret if setting.secret else _text)(setting, text)


def _whole_number(setting: Setting, text: str) -> int:
    number = int(text) if re.fullmatch(r"[+-]?\d{1,18}|\d{1,3}(_\d{3}){1,5}", text, re.ASCII) else None
    if number is None or not _within(setting, number):
        raise ValueError(f"is not {setting.expected}")
    return number


def _seconds(setting: Setting, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or not _within(setting, seconds):
        raise ValueError(f"is not {setting.expected}")
    return seconds


def _within(setting: Setting, number: float) -> bool:
    low = -math.inf if setting.minimum is None else setting.minimum
    high = math.inf if setting.maximum is None else setting.maximum
    return low <= number <= high


def _switch(setting: Setting, text: str) -> bool:
    value = read_switch(text)
    if value is None:
        raise ValueError(f"is not {setting.expected}")
    return value


def read_switch(text: str) -> bool | None:
    """Read true, yes, on, 1 or false, no, off, 0; None when it is none of them."""
    return _SWITCHES.get(text.lower())


def _choice(setting: Setting, text: str) -> str:
    value = text.lower()
    if value not in setting.choices:
        raise ValueError(f"is not {setting.expected}")
    return PolicyName(value) if setting.name == "policy" else value


def _comma_list(setting: Setting, text: str) -> tuple[str, ...]:
    entries = split_list(text)
    if setting.name in {"allowed_networks", "trusted_proxies"}:
        parse_networks(entries)
    return entries


def split_list(text: str) -> tuple[str, ...]:
    """Split at commas and line ends; spaces around entries and empty entries do not count."""
    return tuple(entry.strip() for entry in re.split(r"[,\r\n]", text) if entry.strip())


_READERS: Mapping[Kind, Callable[[Setting, str], Any]] = {
    Kind.TEXT: _plain,
    Kind.NUMBER: _whole_number,
    Kind.SECONDS: _seconds,
    Kind.SWITCH: _switch,
    Kind.CHOICE: _choice,
    Kind.LIST: _comma_list,
}


def effective_value(choice: Choice, value: Any) -> EffectiveValue:
    """How a setting is shown."""
    if isinstance(value, Secret):
        text = value.masked if value else ""
    elif isinstance(value, tuple):
        text = ", ".join(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = f"{value:.15g}" if isinstance(value, float) else str(value)
    return EffectiveValue(f"settings.{choice.setting.name}", text, choice.source)


def default_settings(**changes: Any) -> Settings:
    """Settings with every default, relative paths below the present directory, and the changes named worked in."""
    values: dict[str, Any] = {
        setting.name: Path(setting.default).expanduser() if setting.kind is Kind.PATH else _default(setting)
        for setting in SETTINGS
    }
    return Settings(**(values | changes))


def _default(setting: Setting) -> Any:
    return _READERS[setting.kind](setting, setting.default)
