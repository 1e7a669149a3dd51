"""Providers, routes, settings and dry runs as people administer them, joined with the engine and the transport."""

from collections.abc import Awaitable, Callable

from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.providers import Providers
from keyrelay.administration.routes import Routes
from keyrelay.administration.service import Administration
from keyrelay.administration.setting_changes import SettingChanges
from keyrelay.api.access import Access
from keyrelay.api.administration.dry_run import DryRunView
from keyrelay.api.administration.provider_lines import ProviderLister
from keyrelay.api.administration.providers import ProvidersView
from keyrelay.api.administration.routes import RoutesView
from keyrelay.api.administration.settings import SettingsView
from keyrelay.api.views import View
from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.probes import Probed
from keyrelay.engine.dry_run import DryRun
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.listing import Lister
from keyrelay.ports import Ports
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue, provider_row_for_generic
from keyrelay.wire.registry import DIALECTS


def provider_views(
    administration: Administration,
    access: Access,
    gateway: Gateway,
    ports: Ports,
    *,
    policy: AddressPolicy,
    health: KeyHealth,
    test: Callable[[KnownKey], Awaitable[Probed]],
) -> tuple[View, ...]:
    """The routes. `policy` says where addresses of the store may lead, `test` tries a key out."""
    rows = load_catalogue()
    catalogue = {row.id: row for row in rows.values() if row.id != GENERIC_ID}
    providers = Providers(
        administration,
        catalogue,
        lambda provider_id, base_url: provider_row_for_generic(provider_id, base_url, rows),
        policy=policy,
        lister=Lister(ports.upstream, ports.clock),
        test=test,
    )
    dry_run = DryRun(gateway, ports.ledger, DIALECTS, ports.clock)
    return (
        ProvidersView(access, providers, ProviderLister(providers, health)),
        RoutesView(access, Routes(administration)),
        SettingsView(access, SettingChanges(administration)),
        DryRunView(access, dry_run, lambda: gateway.pool.snapshot),
    )
