"""`keyrelay doctor`: look at everything that Keyrelay needs, and say what to do about what is wrong."""

from typing import TYPE_CHECKING, Annotated

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import ABOUT_STRANGERS, Gateway

if TYPE_CHECKING:
    from keyrelay.bootstrap.checkup import Finding
    from keyrelay.configuration import Configuration
    from keyrelay.core.administered import Administered
    from keyrelay.settings import Settings


@options.sets("host", "port", *options.REMOTE)
def doctor(
    *,
    overrides: options.Overrides,
    probe: Annotated[
        bool, typer.Option("--probe", help="Send each key to its provider's free call, and compare clocks.")
    ] = False,
    json: options.JsonOption = False,
) -> None:
    """Look at the configuration, the data directory, the vault, the store, Redis, the port, providers, this machine.

    Each line says ok, warn or fail, and what to do. Nothing is changed, and without --probe no key is sent anywhere.
    Exit code 3 when something fails.

    \b
    Examples:
      keyrelay doctor
      keyrelay doctor --probe
      keyrelay doctor --json
    """
    import asyncio

    import msgspec

    findings = asyncio.run(_look(overrides, probe=probe))
    failed = sum(each.level == "fail" for each in findings)
    if json:
        print_json(ok=not failed, findings=[msgspec.to_builtins(each) for each in findings])
    else:
        print_table(("how", "what", "detail", "what to do"), ((f.level, f.name, f.detail, f.fix) for f in findings))
        warned = sum(each.level == "warn" for each in findings)
        note(f"failed: {failed}, warnings: {warned}" if failed or warned else "All is well.")
    raise typer.Exit(Exit.PROBLEMS if failed else Exit.FINE)


async def _look(overrides: options.Overrides, *, probe: bool) -> "list[Finding]":
    from keyrelay.bootstrap.checkup import look_at_machine, look_at_port, wrong
    from keyrelay.bootstrap.checkup_services import look_at_gateway, look_at_providers, look_at_redis, look_at_store
    from keyrelay.core.errors import ConfigurationError

    try:
        settings = options.settings_of(overrides)
    except ConfigurationError as error:
        return [wrong("configuration", str(error), "Mend it; `keyrelay config check` looks again.")]
    gateway = list(look_at_gateway(_url(settings)))
    if gateway and _is_strange(overrides):
        detail = f"{_url(settings)} does not prove to be the gateway of {settings.data_dir}"
        gateway = [wrong("gateway", detail, ABOUT_STRANGERS)]
    store = [each async for each in look_at_store(settings)]
    configuration, findings = await _configuration(overrides, readable=all(each.level != "fail" for each in store))
    findings += [*look_at_machine(settings), *store]
    findings += [each async for each in look_at_redis(settings)]
    findings += [look_at_port(settings, answered=bool(gateway)), *gateway]
    if configuration is not None:
        findings += await look_at_providers(configuration, probe=probe)
    return findings


async def _configuration(
    overrides: options.Overrides, *, readable: bool
) -> "tuple[Configuration | None, list[Finding]]":
    """The configuration, with what is administered if the store can be read, and what is wrong with it."""
    from keyrelay.bootstrap.checkup import fine, odd, wrong
    from keyrelay.bootstrap.offline import administered_offline
    from keyrelay.configuration import InvalidConfiguration
    from keyrelay.core.errors import StoreError, VaultError
    from keyrelay.core.words import counted

    def load(administered: "Administered") -> "Configuration":
        return options.configuration_of(overrides, administered)

    try:
        configuration = options.configuration_of(overrides)
        if readable:
            configuration = await administered_offline(configuration, load)
    except InvalidConfiguration as error:
        return None, [wrong(f"configuration {each.where}", each.problem, each.fix) for each in error.problems]
    except (StoreError, VaultError) as error:
        return None, [wrong("configuration", str(error), "See what stands below about the store.")]
    snapshot = configuration.snapshot
    there = (("provider", snapshot.providers), ("key", snapshot.keys), ("client", snapshot.clients))
    detail = ", ".join(counted(len(each), noun) for noun, each in there)
    findings = [odd("configuration", warning, "`keyrelay config check`") for warning in configuration.warnings]
    return configuration, [fine("configuration", detail), *findings]


def _is_strange(overrides: options.Overrides) -> bool:
    """Whether it is somebody else who answers, as far as that can be known."""
    from http.client import HTTPException

    try:
        return Gateway(overrides, None).proves() is False
    except (OSError, HTTPException):
        return False


def _url(settings: "Settings") -> str:
    """Where the gateway would be."""
    if settings.url:
        return settings.url.removesuffix("/v1")
    host = settings.host if settings.host not in {"0.0.0.0", "::", ""} else "127.0.0.1"  # noqa: S104 - compared with
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
