"""What commands and the gateway of one data directory prove to each other."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.local_proof import (
    LASTS_S,
    SignedRequest,
    is_proof,
    is_signed,
    place_of,
    proof_of,
    sign,
)
from keyrelay.core.secrets import Secret

SECRET, OTHER = Secret("kr-local-test-one"), Secret("kr-local-test-two")
NOW_S = 1_764_000_000.9
ASKED = SignedRequest(place="127.0.0.1 8787", method="POST", target="/api/v1/keys?a=b", body=b"{}")


@given(st.floats(-LASTS_S, LASTS_S - 1))
def test_a_signature_counts_for_a_while(passed_s: float) -> None:
    assert is_signed(SECRET, ASKED, sign(SECRET, ASKED, NOW_S), NOW_S + passed_s)


@pytest.mark.parametrize("passed_s", [-LASTS_S - 1, LASTS_S, 1e9])
def test_and_not_before_or_afterwards(passed_s: float) -> None:
    assert not is_signed(SECRET, ASKED, sign(SECRET, ASKED, NOW_S), NOW_S + passed_s)


@pytest.mark.parametrize(
    "change",
    [
        {"place": "127.0.0.1 8788"},
        {"place": "127.0.0.2 8787"},
        {"method": "DELETE"},
        {"target": "/api/v1/keys"},
        {"target": "/api/v1/people?a=b"},
        {"body": b"{} "},
        {"body": b""},
    ],
)
def test_it_is_of_one_request_alone(change: dict[str, Any]) -> None:
    assert not is_signed(SECRET, msgspec.structs.replace(ASKED, **change), sign(SECRET, ASKED, NOW_S), NOW_S)


def test_it_takes_the_secret_and_one_that_is_there() -> None:
    assert not is_signed(OTHER, ASKED, sign(SECRET, ASKED, NOW_S), NOW_S)
    assert not is_signed(Secret(""), ASKED, sign(Secret(""), ASKED, NOW_S), NOW_S)


def test_a_signature_says_nothing_of_the_secret_and_is_no_proof() -> None:
    text = sign(SECRET, ASKED, NOW_S)
    assert SECRET.reveal() not in text
    digest = text.rpartition("-")[2]
    assert not is_proof(SECRET, digest, ASKED.place, digest)


@given(st.text(max_size=100) | st.from_regex(r"krl-[0-9]{1,14}-[0-9a-f]{63,65}", fullmatch=True))
def test_what_is_made_up_is_no_signature(text: str) -> None:
    assert not is_signed(SECRET, ASKED, text, NOW_S)


def test_a_proof_is_for_one_nonce_at_one_place() -> None:
    proof = proof_of(SECRET, "ab" * 16, "127.0.0.1 8787")
    assert is_proof(SECRET, "ab" * 16, "127.0.0.1 8787", proof)
    assert not is_proof(SECRET, "ac" * 16, "127.0.0.1 8787", proof)
    assert not is_proof(SECRET, "ab" * 16, "127.0.0.1 9000", proof)
    assert not is_proof(OTHER, "ab" * 16, "127.0.0.1 8787", proof)
    assert not is_proof(SECRET, "ab" * 16, "127.0.0.1 8787", "ü")


@pytest.mark.parametrize(
    ("host", "place"),
    [("127.0.0.1", "127.0.0.1 1"), ("::ffff:127.0.0.1", "127.0.0.1 1"), ("::1", "::1 1"), ("fe80::1%lo", "fe80::1 1")],
)
def test_both_ends_name_a_place_alike(host: str, place: str) -> None:
    assert place_of(host, 1) == place


def test_a_name_is_no_place() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        place_of("localhost", 1)
