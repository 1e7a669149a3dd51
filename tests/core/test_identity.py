import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.identity import LONGEST_INSTANCE, WorkerIdentity, instance_name


@pytest.mark.parametrize(
    ("host_name", "port", "expected"),
    [
        ("web1", 8787, "web1-8787"),
        ("web1.example.com", 80, "web1.example.com-80"),
        ("../../etc/passwd", 1, "etc-passwd-1"),
        ("müller's Mac", 8787, "m-ller-s-Mac-8787"),
        ("", 8787, "localhost-8787"),
        ("…", 8787, "localhost-8787"),
    ],
)
def test_the_name_of_an_instance(host_name: str, port: int, expected: str) -> None:
    assert instance_name(host_name, port) == expected


@given(st.text(), st.integers(0, 65_535))
def test_any_host_gives_a_name_that_a_file_can_have(host_name: str, port: int) -> None:
    name = instance_name(host_name, port)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert len(name) <= LONGEST_INSTANCE
    assert name.endswith(f"-{port}")


def test_an_identity_as_text() -> None:
    identity = WorkerIdentity(instance_name("web1", 8787), 2)
    assert str(identity) == "web1-8787-2"
    assert identity == WorkerIdentity("web1-8787", 2)
    assert WorkerIdentity("web1-8787").slot == 0
