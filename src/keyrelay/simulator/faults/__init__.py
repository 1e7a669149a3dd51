"""Faults on demand: every way of misbehaving, by name.

A fault is asked for as `name[:argument]` in a scenario's `faults` or `script`, at `/__simulator/script`, or in the
request header `x-sim-fault`, there with `@provider` behind it if only that provider shall misbehave.
"""

from collections.abc import Iterable

from keyrelay.simulator.faults.body import BODY_FAULTS
from keyrelay.simulator.faults.connection import CONNECTION_FAULTS
from keyrelay.simulator.faults.model import Fault, split_fault
from keyrelay.simulator.faults.quoting import QUOTING_FAULTS
from keyrelay.simulator.faults.status import CASE_FAULTS, STATUS_FAULTS
from keyrelay.simulator.faults.stream import STREAM_FAULTS

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (*STATUS_FAULTS, *CASE_FAULTS, *QUOTING_FAULTS, *CONNECTION_FAULTS, *BODY_FAULTS, *STREAM_FAULTS)
}


def check_faults(texts: Iterable[str]) -> None:
    """Raise ValueError for a name that no fault has; an empty one means no fault."""
    unknown = sorted({text for text in texts if text and split_fault(text)[0] not in FAULTS})
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}")


__all__ = ["FAULTS", "Fault", "check_faults", "split_fault"]
