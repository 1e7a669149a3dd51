from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.wire.cache_wishes import AS_CONFIGURED, CacheWishes, read_cache_wishes

NOTHING = {"look": False, "keep": False}


@pytest.mark.parametrize(
    ("own", "standard", "wanted"),
    [
        ("", "", {}),
        (" , ,", "", {}),
        ("no-store", "", NOTHING),
        ("No-Store ", "", NOTHING),
        ("refresh", "", {"look": False}),
        ("ttl=60", "", {"ttl_s": 60}),
        ("ttl = 60", "", {"ttl_s": 60}),
        ("ttl=0", "", {"ttl_s": 0, "keep": False}),
        ("ttl=0,refresh,ttl=5", "", {"ttl_s": 5, "keep": False, "look": False}),
        ("refresh, ttl=2592000", "", {"look": False, "ttl_s": 2_592_000}),
        ("ttl=9, no-store", "", {**NOTHING, "ttl_s": 9}),
        ("all", "", {"mode": "all"}),
        ("off", "", {"mode": "off"}),
        ("deterministic,ttl=5", "", {"mode": "deterministic", "ttl_s": 5}),
        ("", "no-store", NOTHING),
        ("", "no-cache", {"look": False}),
        ("", "max-age=0", {"look": False, "max_age_s": 0}),
        ("", "max-age=30", {"max_age_s": 30}),
        ("", 'Max-Age = "30"', {"max_age_s": 30}),
        ("", "max-age", {"look": False, "max_age_s": 0}),
        ("", "max-age=soon", {"look": False, "max_age_s": 0}),
        ("", "max-age=-1", {"look": False, "max_age_s": 0}),
        ("", "max-age=" + "9" * 400, {"max_age_s": 999_999_999_999}),
        ("", "private, max-stale=9, no-transform, x=y", {}),
        ("", "no-cache, no-store", NOTHING),
        ("ttl=5", "no-cache", {"ttl_s": 5, "look": False}),
        ("refresh", "max-age=30", {"look": False, "max_age_s": 30}),
    ],
)
def test_what_a_head_says(own: str, standard: str, wanted: dict[str, Any]) -> None:
    assert read_cache_wishes(own, standard) == CacheWishes(**wanted)


def test_nothing_said_is_the_one_value_for_that() -> None:
    assert read_cache_wishes("", "private") is AS_CONFIGURED


@pytest.mark.parametrize(
    "own",
    ["nostore", "no-cache", "ttl", "ttl=", "ttl=x", "ttl=-1", "ttl=1.5", "ttl=2592001", "ttl=9999999999", "on", "é"],
)
def test_a_word_that_means_nothing_is_refused_with_what_would(own: str) -> None:
    with pytest.raises(CallerError, match=r"It takes no-store, refresh, ttl=SECONDS \(0 to 2592000\), off") as caught:
        read_cache_wishes(f"refresh, {own}")
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_header", "x-keyrelay-cache")
    assert caught.value.message.isascii()


@given(st.text())
def test_no_standard_header_is_refused(standard: str) -> None:
    assert read_cache_wishes("", standard).ttl_s is None
