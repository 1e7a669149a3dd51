"""The sources as the house rules see them: parsed once, each with its place in the package."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "keyrelay"

PURE_PACKAGES = ("core", "quota", "wire", "routing", "alerting")
"""They decide: values in, values out."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(msgspec.Struct, frozen=True):
    """One module: its dotted name, where it lies, its text and its tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The part directly below `keyrelay`: `quota`, `ports`; empty for the package's own `__init__`."""
        return [*self.name.split("."), ""][1]

    def at(self, node: ast.AST, advice: str) -> str:
        """A finding: file, line, what to do."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {advice}"


def parse(name: str, text: str, path: Path | None = None) -> Module:
    """Parse a module's text."""
    return Module(name, path or Path(f"{name}.py"), text, ast.parse(text))


def module_name(path: Path) -> str:
    """`src/keyrelay/quota/__init__.py` → `keyrelay.quota`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def all_modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(
        parse(module_name(path), path.read_text(encoding="utf-8"), path.relative_to(ROOT))
        for path in sorted(PACKAGE.rglob("*.py"))
    )


@cache
def compiled() -> frozenset[str]:
    """The modules that scripts/compile makes C of."""
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    return frozenset(module_name(ROOT / path) for path in hooks["wheel"]["hooks"]["mypyc"]["include"])


def functions(module: Module) -> Iterator[tuple[str, Function, bool]]:
    """Every function with its qualified name, and whether it is a method."""

    def walk(node: ast.AST, prefix: str, *, in_class: bool) -> Iterator[tuple[str, Function, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield prefix + child.name, child, in_class
                yield from walk(child, f"{prefix}{child.name}.", in_class=False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.", in_class=True)
            else:
                yield from walk(child, prefix, in_class=in_class)

    yield from walk(module.tree, "", in_class=False)


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def dotted(node: ast.AST) -> str:
    """`asyncio.Queue` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        prefix = dotted(node.value)
        return f"{prefix}.{node.attr}" if prefix else node.attr
    return ""


def imported(node: ast.AST) -> list[str]:
    """Names of the modules that an import statement names; `from a import b` gives both `a` and `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file of the repository, committed or about to be, as git sees it."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    found = tuple(path for name in sorted(set(listed)) if name and (path := ROOT / name).is_file())
    assert found, "git lists no files"
    return found
