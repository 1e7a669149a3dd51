"""Which process this is, among all that share one store and one Redis."""

import re

import msgspec

LONGEST_INSTANCE = 64
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class WorkerIdentity(msgspec.Struct, frozen=True):
    """A process of an instance: all workers that listen on one port of one host.

    `instance` stays the same from start to start as long as host and port do. `slot` counts from 0; no two live
    processes of an instance have the same one, and there are never more than one above the number of workers: while
    one takes another's place, both are there. As text (`web1-8787-0`) it will do as the name of a file.
    """

    instance: str
    slot: int = 0

    def __str__(self) -> str:
        return f"{self.instance}-{self.slot}"


def instance_name(host_name: str, port: int) -> str:
    """The instance that listens on this port of this host: letters, digits, `.`, `_` and `-`, none of them in front.

    A host name that is too long keeps its beginning, so that the whole has LONGEST_INSTANCE characters at most.
    """
    ending = f"-{port}"
    plain = _NOT_IN_NAMES.sub("-", host_name).strip(".-") or "localhost"
    return plain[: LONGEST_INSTANCE - len(ending)] + ending
