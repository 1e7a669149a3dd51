"""Environment variables in layers: the process's own win over those of `.env`.

An empty value is no value. Every secret may instead stand in a file that `NAME_FILE` names. Nothing is ever
written to `os.environ`, so child processes do not inherit what `.env` holds.
"""

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from dotenv.parser import parse_stream

from keyrelay.configuration.findings import Findings
from keyrelay.configuration.remembered import Files
from keyrelay.configuration.values import ENVIRONMENT

MAX_FILE_BYTES = 1024 * 1024
FILE_SUFFIX = "_FILE"
_COUNTING = re.compile(r"[1-9][0-9]{0,5}")


class Found(msgspec.Struct, frozen=True):
    """A variable that has a value. `name` is the variable that held it, `layer` where that stood."""

    name: str
    text: str
    layer: str

    @property
    def source(self) -> str:
        """Source as `EffectiveValue` shows it."""
        return f"{self.layer} {self.name}"

    def __repr__(self) -> str:
        return f"Found({self.source})"


class Layer(msgspec.Struct, frozen=True):
    """Variables of one place: `environment`, or the name of a file."""

    name: str
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Layer({self.name}, {len(self.variables)} variables)"


class Environment:
    """Looks variables up in layers, the first layer wins. Files of secrets are relative to `directory`."""

    def __init__(
        self, layers: tuple[Layer, ...], *, directory: Path, findings: Findings, files: Files | None = None
    ) -> None:
        self._layers = layers
        self._directory = directory
        self._findings = findings
        self._files = files or Files()
        self._contents: dict[Path, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables that have a value, in no order that means anything."""
        return tuple({name for layer in self._layers for name, text in layer.variables.items() if text.strip()})

    @property
    def empty_names(self) -> tuple[str, ...]:
        """Names of the variables that are set to nothing, in any layer, and to something in none."""
        filled = set(self.names)
        return tuple(sorted({name for layer in self._layers for name in layer.variables} - filled))

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of secrets that have been read or looked for."""
        return tuple(self._contents)

    def outside(self, layer_name: str) -> dict[str, str]:
        """Names of the variables that have a value in another layer than that one, each with the layer that wins."""
        others = [layer for layer in reversed(self._layers) if layer.name != layer_name]
        return {name: layer.name for layer in others for name, text in layer.variables.items() if text.strip()}

    def find(self, *names: str) -> Found | None:
        """Return the first of the names that has a value in the first layer where one has."""
        for layer in self._layers:
            for name in names:
                text = layer.variables.get(name, "").strip()
                if text:
                    return Found(name, text, layer.name)
        return None

    def find_secret(self, name: str) -> Found | None:
        """Return the variable, or what the file holds that `NAME_FILE` names."""
        file_name = name + FILE_SUFFIX
        for layer in self._layers:
            inline = layer.variables.get(name, "").strip()
            path = layer.variables.get(file_name, "").strip()
            if inline and path:
                self._findings.problem(
                    f"{layer.name} {file_name}", f"{name} is set as well.", f"Keep one of {name} and {file_name}."
                )
            if inline:
                return Found(name, inline, layer.name)
            if path:
                return self._from_file(Found(file_name, path, layer.name))
        return None

    def _from_file(self, pointer: Found) -> Found | None:
        path = self._directory / pointer.text
        if path not in self._contents:
            content = read_text(path, where=pointer.source, findings=self._findings, files=self._files)
            if content is not None and not content.strip():
                self._findings.warn(pointer.source, "the file holds nothing; it is ignored.")
            self._contents[path] = content or ""
        text = self._contents[path].strip()
        return Found(pointer.name, text, pointer.layer) if text else None

    def __repr__(self) -> str:
        return f"Environment({', '.join(map(repr, self._layers))})"


def read_text(
    path: Path, *, where: str, findings: Findings, optional: bool = False, files: Files | None = None
) -> str | None:
    """Return a small UTF-8 file's text; None, with the problem noted, when it cannot be had.

    An optional file may be missing without anything being noted. `files` reads it, and may know it already.
    """
    try:
        data = (files or Files()).read(path, MAX_FILE_BYTES + 1)
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError):
            return None
        if optional and isinstance(error, IsADirectoryError):
            findings.warn(where, f"{path} is a directory, not a file; it is ignored.")
            return None
        findings.problem(where, f"cannot read {path}: {error.strerror}.", "Name a file that can be read.")
        return None
    if len(data) > MAX_FILE_BYTES:
        findings.problem(where, f"{path} is larger than {MAX_FILE_BYTES} bytes.", "Name the right file.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        findings.problem(where, f"{path} is not UTF-8 text.", "Save it as UTF-8.")
        return None


def read_env_file(path: Path, *, findings: Findings, optional: bool = False, files: Files | None = None) -> Layer:
    """Read a file of `NAME=value` lines as they stand: `${…}` is not replaced, nothing is exported."""
    text = read_text(path, where=path.name, findings=findings, optional=optional, files=files)
    if text is None:
        return Layer(path.name, {})
    values, broken = parse_env(text)
    if broken:
        lines = ", ".join(map(str, broken))
        findings.problem(f"{path.name} line {lines}", "cannot be read.", 'Write NAME=value or NAME="value".')
        return Layer(path.name, {})
    return Layer(path.name, values)


def parse_env(text: str) -> tuple[dict[str, str], list[int]]:
    """The variables of such a text, and the numbers of the lines that cannot be read."""
    bindings = list(parse_stream(io.StringIO(text)))
    broken = [binding.original.line for binding in bindings if binding.error]
    return {binding.key: binding.value or "" for binding in bindings if binding.key is not None}, broken


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The process's own environment as a layer."""
    return Layer(ENVIRONMENT, environ)


def numbered(names: Iterable[str], stem: str) -> tuple[str, ...]:
    """Of the names, those that are `STEM_2`, `STEM_3` … (or their `_FILE`), without `_FILE`, in order of number."""
    numbers = set[int]()
    for name in names:
        number = name.removesuffix(FILE_SUFFIX).removeprefix(f"{stem}_")
        if name.startswith(f"{stem}_") and _COUNTING.fullmatch(number):
            numbers.add(int(number))
    return tuple(f"{stem}_{number}" for number in sorted(numbers))
