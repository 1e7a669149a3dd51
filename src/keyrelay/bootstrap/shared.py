"""What the workers of all hosts share through Redis: the ledger, kept answers, conversations, what each has found out.

This module is loaded only where a Redis is configured: its client costs more memory than all of the engine.
"""

import importlib
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

from keyrelay.api.health import Check
from keyrelay.api.hosts import Hosts
from keyrelay.configuration.values import Configuration
from keyrelay.core.configuration import Client
from keyrelay.core.identity import WorkerIdentity
from keyrelay.core.records import OF_CLIENTS, Used
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.rebuilding import Spent
from keyrelay.engine.sharing import Sharing
from keyrelay.ports import Clock
from keyrelay.storage.redis.bulletin import RedisBulletin
from keyrelay.storage.redis.client import Breaker, open_client
from keyrelay.storage.redis.exchange import RedisExchange
from keyrelay.storage.redis.shared_ledger import CLIENT_PARTITIONS, SharedLedger, client_partition
from keyrelay.storage.redis.state import RedisState, Seal
from keyrelay.storage.redis_cache import RedisCache

_READY_S = 5.0
"""How long a start waits for the shared counts; a worker that has them not yet refuses what has a limit."""


_CACHE_PATIENCE = 0.3
"""The part of `redis_timeout_s` that a call of the cache may take: a request that Redis leaves without an answer waits
for the cache first and for the ledger after it, and together for no more than one and a half times that long."""


class Shared:
    """One worker's connections to Redis. Raise StoreError when `redis_url` is none.

    `rebuild` tells what the store knows of a provider's usage, for a Redis that has lost it; `clients` are those of the
    present configuration.
    """

    def __init__(
        self,
        configuration: Configuration,
        identity: WorkerIdentity,
        clock: Clock,
        *,
        report: Callable[[str, str], None],
        rebuild: Callable[[str], Awaitable[Iterable[Spent]]],
        clients: Callable[[], Mapping[bytes, Client]],
    ) -> None:
        settings = configuration.settings
        url, prefix, timeout_s = settings.redis_url.reveal(), settings.redis_prefix, settings.redis_timeout_s
        self._partitions = (*configuration.snapshot.providers, *CLIENT_PARTITIONS)
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
        most_bytes = settings.cache_max_bytes
        self.cache = RedisCache(self._client, self._breaker, prefix=prefix, most_bytes=most_bytes, seal_of=_seal_of)
        self.state = RedisState(
            self._client,
            self._breaker,
            prefix=prefix,
            most_bytes=settings.state_max_bytes,
            seals_of=_Seals(clients),
            report=lambda text: report(text, "keyrelay.state"),
        )
        self._bulletin = RedisBulletin(
            url,
            prefix=prefix,
            worker=str(identity),
            timeout_s=timeout_s,
            random=random.random,
            report=lambda text: report(text, "keyrelay.bulletin"),
        )
        exchange = RedisExchange(
            url,
            prefix=prefix,
            timeout_s=timeout_s,
            random=random.random,
            report=lambda text: report(text, "keyrelay.hosts"),
        )
        self.hosts = Hosts(exchange, identity.instance)
        self._sharing: Sharing | None = None

    async def start(self, gateway: Gateway, clock: Clock) -> None:
        """Join the others."""
        self._sharing = sharing = Sharing(
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
        self.hosts.start()
        await self.ledger.start(self._partitions)
        await self.ledger.serving(*self._partitions, within_s=_READY_S)

    def configured(self) -> None:
        """The configuration is another one."""
        if self._sharing is not None:
            self._sharing.configured()

    async def stop(self) -> None:
        """Leave, and give back what was set aside for this worker."""
        await self.hosts.stop()
        await self.ledger.stop()
        await self._bulletin.aclose()
        await self.state.aclose()
        await self.cache.aclose()
        await self._breaker.aclose()
        await self._client.aclose()

    def is_of_clients(self, partition: str) -> bool:
        """Whether a partition has the limits of clients, and not of a provider."""
        return partition in CLIENT_PARTITIONS

    def clients_in(self, partition: str, used: Iterable[Used]) -> list[Used]:
        """Of what was used what clients of this partition did."""
        return [each for each in used if each.provider == OF_CLIENTS and client_partition(each.key) == partition]

    def check(self) -> Check:
        """Whether the counts are shared, for readiness: without, this worker goes on with its own share."""
        status = self.ledger.status()
        if not status.connected:
            return Check("redis", ok=True, detail="not reached: limits are kept by a fixed share", degraded=True)
        if status.apart:
            names = ", ".join(sorted(status.apart))
            return Check("redis", ok=True, detail=f"counts are being rebuilt: {names}", degraded=True)
        if self.hosts.problem:
            detail = f"other hosts are not heard of, their events and tasks are missing: {self.hosts.problem}"
            return Check("redis", ok=True, detail=detail, degraded=True)
        return Check("redis", ok=True, detail=f"{status.workers} workers share their limits")

    def __repr__(self) -> str:
        return f"<Shared {self.ledger!r} {self.cache!r}>"


def _seal_of(scope: str, key: bytes) -> Seal:
    """What an answer is kept under in Redis: nobody has its key but who has the request."""
    seal: Seal = importlib.import_module("keyrelay.vault.client_seal").ClientSeal(scope, key)
    return seal


class _Seals:
    """The seals of each client, one for each of its secrets; made once for each configuration.

    What they are made with is loaded when the first one is needed: it takes memory.
    """

    __slots__ = ("_by_label", "_clients", "_of")

    def __init__(self, clients: Callable[[], Mapping[bytes, Client]]) -> None:
        self._clients = clients
        self._of: Mapping[bytes, Client] | None = None
        self._by_label: dict[str, tuple[Seal, ...]] = {}

    def __call__(self, label: str) -> tuple[Seal, ...]:
        """Those of one client; none when it is not configured any more."""
        clients = self._clients()
        if clients is not self._of:
            self._of, self._by_label = clients, {}
            client_seal = importlib.import_module("keyrelay.vault.client_seal")
            for digest, client in clients.items():
                seal: Seal = client_seal.ClientSeal(client.label, digest)
                self._by_label[client.label] = (*self._by_label.get(client.label, ()), seal)
        return self._by_label.get(label, ())

    def __repr__(self) -> str:
        return f"<_Seals of {len(self._by_label)} clients>"
