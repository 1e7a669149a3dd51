"""What `keyrelay doctor` finds beyond this process: the store, the vault, Redis, providers, a gateway that runs.

Nothing is written, and no key is sent unless that is asked for. Everything has a deadline.
"""

import asyncio
import contextlib
import importlib
import math
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import certifi
import msgspec

from keyrelay import __version__
from keyrelay.bootstrap.checkup import Finding, fine, odd, wrong
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.parts import address_policy, transport_settings
from keyrelay.bootstrap.secret_keeping import SecretKeeping
from keyrelay.configuration.values import Configuration
from keyrelay.core.configuration import Provider
from keyrelay.core.errors import AddressDeniedError, StoreError, VaultError
from keyrelay.core.probes import ProbeOutcome
from keyrelay.core.words import counted
from keyrelay.engine.probing import Prober
from keyrelay.settings import Settings
from keyrelay.storage.database import open_database
from keyrelay.storage.standing import standing_of
from keyrelay.storage.versions import SchemaState
from keyrelay.upstream.proxies import is_loopback
from keyrelay.upstream.resolving import resolve_allowed, system_resolve
from keyrelay.upstream.transport import HttpTransport

REACH_TIMEOUT_S = 5.0
SKEW_S = 30.0
"""A clock that differs by more than this counts quotas in other days than the providers do."""

MAX_PROVIDERS_AT_ONCE = 8
_HEAD_BYTES = 16_384
_ANSWER_BYTES = 16 * 1024**2
_MIGRATE = {
    SchemaState.EMPTY: "has no tables yet",
    SchemaState.OLDER: "has tables of an older Keyrelay",
}


class _Condition(msgspec.Struct):
    """One check of a gateway that runs."""

    name: str
    detail: str = ""
    degraded: bool = False


class _Readiness(msgspec.Struct):
    """What a gateway that runs says of itself."""

    status: str
    checks: list[_Condition] = []


async def look_at_store(settings: Settings) -> AsyncIterator[Finding]:
    """The database, and the master key and key ring in it."""
    try:
        database = open_database(settings.database_url.reveal(), settings.data_dir)
    except StoreError as error:
        yield wrong("store", str(error), "Mend KEYRELAY_DATABASE_URL.")
        return
    try:
        standing = await standing_of(database)
        yield _store(standing.place, standing.state, own_file=database.file is not None)
        if standing.state is SchemaState.CURRENT:
            yield await _vault(SecretKeeping(database, settings))
    except StoreError as error:
        yield wrong("store", str(error), "See that it runs and lets this user in; `keyrelay db status` tries again.")
    except VaultError as error:
        yield wrong("master key", str(error), "See docs/operations.md, The master key.")
    finally:
        await database.close()


def _store(place: str, state: SchemaState, *, own_file: bool) -> Finding:
    if state is SchemaState.CURRENT:
        return fine("store", f"{place}: tables are current")
    if state is SchemaState.NEWER:
        return wrong("store", f"{place} has tables of a newer Keyrelay", "Install that one, or restore a backup.")
    if own_file:
        return fine("store", f"{place} {_MIGRATE[state]}; the next start makes them")
    return wrong("store", f"{place} {_MIGRATE[state]}", "Run `keyrelay db migrate`.")


async def _vault(keeping: SecretKeeping) -> Finding:
    standing = await keeping.standing()
    if standing.problem:
        return wrong("master key", standing.problem, "See docs/operations.md, The master key.")
    if not standing.ring:
        return fine("master key", f"nothing has been sealed yet; the key will be in {standing.place}")
    detail = f"{standing.place} opens the key ring, {counted(len(standing.terms), 'term')}"
    if len(standing.known) > 1:
        return odd("master key", f"{detail}; a change was begun", "End it by `keyrelay secrets rotate-master-key`.")
    if any(term.values for term in standing.terms if not term.current):
        return odd("master key", f"{detail}; values are sealed under an old one", "`keyrelay secrets reseal`")
    return fine("master key", detail)


async def look_at_redis(settings: Settings) -> AsyncIterator[Finding]:
    """The Redis, where one is configured."""
    url = settings.redis_url.reveal()
    if not url:
        if settings.workers > 1:
            yield wrong("redis", f"{settings.workers} workers and no Redis", "Set KEYRELAY_REDIS_URL.")
        return
    client_module = importlib.import_module("keyrelay.storage.redis.client")
    fix = "See that it runs, and what KEYRELAY_REDIS_URL says."
    try:
        client = client_module.open_client(url, timeout_s=REACH_TIMEOUT_S)
    except StoreError as error:
        yield wrong("redis", str(error), fix)
        return
    try:
        began_at = time.monotonic()
        await asyncio.wait_for(client.ping(), REACH_TIMEOUT_S)
        yield fine("redis", f"answers within {(time.monotonic() - began_at) * 1000:.0f} ms")
    except (StoreError, *client_module.REDIS_ERRORS) as error:
        yield wrong("redis", type(error).__name__, fix)
    finally:
        await client.aclose()


async def look_at_providers(configuration: Configuration, *, probe: bool) -> list[Finding]:
    """Whether each provider's address can be reached; with `probe` its keys and the clocks are compared too."""
    snapshot = configuration.snapshot
    if not snapshot.providers:
        fix = "Set a key, such as GROQ_API_KEY, or `keyrelay keys add`; `keyrelay demo` needs none."
        return [odd("providers", "none is configured", fix)]
    slots = asyncio.Semaphore(MAX_PROVIDERS_AT_ONCE)

    async def reach(provider: Provider) -> list[Finding]:
        async with slots:
            return [finding async for finding in _reach(configuration.settings, provider, probe=probe)]

    found = await asyncio.gather(*(reach(provider) for provider in snapshot.providers.values()))
    findings = [each for group in found for each in group]
    if not snapshot.keys:
        findings.append(odd("keys", "none can serve", "`keyrelay keys list` says why, and what to do."))
    return [*findings, *(await _probes(configuration) if probe else ())]


async def _reach(settings: Settings, provider: Provider, *, probe: bool) -> AsyncIterator[Finding]:
    """DNS, TCP and TLS to one provider, or to the proxy in front of it."""
    name, origin = f"provider {provider.row.id}", provider.origin
    proxy = urlsplit(settings.upstream_proxy.reveal()) if settings.upstream_proxy else None
    host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (origin.host, origin.port)
    what = f"{origin.scheme}://{origin.authority}" if proxy is None else f"the proxy at {host}"
    fix = _advice(host, at_proxy=proxy is not None)
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            if origin.guarded and proxy is None:
                addresses = await resolve_allowed(host.strip("[]"), port, address_policy(settings))
            else:
                addresses = list(await system_resolve(host.strip("[]"), port))
            secure = proxy is None and origin.scheme == "https"
            context = ssl.create_default_context(cafile=certifi.where()) if secure else None
            began_at = time.monotonic()
            reader, writer = await asyncio.open_connection(
                str(addresses[0][4][0]), port, ssl=context, server_hostname=host if secure else None
            )
            yield fine(name, f"{what} in {(time.monotonic() - began_at) * 1000:.0f} ms")
            with contextlib.closing(writer):
                if probe and proxy is None:
                    yield _clock(name, await _date(reader, writer, origin.authority))
    except AddressDeniedError as error:
        yield wrong(name, str(error), "Allow it by the setting that is named, or name another address.")
    except TimeoutError:
        yield wrong(name, f"{what} was not reached within {REACH_TIMEOUT_S:g} s", fix)
    except ssl.SSLError as error:
        yield wrong(name, f"{what}: {error.reason or 'TLS fails'}", fix)
    except (OSError, ValueError) as error:
        yield wrong(name, f"{what}: {getattr(error, 'strerror', None) or type(error).__name__}", fix)


def _advice(host: str, *, at_proxy: bool) -> str:
    """What to do about a provider (or the proxy) that cannot be reached."""
    if is_loopback(host):
        return f"Start it: {'the proxy' if at_proxy else 'a server'} on this machine has to run, and to listen there."
    return "See whether a firewall, DNS or a proxy is in the way; KEYRELAY_UPSTREAM_PROXY names a proxy."


async def _date(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> float:
    """How far (seconds) the other side's clock is ahead, by an answer to a request without a key; nan: not told."""
    writer.write(f"HEAD / HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n".encode())
    await writer.drain()
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
        piece = await reader.read(_HEAD_BYTES)
        if not piece:
            break
        head += piece
    for line in head.decode("latin-1").splitlines():
        field, _, value = line.partition(":")
        if field.lower() == "date":
            with contextlib.suppress(ValueError):
                return parsedate_to_datetime(value.strip()).timestamp() - time.time()
    return math.nan


def _clock(name: str, ahead_s: float) -> Finding:
    if abs(ahead_s) > SKEW_S:
        words = f"this clock is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead'}"
        return wrong(f"clock, by {name}", words, "Set it by NTP: quotas would be counted in other days.")
    return fine(f"clock, by {name}", "not told" if math.isnan(ahead_s) else f"{abs(ahead_s):.0f} s apart")


async def _probes(configuration: Configuration) -> list[Finding]:
    """What providers say of the keys."""
    snapshot, transport = configuration.snapshot, HttpTransport(transport_settings(configuration.settings))
    prober = Prober(transport, SystemClock())
    keys = [key for key in snapshot.keys if key.secret is not None]
    try:
        probed = await asyncio.gather(*(prober.probe(snapshot.providers[key.provider_id], key) for key in keys))
    finally:
        await transport.aclose()
    fix = "`keyrelay keys list` shows it; rotate or remove it."
    findings = list[Finding]()
    for key, found in zip(keys, probed, strict=True):
        name = f"key {key.id}"
        if found.outcome in {ProbeOutcome.VALID, ProbeOutcome.NOT_CHECKABLE}:
            findings.append(fine(name, found.message))
        elif found.outcome is ProbeOutcome.UNKNOWN:
            findings.append(odd(name, found.message, "Try again later."))
        else:
            findings.append(wrong(name, found.message, fix))
    return findings


def look_at_gateway(url: str) -> Iterator[Finding]:
    """The gateway that runs, if one does: which version it is, and whether it is ready."""
    try:
        described = msgspec.json.decode(_asked(f"{url}/openapi.json"))
        version = str(described["info"]["version"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return
    if version == __version__:
        yield fine("gateway", f"{url}: version {version}")
    else:
        yield odd("gateway", f"{url}: version {version}, this is {__version__}", "Restart it after an upgrade.")
    try:
        state = msgspec.json.decode(_asked(f"{url}/readyz"), type=_Readiness)
    except (OSError, HTTPException, msgspec.MsgspecError):
        yield wrong("readiness", "not ready", f"`curl '{url}/readyz?verbose=true'` says why.")
        return
    if state.status == "ready":
        yield fine("readiness", "ready")
    for check in state.checks:
        if check.degraded:
            yield odd("readiness", f"degraded, {check.name}: {check.detail}", "See docs/operations.md, Readiness.")


def _asked(url: str) -> bytes:
    """What stands at an address of this machine's gateway. Raise OSError (URLError is one), HTTPException."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise URLError("no address of a gateway")
    with urlopen(Request(url), timeout=REACH_TIMEOUT_S) as answer:  # noqa: S310 - http and https alone, see above
        body: bytes = answer.read(_ANSWER_BYTES)
        return body
