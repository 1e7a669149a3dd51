"""The settings in force, as the parts of Keyrelay want to hear them."""

from collections.abc import Iterator
from urllib.parse import unquote

from keyrelay.api.behind_proxies import TrustedProxies
from keyrelay.api.bounds import DataPlaneSettings
from keyrelay.api.request_log import RequestLog, logs_json
from keyrelay.api.uploads import UploadSettings
from keyrelay.configuration.values import Configuration
from keyrelay.core.addresses import AddressPolicy, parse_networks
from keyrelay.core.redaction import Redactor
from keyrelay.core.secrets import Secret
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.shelf import CacheSettings
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.probing import ProbeRules
from keyrelay.routing.retries import RetrySettings
from keyrelay.settings import Settings
from keyrelay.upstream.settings import TransportSettings

_SHORTEST_PASSWORD = 12


def open_log(configuration: Configuration) -> RequestLog:
    """The log as the settings want it."""
    settings = configuration.settings
    redactor = Redactor(secrets_of(configuration))
    return RequestLog(as_json=logs_json(settings), redactor=redactor, least=settings.log_level)


def secrets_of(configuration: Configuration) -> list[str]:
    """Everything that must never be written anywhere."""
    snapshot = configuration.snapshot
    known = (*snapshot.keys, *(each.key for each in snapshot.withheld))
    keys = [key.secret.reveal() for key in known if key.secret is not None]
    settings = configuration.settings
    own = (
        settings.upstream_proxy,
        settings.operator_secret,
        settings.api_key,
        settings.database_url,
        settings.redis_url,
        settings.master_key,
        *map(Secret, settings.master_key.reveal().replace(",", " ").split()),
    )
    pepper = configuration.snapshot.pepper
    more = (*(() if pepper is None else (pepper.reveal(),)), *settings.apprise_urls.reveal().split())
    texts = [*keys, *(secret.reveal() for secret in own), *more]
    return [*texts, *(part for text in texts for part in _credentials(text))]


def _credentials(url: str) -> Iterator[str]:
    """The password in a URL, as it stands there and as it is sent, unless it may well be a word of ordinary text."""
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    if len(password) >= _SHORTEST_PASSWORD:
        yield from (password, unquote(password), f"{unquote(user)}:{unquote(password)}")


def margins_of(configuration: Configuration) -> dict[str, float]:
    """The share that is kept from each provider's limits."""
    return {provider.id: provider.margin for provider in configuration.snapshot.providers.values()}


def engine_settings(settings: Settings) -> EngineSettings:
    """For the engine."""
    return EngineSettings(
        first_byte_s=settings.first_byte_timeout_s,
        answer_s=settings.answer_timeout_s,
        content_gap_s=settings.content_gap_timeout_s,
        total_s=settings.total_timeout_s,
        max_answer_bytes=settings.max_answer_bytes,
        max_event_bytes=settings.max_event_bytes,
        answer_headers=settings.answer_headers,
        waiting=WaitingSettings(
            max_waiting=settings.max_waiting,
            max_bytes=settings.max_waiting_bytes,
            wait_s=settings.max_wait_s,
            jitter_s=settings.reset_jitter_s,
            idle_s=settings.waiting_comment_s,
        ),
        kept_requests=settings.kept_requests,
        retry=RetrySettings(
            attempts=settings.retry_attempts,
            percent=settings.retry_budget_percent,
            floor=settings.retry_budget_floor,
        ),
    )


def cache_settings(settings: Settings) -> CacheSettings:
    """For the response cache."""
    return CacheSettings(
        mode=settings.cache,
        generate_mode=settings.cache_generate,
        shared=settings.cache_scope == "shared",
        tools=settings.cache_tools,
        ttl_s=settings.cache_ttl_s,
        most_bytes=settings.cache_max_bytes,
        most_answer_bytes=settings.cache_max_answer_bytes,
        total_s=settings.total_timeout_s,
        answer_headers=settings.answer_headers,
    )


def circuit_settings(settings: Settings) -> CircuitSettings:
    """For circuits."""
    return CircuitSettings(
        failures=settings.circuit_failures,
        open_s=settings.circuit_open_s,
        open_max_s=settings.circuit_open_max_s,
    )


def probe_rules(settings: Settings, *, chief: bool) -> ProbeRules:
    """For the monitor; of several workers one asks."""
    if not chief:
        return ProbeRules()
    return ProbeRules(
        every_s=settings.health_probe_every_s,
        recovery_s=settings.health_recovery_probe_s,
        per_day=settings.health_probes_per_day,
    )


def data_plane_settings(settings: Settings) -> DataPlaneSettings:
    """For the front door."""
    return DataPlaneSettings(
        max_body_bytes=settings.max_body_bytes,
        max_body_depth=settings.max_body_depth,
        max_event_bytes=settings.max_event_bytes,
        body_timeout_s=settings.body_timeout_s,
        max_concurrent_requests=settings.max_concurrent_requests,
        uploads=UploadSettings(
            directory=settings.data_dir,
            max_upload_bytes=settings.max_upload_bytes,
            max_spool_bytes=settings.max_spool_bytes,
            timeout_s=settings.total_timeout_s,
        ),
    )


def transport_settings(settings: Settings) -> TransportSettings:
    """For the connections to providers."""
    return TransportSettings(
        connect_timeout_s=settings.connect_timeout_s,
        max_connections_per_origin=settings.max_connections_per_provider,
        proxy_url=settings.upstream_proxy.reveal(),
        no_proxy=settings.no_proxy,
        addresses=address_policy(settings),
    )


def trusted_proxies(settings: Settings) -> TrustedProxies:
    """For who says where people come from."""
    return TrustedProxies(parse_networks(settings.trusted_proxies))


def address_policy(settings: Settings) -> AddressPolicy:
    """Where what is named by API may lead: providers' base URLs, webhooks, servers of mail."""
    return AddressPolicy(private=settings.allow_private_addresses, networks=parse_networks(settings.allowed_networks))
