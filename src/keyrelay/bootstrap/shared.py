"""What the workers of all hosts share through Redis: the ledger, kept answers, and what each has found out.

This module is loaded only where a Redis is configured: its client costs more memory than all of the engine.
"""

import random
from collections.abc import Awaitable, Callable, Iterable

from keyrelay.api.health import Check
from keyrelay.configuration.values import Configuration
from keyrelay.core.identity import WorkerIdentity
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.rebuilding import Spent
from keyrelay.engine.sharing import Sharing
from keyrelay.ports import Clock
from keyrelay.storage.redis.bulletin import RedisBulletin
from keyrelay.storage.redis.client import Breaker, open_client
from keyrelay.storage.redis.shared_ledger import SharedLedger
from keyrelay.storage.redis_cache import RedisCache

_READY_S = 5.0
"""How long a start waits for the shared counts; a worker that has them not yet refuses what has a limit."""


_CACHE_PATIENCE = 0.3
"""The part of `redis_timeout_s` that a call of the cache may take: a request that Redis leaves without an answer waits
for the cache first and for the ledger after it, and together for no more than one and a half times that long."""


class Shared:
    """One worker's connections to Redis. Raise StoreError when `redis_url` is none.

    `rebuild` tells what the store knows of a provider's usage, for a Redis that has lost it.
    """

    def __init__(
        self,
        configuration: Configuration,
        identity: WorkerIdentity,
        clock: Clock,
        *,
        report: Callable[[str, str], None],
        rebuild: Callable[[str], Awaitable[Iterable[Spent]]],
    ) -> None:
        settings = configuration.settings
        url, prefix, timeout_s = settings.redis_url.reveal(), settings.redis_prefix, settings.redis_timeout_s
        self._providers = tuple(configuration.snapshot.providers)
        self.ledger = SharedLedger(
            url,
            prefix=prefix,
            worker=f"{identity.instance}/{identity.slot}",
            epoch_s=clock.epoch_s,
            random=random.random,
            report=lambda text: report(text, "keyrelay.ledger"),
            timeout_s=timeout_s,
            worker_expiry_s=settings.worker_expiry_s,
            rebuild=rebuild,
        )
        self._client = open_client(url, timeout_s=timeout_s)
        self._breaker = Breaker(
            self._client,
            timeout_s=timeout_s * _CACHE_PATIENCE,
            random=random.random,
            report=lambda text: report(text, "keyrelay.cache"),
        )
        self.cache = RedisCache(self._client, self._breaker, prefix=prefix, most_bytes=settings.cache_max_bytes)
        self._bulletin = RedisBulletin(
            url,
            prefix=prefix,
            worker=str(identity),
            timeout_s=timeout_s,
            random=random.random,
            report=lambda text: report(text, "keyrelay.bulletin"),
        )

    async def start(self, gateway: Gateway, clock: Clock) -> None:
        """Join the others."""
        sharing = Sharing(
            self._bulletin,
            health=gateway.pool.health,
            learner=gateway.learner,
            pool=gateway.pool,
            clock=clock,
            random=random.random,
            applied=gateway.announce,
        )
        sharing.start()
        self._bulletin.start()
        await self.ledger.start(self._providers)
        await self.ledger.serving(*self._providers, within_s=_READY_S)

    async def stop(self) -> None:
        """Leave, and give back what was set aside for this worker."""
        await self.ledger.stop()
        await self._bulletin.aclose()
        await self.cache.aclose()
        await self._breaker.aclose()
        await self._client.aclose()

    def check(self) -> Check:
        """Whether the counts are shared, for readiness: without, this worker goes on with its own share."""
        status = self.ledger.status()
        if not status.connected:
            return Check("redis", ok=True, detail="not reached: limits are kept by a fixed share", degraded=True)
        if status.apart:
            names = ", ".join(sorted(status.apart))
            return Check("redis", ok=True, detail=f"counts are being rebuilt: {names}", degraded=True)
        return Check("redis", ok=True, detail=f"{status.workers} workers share their limits")

    def __repr__(self) -> str:
        return f"<Shared {self.ledger!r} {self.cache!r}>"
