"""Whose key it may be, by how it looks: a suggestion, never a verdict."""

import re
from collections.abc import Iterable

from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret


class Suggester:
    """Knows what the keys of the providers of a catalogue look like, and the names that stand for them."""

    __slots__ = ("_names", "_patterns", "_prefixes")

    def __init__(self, rows: Iterable[ProviderRow], more: Iterable[str] = ()) -> None:
        """`more` are providers that no catalogue knows."""
        self._prefixes: list[tuple[str, str]] = []
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._names = {name.lower(): name for name in more}
        for row in rows:
            self._prefixes += [(prefix, row.id) for prefix in row.key_prefixes]
            self._patterns += [(re.compile(pattern), row.id) for pattern in row.key_patterns]
            self._names |= {row.id.lower(): row.id, row.name.lower(): row.id}
            self._names |= {name.lower(): row.id for name in row.key_env}

    def suggest(self, secret: Secret) -> tuple[str, ...]:
        """The providers that it may be of: those with the longest beginning that fits, else those it fits whole."""
        text = secret.reveal()
        fitting = [(len(prefix), provider) for prefix, provider in self._prefixes if text.startswith(prefix)]
        if fitting:
            longest = max(length for length, _ in fitting)
            return tuple(dict.fromkeys(provider for length, provider in fitting if length == longest))
        return tuple(dict.fromkeys(provider for pattern, provider in self._patterns if pattern.fullmatch(text)))

    def provider_named(self, text: str) -> str:
        """The provider that a word means; empty when it means none."""
        return self._names.get(text.strip().lower(), "")

    def provider_of_variable(self, name: str) -> str:
        """The provider whose keys stand in a variable of this name; empty when it is not known."""
        known = self._names.get(name.lower())
        if known:
            return known
        stem = re.fullmatch(r"(?P<stem>[a-z][a-z0-9_]*?)_(?:api_)?(?:keys?|token)(?:_\d+)?", name.lower())
        return self.provider_named(stem["stem"]) if stem else ""

    def __repr__(self) -> str:
        return f"<Suggester of {len(self._prefixes)} beginnings>"
