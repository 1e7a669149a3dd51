"""Targets and routes: the names in `keyrelay.toml` and in `fallback` looked up, and the route `auto`."""

from collections.abc import Iterable, Mapping

from keyrelay.configuration.findings import Findings, nearest
from keyrelay.configuration.providers import prefix_of
from keyrelay.configuration.toml_file import RouteText
from keyrelay.configuration.values import EffectiveValue
from keyrelay.core.configuration import PolicyName, Provider, Route, Target
from keyrelay.core.providers import ProviderRow

AUTO = "auto"


class TargetReader:
    """Looks targets up among what is configured, what the catalogue knows, and providers of the operator's `own`.

    Those are administered; without a key they are not configured yet.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        catalogue: Mapping[str, ProviderRow],
        own: Iterable[str] = (),
        *,
        findings: Findings,
    ) -> None:
        self._providers = providers
        self._catalogue = catalogue.keys()
        self._known = providers.keys() | self._catalogue | set(own)
        self._findings = findings

    def read(self, texts: Iterable[str], where: str) -> tuple[Target, ...]:
        """The targets that a list names. Those that no key serves yet stay in it; they are passed over."""
        return tuple(target for text in texts if (target := self._read(text, where)))

    def _read(self, text: str, where: str) -> Target | None:
        provider_id, _, model = text.partition("/")
        if provider_id not in self._known:
            suggestion = nearest(provider_id, self._known)
            fix = suggestion or "Write provider/model; `keyrelay providers list` names the providers."
            self._findings.problem(where, f"{text!r} names no provider that is known.", fix)
            return None
        provider = self._providers.get(provider_id)
        if provider is None:
            why = f"without {prefix_of(provider_id)}_API_KEY, or switched off"
            if provider_id not in self._catalogue:
                why = f"it has no key yet: `keyrelay keys add {provider_id}`; or it is switched off"
            self._findings.warn(where, f"{provider_id} is not in use ({why}); {text} is passed over.")
        elif model and not _accepts(provider, model):
            suggestion = nearest(model, provider.models)
            self._findings.warn(
                where, f"{text} is not in the catalogue and is sent as it stands. {suggestion}".rstrip()
            )
        return Target(provider_id, model)


def _accepts(provider: Provider, model: str) -> bool:
    names = {alias for row in provider.models.values() for alias in row.aliases} | provider.models.keys()
    return provider.row.open_models or model in names or model.startswith(provider.row.model_prefixes or "\0")


def named_providers(routes: Iterable[RouteText], fallback: Iterable[str]) -> frozenset[str]:
    """Ids of the providers that routes and `fallback` name."""
    texts = [text for route in routes for text in (*route.targets, *(route.fallback or ()))]
    return frozenset(text.partition("/")[0] for text in (*texts, *fallback))


def read_routes(texts: Iterable[RouteText], reader: TargetReader, *, policy: PolicyName) -> dict[str, Route]:
    """The file's routes by name. `policy` is that of routes that name none."""
    return {
        text.name: Route(
            name=text.name,
            targets=reader.read(text.targets, f"{text.where} targets"),
            policy=text.policy or policy,
            fallback=reader.read(text.fallback or (), f"{text.where} fallback"),
            cache=text.cache,
        )
        for text in texts
    }


def auto_route(providers: Iterable[Provider], *, policy: PolicyName) -> Route:
    """Every provider's default model. `providers` come in order of priority.

    One whose default model is not known yet is in it by its name alone, which stands for what becomes its default.
    """
    targets = tuple(Target(each.id, each.default_model) for each in providers if each.row.paths.chat)
    return Route(name=AUTO, targets=targets, policy=policy)


def effective_values(routes: Mapping[str, Route], sources: Mapping[str, str]) -> tuple[EffectiveValue, ...]:
    """How routes are shown; `sources` says by name where each one came from."""
    values = list[EffectiveValue]()
    for name, route in routes.items():
        stem, source = f"routes.{name}", sources[name]
        values.append(EffectiveValue(f"{stem}.targets", ", ".join(map(str, route.targets)), source))
        values.append(EffectiveValue(f"{stem}.policy", route.policy.value, source))
        if route.fallback:
            values.append(EffectiveValue(f"{stem}.fallback", ", ".join(map(str, route.fallback)), source))
        if route.cache:
            values.append(EffectiveValue(f"{stem}.cache", route.cache, source))
    return tuple(values)
