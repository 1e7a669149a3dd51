"""`keyrelay providers` and `keyrelay models`: what is known and what is configured."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.groups import group
from keyrelay.cli.output import print_json, print_table, print_warnings
from keyrelay.cli.provider_tables import print_running, running_models
from keyrelay.cli.remote import Gateway, SecretFileOption

if TYPE_CHECKING:
    from keyrelay.core.configuration import Provider, Snapshot
    from keyrelay.core.providers import ModelRow, ProviderRow

providers_app = group(
    "List, add, change and test providers.",
    "Manage the providers.",
    "keyrelay providers list --running",
    "keyrelay providers add my_llm https://llm.example.com/v1",
    "keyrelay providers discover groq --apply",
    "keyrelay providers disable groq",
)
models_app = group(
    "What is known of models.",
    "What is known of models.",
    "keyrelay models list",
    "keyrelay models list --all --json",
)


@providers_app.command("list", short_help="List the providers.")
@options.sets(*options.REMOTE)
def list_providers(
    *,
    overrides: options.Overrides,
    running: Annotated[
        bool, typer.Option("--running", help="Those of the running gateway, with the states of their keys.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --running: whatever the catalogue knows as well.")
    ] = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the providers, those in use and those that a key would add, as the configuration here says.

    \b
    Examples:
      keyrelay providers list
      keyrelay providers list --running
      keyrelay providers list --running --all --json
    """
    if running:
        print_running(Gateway(overrides, secret_file), everything=everything, as_json=json)
        return
    configuration = options.configuration_of(overrides)
    rows = list(_providers(configuration.snapshot))
    if json:
        print_json(providers=rows)
        return
    headers = ("provider", "priority", "keys", "models", "default_model")
    cells = ([*(str(row[header]) for header in headers), _state(row)] for row in rows)
    print_table((*headers, "state"), cells)
    print_warnings(configuration.warnings)


def _providers(snapshot: "Snapshot") -> Iterator[dict[str, Any]]:
    from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue

    for provider in snapshot.providers.values():
        keys = sum(key.provider_id == provider.id for key in snapshot.keys)
        yield {**_provider(provider.row), **_in_use(provider), "keys": keys}
    rest = [row for row in load_catalogue().values() if row.id not in snapshot.providers and row.id != GENERIC_ID]
    for row in sorted(rest, key=lambda row: (row.priority, row.id)):
        yield _provider(row)


def _provider(row: "ProviderRow") -> dict[str, Any]:
    from keyrelay.configuration.providers import prefix_of

    return {
        "provider": row.id,
        "name": row.name,
        "in_use": False,
        "variable": f"{prefix_of(row.id)}_{'API_KEY' if row.enabled and not row.auth.optional else 'ENABLED'}",
        "priority": row.priority,
        "base_url": row.base_url,
        "keys": 0,
        "models": len(row.models),
        "default_model": row.default_model,
        "enabled": row.enabled,
        "free_tier": row.terms.free_tier,
        "verified_at": row.verified_at,
    }


def _in_use(provider: "Provider") -> dict[str, Any]:
    return {
        "in_use": True,
        "priority": provider.priority,
        "base_url": f"{provider.origin}{provider.base_path}",
        "models": len(provider.models),
        "default_model": provider.default_model,
    }


def _state(row: Mapping[str, Any]) -> str:
    if row["in_use"]:
        return "in use"
    return f"set {row['variable']}" if row["enabled"] else "switched off in the catalogue"


@models_app.command("list")
@options.sets(*options.REMOTE)
def list_models(
    *,
    overrides: options.Overrides,
    running: Annotated[
        bool, typer.Option("--running", help="Those of the running gateway, what was discovered among them.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Models of providers without keys as well.")] = False,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the models of the providers in use: context in tokens, prices in USD per million tokens.

    \b
    Examples:
      keyrelay models list
      keyrelay models list --running
      keyrelay models list --all --json
    """
    if running:
        rows = running_models(Gateway(overrides, secret_file), everything=everything)
    else:
        snapshot = options.configuration_of(overrides).snapshot
        rows = [_model(name, model) for name, models in _models(snapshot, everything=everything) for model in models]
    if json:
        print_json(models=rows)
        return
    headers = ("model", "context_tokens", "input_usd_per_mtok", "output_usd_per_mtok", "capabilities")
    print_table(headers, ([_cell(row[header]) for header in headers] for row in rows))


def _models(snapshot: "Snapshot", *, everything: bool) -> Iterator[tuple[str, list["ModelRow"]]]:
    from keyrelay.upstream.catalogue import load_catalogue

    in_use: Mapping[str, Provider] = snapshot.providers
    for provider in in_use.values():
        yield provider.id, list(provider.models.values())
    for row in load_catalogue().values() if everything else ():
        if row.id not in in_use:
            yield row.id, list(row.models)


def _model(provider_id: str, model: "ModelRow") -> dict[str, Any]:
    return {
        "model": f"{provider_id}/{model.id}",
        "provider": provider_id,
        "context_tokens": model.context_tokens or None,
        "max_output_tokens": model.max_output_tokens or None,
        "input_usd_per_mtok": model.price_input_usd_per_mtok,
        "output_usd_per_mtok": model.price_output_usd_per_mtok,
        "capabilities": model.capabilities,
    }


def _cell(value: Any) -> str:
    if value is None or value in ((), []):
        return "-"
    return ", ".join(value) if isinstance(value, tuple | list) else str(value)
