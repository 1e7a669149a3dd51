import textwrap

import pytest

from tests.house import rules
from tests.house.sources import all_modules, compiled, functions, parse


def name_of(rule: rules.Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", rules.RULES, ids=name_of)
def test_the_sources_hold_the_rule(rule: rules.Rule) -> None:
    findings = [finding for module in all_modules() for finding in rule(module)]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


# Rule, module, text that breaks it, text that does not.
EXAMPLES: list[tuple[rules.Rule, str, str, str]] = [
    (rules.has_docstring, "engine.a", "x = 1", '"""Why."""'),
    (rules.module_is_short, "engine.a", "x = 1\n" * 501, "x = 1\n" * 500),
    (rules.functions_are_short, "engine.a", "def f():\n" + "    x\n" * 70, "def f():\n" + "    x\n" * 69),
    (
        rules.functions_are_short,
        "engine.a",
        "class A:\n    async def f():\n" + "        x\n" * 70,
        "@a\n@b\nasync def f():\n" + "    x\n" * 69,
    ),
    (
        rules.few_positional_parameters,
        "engine.a",
        "def f(a, b, c, d, e, f): ...",
        "class A:\n    def f(self, a, b, c, d, e, *, f): ...",
    ),
    (
        rules.few_positional_parameters,
        "engine.a",
        "class A:\n    @staticmethod\n    def f(a, b, c, d, e, f): ...",
        "def f(a, b, c, /, d, e, **f): ...",
    ),
    (
        rules.nothing_is_swallowed,
        "engine.a",
        "try: x\nexcept Exception: y",
        "try: x\nexcept Exception as error: raise A from error",
    ),
    (rules.nothing_is_swallowed, "engine.a", "try: x\nexcept: y", "try: x\nexcept OSError: y"),
    (
        rules.nothing_is_swallowed,
        "engine.a",
        "try: x\nexcept (OSError, BaseException): y",
        "try: x\nexcept BaseException:\n    y\n    raise",
    ),
    (rules.nothing_is_swallowed, "engine.a", "with contextlib.suppress(Exception): x", "with suppress(OSError): x"),
    (rules.imports_stand_on_top, "engine.a", "def f():\n    import json", "import json"),
    (rules.imports_stand_on_top, "engine.a", "def f():\n    from . import a", "def f():\n    import tiktoken"),
    (
        rules.imports_stand_on_top,
        "engine.a",
        "class A:\n    def f(self):\n        if x:\n            from json import loads",
        "try:\n    import uvloop\nexcept ImportError:\n    pass",
    ),
    (rules.imports_are_absolute, "engine.a", "from .b import c", "from keyrelay.engine.b import c"),
    (rules.no_state_in_modules, "engine.a", "cache = {}", "CACHE = {}"),
    (rules.no_state_in_modules, "engine.a", "_seen: set[str] = set()", "_SEEN: dict[str, str] = {}\n__all__ = ['a']"),
    (rules.no_state_in_modules, "engine.a", "waiting = collections.deque[int]()", "limit = 3\nnames = ('a', 'b')"),
    (rules.no_state_in_modules, "engine.a", "def f():\n    global x", "def f():\n    x = {}"),
    (rules.no_work_at_import, "engine.a", "start()", "def f():\n    start()"),
    (rules.no_work_at_import, "engine.a", "for x in y:\n    z", "names = tuple(x for x in y)"),
    (rules.queues_have_bounds, "engine.a", "asyncio.Queue()", "asyncio.Queue(LIMIT)"),
    (rules.queues_have_bounds, "engine.a", "Queue[int]()", "PriorityQueue(maxsize=LIMIT)"),
    (rules.queues_have_bounds, "engine.a", "queue.SimpleQueue()", "Queue[int](LIMIT)"),
    (rules.tls_is_verified, "upstream.a", "get(url, verify=False)", "get(url, verify=True)"),
    (rules.tls_is_verified, "upstream.a", "context.verify_mode = ssl.CERT_NONE", "x = ssl.CERT_REQUIRED"),
    (rules.tls_is_verified, "upstream.a", "context.check_hostname = False", "context.check_hostname = True"),
    (rules.middleware_is_plain, "api.a", "class A(BaseHTTPMiddleware): ...", "class A: ..."),
    (rules.middleware_is_plain, "api.a", "@app.middleware('http')\nasync def f(): ...", "@app.get('/')\ndef f(): ..."),
    (rules.pure_packages_are_pure, "quota.a", "import time", "import datetime"),
    (rules.pure_packages_are_pure, "routing.a", "from random import choice", "from keyrelay.core.limits import Limit"),
    (rules.pure_packages_are_pure, "wire.a", "import urllib.request", "import urllib.parse"),
    (rules.pure_packages_are_pure, "core.a", "import pydantic", "import msgspec"),
    (rules.pure_packages_are_pure, "core.a", "datetime.datetime.now(UTC)", "now = clock"),
    (rules.pure_packages_are_pure, "wire.a", "open(path)", "reader.open(path)"),
    (rules.pure_packages_are_pure, "wire.a", "from os import path", "import re"),
    (rules.packages_are_imported_by_those_entitled, "engine.a", "from fastapi import FastAPI", "import msgspec"),
    (rules.packages_are_imported_by_those_entitled, "api.a", "import httptools", "import starlette.types"),
    (rules.nothing_is_printed, "engine.a", "print(x)", "log.info(x)"),
    (
        rules.compiled_modules_keep_to_what_is_compiled,
        "engine.gateway",
        "class A(Struct, frozen=True): ...",
        "class A: ...",
    ),
    (rules.compiled_modules_keep_to_what_is_compiled, "engine.gateway", "class A(msgspec.Struct): ...", "x = Struct"),
    (
        rules.compiled_modules_keep_to_what_is_compiled,
        "engine.gateway",
        "class P(Protocol): ...\nclass A:\n    p: P | None = None",
        "class P(Protocol): ...\nclass A:\n    p: Q | None = None",
    ),
]


@pytest.mark.parametrize(("rule", "module", "bad", "good"), EXAMPLES)
def test_the_rule_finds_what_it_is_for(rule: rules.Rule, module: str, bad: str, good: str) -> None:
    name = f"keyrelay.{module}"
    assert list(rule(parse(name, textwrap.dedent(bad))))
    assert not list(rule(parse(name, textwrap.dedent(good))))


def test_every_rule_has_an_example() -> None:
    assert {rule for rule, *_ in EXAMPLES} == set(rules.RULES)


def test_a_finding_names_file_and_line() -> None:
    module = parse("keyrelay.engine.a", "\n\nprint(1)")
    assert list(rules.nothing_is_printed(module)) == ["keyrelay.engine.a.py:3: print(): log it, or return it"]


def test_what_is_compiled_exists() -> None:
    assert compiled() <= {module.name for module in all_modules()}, "take what is gone out of pyproject.toml"


def test_supervisors_exist_and_log() -> None:
    known = {f"{module.name}.{name}": function for module in all_modules() for name, function, _ in functions(module)}
    assert known.keys() >= rules.SUPERVISORS, "take those that are gone out of SUPERVISORS in tests/house/rules.py"
