"""Policy replay: recorded requests through the real engine, on a virtual clock, against simulated providers.

    trace = load_trace("day")
    figures = replay(trace, load_plan("default+policy=least_used"))

A trace holds no text, only when who asked which model for how many tokens. What serves it is the gateway's own code:
routing, ledger, health, recovery. What answers it keeps its limits with the simulator's naive log, which owes nothing
to the ledger. Time is virtual, chance is seeded: the same trace and plan give the same figures to the last digit.
"""
