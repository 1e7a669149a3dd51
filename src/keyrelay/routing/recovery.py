"""What to do after a failed attempt.

Rotation and retry are two things. *Rotation*: the key is limited, exhausted or dead, so another takes its place,
as often as the deadline allows. *Retry*: the provider is failing, so the call is made again elsewhere, a few times
at most and within the retry budget.
"""

from enum import StrEnum

from keyrelay.core.failures import CALLER_KINDS, FAULT_KINDS, Failure, FailureKind


class Recovery(StrEnum):
    """What comes next."""

    ROTATE = "rotate"  # the next candidate, whoever it is
    RETRY = "retry"  # another provider if there is one, else another key, else the same; costs a retry
    OTHER_MODEL = "other_model"  # the next candidate with another model
    GIVE_UP = "give_up"  # the caller has to change the request


def recover(failure: Failure) -> Recovery:
    """The recovery for one failure."""
    if failure.kind in CALLER_KINDS:
        return Recovery.GIVE_UP
    if failure.kind is FailureKind.CONTEXT:
        return Recovery.OTHER_MODEL
    if failure.kind in FAULT_KINDS:
        return Recovery.RETRY
    return Recovery.ROTATE
