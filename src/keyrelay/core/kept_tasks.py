"""Tasks as a store keeps them for those who do not run them: packed, and how old that is."""

import msgspec

LOST_AFTER_S = 10.0
"""A task that runs is kept again and again; one that was not for so long has ended with its process."""


class TaskToKeep(msgspec.Struct, frozen=True):
    """A task as it is to be kept: how far it is, and apart from that what it has found."""

    id: str
    line: bytes
    results: bytes


class StoredTask(msgspec.Struct, frozen=True):
    """A task as it was kept `age_s` seconds ago; `results` are empty where they were not asked for."""

    line: bytes
    results: bytes
    age_s: float

    @property
    def lost(self) -> bool:
        """Whether its process has ended, if it was running when it was kept."""
        return self.age_s > LOST_AFTER_S
