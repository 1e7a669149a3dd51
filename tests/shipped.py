"""The shipped catalogue for tests, read once in a process: it takes 25 ms, more than most tests do."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from keyrelay.core.providers import ProviderRow
from keyrelay.upstream.catalogue import load_catalogue


@cache
def shipped_rows() -> Mapping[str, ProviderRow]:
    """Provider id → row."""
    return MappingProxyType(load_catalogue())
