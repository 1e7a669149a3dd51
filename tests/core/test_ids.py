import uuid

from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.ids import request_id

TIMES_MS = st.integers(0, 2**48 - 1)
RANDOM_BITS = st.integers(0, 2**74 - 1)


def test_a_known_time_and_random_number() -> None:
    assert request_id(0x0190_0000_0000, 0) == "req_01900000000070008000000000000000"
    assert request_id(2**48 - 1, 2**74 - 1) == "req_ffffffffffff7fffbfffffffffffffff"


@given(TIMES_MS, RANDOM_BITS)
def test_it_is_a_uuid_of_version_7(now_ms: int, random_bits: int) -> None:
    identifier = uuid.UUID(request_id(now_ms, random_bits).removeprefix("req_"))
    assert (identifier.version, identifier.variant) == (7, uuid.RFC_4122)
    assert identifier.int >> 80 == now_ms
    assert (identifier.int >> 64 & 0xFFF) << 62 | identifier.int & (2**62 - 1) == random_bits


@given(TIMES_MS, TIMES_MS, RANDOM_BITS, RANDOM_BITS)
def test_later_ones_sort_behind_earlier_ones(first_ms: int, second_ms: int, bits: int, others: int) -> None:
    if first_ms < second_ms:
        assert request_id(first_ms, bits) < request_id(second_ms, others)


def test_more_random_bits_than_fit_do_no_harm() -> None:
    assert request_id(1, 2**74) == request_id(1, 0)
    assert request_id(2**48, 5) == request_id(0, 5)
