"""`keyrelay.toml`: the tables `[settings]`, `[routes.NAME]` and `[prices."PROVIDER/MODEL"]`.

Anything else is refused with what comes nearest.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from keyrelay.configuration.environment import read_text
from keyrelay.configuration.findings import Findings, nearest
from keyrelay.configuration.prices import PriceOverride, read_overrides
from keyrelay.configuration.remembered import Files
from keyrelay.configuration.setting_values import BY_NAME, LOCATORS, Choice
from keyrelay.core.configuration import CacheMode, PolicyName

TABLES = ("settings", "routes", "prices")
ROUTE_FIELDS = ("targets", "policy", "fallback", "cache")
CACHE_MODES: tuple[CacheMode, ...] = get_args(CacheMode)

ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RouteText(msgspec.Struct, frozen=True, kw_only=True):
    """A route as the file has it; targets are not looked up yet. `policy` and `cache` None take the setting's."""

    name: str
    where: str
    targets: tuple[str, ...]
    policy: PolicyName | None = None
    fallback: tuple[str, ...] | None = None
    cache: CacheMode | None = None


class FileText(msgspec.Struct, frozen=True):
    """What the file says, setting by setting, route by route and price by price."""

    settings: Mapping[str, Choice] = {}
    routes: tuple[RouteText, ...] = ()
    prices: tuple[PriceOverride, ...] = ()


def read_toml(path: Path, *, findings: Findings, optional: bool = False, files: Files | None = None) -> FileText:
    """Read the file; what is wrong in it is noted and left out."""
    text = read_text(path, where=path.name, findings=findings, optional=optional, files=files)
    if text is None:
        return FileText()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        findings.problem(path.name, f"is not TOML: {error}.", "See docs/configuration.md for an example.")
        return FileText()
    for name in document.keys() - set(TABLES):
        findings.problem(f"{path.name} [{name}]", "there is no such table.", nearest(name, TABLES) or _list(TABLES))
    return FileText(
        _read_settings(
            _table(document, "settings", where=path.name, findings=findings), file=path.name, findings=findings
        ),
        _read_routes(_table(document, "routes", where=path.name, findings=findings), file=path.name, findings=findings),
        read_overrides(
            _table(document, "prices", where=path.name, findings=findings), file=path.name, findings=findings
        ),
    )


def _table(parent: Mapping[str, Any], name: str, *, where: str, findings: Findings) -> Mapping[str, Any]:
    table = parent.get(name, {})
    if isinstance(table, dict):
        return table
    findings.problem(f"{where} {name}", "is a value, not a table.", f"Write it as [{name}].")
    return {}


def _read_settings(table: Mapping[str, Any], *, file: str, findings: Findings) -> Mapping[str, Choice]:
    choices = dict[str, Choice]()
    for name, value in table.items():
        where = f"{file} [settings] {name}"
        text = _as_text(value)
        if name not in BY_NAME:
            findings.problem(where, "Keyrelay has no such setting.", nearest(name, BY_NAME))
        elif name in LOCATORS:
            fix = f"Set {BY_NAME[name].environment_names[0]} or the option on the command line."
            findings.problem(where, "says where files are and cannot stand in one of them.", fix)
        elif text is None:
            findings.problem(where, f"is not {BY_NAME[name].expected}.")
        else:
            choices[name] = Choice(BY_NAME[name], text, file, where)
    return choices


def _as_text(value: Any) -> str | None:
    """The text that the environment would hold for this value; None for tables, dates and lists of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).strip()
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ",".join(value)
    return None


def _read_routes(table: Mapping[str, Any], *, file: str, findings: Findings) -> tuple[RouteText, ...]:
    routes = (_read_route(name, value, file=file, findings=findings) for name, value in table.items())
    return tuple(route for route in routes if route)


def _read_route(name: str, value: Any, *, file: str, findings: Findings) -> RouteText | None:
    where = f"{file} [routes.{name}]"
    if not ROUTE_NAME.fullmatch(name):
        findings.problem(where, "the name is not made of letters, digits, `.`, `_` and `-`.", "Choose another one.")
        return None
    if not isinstance(value, dict):
        findings.problem(where, "is not a table.", 'Write targets = ["provider/model"] below it.')
        return None
    for field in value.keys() - set(ROUTE_FIELDS):
        fix = nearest(field, ROUTE_FIELDS) or _list(ROUTE_FIELDS)
        findings.problem(f"{where} {field}", "there is no such field.", fix)
    targets = _strings(value, "targets", where=where, findings=findings)
    if not targets:
        findings.problem(f"{where} targets", "names no target.", 'Write targets = ["provider/model"].')
    return RouteText(
        name=name,
        where=where,
        targets=targets or (),
        policy=_read_policy(value, where=where, findings=findings),
        fallback=_strings(value, "fallback", where=where, findings=findings),
        cache=_read_cache(value, where=where, findings=findings),
    )


def _strings(table: Mapping[str, Any], field: str, *, where: str, findings: Findings) -> tuple[str, ...] | None:
    value = table.get(field)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(entry.strip() for entry in value)
    findings.problem(f"{where} {field}", "is not a list of texts.", f'Write {field} = ["provider/model"].')
    return None


def _read_policy(table: Mapping[str, Any], *, where: str, findings: Findings) -> PolicyName | None:
    value = table.get("policy")
    names = [policy.value for policy in PolicyName]
    if value is None:
        return None
    if isinstance(value, str) and value in names:
        return PolicyName(value)
    findings.problem(f"{where} policy", f"is not one of {', '.join(names)}.", nearest(str(value), names))
    return None


def _read_cache(table: Mapping[str, Any], *, where: str, findings: Findings) -> CacheMode | None:
    value = table.get("cache")
    if value is None:
        return None
    mode = next((mode for mode in CACHE_MODES if mode == value), None)
    if mode is None:
        problem = f"is not one of {', '.join(CACHE_MODES)}."
        findings.problem(f"{where} cache", problem, nearest(str(value), CACHE_MODES))
    return mode


def _list(names: tuple[str, ...]) -> str:
    return f"There are {', '.join(names)}."
