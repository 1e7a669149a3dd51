"""The retry budget.

Retries may add a tenth to recent traffic, and a few at any time, so that an outage of the providers is not made
worse by everybody asking again.
"""

from typing import Final

from keyrelay.routing.retries import RetrySettings

_SLICES: Final = 10


class RetryBudget:
    """Counts requests and retries of the last ten seconds, in slices of one second."""

    __slots__ = ("_requests", "_retries", "_settings", "_slice", "_slice_requests", "_slice_retries")

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._slice_requests = [0] * _SLICES
        self._slice_retries = [0] * _SLICES
        self._requests = 0
        self._retries = 0
        self._slice = 0

    def count_request(self, now_s: float) -> None:
        """Note a request that came in."""
        if not 0.0 <= now_s - self._slice < 1.0:
            self._roll(now_s)
        self._slice_requests[self._slice % _SLICES] += 1
        self._requests += 1

    def take(self, now_s: float) -> bool:
        """Take one retry from the budget; False when it is spent."""
        self._roll(now_s)
        allowed = max(self._settings.floor, self._requests * self._settings.percent / 100)
        if self._retries + 1 > allowed:
            return False
        self._slice_retries[self._slice % _SLICES] += 1
        self._retries += 1
        return True

    def _roll(self, now_s: float) -> None:
        current = int(now_s)
        passed = current - self._slice
        if passed == 0:
            return
        self._slice = current
        for index in range(min(passed, _SLICES) if passed > 0 else _SLICES):
            at = (current - index) % _SLICES
            self._requests -= self._slice_requests[at]
            self._retries -= self._slice_retries[at]
            self._slice_requests[at] = self._slice_retries[at] = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._retries} retries of {self._requests} requests>"


def backoff_s(retry: int, settings: RetrySettings, random: float) -> float:
    """Wait before the n-th retry (from 1): exponential with full jitter; `random` in [0, 1)."""
    return random * min(settings.backoff_max_s, settings.backoff_s * 2.0 ** (retry - 1))
