"""How much may be tried again."""

import msgspec


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """At most `attempts` calls to failing providers per request; retries at most `percent` of traffic, or `floor`."""

    attempts: int = 3
    percent: float = 10.0
    floor: int = 3
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
