"""Keeping idle CPUs awake while something is measured.

On a virtual machine, waking a CPU that sleeps is an interrupt through the host, and it is the *waker* who pays: 3 to
6 µs of CPU time per write, as much as the whole rest of the write. A server that keeps load generator and upstream
busy never pays it, a slower one at nearly each write, so the comparison would punish a server for its neighbours'
idleness. Linux lets a program ask that idle CPUs poll instead of sleeping (`/dev/cpu_dma_latency`, as `cyclictest`
does); the wish lasts as long as the file is open.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

LATENCY_WISH = Path("/dev/cpu_dma_latency")


@contextlib.contextmanager
def cpus_awake(*, wanted: bool = True, wish: Path = LATENCY_WISH) -> Iterator[bool]:
    """Ask that no CPU sleeps until the block ends; whether that could be asked for."""
    if not wanted:
        yield False
        return
    try:
        held = wish.open("wb", buffering=0)
    except OSError:
        yield False
        return
    with held:
        held.write(struct.pack("i", 0))
        yield True
