"""Simulated providers: real wire formats, real quotas, faults on demand, and the judge of what really arrived.

    simulator = Simulator(Scenario(seed=7), load_catalogue())
    await simulator.start()
    simulator.base_url("groq")          # http://127.0.0.1:PORT/groq/openai/v1
    simulator.judge.calls_per_key()

It enforces each provider's limits with code of its own and imports nothing of the gateway but `core`, so that it
can judge the gateway.
"""

from keyrelay.simulator.clock import Clock, RealClock, VirtualClock
from keyrelay.simulator.faults import FAULTS, Fault
from keyrelay.simulator.judge import Call, Judge
from keyrelay.simulator.limits import Scope
from keyrelay.simulator.scenario import Change, KeyPlan, Latency, ProviderPlan, Scenario, load_scenario
from keyrelay.simulator.server import Simulator, run

__all__ = [
    "FAULTS",
    "Call",
    "Change",
    "Clock",
    "Fault",
    "Judge",
    "KeyPlan",
    "Latency",
    "ProviderPlan",
    "RealClock",
    "Scenario",
    "Scope",
    "Simulator",
    "VirtualClock",
    "load_scenario",
    "run",
]
