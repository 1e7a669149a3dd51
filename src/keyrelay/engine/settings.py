"""What the engine may be told, as one value."""

import msgspec

from keyrelay.engine.decisions import KEPT_REQUESTS
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.routing.retries import RetrySettings


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds and bounds.

    `first_byte_s`: a stream's first content. `answer_s`: a whole answer. `content_gap_s`: between two events with
    content. `total_s`: the request from end to end, unless the caller names a shorter deadline. `answer_headers`:
    whether answers say who gave them. `kept_requests`: how many requests can be explained afterwards.
    """

    first_byte_s: float = 60.0
    answer_s: float = 300.0
    content_gap_s: float = 60.0
    total_s: float = 600.0
    max_answer_bytes: int = 16 * 1024 * 1024
    max_event_bytes: int = 4 * 1024 * 1024
    answer_headers: bool = True
    retry: RetrySettings = RetrySettings()
    waiting: WaitingSettings = WaitingSettings()
    kept_requests: int = KEPT_REQUESTS
