"""The exit codes, the same for every command."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell is told."""

    FINE = 0
    FAILED = 1
    USAGE = 2  # the command line or the configuration has to be changed
    PROBLEMS = 3  # a check found problems
    UNAUTHORISED = 4  # the gateway does not know the secret, or wants another one
    UNREACHABLE = 5  # no gateway answers
    INTERRUPTED = 130
