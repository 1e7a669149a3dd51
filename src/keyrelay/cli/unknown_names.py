"""Warnings about names that nothing has: a filter by one finds nothing, and a client for one is let in to nothing."""

from collections.abc import Iterable

from keyrelay.cli.output import note, print_warnings
from keyrelay.cli.remote import Gateway, document_of

_PROVIDERS = "/api/v1/providers?all=true"
_ROUTES = "/api/v1/routes"


def warn_of_provider(gateway: Gateway, provider: str | None) -> None:
    """Warn on stderr when a gateway says that it knows no such provider; None and an empty text mean all of them."""
    found = gateway.looked_up(_PROVIDERS) if provider else None
    if provider and found is not None:
        known = [each["id"] for each in document_of(found)["items"]]
        _warn("provider", () if provider in known else (provider,), known)


def warn_of_kind(kind: str | None) -> None:
    """Warn on stderr of a kind of failure that is none of those that providers' failures have."""
    from keyrelay.core.failures import FailureKind

    if kind is not None and kind not in set(FailureKind):
        note(f"warning: {kind!r} is not one of {', '.join(FailureKind)}; only an error's own code could be meant.")


def warn_of_models(gateway: Gateway, patterns: Iterable[str]) -> None:
    """Warn on stderr of models that a client may ask for where nothing has such a name."""
    from keyrelay.core.model_names import ModelNames

    wanted = [pattern for pattern in patterns if pattern]
    routes, providers = (gateway.looked_up(path) if wanted else None for path in (_ROUTES, _PROVIDERS))
    if routes is None or providers is None:
        return
    known = [route["name"] for route in document_of(routes)["items"]]
    for provider in document_of(providers)["items"]:
        names = [name for model in provider["models"] for name in (model["id"], *model["aliases"])]
        known += [provider["id"], *names, *(f"{provider['id']}/{name}" for name in names)]
    unknown = [each for each in wanted if not any(ModelNames((each,)).allow(name) for name in known)]
    _warn("model or route", unknown, known)


def _warn(what: str, unknown: Iterable[str], known: list[str]) -> None:
    from keyrelay.configuration.findings import nearest

    print_warnings(f"there is no {what} {name!r}. {nearest(name, known)}".rstrip() for name in unknown)
