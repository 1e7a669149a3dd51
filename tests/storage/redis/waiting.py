"""Waiting in tests for what happens in another task or server."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
    """Look every 5 ms until the condition holds; fail with `what` when it does not come to hold."""
    deadline_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_at, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.005)
