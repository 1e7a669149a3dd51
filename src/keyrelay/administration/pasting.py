"""Keys out of pasted text: a `.env`, a table with or without a header, JSON, or one key per line.

Whose key it is follows from what stands beside it, else from how it looks; what cannot be told is said, with its line.
Nothing is refused for its shape alone.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from keyrelay.administration.suggesting import Suggester
from keyrelay.configuration.keys import is_name, is_placeholder, is_usable, parse_keys
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret

MAX_KEYS = 1_000

_VARIABLE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>(?!=+\s*$).+)")
_NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9 _.-]{0,40}?)(?:\s*[:=]\s*|\s+)(?P<value>(?!=+$)\S+)")
_DELIMITERS = "\t;,"
_COLUMNS: Mapping[str, str] = {
    "provider": "provider",
    "service": "provider",
    "vendor": "provider",
    "key": "secret",
    "api_key": "secret",
    "apikey": "secret",
    "api key": "secret",
    "secret": "secret",
    "token": "secret",
    "value": "secret",
    "label": "label",
    "name": "label",
    "account": "account",
    "project": "account",
    "organization": "account",
    "organisation": "account",
}
"""What the columns of a table, and the members of objects, are called."""


class Pasted(msgspec.Struct, frozen=True, kw_only=True):
    """One key, or a line that holds none (`secret` is None and `problem` says why).

    `suggestions` are the providers that it may be of; `provider` is the one that it is of, empty when that is open.
    """

    line: int
    secret: Secret | None
    provider: str = ""
    label: str = ""
    account: str = ""
    suggestions: tuple[str, ...] = ()
    problem: str = ""
    ignored: bool = False


def read_paste(text: str, suggester: Suggester, provider: str = "") -> tuple[Pasted, ...]:
    """What stands in a text; `provider` is that of all keys for which the text names none. Raise CallerError (400)."""
    reader = _Reader(suggester, provider)
    found: list[Pasted] = []
    try:
        for each in reader.read(text.strip().removeprefix("\ufeff")):
            found.append(each)
            if len(found) > MAX_KEYS:
                raise CallerError(400, f"text: more than {MAX_KEYS} lines at once.", param="text", code="too_many_keys")
    except csv.Error as error:
        raise CallerError(400, f"text: the table cannot be read: {error}.", param="text", code="invalid_csv") from None
    return tuple(found)


class _Reader:
    def __init__(self, suggester: Suggester, provider: str) -> None:
        self._suggester = suggester
        self._provider = provider

    def read(self, text: str) -> Iterator[Pasted]:
        if text.startswith(("[", "{")):
            yield from self._read_json(text)
            return
        lines = text.splitlines()
        header = next((number for number, line in enumerate(lines) if line.strip()), 0)
        columns = _columns(lines[header]) if lines else {}
        if columns:
            yield from self._read_table(lines, header, columns)
            return
        for number, line in enumerate(lines, 1):
            stripped = line.strip()
            if stripped and not stripped.startswith(("#", "//")):
                yield from self._read_line(number, stripped)

    # JSON

    def _read_json(self, text: str) -> Iterator[Pasted]:
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            message = "text: it begins like JSON and is none."
            raise CallerError(400, message, param="text", code="invalid_json") from None
        for number, (provider, value) in enumerate(self._json_entries(document), 1):
            yield from self._read_value(number, provider, value)

    def _json_entries(self, document: Any) -> Iterator[tuple[str, Any]]:
        """What there is, each with the provider that its place names."""
        if isinstance(document, list):
            for each in document:
                yield "", each
            return
        if any(_COLUMNS.get(name.lower()) == "secret" and isinstance(value, str) for name, value in document.items()):
            yield "", document
            return
        for name, value in document.items():
            provider = self._suggester.provider_of_variable(name)
            for each in value if isinstance(value, list) else (value,):
                yield provider, each

    def _read_value(self, number: int, provider: str, value: Any) -> Iterator[Pasted]:
        if isinstance(value, str):
            yield from self._keys_of(number, provider, value)
        elif isinstance(value, dict):
            fields = {_COLUMNS.get(name.lower(), ""): each for name, each in value.items() if isinstance(each, str)}
            yield from self._read_fields(number, fields, provider)
        else:
            yield Pasted(line=number, secret=None, problem="It is neither a text nor an object with a key.")

    # Tables

    def _read_table(self, lines: list[str], header: int, columns: Mapping[int, str]) -> Iterator[Pasted]:
        delimiter = _delimiter(lines[header])
        rows = csv.reader(lines[header + 1 :], delimiter=delimiter or ",")
        for number, row in enumerate(rows, header + 2):
            if any(cell.strip() for cell in row):
                fields = {columns.get(place, ""): cell.strip() for place, cell in enumerate(row)}
                yield from self._read_fields(number, fields, "")

    def _read_fields(self, number: int, fields: Mapping[str, str], provider: str) -> Iterator[Pasted]:
        secret = fields.get("secret", "").strip()
        if not secret:
            yield Pasted(line=number, secret=None, problem="It holds no key.")
            return
        named = fields.get("provider", "").strip()
        known = self._suggester.provider_named(named) if named else provider
        if named and not known:
            yield Pasted(line=number, secret=Secret(secret), problem=f"There is no provider {named[:40]!a}.")
            return
        yield self._key(
            number,
            Secret(secret),
            known,
            label=fields.get("label", "").strip(),
            account=fields.get("account", "").strip(),
        )

    # Lines

    def _read_line(self, number: int, line: str) -> Iterator[Pasted]:
        variable = _VARIABLE.fullmatch(line)
        if variable:
            yield from self._read_variable(number, variable["name"], _unquoted(variable["value"]))
            return
        delimiter = _delimiter(line)
        if delimiter:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter)) if cell.strip()]
            yield from self._read_cells(number, cells)
            return
        named = _NAMED.fullmatch(line)
        provider = self._suggester.provider_named(named["name"]) if named else ""
        if named and provider:
            yield from self._keys_of(number, provider, _unquoted(named["value"]))
        else:
            yield from self._keys_of(number, "", _unquoted(line))

    def _read_variable(self, number: int, name: str, value: str) -> Iterator[Pasted]:
        provider = self._suggester.provider_of_variable(name)
        if provider:
            yield from self._keys_of(number, provider, value)
            return
        if not name.isupper():
            yield self._key(number, Secret(value), "", label=name)
        elif self._suggester.suggest(Secret(value)):
            yield self._key(number, Secret(value), "")
        else:
            yield Pasted(line=number, secret=None, problem=f"{name[:64]} is no variable of a key.", ignored=True)

    def _read_cells(self, number: int, cells: list[str]) -> Iterator[Pasted]:
        """The cells of a table without a header, or several keys beside each other."""
        keys = [cell for cell in cells if self._suggester.suggest(Secret(cell))]
        if len(keys) == len(cells):
            for cell in cells:
                yield self._key(number, Secret(cell), "")
            return
        provider = next(filter(None, map(self._suggester.provider_named, cells)), "")
        others = [cell for cell in cells if self._suggester.provider_named(cell) != provider or not provider]
        if not others:
            yield Pasted(line=number, secret=None, problem="It holds no key.")
            return
        secret = keys[0] if keys else max(others, key=len)
        label = next((cell for cell in others if cell != secret and is_name(cell)), "")
        yield self._key(number, Secret(secret), provider, label=label)

    # Keys

    def _keys_of(self, number: int, provider: str, value: str) -> Iterator[Pasted]:
        """The keys of a list as the environment has it: `label=KEY`, `account:label=KEY`, commas between them."""
        for parsed in parse_keys(value):
            yield self._key(number, parsed.secret, provider, label=parsed.label, account=parsed.account)

    def _key(self, number: int, secret: Secret, provider: str, *, label: str = "", account: str = "") -> Pasted:
        suggestions = () if provider else self._suggester.suggest(secret)
        whose = provider or self._provider or (suggestions[0] if len(suggestions) == 1 else "")
        return Pasted(
            line=number,
            secret=secret,
            provider=whose,
            label=label if is_name(label) else "",
            account=account if is_name(account) else "",
            suggestions=suggestions,
            problem=_problem(secret, whose, suggestions),
        )


def _problem(secret: Secret, provider: str, suggestions: tuple[str, ...]) -> str:
    if is_placeholder(secret):
        return "It is a placeholder, not a key."
    if not is_usable(secret):
        return "It holds spaces or characters that cannot stand in an HTTP header."
    if not provider:
        likely = f"; it may be of {' or '.join(suggestions)}" if suggestions else ""
        return f"Nothing says which provider it is for{likely}."
    return ""


def _columns(line: str) -> dict[int, str]:
    """What the columns of a table are, by its header; nothing if this is none."""
    delimiter = _delimiter(line)
    cells = line.split(delimiter) if delimiter else [line]
    known = {place: _COLUMNS.get(cell.strip().strip('"').lower(), "") for place, cell in enumerate(cells)}
    return known if "secret" in known.values() else {}


def _delimiter(line: str) -> str:
    return next((sign for sign in _DELIMITERS if sign in line), "")


def _unquoted(value: str) -> str:
    """A value without its quotes, or without the comment behind it."""
    value = value.strip()
    if value[:1] in {'"', "'"} and value.endswith(value[0]) and len(value) > 1:
        return value[1:-1]
    return value.split(" #")[0].strip()
