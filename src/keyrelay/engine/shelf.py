"""Where kept answers are looked up and put away: what is on the shelf is checked before anybody gets it."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from keyrelay.core.configuration import CacheMode, Snapshot
from keyrelay.core.conversation import Answer
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.cache_counts import CacheCounts
from keyrelay.engine.kept import Kept, Wrong, seal, unseal
from keyrelay.ports import Clock
from keyrelay.quota.fairness import Priority
from keyrelay.routing.resolve import resolve
from keyrelay.wire.cache_answers import NotKept, keepable
from keyrelay.wire.cache_wishes import CacheWishes

REPORT_EVERY_S = 60.0
"""Values that are not what they should be are all counted, and reported no more often than this."""


class Cache(Protocol):
    """Keeps bytes under keys, each for one scope. Only `purge` raises."""

    @property
    def waits(self) -> bool:
        """Whether `get` may find what `get_now` does not, so that it is worth waiting for."""
        ...

    @property
    def evicted(self) -> int:
        """How many values had to make room for others; 0 where only the server knows."""
        ...

    def size(self) -> tuple[int, int] | None:
        """How many values there are and how many bytes they take; None where only the server knows."""
        ...

    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """What is kept under this key, as far as that can be said without waiting."""
        ...

    async def get(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """What is kept under this key; nothing when that cannot be found out soon."""
        ...

    def put(self, key: bytes, scope: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Keep a value for some seconds, without waiting for it; False when there is no room for it."""
        ...

    def discard(self, key: bytes, scope: str) -> None:
        """Forget what is kept under this key, without waiting for it."""
        ...

    async def purge(self, scope: str | None = None) -> int:
        """Forget everything, or what is kept for one scope; how many values. Raise StoreError when that cannot be."""
        ...


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers are given again.

    `mode` and `generate_mode`, that of `/v1/generate`, say to which requests; `shared`: to every client; `tools`: also
    answers that call tools. `ttl_s` is how long they are kept, `most_answer_bytes` how large one may be, `most_bytes`
    what those under way may hold together. `total_s` is the longest wait for somebody else's answer, `answer_headers`
    whether answers say who gave them.
    """

    mode: CacheMode = "deterministic"
    generate_mode: CacheMode = "all"
    shared: bool = False
    tools: bool = False
    ttl_s: float = 3600.0
    most_bytes: int = 64 * 1024 * 1024
    most_answer_bytes: int = 1024 * 1024
    total_s: float = 600.0
    answer_headers: bool = True


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of the cache.

    `joins`: an answer that is just being made will do. `leads`: others may join the call that is made for it. `alone`
    is the client whose requests alone may, empty for all of the scope.
    """

    key: bytes
    scope: str
    wanted: CacheWishes
    priority: Priority
    joins: bool
    leads: bool
    alone: str = ""

    @property
    def flight(self) -> tuple[bytes, Priority, str]:
        """What two have in common who may share a call: nobody is to wait in a lower class than its own."""
        return self.key, self.priority, self.alone


class Shelf:
    """Kept answers."""

    __slots__ = ("_cache", "_clock", "_counts", "_report", "_reported_at", "_settings")

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        counts: CacheCounts,
        *,
        settings: CacheSettings,
        report: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._counts = counts
        self._settings = settings
        self._report = report
        self._reported_at: float | None = None

    def configure(self, settings: CacheSettings) -> None:
        """Go on with other settings."""
        self._settings = settings

    @property
    def waits(self) -> bool:
        """Whether `look_up` may find what `look` does not."""
        return self._cache.waits

    def look(self, asked: Asked) -> Kept | None:
        """The answer that will do, as far as that can be said without waiting."""
        now_s = self._clock.epoch_s()
        return self._fitting(asked, self._cache.get_now(asked.key, asked.scope, now_s), now_s)

    async def look_up(self, asked: Asked) -> Kept | None:
        """The answer that will do."""
        now_s = self._clock.epoch_s()
        return self._fitting(asked, await self._cache.get(asked.key, asked.scope, now_s), now_s)

    def _fitting(self, asked: Asked, value: bytes | None, now_s: float) -> Kept | None:
        if value is None:
            return None
        kept = unseal(value, key=asked.key, scope=asked.scope)
        if isinstance(kept, Wrong):
            self._cache.discard(asked.key, asked.scope)
            self._complain(kept)
            return None
        longest_s = asked.wanted.max_age_s
        if now_s >= kept.expires_s or (longest_s is not None and now_s - kept.created_s > longest_s):
            return None
        return kept

    def _complain(self, wrong: Wrong) -> None:
        times = self._counts.find_wrong(wrong)
        now = self._clock.monotonic_s()
        if self._reported_at is None or now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._report(
                f"The cache gave back what was not asked for ({wrong}); it was thrown away and not shown to anybody. "
                f"That makes {times} since the start."
            )

    def keep(
        self,
        asked: Asked,
        request: CallRequest,
        record: RequestRecord,
        body: bytes | NotKept,
        *,
        answer: Answer | None = None,
    ) -> None:
        """Put an answer away that a caller has got, if it may be; count it if not.

        `answer` is what it says, None where nobody had to find that out.
        """
        settings = self._settings
        if isinstance(body, bytes):
            body = NotKept.TOO_LARGE if len(body) > settings.most_answer_bytes else body
        if isinstance(body, bytes):
            body = NotKept.BROKEN if record.category else keepable(request, body, answer, tools=settings.tools)
        if isinstance(body, NotKept):
            self._counts.leave_out(body)
            return
        ttl_s = settings.ttl_s if asked.wanted.ttl_s is None else min(asked.wanted.ttl_s, settings.ttl_s)
        now_s = self._clock.epoch_s()
        kept = Kept(
            key=asked.key,
            scope=asked.scope,
            provider=record.provider,
            label=record.key,
            model=record.model,
            stream=request.stream,
            body=body,
            usage=record.usage,
            cost_usd=record.cost_usd,
            created_s=now_s,
            expires_s=now_s + ttl_s,
            left_out=record.left_out,
            made_for=record.id,
        )
        if self._cache.put(asked.key, asked.scope, seal(kept), now_s=now_s, ttl_s=ttl_s):
            self._counts.stored += 1
        else:
            self._counts.leave_out(NotKept.NO_ROOM)

    async def purge(self, scope: str | None) -> int:
        """Forget what is kept for a scope, None for all; how many answers. Raise StoreError when that cannot be."""
        return await self._cache.purge(scope)

    def size(self) -> tuple[int, int] | None:
        """How many answers there are and how many bytes they take, where that is known."""
        return self._cache.size()

    @property
    def evicted(self) -> int:
        """How many answers had to make room for others, as far as that is known."""
        return self._cache.evicted

    def __repr__(self) -> str:
        return f"<Shelf over {self._cache!r}>"


def stood_in(snapshot: Snapshot, record: RequestRecord) -> bool:
    """Whether a request was served by a last resort, which stood in for the models that were asked for."""
    resolution = resolve(snapshot, record.model_asked)
    served = [
        stage.last_resort
        for stage in (resolution.stages if resolution else ())
        for target in stage.targets
        if (target.provider_id, target.model) == (record.provider, record.model)
    ]
    return bool(served) and all(served)
