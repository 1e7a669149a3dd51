"""Names of models with `*` in them, as clients are held to them."""

import re
from collections.abc import Iterable

_WILD = "*"


class ModelNames:
    """Which models may be asked for. `*` stands for any letters; upper and lower case are the same.

    A name alone is that model at any provider, so that it covers `provider/name` too.
    """

    __slots__ = ("_pattern", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        written = "|".join(".*".join(map(re.escape, name.split(_WILD))) for name in self.names)
        self._pattern = re.compile(written, re.IGNORECASE | re.DOTALL)

    def allow(self, name: str, providers: Iterable[str] = ()) -> bool:
        """Whether this name may be asked for; `providers` are those whose ids may stand in front of a model's name."""
        if self._pattern.fullmatch(name):
            return True
        provider, slash, model = name.partition("/")
        return bool(slash) and provider.lower() in providers and self._pattern.fullmatch(model) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelNames) and other.names == self.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"<ModelNames {', '.join(self.names)}>"
