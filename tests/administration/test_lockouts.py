from hypothesis import given
from hypothesis import strategies as st

from keyrelay.administration.lockouts import (
    ADDRESS,
    FORGOTTEN_S,
    NAME,
    NAME_AND_ADDRESS,
    Guesses,
    Rule,
    counts_of,
    free_at_s,
    network_of,
    pause_s,
    with_wrong,
)

NOW_S = 1_800_000_000.0


def test_some_guesses_cost_nothing_then_each_one_doubles_the_pause() -> None:
    pauses = [pause_s(Guesses(wrong, NOW_S), NAME_AND_ADDRESS) for wrong in range(4, 16)]
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 900.0]


@given(st.integers(0, 10**9), st.sampled_from([NAME, ADDRESS, NAME_AND_ADDRESS]))
def test_nobody_waits_longer_than_the_longest_pause(wrong: int, rule: Rule) -> None:
    assert NOW_S <= free_at_s(Guesses(wrong, NOW_S), rule, NOW_S) <= NOW_S + rule.longest_s


def test_after_a_day_the_count_begins_anew() -> None:
    guesses = Guesses(50, NOW_S - FORGOTTEN_S)
    assert free_at_s(guesses, NAME_AND_ADDRESS, NOW_S) == NOW_S
    assert with_wrong(guesses, NOW_S) == Guesses(1, NOW_S)
    assert with_wrong(Guesses(50, NOW_S - 1), NOW_S) == Guesses(51, NOW_S)


def test_a_guess_counts_for_its_name_its_address_and_both() -> None:
    counts = counts_of("Alice", "192.0.2.7")
    assert counts == {"name:2bd806@192.0.2.7": NAME_AND_ADDRESS, "address:192.0.2.7": ADDRESS, "name:2bd806": NAME}
    assert counts == counts_of("alice", "192.0.2.7") != counts_of("alicf", "192.0.2.7")
    assert len(max(counts_of("a" * 10_000, "x"), key=len)) < 100


def test_what_was_typed_as_a_name_is_kept_nowhere() -> None:
    assert "hunter2" not in str(counts_of("hunter2", "192.0.2.7"))


def test_addresses_of_one_network_count_together() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("") == "unknown"
