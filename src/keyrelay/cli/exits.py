"""The exit codes, the same for every command."""

from enum import IntEnum

from keyrelay.core.errors import KeyrelayError, OccupiedError


class Exit(IntEnum):
    """What the shell is told."""

    FINE = 0
    FAILED = 1
    USAGE = 2  # the command line or the configuration has to be changed
    PROBLEMS = 3  # a check found problems
    UNAUTHORISED = 4  # the gateway does not know the secret, or wants another one
    UNREACHABLE = 5  # no gateway answers, or not the one that is meant
    INTERRUPTED = 130


def exit_for(error: KeyrelayError) -> Exit:
    """What the shell is told of an error that ends the process: whether to try again later may help."""
    return Exit.FAILED if isinstance(error, OccupiedError) else Exit.USAGE
