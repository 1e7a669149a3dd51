"""What holds for every test."""

import sys
from collections.abc import Generator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import keyrelay


def pytest_configure() -> None:
    """What was compiled from other sources (scripts/compile) is not what is to be tested."""
    package, sources = Path(keyrelay.__file__).parent, Path(__file__).parent.parent / "src" / "keyrelay"
    if package == sources:
        return
    for source in sources.rglob("*.py"):
        installed = package / source.relative_to(sources)
        if not installed.is_file() or installed.read_bytes() != source.read_bytes():
            pytest.exit(f"{source} is not what was compiled; run scripts/compile, or scripts/compile --off", 2)


# Files of tests run beside each other, so how long an example takes says nothing about it.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage looks at what a test does with examples and not at how they are made, which would take twice as long.

    Hypothesis lets its `inner_test` be replaced for purposes like this.
    """
    handle, tracer = getattr(getattr(item, "obj", None), "hypothesis", None), sys.gettrace()
    if handle is None or tracer is None:
        return (yield)
    inner = handle.inner_test

    @wraps(inner)
    def traced(*arguments: Any, **named: Any) -> Any:
        sys.settrace(tracer)
        try:
            return inner(*arguments, **named)
        finally:
            sys.settrace(None)

    handle.inner_test = traced
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
        handle.inner_test = inner
