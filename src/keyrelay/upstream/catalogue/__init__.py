"""The provider catalogue: one TOML file per provider, read into the row types of `core.providers`.

A provider is a row, so a wrong row is a wrong setting: it is refused with file, row, field and what would be
right, before anything starts. Reading is on the way of every start and takes some 20 ms for the shipped files,
all checks included.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

import msgspec

from keyrelay.core.errors import ConfigurationError
from keyrelay.core.origins import parse_base_url
from keyrelay.core.providers import ProviderRow
from keyrelay.upstream.catalogue.checks import PROVIDER_ID, row_flaws
from keyrelay.upstream.catalogue.prices import PriceFile, load_price_file

__all__ = ("GENERIC_ID", "PriceFile", "load_catalogue", "load_price_file", "provider_row_for_generic")

GENERIC_ID = "openai_compatible"
"""The row whose behaviour a provider takes that is configured by environment alone."""

_SHIPPED = "catalogue"
_SUFFIX = ".toml"
_MSGSPEC_PLACE = re.compile(r"(?s)(?P<problem>.*) - at `\$\.?(?P<field>.*)`")


@cache
def _shipped() -> Mapping[str, ProviderRow]:
    """What does not change while the process runs is read once: twenty files, and a megabyte of memory."""
    return MappingProxyType({row.id: row for row in _read_rows(files(__name__), _SHIPPED)})


def load_catalogue(directory: Path | None = None) -> Mapping[str, ProviderRow]:
    """Read every `*.toml` of a directory, by default of the shipped catalogue: provider id → row, ids in order.

    Raise ConfigurationError for the first wrong file, row and field.
    """
    if directory is None:
        return _shipped()
    try:
        return {row.id: row for row in _read_rows(directory, str(directory))}
    except OSError as error:
        fix = "Name a directory of provider files that this process may read."
        raise ConfigurationError(str(directory), f"cannot be read: {error.strerror}.", fix) from error


def provider_row_for_generic(
    provider_id: str, base_url: str, catalogue: Mapping[str, ProviderRow] | None = None
) -> ProviderRow:
    """Row of a provider that no file describes: the generic row under this id, at this base URL.

    `catalogue` saves reading the generic file again. Raise ConfigurationError when id or base URL will not do;
    the base URL itself is not repeated, since it may hold a secret.
    """
    if not PROVIDER_ID.fullmatch(provider_id):
        fix = "Use a lower-case letter, then lower-case letters, digits and underscores."
        raise ConfigurationError("provider id", f"{provider_id!r} does not name a provider.", fix)
    try:
        parse_base_url(base_url)
    except ValueError as error:
        fix = "Write it as https://host/v1, as the OpenAI SDK takes it."
        raise ConfigurationError(f"{provider_id.upper()}_BASE_URL", f"{error}.", fix) from None
    row = catalogue[GENERIC_ID] if catalogue else _read_row(files(__name__) / f"{GENERIC_ID}{_SUFFIX}", _SHIPPED)
    return msgspec.structs.replace(row, id=provider_id, name=provider_id, base_url=base_url.strip(), base_url_env=())


def _read_rows(directory: Traversable, label: str) -> Iterator[ProviderRow]:
    """Every row of a directory, in the order of the file names."""
    entries = (entry for entry in directory.iterdir() if entry.name.endswith(_SUFFIX))
    for entry in sorted(entries, key=lambda entry: entry.name):
        yield _read_row(entry, label)


def _read_row(file: Traversable, label: str) -> ProviderRow:
    """One file as a row, checked; complaints name it below `label`."""
    where = f"{label}/{file.name}"
    row = _decode(file.read_bytes(), where)
    for flaw in row_flaws(row, file.name.removesuffix(_SUFFIX)):
        raise ConfigurationError(f"{where}: {flaw.field}", flaw.problem, flaw.fix)
    return row


def _decode(content: bytes, where: str) -> ProviderRow:
    """TOML as a row; msgspec's and tomllib's complaints become ours."""
    try:
        return msgspec.toml.decode(content, type=ProviderRow)
    except UnicodeDecodeError:
        raise ConfigurationError(where, "this is not UTF-8 text.", "Save the file as UTF-8.") from None
    except msgspec.ValidationError as error:
        place = _MSGSPEC_PLACE.fullmatch(str(error))
        field, problem = (place["field"], place["problem"]) if place else ("", str(error))
        fix = "The fields and their types stand in keyrelay.core.providers."
        raise ConfigurationError(f"{where}: {field}" if field else where, f"{problem}.", fix) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(where, f"this is not TOML: {error}.", "Mend the line that is named.") from None
