"""How long somebody who has guessed wrong has to wait: longer each time, never for good.

Guesses are counted for a name from one address, for an address, and for a name from anywhere. The last one takes many,
stays short, and does not bind where the owner of the name has signed in before: many strangers cannot keep them out.
"""

import hashlib
import ipaddress

import msgspec

FORGOTTEN_S = 86_400.0
"""After so long without a wrong guess the count begins anew."""

_IPV6_NETWORK_BITS = 64
_MARK_DIGITS = 6


class Rule(msgspec.Struct, frozen=True):
    """`free` guesses cost nothing; then each one doubles the pause, from 1 s to `longest_s`."""

    free: int
    longest_s: float


NAME_AND_ADDRESS = Rule(free=5, longest_s=900.0)
ADDRESS = Rule(free=20, longest_s=900.0)
NAME = Rule(free=100, longest_s=30.0)


class Guesses(msgspec.Struct, frozen=True):
    """How many guesses in a row were wrong, and when the last one was (epoch seconds)."""

    wrong: int = 0
    last_s: float = 0.0


def counts_of(name: str, address: str, *, at_home: bool = False) -> dict[str, Rule]:
    """The counts that a guess belongs to, each with its rule; `at_home`: from where its owner has signed in before."""
    # What is typed there may be a password: enough of a digest to tell names apart is kept, and too little to guess by.
    name = hashlib.sha256(name.lower().encode(errors="replace")).hexdigest()[:_MARK_DIGITS]
    network = network_of(address)
    counts = {f"name:{name}@{network}": NAME_AND_ADDRESS, f"address:{network}": ADDRESS}
    return counts if at_home else counts | {f"name:{name}": NAME}


def network_of(address: str) -> str:
    """An address as guesses are counted: whoever has one of IPv6 has the other 2^64 of its network as well."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, _IPV6_NETWORK_BITS), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


def pause_s(guesses: Guesses, rule: Rule) -> float:
    """How long after the last wrong guess the next one may come."""
    beyond = guesses.wrong - rule.free
    if beyond < 0:
        return 0.0
    return min(2.0 ** min(beyond, 32), rule.longest_s)


def free_at_s(guesses: Guesses, rule: Rule, now_s: float) -> float:
    """When the next guess may come (epoch seconds); a moment that is past: now."""
    if now_s - guesses.last_s >= FORGOTTEN_S:
        return now_s
    return guesses.last_s + pause_s(guesses, rule)


def with_wrong(guesses: Guesses, now_s: float) -> Guesses:
    """With one more wrong guess."""
    wrong = 0 if now_s - guesses.last_s >= FORGOTTEN_S else guesses.wrong
    return Guesses(wrong + 1, now_s)
