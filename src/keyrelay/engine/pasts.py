"""What is known of a key's past."""

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.probes import Probed


class Past(msgspec.Struct, kw_only=True):
    """What is known of one key. Times are epoch seconds, 0: never. Counts are since the process started.

    `ms` is how long its answers take lately, of streams until the first content: a mean in which each new one counts a
    tenth.
    """

    used_s: float = 0.0
    success_s: float = 0.0
    error_s: float = 0.0
    error: Failure | None = None
    tested_s: float = 0.0
    test: Probed | None = None
    answered: int = 0
    failed: int = 0
    ms: float = 0.0
