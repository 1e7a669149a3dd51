"""What the files of a configuration held when it was read, so that it can be read again without them.

Files that have become invalid since are left out of account: what is administered is read together with what they held
before. Secrets stand in them, so nothing here shows what it holds.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

Content = bytes | tuple[int | None, str | None]
"""What a file holds; where it cannot be read, number and words of the reason."""

_NOTHING: Mapping[Path, Content] = MappingProxyType({})


class Files:
    """Reads the files of one configuration, each once; what is `known` of them is not looked for again."""

    __slots__ = ("_contents",)

    def __init__(self, known: Mapping[Path, Content] = _NOTHING) -> None:
        self._contents = dict(known)

    def read(self, path: Path, most_bytes: int) -> bytes:
        """What a file holds, at most so many bytes of it. Raise OSError."""
        if path not in self._contents:
            self._contents[path] = _read(path, most_bytes)
        content = self._contents[path]
        if isinstance(content, bytes):
            return content
        raise OSError(*content)

    def copy(self) -> "Files":
        """The same, for another reading."""
        return Files(self._contents)

    def __repr__(self) -> str:
        return f"<Files: {len(self._contents)} read>"


def _read(path: Path, most_bytes: int) -> Content:
    try:
        with path.open("rb") as file:
            return file.read(most_bytes)
    except OSError as error:
        return error.errno, error.strerror
