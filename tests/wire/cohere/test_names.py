import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyrelay.wire.cohere.names import fitting_name, own_name
from tests.wire.ollama.samples import EXAMPLES

NAMES = st.text(min_size=1, max_size=20) | st.from_regex(r"[_x0-9A-F\-a]{1,16}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("get_weather", "get_weather"),
        ("get_xml", "get_xml"),
        ("get-weather", "get_x2D_weather"),
        ("mcp.files/read", "mcp_x2E_files_x2F_read"),
        ("3d", "_x33_d"),
        ("a3", "a3"),
        ("wetter_für", "wetter_f_xFC_r"),
        ("get_x2D_weather", "get_x5F_x2D_weather"),
        ("_x2D-", "_x5F_x2D_x2D_"),
    ],
)
def test_a_name_becomes_one_that_fits(name: str, fitting: str) -> None:
    assert fitting_name(name) == fitting
    assert own_name(fitting) == name


@settings(max_examples=EXAMPLES)
@given(name=NAMES)
@example("_x_x")
@example("__x5F_x-")
@example("\U0010ffff")
def test_every_name_comes_back(name: str) -> None:
    fitting = fitting_name(name)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", fitting)
    assert own_name(fitting) == name


@settings(max_examples=EXAMPLES)
@given(first=NAMES, second=NAMES)
def test_two_names_never_become_one(first: str, second: str) -> None:
    assert (fitting_name(first) == fitting_name(second)) == (first == second)


@pytest.mark.parametrize("name", ["a_x110000_", "a_xFFFFFF_", "a_xD800_", "a_x_", "a_x2d_"])
def test_what_marks_no_character_stays(name: str) -> None:
    assert own_name(name) == name
