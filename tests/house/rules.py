"""The house rules that a test can hold, each a function from a module to what is wrong in it.

A finding names file and line and says what to do. `EXAMPLES` in `test_rules.py` shows for each rule what it finds.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator

from tests.house.sources import PURE_PACKAGES, Function, Module, compiled, dotted, functions, imported, own_nodes

MODULE_LINES = 500
FUNCTION_LINES = 70
POSITIONAL_PARAMETERS = 5

SUPERVISORS = frozenset(
    {
        "keyrelay.api.server.GatewayCycle.run_asgi",
        "keyrelay.engine.housekeeping.Housekeeping.do",
        "keyrelay.engine.recorder.Recorder._tried",
    }
)
"""Functions (`keyrelay.engine.monitor.Monitor.run`) that keep a loop alive: they log whatever comes and go on."""

OPTIONAL_EXTRAS = frozenset({"opentelemetry", "tiktoken", "apprise", "textual"})
"""Packages that may be missing, so that they are imported where they are used."""

ENTITLED = {
    "fastapi": ("api",),
    "starlette": ("api",),
    "httptools": ("upstream", "simulator"),
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "asyncpg": ("storage",),
    "redis": ("storage",),
    "hiredis": ("storage",),
    "cryptography": ("vault",),
    "typer": ("cli",),
    "rich": ("cli",),
}
"""External packages that belong to one layer."""

# fmt: off
IMPURE_MODULES = frozenset({
    "asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "structlog", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib.request", "uuid",
})
# fmt: on
IMPURE_CALLS = frozenset({"now", "utcnow", "today"})
IMPURE_BUILTINS = frozenset({"open", "print", "input"})

_MUTABLE_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MUTABLE_TYPES = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"})
_CONSTANT = re.compile(r"_{0,2}[A-Z][A-Z0-9_]*|__\w+__")
_QUEUES = frozenset({"Queue", "LifoQueue", "PriorityQueue"})

Rule = Callable[[Module], Iterator[str]]


def has_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield module.at(module.tree, "the module has no docstring: say what it is for, and why it is as it is")


def module_is_short(module: Module) -> Iterator[str]:
    length = module.text.count("\n")
    if length > MODULE_LINES:
        yield module.at(module.tree, f"{length} lines, at most {MODULE_LINES}: split it by what its parts are about")


def functions_are_short(module: Module) -> Iterator[str]:
    for name, function, _ in functions(module):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > FUNCTION_LINES:
            yield module.at(function, f"{name} has {length} lines, at most {FUNCTION_LINES}: give its steps names")


def few_positional_parameters(module: Module) -> Iterator[str]:
    for name, function, is_method in functions(module):
        static = any(dotted(decorator) == "staticmethod" for decorator in function.decorator_list)
        count = len(function.args.posonlyargs) + len(function.args.args) - (is_method and not static)
        if count > POSITIONAL_PARAMETERS:
            yield module.at(
                function,
                f"{name} takes {count} positional parameters, at most {POSITIONAL_PARAMETERS}: make them keyword-only"
                " or give them a type of their own",
            )


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(kind is None or dotted(kind) in {"Exception", "BaseException"} for kind in kinds)


def _suppresses_everything(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and dotted(node.func).endswith("suppress")
        and any(dotted(argument) in {"Exception", "BaseException"} for argument in node.args)
    )


def nothing_is_swallowed(module: Module) -> Iterator[str]:
    exempt = {
        node
        for name, function, _ in functions(module)
        if f"{module.name}.{name}" in SUPERVISORS
        for node in ast.walk(function)
    }
    for node in ast.walk(module.tree):
        if node in exempt:
            continue
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node):
            if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                yield module.at(
                    node,
                    "everything is caught and nothing raised: catch what you can answer; a loop that has to go on is"
                    " named in SUPERVISORS of tests/house/rules.py and logs",
                )
        elif _suppresses_everything(node):
            yield module.at(node, "everything is suppressed: name the exceptions that mean nothing here")


def imports_stand_on_top(module: Module) -> Iterator[str]:
    if module.package == "cli":
        return
    for name, function, _ in functions(module):
        for node in own_nodes(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                tops = {target.split(".")[0] for target in imported(node)} or {"."}
                if not tops <= OPTIONAL_EXTRAS:
                    yield module.at(node, f"{name} imports: do it at the top; if that makes a cycle, mend the cycle")


def imports_are_absolute(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield module.at(node, "relative import: write the module's whole name")


def no_state_in_modules(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield module.at(node, "global: keep the state in an object that bootstrap makes and hands on")
    for statement in module.tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or not _is_mutable(statement.value):
            continue
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            if not _CONSTANT.fullmatch(dotted(target)):
                yield module.at(
                    statement,
                    f"{dotted(target) or 'this'} is state of the module: make it a constant in capitals that nobody"
                    " changes, or keep it in an object",
                )


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        function = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        return dotted(function).rpartition(".")[2] in _MUTABLE_TYPES
    return isinstance(value, _MUTABLE_LITERALS)


def no_work_at_import(module: Module) -> Iterator[str]:
    if module.package == "cli":  # commands are registered when their modules are imported
        return
    for statement in module.tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call | ast.Await):
            yield module.at(statement, "a call at import time: do it in a function that bootstrap or the cli calls")
        elif isinstance(statement, ast.For | ast.While | ast.With):
            yield module.at(statement, "work at import time: put it into a function")


def queues_have_bounds(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
        kind = dotted(function).rpartition(".")[2]
        bounded = bool(node.args) or any(keyword.arg == "maxsize" for keyword in node.keywords)
        if (kind in _QUEUES and not bounded) or kind == "SimpleQueue":
            yield module.at(node, f"a {kind} without a bound: give it a maxsize that has a name")


def tls_is_verified(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        name = dotted(node)
        if name.endswith(("CERT_NONE", "_create_unverified_context")):
            yield module.at(node, "certificates are not verified: trust a certificate authority by file instead")
        switched_off: list[tuple[str | None, ast.expr]] = []
        if isinstance(node, ast.keyword):
            switched_off = [(node.arg, node.value)]
        elif isinstance(node, ast.Assign):
            switched_off = [(dotted(target).rpartition(".")[2], node.value) for target in node.targets]
        for what, value in switched_off:
            if (
                what in {"verify", "verify_ssl", "check_hostname"}
                and isinstance(value, ast.Constant)
                and not value.value
            ):
                yield module.at(value, f"{what} is switched off: trust a certificate authority by file instead")


def middleware_is_plain(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if dotted(node).rpartition(".")[2] == "BaseHTTPMiddleware":
            yield module.at(node, "BaseHTTPMiddleware breaks streaming and cancellation: write a plain ASGI class")
        if isinstance(node, Function) and any(
            isinstance(decorator, ast.Call) and dotted(decorator.func).endswith(".middleware")
            for decorator in node.decorator_list
        ):
            yield module.at(node, "@….middleware is BaseHTTPMiddleware by another name: write a plain ASGI class")


def pure_packages_are_pure(module: Module) -> Iterator[str]:
    if module.package not in PURE_PACKAGES:
        return
    for node in ast.walk(module.tree):
        for target in imported(node)[:1]:
            top = target.split(".")[0]
            if target in IMPURE_MODULES or top in IMPURE_MODULES:
                yield module.at(
                    node,
                    f"keyrelay.{module.package} only decides, and imports {target}: take what it gives as argument",
                )
            elif top not in sys.stdlib_module_names and top not in {"msgspec", "keyrelay"}:
                yield module.at(
                    node, f"keyrelay.{module.package} needs the standard library and msgspec only, not {target}"
                )
        if isinstance(node, ast.Call):
            owner, _, called = dotted(node.func).rpartition(".")
            if (called in IMPURE_CALLS and owner) or (called in IMPURE_BUILTINS and not owner):
                yield module.at(
                    node, f"keyrelay.{module.package} only decides, and calls {called}(): take it as argument"
                )


def packages_are_imported_by_those_entitled(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        for target in imported(node)[:1]:
            top = target.split(".")[0]
            if top in ENTITLED and module.package not in ENTITLED[top]:
                yield module.at(node, f"{top} is known to {' and '.join(ENTITLED[top])} alone")


def nothing_is_printed(module: Module) -> Iterator[str]:
    if module.package in {"cli", "__main__"}:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {"print", "breakpoint", "pdb.set_trace"}:
            yield module.at(node, f"{dotted(node.func)}(): log it, or return it")


def compiled_modules_keep_to_what_is_compiled(module: Module) -> Iterator[str]:
    """What mypyc drops in silence: a class's keywords, its annotations, a default of None for what has a protocol."""
    if module.name not in compiled():
        return
    protocols = {
        node.name
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("Protocol") for base in node.bases)
    }
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        if node.keywords or any(dotted(base).endswith("Struct") for base in node.bases):
            yield module.at(
                node, f"{node.name}: compiled, it would lose its options and types; put it beside this module"
            )
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and line.value is not None:
                words = {each.id for each in ast.walk(line.annotation) if isinstance(each, ast.Name)}
                if words & protocols:
                    yield module.at(line, "compiled, this would have no value: set it in __init__")


RULES: tuple[Rule, ...] = (
    has_docstring,
    module_is_short,
    functions_are_short,
    few_positional_parameters,
    nothing_is_swallowed,
    imports_stand_on_top,
    imports_are_absolute,
    no_state_in_modules,
    no_work_at_import,
    queues_have_bounds,
    tls_is_verified,
    middleware_is_plain,
    pure_packages_are_pure,
    packages_are_imported_by_those_entitled,
    nothing_is_printed,
    compiled_modules_keep_to_what_is_compiled,
)
