"""What the data plane may be asked for, and how long it waits."""

import msgspec

from keyrelay.api.uploads import UploadSettings


class DataPlaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds at the front door; times in seconds."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_body_depth: int = 64
    max_event_bytes: int = 4 * 1024 * 1024
    body_timeout_s: float = 30.0
    reader_timeout_s: float = 60.0
    max_concurrent_requests: int = 10_000
    uploads: UploadSettings = UploadSettings()
