"""What the types of a catalogue row cannot say: each check yields the flaws that it finds.

A flaw names the field as a path (`failures[3].rest`), the problem, and what would be right. Checks are
generators, so the first flaw can be reported without looking for the rest.
"""

import math
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from keyrelay.core.failures import CALLER_KINDS, FailureKind, FailureScope, Rest
from keyrelay.core.limits import ScopePart, Unit, WindowKind, parse_window
from keyrelay.core.origins import parse_base_url
from keyrelay.core.providers import OPERATIONS, FailureRow, LimitHeadersRow, LimitRow, ModelRow, ProviderRow

PROVIDER_ID = re.compile(r"[a-z][a-z0-9_]*")
"""A provider's id is its environment prefix in lower case."""

_ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_PATH = re.compile(r"(/[\x21-\x7e]*)?")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OWNERS = frozenset({ScopePart.KEY, ScopePart.ACCOUNT, ScopePart.PROVIDER})
_REQUEST_KINDS = CALLER_KINDS | {FailureKind.CONTEXT}
_RESTS = frozenset(Rest)
_STATUSES = range(200, 600)
_DOMAIN_LABELS = 2
_FOLDED = "Use lower-case letters, digits and hyphens, as names are compared."


class Flaw(NamedTuple):
    """One thing wrong with a row."""

    field: str
    problem: str
    fix: str


def row_flaws(row: ProviderRow, file_stem: str) -> Iterator[Flaw]:
    """Everything wrong with a row that its types allow."""
    yield from _identity_flaws(row, file_stem)
    yield from _address_flaws(row)
    yield from _header_flaws(row)
    yield from _environment_flaws(row)
    yield from _zone_flaws("day_zone", row.day_zone)
    for index, limit in enumerate(row.limits):
        yield from _limit_flaws(f"limits[{index}]", limit)
    yield from _unit_flaws(row)
    for index, headers in enumerate(row.limit_headers):
        yield from _limit_headers_flaws(f"limit_headers[{index}]", headers)
    for name in row.organisation_headers:
        if not _is_folded_header(name):
            yield Flaw("organisation_headers", f"{name!r} is not a header name in lower case.", _FOLDED)
    yield from _model_name_flaws(row)
    for index, rules in enumerate(row.model_quirks):
        if not rules.models or any(name != name.lower() for name in rules.models):
            fix = "Name models, or patterns such as o3*, in lower case."
            yield Flaw(f"model_quirks[{index}].models", f"{list(rules.models)} names no model.", fix)
    for index, model in enumerate(row.models):
        yield from _model_number_flaws(f"models[{index}]", model)
    yield from _failure_order_flaws(row.failures)
    for index, failure in enumerate(row.failures):
        yield from _failure_flaws(f"failures[{index}]", failure)


def _identity_flaws(row: ProviderRow, file_stem: str) -> Iterator[Flaw]:
    """Id, priority and timeout."""
    if not PROVIDER_ID.fullmatch(row.id):
        fix = "Use a lower-case letter, then lower-case letters, digits and underscores."
        yield Flaw("id", f"{row.id!r} does not name a provider.", fix)
    if row.id != file_stem:
        yield Flaw("id", f"{row.id!r} differs from the file's name {file_stem!r}.", "Give both the same name.")
    if row.priority <= 0:
        yield Flaw("priority", f"{row.priority} is not above 0.", "Write 1 or more; lower is tried first.")
    if row.first_byte_timeout_s is not None and row.first_byte_timeout_s <= 0:
        problem = f"{row.first_byte_timeout_s:g} is not above 0."
        yield Flaw("first_byte_timeout_s", problem, "Write seconds, or leave the field out.")


def _address_flaws(row: ProviderRow) -> Iterator[Flaw]:
    """Base URL with its variables, paths and probe."""
    names = set(_PLACEHOLDER.findall(row.base_url))
    for name in sorted(names ^ row.variables.keys()):
        problem = f"{name!r} stands in only one of base_url and variables."
        yield Flaw("variables", problem, "Name each {variable} of base_url there, with its environment variable.")
    try:
        origin, _ = parse_base_url(_PLACEHOLDER.sub("x", row.base_url))
    except ValueError as error:
        yield Flaw("base_url", f"{error}.", "Write it as https://host/path.")
        return
    operations: dict[str, str] = {operation: getattr(row.paths, operation) for operation in OPERATIONS}
    for name, path in {**operations, "models": row.paths.models}.items():
        if not _PATH.fullmatch(path):
            yield Flaw(f"paths.{name}", f"{path!r} is not a path.", "Begin with /, or leave it empty.")
    if not any(operations.values()):
        yield Flaw("paths", "no operation has a path.", "Give one of them one.")
    if row.probe.method != "none":
        yield from _probe_flaws(row.probe.path, origin.host)


def _probe_flaws(path: str, host: str) -> Iterator[Flaw]:
    """A probe carries the key, so an absolute one has to stay in the provider's own domain."""
    fix = "Write a path below base_url, or an https:// address in the same domain as base_url."
    if path.startswith("https://"):
        probe_host = urlsplit(path).hostname or ""
        if _domain(probe_host) != _domain(host):
            yield Flaw("probe.path", f"{probe_host!r} is not in the domain of {host!r}.", fix)
    elif not path or not _PATH.fullmatch(path):
        yield Flaw("probe.path", f"{path!r} is neither a path nor an https:// address.", fix)


def _domain(host: str) -> list[str]:
    """The last two labels of a host name."""
    return host.lower().split(".")[-_DOMAIN_LABELS:]


def _header_flaws(row: ProviderRow) -> Iterator[Flaw]:
    """Names and values that could not, or must not, stand in a request's head."""
    names = [("auth.header", row.auth.header), *(("extra_headers", name) for name in row.extra_headers)]
    for field, name in names:
        if not _HEADER_NAME.fullmatch(name):
            yield Flaw(field, f"{name!r} is not a header name.", "Use letters, digits and hyphens.")
    values = [("auth.prefix", row.auth.prefix)]
    values += [(f"extra_headers.{name}", value) for name, value in row.extra_headers.items()]
    for field, value in values:
        if not _HEADER_VALUE.fullmatch(value):
            yield Flaw(field, "the value holds a line break or another control character.", "Use printable ASCII.")


def _environment_flaws(row: ProviderRow) -> Iterator[Flaw]:
    """Names that no environment variable should have."""
    names = [("key_env", name) for name in row.key_env] + [("base_url_env", name) for name in row.base_url_env]
    names += [(f"variables.{key}", name) for key, name in row.variables.items()]
    for field, name in names:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            yield Flaw(field, f"{name!r} does not name an environment variable.", "Use A-Z, 0-9 and underscores.")


@lru_cache(maxsize=64)
def _zone_exists(name: str) -> bool:
    """Whether the time zone database knows a zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _zone_flaws(field: str, zone: str) -> Iterator[Flaw]:
    if not _zone_exists(zone):
        yield Flaw(field, f"{zone!r} is not a time zone.", "Use an IANA name such as UTC or America/Los_Angeles.")


def _limit_flaws(place: str, limit: LimitRow) -> Iterator[Flaw]:
    """Amount, window and scope."""
    if limit.amount <= 0:
        yield Flaw(f"{place}.amount", f"{limit.amount} is not above 0.", "Write what may be used in one window.")
    try:
        window = parse_window(limit.window)
    except ValueError as error:
        yield Flaw(f"{place}.window", f"{error}.", "Write one of those.")
    else:
        yield from _zone_flaws(f"{place}.window", window.zone)
    yield from _scope_flaws(place, limit.scope)
    if not all(limit.models):
        yield Flaw(f"{place}.models", "a pattern is empty.", "Write shell patterns such as gemini-*; none means all.")


def _unit_flaws(row: ProviderRow) -> Iterator[Flaw]:
    """Limits in the provider's own measure of which nobody knows what a request takes."""
    factor = row.price.units_per_usd
    if factor is not None:
        if not 0 < factor < math.inf:
            yield Flaw("price.units_per_usd", f"{factor:g} is not above 0.", "Write how many units one US dollar is.")
        return
    for index, limit in enumerate(row.limits):
        if limit.unit is not Unit.UNITS:
            continue
        bound = [
            model
            for model in row.models
            if not limit.models or any(fnmatchcase(model.id, name) for name in limit.models)
        ]
        unknown = [model.id for model in bound if not model.counts_units]
        if unknown or not bound:
            problem = f"nothing says what a request of {', '.join(unknown) or 'any model'} takes of them."
            fix = "Give those models units_input_per_mtok and so on, or the provider price.units_per_usd."
            yield Flaw(f"limits[{index}].unit", problem, fix)


def _scope_flaws(place: str, scope: tuple[ScopePart, ...]) -> Iterator[Flaw]:
    """What a limit binds."""
    owners = [part for part in scope if part in _OWNERS]
    if len(owners) != 1 or len(set(scope)) != len(scope):
        problem = f"{[str(part) for part in scope]} does not name one owner."
        fix = "Name exactly one of key, account, provider; add model where each model has its own count."
        yield Flaw(f"{place}.scope", problem, fix)


def _limit_headers_flaws(place: str, row: LimitHeadersRow) -> Iterator[Flaw]:
    """Names, window and scope of a limit that headers tell."""
    names = {"limit": row.limit, "remaining": row.remaining, "reset": row.reset, "policy": row.policy}
    for field, name in names.items():
        if name and not _is_folded_header(name):
            yield Flaw(f"{place}.{field}", f"{name!r} is not a header name in lower case.", _FOLDED)
    if not (row.limit or row.remaining):
        yield Flaw(f"{place}.limit", "no header says an amount.", "Name the header with the limit, or what remains.")
    if row.policy and row.window:
        fix = "Leave the window out: the policy says it."
        yield Flaw(f"{place}.window", "the window stands there beside a policy.", fix)
    elif not row.policy:
        try:
            window = parse_window(row.window)
        except ValueError as error:
            yield Flaw(f"{place}.window", f"{error}.", "Write one of those.")
        else:
            yield from _zone_flaws(f"{place}.window", window.zone)
    yield from _scope_flaws(place, row.scope)


def _is_folded_header(name: str) -> bool:
    return name == name.lower() and _HEADER_NAME.fullmatch(name) is not None


def _model_name_flaws(row: ProviderRow) -> Iterator[Flaw]:
    """Names that are missing, doubled or unknown."""
    seen: set[str] = set()
    for index, model in enumerate(row.models):
        for field, name in [("id", model.id), *(("aliases", alias) for alias in model.aliases)]:
            if not name or name in seen:
                problem = f"{name!r} is empty or stands there twice."
                yield Flaw(f"models[{index}].{field}", problem, "Give every model and alias a name of its own.")
            seen.add(name)
    if row.default_model not in seen and not row.open_models:
        fix = "Name one of the models, or set open_models."
        yield Flaw("default_model", f"{row.default_model!r} is not listed.", fix)


def _model_number_flaws(place: str, model: ModelRow) -> Iterator[Flaw]:
    """Sizes, prices and units."""
    prices = {
        "price_input_usd_per_mtok": model.price_input_usd_per_mtok,
        "price_output_usd_per_mtok": model.price_output_usd_per_mtok,
    }
    sizes = {"context_tokens": model.context_tokens, "max_output_tokens": model.max_output_tokens}
    units = {
        "units_input_per_mtok": model.units_input_per_mtok,
        "units_output_per_mtok": model.units_output_per_mtok,
        "units_per_request": model.units_per_request,
    }
    for field, number in {**sizes, **prices, **units}.items():
        if number is not None and not 0 <= number < math.inf:
            yield Flaw(f"{place}.{field}", f"{number:g} is below 0.", "Write 0 or more, or leave the field out.")
    if not model.price_source and any(price is not None for price in prices.values()):
        yield Flaw(f"{place}.price_source", "a price has no source.", "Say where it was read, and when.")


def _tests(failure: FailureRow) -> tuple[object, ...]:
    """What decides whether a failure row applies; all empty means always."""
    return (failure.status, failure.code, failure.message, failure.detail)


def _failure_order_flaws(failures: tuple[FailureRow, ...]) -> Iterator[Flaw]:
    """Rows that no failure can reach."""
    seen: dict[tuple[object, ...], int] = {}
    for index, failure in enumerate(failures):
        tests = _tests(failure)
        if not any(tests) and index < len(failures) - 1:
            fix = "Give it a status, code, message or detail, or put it last."
            yield Flaw(f"failures[{index}]", "the row has no test, so no later row is reached.", fix)
        if tests in seen:
            problem = f"the row has the tests of failures[{seen[tests]}], so it is never reached."
            yield Flaw(f"failures[{index}]", problem, "Remove one of the two, or tell them apart.")
        seen.setdefault(tests, index)


def _failure_flaws(place: str, failure: FailureRow) -> Iterator[Flaw]:
    """Tests that can never hold, and consequences that mean nothing."""
    for field, pattern in (("message", failure.message), ("detail", failure.detail)):
        try:
            re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            problem = f"the regular expression {pattern!r} does not compile: {error}."
            yield Flaw(f"{place}.{field}", problem, "Write one that Python's re module accepts.")
    for status in failure.status:
        if status not in _STATUSES:
            yield Flaw(f"{place}.status", f"{status} is not an HTTP status.", "Write 200 to 599.")
    for code in failure.code:
        if not code or code != code.lower():
            yield Flaw(f"{place}.code", f"{code!r} can never match.", "Write it in lower case, as it is compared.")
    if failure.rest not in _RESTS and not _is_duration(failure.rest):
        fix = f"Write one of {_listed(Rest)}, or a duration such as 30s, 10m, 6h."
        yield Flaw(f"{place}.rest", f"{failure.rest!r} is no rest.", fix)
    if not _is_duration(failure.rest_default):
        problem = f"{failure.rest_default!r} is no duration."
        yield Flaw(f"{place}.rest_default", problem, "Write one such as 30s, 10m, 6h.")
    if failure.kind in _REQUEST_KINDS and (failure.scope is not FailureScope.REQUEST or failure.rest != Rest.NONE):
        problem = f"a failure of kind {failure.kind} is the request's own, but something would rest for it."
        yield Flaw(f"{place}.scope", problem, "Write scope request and rest none.")


def _is_duration(text: str) -> bool:
    """Whether a text is a duration as windows are written: 30s, 10m, 6h."""
    try:
        return parse_window(text).kind is WindowKind.ROLLING
    except ValueError:
        return False


def _listed(words: Iterable[str]) -> str:
    return ", ".join(str(word) for word in words)
