"""The one way to a configuration: read every layer, look everything up, refuse the whole when anything is wrong.

Order, later wins: catalogue, `keyrelay.toml`, environment and `.env` (a real variable over `.env`), command line.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.configuration import client_file, clients, first_run, routes, setting_values, stored, stored_clients
from keyrelay.configuration.environment import Environment, environment_layer, read_env_file
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.providers import Assembled, prefix_of, read_providers
from keyrelay.configuration.remembered import Files
from keyrelay.configuration.setting_values import Choice
from keyrelay.configuration.toml_file import FileText, RouteText, read_toml
from keyrelay.configuration.values import DEFAULT, Configuration, EffectiveValue
from keyrelay.core.administered import NOTHING, Administered, ProviderEntry, RouteEntry
from keyrelay.core.configuration import Route, Snapshot
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.providers import ProviderRow
from keyrelay.settings import SETTINGS, Setting, Settings
from keyrelay.upstream.catalogue import load_catalogue


def load_configuration(
    environ: Mapping[str, str],
    *,
    directory: Path,
    overrides: Mapping[str, str],
    catalogue: Mapping[str, ProviderRow] | None = None,
    administered: Administered = NOTHING,
) -> Configuration:
    """Read the whole configuration.

    `directory` is the working directory, where `keyrelay.toml` and `.env` are looked for; `overrides` are settings
    by name from the command line; `catalogue` is the shipped one unless another is given; `administered` is what the
    store holds. `environ` is only read.
    Raise InvalidConfiguration with every problem that was found.
    """
    rows = load_catalogue() if catalogue is None else catalogue
    return _Loader(environ, directory.absolute(), overrides=overrides, catalogue=rows, administered=administered).load()


def load_settings(environ: Mapping[str, str], *, directory: Path, overrides: Mapping[str, str]) -> Settings:
    """Read Keyrelay's own settings only, for what has to work before providers and clients are in order.

    The arguments are those of `load_configuration`, and so is the error.
    """
    return _Loader(environ, directory.absolute(), overrides=overrides, catalogue={}).load_settings()


class _Paths(msgspec.Struct, frozen=True):
    """Where the two files are, and the choices that said so."""

    config: Path
    config_choice: Choice
    env: Path
    env_choice: Choice


class _Loader:
    """One reading of the configuration; its parts share layers and findings."""

    def __init__(
        self,
        environ: Mapping[str, str],
        directory: Path,
        *,
        overrides: Mapping[str, str],
        catalogue: Mapping[str, ProviderRow],
        administered: Administered = NOTHING,
        files: Files | None = None,
        kept: tuple[clients.SourcedClient, ...] | None = None,
    ) -> None:
        self._administered = administered
        self._files = files or Files()
        self._kept = kept
        self._environ = setting_values.without_orchestrator_names(environ)
        self._directory = directory
        self._overrides = overrides
        self._catalogue = catalogue
        self._findings = Findings()
        self._home = _home(environ)

    def load(self) -> Configuration:
        """Read layer after layer."""
        findings = self._findings
        paths, environment, file = self._open_layers()
        settings, shown, choices = self._settings(environment, file, paths=paths)
        route_texts = stored.routes_of(self._administered, file.routes, findings)
        mentioned = routes.named_providers(route_texts, settings.fallback)
        assembled = read_providers(
            self._catalogue,
            environment=environment,
            mentioned=mentioned,
            findings=findings,
            stored=stored.StoredKeys(self._administered, time.time()),
            overrides=file.prices,
        )
        callers = self._clients(environment, settings, host=choices["host"])
        clients.check_operator(settings.operator_secret, callers, choices["operator_secret"].where, findings)
        self._refuse_loops(assembled, settings)
        setting_values.refuse_wrong_schemes(choices, findings)
        snapshot, route_values = self._snapshot(
            settings, route_texts, assembled=assembled, callers=callers, choices=choices
        )
        findings.raise_if_any()
        values = [*shown, *(value for each in assembled for value in each.values), *route_values]
        values += [
            EffectiveValue(f"prices.{each.provider_id}/{each.model}", each.shown, paths.config.name)
            for each in file.prices
        ]
        values += [each.shown for each in callers]
        return Configuration(
            settings=settings,
            snapshot=snapshot,
            values=tuple(values),
            warnings=tuple(dict.fromkeys(findings.warnings)),
            files=(paths.config, paths.env, client_file.path_in(settings.data_dir), *environment.files),
            variables=environment.outside(stored.STORE),
            again=self._again,
        )

    def _again(self, administered: Administered) -> Configuration:
        """The same with something else administered, whatever has become of the files meanwhile."""
        return _Loader(
            self._environ,
            self._directory,
            overrides=self._overrides,
            catalogue=self._catalogue,
            administered=administered,
            files=self._files.copy(),
            kept=self._kept,
        ).load()

    def load_settings(self) -> Settings:
        """Read the same layers, look up the settings alone."""
        paths, environment, file = self._open_layers()
        settings, _, _ = self._settings(environment, file, paths=paths)
        self._findings.raise_if_any()
        return settings

    def _open_layers(self) -> tuple[_Paths, Environment, FileText]:
        """The environment with `.env` below it, and the file. Where `.env` is, `.env` itself cannot say."""
        setting_values.refuse_unknown_overrides(self._overrides, self._findings)
        real = environment_layer(self._environ)
        administered = stored.layer_of(self._administered, prefix_of)
        stored.refuse_wrong_settings(self._administered, self._findings)
        files, findings = self._files, self._findings
        alone = Environment((real,), directory=self._directory, findings=findings, files=files)
        env_choice = setting_values.choose(_setting("env_file"), alone, table={}, overrides=self._overrides)
        env = self._read(env_choice)
        below = read_env_file(env, findings=findings, optional=_is_default(env_choice), files=files)
        layers = (real, below, administered)
        environment = Environment(layers, directory=self._directory, findings=findings, files=files)
        for name in _setting("env_file").environment_names:
            if below.variables.get(name):
                fix = "Set it in the environment, or use --env-file."
                self._findings.problem(f"{below.name} {name}", "cannot say where the file itself is.", fix)
        config_choice = setting_values.choose(_setting("config_file"), environment, table={}, overrides=self._overrides)
        setting_values.refuse_unknown_names(environment, self._findings)
        paths = _Paths(self._read(config_choice), config_choice, env, env_choice)
        file = read_toml(paths.config, findings=findings, optional=_is_default(config_choice), files=files)
        return paths, environment, file

    def _read(self, choice: Choice) -> Any:
        return setting_values.read_choice(choice, directory=self._directory, home=self._home, findings=self._findings)

    def _settings(
        self, environment: Environment, file: FileText, *, paths: _Paths
    ) -> tuple[Settings, list[EffectiveValue], dict[str, Choice]]:
        choices = {
            setting.name: setting_values.choose(setting, environment, table=file.settings, overrides=self._overrides)
            for setting in SETTINGS
        } | {"config_file": paths.config_choice, "env_file": paths.env_choice}
        located = {"config_file": paths.config, "env_file": paths.env}
        values: dict[str, Any] = {name: located.get(name) or self._read(choice) for name, choice in choices.items()}
        shown = [setting_values.effective_value(choices[name], value) for name, value in values.items()]
        return Settings(**values), shown, choices

    def _clients(
        self, environment: Environment, settings: Settings, *, host: Choice
    ) -> tuple[clients.SourcedClient, ...]:
        """Clients of the environment, then those kept in the data directory, then those of the store."""
        named = clients.read_clients(environment, self._findings)
        callers = stored_clients.join_clients(
            self._administered, (*named, *self._kept_clients(settings)), now_s=time.time(), findings=self._findings
        )
        clients.check_exposure(callers, host=settings.host, where=host.where, findings=self._findings)
        return callers

    def _kept_clients(self, settings: Settings) -> tuple[clients.SourcedClient, ...]:
        """Clients of the data directory as they are now, also where other files are remembered: one may be gone."""
        try:
            self._kept = first_run.kept_clients(settings.data_dir)
        except ConfigurationError as error:
            if self._kept is None:
                self._findings.problems.append(error)
        return self._kept or ()

    def _refuse_loops(self, assembled: tuple[Assembled, ...], settings: Settings) -> None:
        """A base URL that was meant for Keyrelay's clients would have Keyrelay call itself."""
        for each in assembled:
            origin = each.provider.origin
            is_here = clients.is_loopback(origin.host) or origin.host == settings.host
            if is_here and origin.port == settings.port:
                fix = "Name the provider's own address, or take the variable out of Keyrelay's environment."
                self._findings.problem(each.address_source, "points at Keyrelay itself.", fix)

    def _snapshot(
        self,
        settings: Settings,
        route_texts: tuple[RouteText, ...],
        *,
        assembled: tuple[Assembled, ...],
        callers: tuple[clients.SourcedClient, ...],
        choices: Mapping[str, Choice],
    ) -> tuple[Snapshot, tuple[EffectiveValue, ...]]:
        providers = {each.provider.id: each.provider for each in assembled}
        own = {entry.id for entry in self._administered.all(ProviderEntry)}
        reader = routes.TargetReader(providers, self._catalogue, own, findings=self._findings)
        fallback = reader.read(settings.fallback, choices["fallback"].where)
        auto: dict[str, Route] = {routes.AUTO: routes.auto_route(providers.values(), policy=settings.policy)}
        named = auto | routes.read_routes(route_texts, reader, policy=settings.policy)
        sources = {routes.AUTO: DEFAULT} | {text.name: settings.config_file.name for text in route_texts}
        sources |= {entry.name: stored.STORE for entry in self._administered.all(RouteEntry)}
        snapshot = Snapshot(
            providers=providers,
            keys=tuple(key for each in assembled for key in each.keys),
            routes=named,
            clients={each.client.digest: each.client for each in reversed(callers)},
            policy=settings.policy,
            fallback=fallback,
            pepper=stored_clients.pepper_of(self._administered),
            withheld=tuple(key for each in assembled for key in each.withheld),
        )
        return snapshot, routes.effective_values(named, sources)


def _setting(name: str) -> Setting:
    return setting_values.BY_NAME[name]


def _is_default(choice: Choice) -> bool:
    """Whether a file is looked for at its default place, where it may be missing; a named one may not."""
    return choice.source == DEFAULT


def _home(environ: Mapping[str, str]) -> Path | None:
    """The user's home directory: HOME if it is set, else what the system says; None when it says nothing."""
    if environ.get("HOME", "").startswith(os.sep):
        return Path(environ["HOME"])
    try:
        return Path.home()
    except RuntimeError:
        return None
