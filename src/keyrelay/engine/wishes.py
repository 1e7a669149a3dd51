"""What a caller may ask for beside the request itself."""

from collections.abc import Callable

import msgspec

from keyrelay.core.conversation import Answer
from keyrelay.engine.shapes import StreamShape, WholeShape
from keyrelay.quota.fairness import Priority
from keyrelay.wire.cache_wishes import AS_CONFIGURED, CacheWishes
from keyrelay.wire.dialects import CallerCodec


class Wishes(msgspec.Struct, frozen=True):
    """What a caller may ask for in headers: a deadline in seconds, a provider to try first, a class to wait in.

    `cache` is what it wants of the response cache. `caller` writes its answer, where that is not the usual codec of its
    dialect; unless `passes`, nothing goes through as it is, whatever the provider speaks. `told` gets what the answer
    says once it is whole, where anybody had to find that out. `limited`: the client has limits of its own.
    """

    deadline_s: float | None = None
    prefer: str = ""
    priority: Priority = Priority.INTERACTIVE
    shape_whole: WholeShape | None = None
    shape_stream: StreamShape | None = None
    cache: CacheWishes = AS_CONFIGURED
    caller: CallerCodec | None = None
    passes: bool = True
    told: Callable[[Answer], None] | None = None
    limited: bool = False


NO_WISHES = Wishes()
