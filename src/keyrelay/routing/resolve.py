"""From the name that a caller sends as `model` to targets in stages.

A name is, in this order: a route; `provider/model` when that provider lists the model; a model that configured
providers list, by name or alias (`openai/gpt-oss-120b` is one of Groq's); any other `provider/model`; a name that a
provider's prefixes claim (`gemini-1.0-pro`); any name at all for a server of the operator's own that lists no models.
Only a route and the last-resort `fallback` put other models in the place of the one asked for.
"""

import difflib
from collections.abc import Iterable

import msgspec

from keyrelay.core.configuration import PolicyName, Provider, Route, Snapshot, Target

AUTO = "auto"
_NEAR_MATCHES = 3
_MAX_COMPARED = 5000
_GEMINI_FORM = "models/"
_LATEST = ":latest"


class StageTargets(msgspec.Struct, frozen=True):
    """Targets of equal rank."""

    targets: tuple[Target, ...]
    policy: PolicyName
    last_resort: bool = False


class Resolution(msgspec.Struct, frozen=True):
    """What a name stands for. `free_choice`: the models are Keyrelay's choice, so those that cannot serve drop out."""

    stages: tuple[StageTargets, ...]
    free_choice: bool


def resolve(snapshot: Snapshot, name: str) -> Resolution | None:
    """What a model name stands for, or None when nothing configured answers to it."""
    route = snapshot.routes.get(name)
    if route is not None:
        return Resolution(_route_stages(snapshot, route), free_choice=True)
    targets = _named_targets(snapshot, name)
    if not targets:
        return None
    return Resolution((*_by_priority(snapshot, targets), *_last_resort(snapshot, targets)), free_choice=False)


def _route_stages(snapshot: Snapshot, route: Route) -> tuple[StageTargets, ...]:
    targets = tuple(_known(snapshot, route.targets))
    if route.name == AUTO:
        stages = _by_priority(snapshot, targets)
    elif route.policy is PolicyName.PRIORITY:
        stages = tuple(StageTargets((target,), PolicyName.ROUND_ROBIN) for target in targets)
    else:
        stages = (StageTargets(targets, route.policy),) if targets else ()
    fallback = tuple(_known(snapshot, route.fallback))
    own = tuple(StageTargets((target,), PolicyName.ROUND_ROBIN, last_resort=True) for target in fallback)
    return (*stages, *own, *_last_resort(snapshot, (*targets, *fallback)))


def _last_resort(snapshot: Snapshot, taken: tuple[Target, ...]) -> tuple[StageTargets, ...]:
    rest = [target for target in _known(snapshot, snapshot.fallback) if target not in taken]
    return tuple(StageTargets((target,), PolicyName.ROUND_ROBIN, last_resort=True) for target in rest)


def _known(snapshot: Snapshot, targets: Iterable[Target]) -> Iterable[Target]:
    for target in targets:
        provider = snapshot.providers.get(target.provider_id)
        if provider is not None:
            model = canonical_model(provider, target.model) if target.model else provider.default_model
            if model:
                yield Target(target.provider_id, model)


def _by_priority(snapshot: Snapshot, targets: tuple[Target, ...]) -> tuple[StageTargets, ...]:
    ranks: dict[int, list[Target]] = {}
    for target in targets:
        ranks.setdefault(snapshot.providers[target.provider_id].priority, []).append(target)
    return tuple(StageTargets(tuple(ranks[rank]), snapshot.policy) for rank in sorted(ranks))


def _named_targets(snapshot: Snapshot, name: str) -> tuple[Target, ...]:
    provider_id, slash, model = name.partition("/")
    named = snapshot.providers.get(provider_id) if model else None
    providers = snapshot.providers.values()
    listed = [provider for provider in providers if _lists(provider, name)]
    if named is not None and (not listed or _lists(named, model)):
        return (Target(provider_id, canonical_model(named, model)),)
    if not listed:
        listed = [provider for provider in providers if _claims(provider, name)]
    if not listed and slash:  # routers name models org/model
        listed = [provider for provider in providers if provider.row.open_models and not provider.row.local]
    if not listed:
        listed = [provider for provider in providers if provider.row.open_models and not provider.models]
    return tuple(Target(provider.id, canonical_model(provider, name)) for provider in listed)


def _lists(provider: Provider, name: str) -> bool:
    return canonical_model(provider, name) in provider.models


def _claims(provider: Provider, name: str) -> bool:
    return name.removeprefix(_GEMINI_FORM).startswith(provider.row.model_prefixes)


def canonical_model(provider: Provider, name: str) -> str:
    """The provider's own name of a model that may be given by an alias, or by Gemini's `models/` form.

    At Ollama a name without a tag is the one with the tag `latest`, whoever writes it.
    """
    if name in provider.models:
        return name
    bare = name.removeprefix(_GEMINI_FORM)
    if bare in provider.models:
        return bare
    for row in provider.models.values():
        if name in row.aliases:
            return row.id
    tagged = bare.removesuffix(_LATEST) if bare.endswith(_LATEST) else bare + _LATEST
    return tagged if tagged in provider.models else bare


def known_names(snapshot: Snapshot) -> list[str]:
    """Every name that a caller may use: routes, then models, then `provider/model`."""
    bare = dict.fromkeys(model for provider in snapshot.providers.values() for model in provider.models)
    qualified = [f"{provider.id}/{model}" for provider in snapshot.providers.values() for model in provider.models]
    return [*snapshot.routes, *bare, *qualified]


def near_matches(snapshot: Snapshot, name: str) -> list[str]:
    """Up to three known names that resemble the given one."""
    return difflib.get_close_matches(name, known_names(snapshot)[:_MAX_COMPARED], n=_NEAR_MATCHES, cutoff=0.5)
