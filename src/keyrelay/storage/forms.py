"""What a batch of rows is made of."""

from collections.abc import Callable

import msgspec

from keyrelay.storage.rollups import Row


class Form(msgspec.Struct, frozen=True):
    """How a database's driver takes values: an id's 32 hex digits, truths, and what there is none of."""

    as_id: Callable[[str], object]
    yes: object
    no: object
    nothing: object


class Rows(msgspec.Struct, eq=False):
    """Rows to be inserted; those in `usual` leave out the columns of `statements.USUAL`, with which the others end."""

    usual: list[Row] = msgspec.field(default_factory=list)
    requests: list[Row] = msgspec.field(default_factory=list)
    attempts: list[Row] = msgspec.field(default_factory=list)
