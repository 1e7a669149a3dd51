"""Which members a body may have, as a table of types, for providers that refuse what they do not know.

    MESSAGE = {"role": str, "content": Either(str, [PART])}

A type is a dict (an object with these members and no others), a list of one type, `str`, `int`, `float`, `bool`,
`dict` (any object), `object` (anything), `Either` of several, or a string that names a table for types within
themselves. null stands for a member left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from keyrelay.simulator.asking import WrongRequestError

Kind = Any
Unknown = Callable[[str, str], WrongRequestError]


class Either:
    """Any of several types; the first that fits at all is the one whose members count."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds

    def __repr__(self) -> str:
        return f"Either({len(self.kinds)} kinds)"


class Members:
    """A table of types, and the words for a member that it does not have: made from a path and the member's name."""

    def __init__(self, table: Mapping[str, Kind], unknown: Unknown, *, indexes: str = "[{}]") -> None:
        self._table = table
        self._unknown = unknown
        self._indexes = indexes

    def __repr__(self) -> str:
        return f"Members({', '.join(self._table)})"

    def check(self, value: Any, kind: Kind, path: str = "") -> None:
        """Raise WrongRequestError for the first member that has no place there or the wrong type."""
        kind = self._table[kind] if isinstance(kind, str) else kind
        if value is None or kind is object:
            return
        if isinstance(kind, Either):
            kind = next((one for one in kind.kinds if self._fits(value, one)), kind.kinds[0])
            kind = self._table[kind] if isinstance(kind, str) else kind
        if not self._fits(value, kind):
            raise WrongRequestError(path, f"Invalid value of type {type(value).__name__}")
        if isinstance(kind, list):
            for at, item in enumerate(value):
                if item is None:
                    raise WrongRequestError(path + self._indexes.format(at), "Invalid value of type NoneType")
                self.check(item, kind[0], path + self._indexes.format(at))
        elif isinstance(kind, dict):
            self._check_members(value, kind, path)

    def _check_members(self, value: dict[str, Any], kind: dict[str, Kind], path: str) -> None:
        for name, member in value.items():
            if "*" in kind:
                self.check(member, kind["*"], f"{path}.{name}" if path else name)
                continue
            if name not in kind:
                raise self._unknown(path, name)
            self.check(member, kind[name], f"{path}.{name}" if path else name)

    def _fits(self, value: Any, kind: Kind) -> bool:
        kind = self._table[kind] if isinstance(kind, str) else kind
        if kind is object:
            return True
        if isinstance(kind, list):
            return isinstance(value, list)
        if isinstance(kind, dict):
            return isinstance(value, dict)
        if isinstance(value, bool):
            return kind is bool
        return isinstance(value, (int, float) if kind is float else kind)


class KnownMembers(Members):
    """A table for providers that pass over members they do not know, and refuse known ones of a wrong type."""

    def __init__(self, table: Mapping[str, Kind]) -> None:
        super().__init__(table, WrongRequestError)

    def _check_members(self, value: dict[str, Any], kind: dict[str, Kind], path: str) -> None:
        known = {name: member for name, member in value.items() if name in kind}
        super()._check_members(known, kind, path)
