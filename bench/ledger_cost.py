"""What the ledger costs per request: reserve + answered + settle with four limits on the path.

Run: `python bench/ledger_cost.py`. Prints microseconds per request, the best of five runs, for calls that come far
apart (each opens a slot of its own, the dearest case), close together, and many in flight; and for a refusal.
"""

import timeit

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.memory_ledger import MemoryLedger

CALLS = 20_000
START_S = 1_700_000_000.0
ESTIMATE = Amounts(requests=1, input_tokens=400, output_tokens=256)
TRUE = Amounts(requests=1, input_tokens=420, output_tokens=180)


def path(amount: int) -> tuple[LimitKey, ...]:
    """Four limits as a free tier has them: per minute and per day, requests and tokens."""
    rows = (
        (Unit.REQUESTS, amount, "60s"),
        (Unit.TOKENS, amount * 10_000, "60s"),
        (Unit.REQUESTS, amount, "day@America/Los_Angeles"),
        (Unit.TOKENS, amount * 10_000, "24h"),
    )
    limits = [Limit(unit=unit, amount=value, window=parse_window(window)) for unit, value, window in rows]
    return tuple(LimitKey(limit, ("acct:gemini/a", "model:flash")) for limit in limits)


def served(apart_s: float, in_flight: int) -> float:
    """Microseconds per request that is admitted, answered and settled, `in_flight` of them at any time."""
    ledger = MemoryLedger()
    limits = path(10**9)
    open_calls = [ledger.reserve(limits, ESTIMATE, START_S) for _ in range(in_flight - 1)]
    start_s = START_S

    def run() -> None:
        nonlocal start_s
        now_s = start_s
        for _ in range(CALLS):
            now_s += apart_s
            open_calls.append(ledger.reserve(limits, ESTIMATE, now_s))
            reservation = open_calls.pop(0)
            ledger.answered(reservation, now_s)
            ledger.settle(reservation, TRUE, now_s)
        start_s = now_s

    return min(timeit.repeat(run, number=1, repeat=5)) / CALLS * 1e6


def refused() -> float:
    """Microseconds per request that a full window refuses."""
    ledger = MemoryLedger()
    limits = path(1_000)
    now_s = START_S
    while not isinstance(ledger.reserve(limits, ESTIMATE, now_s), Refusal):
        now_s += 0.01

    def run() -> None:
        for _ in range(CALLS):
            ledger.reserve(limits, ESTIMATE, now_s)

    return min(timeit.repeat(run, number=1, repeat=5)) / CALLS * 1e6


def main() -> None:
    """Print the table."""
    for apart_s, in_flight in ((0.5, 1), (0.05, 1), (0.001, 1), (0.05, 10), (0.001, 300)):
        cost_us = served(apart_s, in_flight)
        print(f"served, every {apart_s:g} s, {in_flight} in flight: {cost_us:.2f} us")
    print(f"refused: {refused():.2f} us")


if __name__ == "__main__":
    main()
