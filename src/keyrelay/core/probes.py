"""What trying out a key finds, and asking a provider for its models."""

from enum import StrEnum

import msgspec

from keyrelay.core.failures import Failure


class ProbeOutcome(StrEnum):
    """What the provider said of a key."""

    VALID = "valid"
    INVALID = "invalid"  # the provider does not accept it
    OUT_OF_CREDIT = "out_of_credit"  # it is the right key of an account that cannot pay
    UNKNOWN = "unknown"  # the provider could not be asked, or gave no answer that means anything
    NOT_CHECKABLE = "not_checkable"  # nothing tells that would be free


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one probe. `message` is for people, with what the provider said redacted.

    `failure` is what is known of the key now, None when nothing speaks against it. `proves` says what a good answer
    means, `limits_of` what it does not prove. `ms` is how long it took, 0 when nobody was asked. `fault` is how the
    provider itself failed, None when it was there.
    """

    outcome: ProbeOutcome
    message: str
    failure: Failure | None = None
    fault: Failure | None = None
    proves: str = ""
    limits_of: str = ""
    ms: float = 0.0


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of its models: their names in its own order, or the `problem` in a sentence.

    `status` is that of its answer, 0 when there was none; `ms` is how long it took.
    """

    models: tuple[str, ...] = ()
    problem: str = ""
    status: int = 0
    ms: float = 0.0
