"""A LiteLLM `config.yaml`: deployments become keys and routes, the master key becomes a client.

`model_list` names deployments; those of one `model_name` are one group that callers ask for, here a route. Each has its
provider before the first `/` of its model, OpenAI without one. What stands as `os.environ/NAME` is looked up among the
variables that come with the file, never in this process's own environment: whoever sends the file would read that.
"""

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from keyrelay.administration.importing.found import Found, FoundClient, FoundKey, FoundProvider, FoundRoute, Known
from keyrelay.administration.importing.litellm_reasons import NO_PROVIDER, REASONS, STAYS
from keyrelay.administration.importing.yaml_text import read_yaml
from keyrelay.configuration.clients import weakness_of
from keyrelay.configuration.keys import is_placeholder, is_usable
from keyrelay.configuration.toml_file import ROUTE_NAME
from keyrelay.core.administered import ProviderEntry, RouteEntry
from keyrelay.core.configuration import PolicyName
from keyrelay.core.origins import parse_base_url
from keyrelay.core.secrets import Secret

MAX_DEPLOYMENTS = 5_000
MASTER_LABEL = "litellm-master-key"

_REFERENCE = "os.environ/"
_PROVIDERS: Mapping[str, str] = {
    "ai21_chat": "ai21",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "nvidia_nim": "nvidia",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
    "together_ai": "together",
}
_SELF_HOSTED = frozenset({"custom_openai", "hosted_vllm", "litellm_proxy", "lm_studio", "openai_like", "vllm"})
_POLICIES: Mapping[str, PolicyName] = {
    "simple-shuffle": PolicyName.WEIGHTED,
    "least-busy": PolicyName.LEAST_USED,
    "usage-based-routing": PolicyName.LEAST_USED,
    "usage-based-routing-v2": PolicyName.LEAST_USED,
}
_KNOWN_PARAMS = frozenset(
    {"model", "api_key", "api_base", "base_url", "custom_llm_provider", "rpm", "tpm", "weight", "max_parallel_requests"}
)
_MODEL = re.compile(r"[!-+\--~]{1,256}")
_AMOUNT_MOST = 10**12
_WEIGHT_MOST = 999_999.0
_NO_NUMBER = "It is no whole number above 0."
_NO_KEY = frozenset({"none", "na", "dummy", "anything"})
_RATES = (
    ("rpm", "requests", "per 60s"),
    ("tpm", "tokens", "per 60s"),
    ("max_parallel_requests", "requests", "concurrent"),
)


def read_litellm(name: str, text: str, known: Known, variables: Mapping[str, str]) -> Found:
    """What stands in a LiteLLM configuration. Never raises for what is in it."""
    found = Found(name=name)
    try:
        document = read_yaml(text.removeprefix("\ufeff"))
    except ValueError as error:
        found.refuse(f"{str(error)[0].upper()}{str(error)[1:]}.")
        return found
    if not isinstance(document, dict):
        found.refuse("It holds no settings.")
        return found
    _Reader(found, known, variables).read({str(each): value for each, value in document.items()})
    return found


class _Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `model_list`: the group that it is in, and where it goes."""

    group: str
    target: str
    source: str


class _Reader:
    def __init__(self, found: Found, known: Known, variables: Mapping[str, str]) -> None:
        self._found = found
        self._known = known
        self._variables = variables
        self._own = dict[str, str]()
        self._keys = dict[tuple[str, Secret], FoundKey]()
        self._providers = dict[str, FoundProvider]()

    def read(self, document: Mapping[str, object]) -> None:
        self._own |= {name: value for name, value in _table(document, "environment_variables").items() if value}
        deployments = list(self._deployments(document.get("model_list")))
        router = {**_raw(document, "litellm_settings"), **_raw(document, "router_settings")}
        self._routes(deployments, router)
        self._found.keys += self._keys.values()
        self._found.providers += self._providers.values()
        self._client(_raw(document, "general_settings").get("master_key"))
        self._leave_rest(document)

    # Deployments

    def _deployments(self, listed: object) -> Iterator[_Deployment]:
        if not isinstance(listed, list):
            if listed is not None:
                self._found.leave("model_list", "It is no list.")
            return
        for place, entry in enumerate(listed):
            if place >= MAX_DEPLOYMENTS:
                self._found.leave("model_list", f"More than {MAX_DEPLOYMENTS} deployments are not read at once.")
                return
            deployment = self._deployment(entry, place)
            if deployment is not None:
                yield deployment

    def _deployment(self, entry: object, place: int) -> _Deployment | None:
        group = entry.get("model_name") if isinstance(entry, dict) else None
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        source = f"model_list[{place}]" + (f" {group}" if isinstance(group, str) else "")
        model = params.get("model") if isinstance(params, dict) else None
        if not isinstance(group, str) or not isinstance(params, dict) or not isinstance(model, str):
            self._found.leave(source, "It has no model_name, or no litellm_params with a model.")
            return None
        rates = {**{name: entry.get(name) for name in ("rpm", "tpm")}, **params} if isinstance(entry, dict) else params
        provider_id, model_id = self._provider(model.strip(), params, source)
        if not provider_id:
            return None
        if not self._key(provider_id, model_id, rates, source):
            return None
        for extra in sorted(str(each) for each in params.keys() - _KNOWN_PARAMS):
            self._found.leave(f"{source} {extra}", REASONS.get(extra, STAYS))
        if "*" in model_id or "*" in group:
            reason = "A pattern needs no route: every model of a provider is there as provider/model."
            self._found.leave(source, reason)
            return None
        if not _MODEL.fullmatch(model_id):
            self._found.leave(source, "Its model has a name that cannot be a target.")
            return None
        return _Deployment(group=group.strip(), target=f"{provider_id}/{model_id}", source=source)

    def _provider(self, model: str, params: Mapping[object, object], source: str) -> tuple[str, str]:
        """Provider and model of a deployment; an empty provider for one that stays behind."""
        prefix, slash, rest = model.partition("/")
        given = params.get("custom_llm_provider")
        if isinstance(given, str):
            prefix, rest = given, model.removeprefix(f"{given}/")
        elif not slash:
            prefix, rest = "openai", model
        prefix = prefix.lower()
        address = self._text(params.get("api_base") or params.get("base_url"), f"{source} api_base")
        if address is None:
            return "", ""
        provider_id = _PROVIDERS.get(prefix, prefix)
        if prefix in _SELF_HOSTED or (provider_id == "openai" and address):
            return self._own_provider(address, rest, source), rest
        if provider_id not in self._known:
            self._found.leave(source, NO_PROVIDER.get(prefix, f"There is no provider {provider_id[:40]!a} here."))
            return "", ""
        row = self._known.row_of(provider_id)
        if address and address.rstrip("/") not in {row.base_url.rstrip("/"), f"{row.base_url.rstrip('/')}/v1"}:
            self._say(provider_id, source, base_url=address.rstrip("/"))
        elif row.auth.optional:
            self._say(provider_id, source, enabled=True)
        return provider_id, rest

    def _own_provider(self, address: str, model: str, source: str) -> str:
        """The provider that an address is, called by its host; empty when that will not do."""
        try:
            origin, _ = parse_base_url(address, guarded=True)
        except ValueError:
            self._found.leave(source, "It has no api_base that can be read: write it as https://host/v1.")
            return ""
        for row in self._known.catalogue.values():
            if address.rstrip("/") == row.base_url.rstrip("/"):
                return row.id
        host = origin.host.strip("[]") + ("" if origin.port in {80, 443} else f"_{origin.port}")
        provider_id = re.sub(r"[^a-z0-9]+", "_", host.lower()).strip("_")
        provider_id = (provider_id if provider_id[:1].isalpha() else f"host_{provider_id}")[:32].rstrip("_")
        models = (model,) if _MODEL.fullmatch(model) and "*" not in model else ()
        self._say(provider_id, source, base_url=address.rstrip("/"), models=models)
        return provider_id

    def _say(self, provider_id: str, source: str, **said: object) -> None:
        known = self._providers.get(provider_id)
        entry = ProviderEntry(id=provider_id) if known is None else known.entry
        if entry.base_url and said.get("base_url") not in {None, entry.base_url}:
            self._found.leave(f"{source} api_base", "Another deployment has this provider at another address.")
            return
        models = said.pop("models", ())
        if isinstance(models, tuple) and models:
            said["models"] = tuple(dict.fromkeys((*entry.models, *models)))
        entry = msgspec.structs.replace(entry, **said)
        first = source if known is None else known.source
        self._providers[provider_id] = FoundProvider(source=first, entry=entry)

    def _key(self, provider_id: str, model: str, params: Mapping[object, object], source: str) -> bool:
        """Note the deployment's key with its limits; False when what should be one is none."""
        text = self._text(params.get("api_key"), f"{source} api_key")
        if text is None:
            return False
        secret = Secret(text)
        optional = self._known.row_of(provider_id).auth.optional
        if not secret or (optional and (is_placeholder(secret) or text.lower() in _NO_KEY)):
            return True  # the environment may have it, or nobody needs one
        if is_placeholder(secret) or not is_usable(secret):
            self._found.leave(f"{source} api_key", "It is a placeholder, or holds what no HTTP header can carry.")
            return False
        limits = tuple(_limits(params, model, lambda name: self._found.leave(f"{source} {name}", _NO_NUMBER)))
        known = self._keys.get((provider_id, secret))
        weight = params.get("weight")
        if known is None:
            heavy = float(weight) if isinstance(weight, int | float) and 0 < weight <= _WEIGHT_MOST else None
            key = FoundKey(source=f"{source} api_key", provider=provider_id, secret=secret, weight=heavy)
        else:
            key = known
        together = tuple(dict.fromkeys((*key.limits, *limits)))
        self._keys[provider_id, secret] = msgspec.structs.replace(key, limits=together)
        return True

    def _text(self, value: object, source: str) -> str | None:
        """A text, or what the variable holds that it names; empty for nothing, None when that is not there."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self._found.leave(source, "It is no text.")
            return None
        if not value.startswith(_REFERENCE):
            return value.strip()
        name = value.removeprefix(_REFERENCE)
        text: str = self._variables.get(name, "") or self._own.get(name, "")
        if not text or text.startswith(_REFERENCE):
            reason = f"The variable {name[:100]!a} has no value here: set it where `keyrelay import` runs."
            self._found.leave(source, reason)
            return None
        return text.strip()

    # Routes

    def _routes(self, deployments: list[_Deployment], router: Mapping[str, object]) -> None:
        targets = dict[str, list[_Deployment]]()
        for each in deployments:
            targets.setdefault(each.group, []).append(each)
        groups = {group: tuple(dict.fromkeys(each.target for each in listed)) for group, listed in targets.items()}
        policy = self._policy(router.get("routing_strategy"))
        fallbacks = dict(self._fallbacks(router, groups))
        for group, listed in targets.items():
            self._route(group, groups[group], policy, fallbacks.get(group, ()), listed[0].source)
        aliases = router.get("model_group_alias")
        for alias, meant in aliases.items() if isinstance(aliases, dict) else ():
            named: object = meant.get("model") if isinstance(meant, dict) else meant
            source = f"router_settings.model_group_alias {alias}"
            if not isinstance(named, str) or named not in groups:
                self._found.leave(source, "It stands for a model_name that is not there, or stays behind.")
            else:
                self._route(str(alias), groups[named], policy, fallbacks.get(named, ()), source)

    def _route(
        self, name: str, targets: tuple[str, ...], policy: PolicyName | None, fallback: tuple[str, ...], source: str
    ) -> None:
        if targets == (name,) and not fallback:
            return  # the name says it already
        if not ROUTE_NAME.fullmatch(name):
            reason = f"The name of a route holds letters, digits and . _ - alone; ask for {targets[0]} instead."
            self._found.leave(source, reason)
            return
        beyond = tuple(target for target in fallback if target not in targets)
        entry = RouteEntry(name=name, targets=targets, policy=policy, fallback=beyond or None)
        self._found.routes.append(FoundRoute(source=source, entry=entry))

    def _policy(self, strategy: object) -> PolicyName | None:
        if strategy is None:
            return None
        policy = _POLICIES.get(strategy) if isinstance(strategy, str) else None
        if policy is None:
            reason = f"Keyrelay orders by one of {', '.join(PolicyName)}: routes take the setting `policy`."
            self._found.leave("router_settings.routing_strategy", reason)
        return policy

    def _fallbacks(
        self, router: Mapping[str, object], groups: Mapping[str, tuple[str, ...]]
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The targets that stand in for each group."""
        usual = self._targets(router.get("default_fallbacks"), groups, "default_fallbacks")
        said = dict[str, tuple[str, ...]]()
        listed = router.get("fallbacks")
        for each in listed if isinstance(listed, list) else ():
            for group, others in each.items() if isinstance(each, dict) else ():
                said[str(group)] = self._targets(others, groups, f"fallbacks {group}")
        for group in groups:
            yield group, tuple(dict.fromkeys((*said.get(group, said.get("*", ())), *usual)))
        for group in said.keys() - groups.keys() - {"*"}:
            self._found.leave(f"fallbacks {group}", "There is no model_name like this, or it stays behind.")

    def _targets(self, listed: object, groups: Mapping[str, tuple[str, ...]], source: str) -> tuple[str, ...]:
        targets = list[str]()
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, str) and each in groups:
                targets += groups[each]
            else:
                self._found.leave(source, "It names a model_name that is not there, or stays behind.")
        return tuple(targets)

    # The rest

    def _client(self, master: object) -> None:
        source = "general_settings.master_key"
        text = self._text(master, source)
        if not text:
            return
        if not is_usable(Secret(text)) or weakness_of(text):
            self._found.leave(source, "It would be guessed, or no header can carry it: `keyrelay clients new`.")
            return
        self._found.clients.append(FoundClient(source=source, label=MASTER_LABEL, secret=Secret(text)))

    def _leave_rest(self, document: Mapping[str, object]) -> None:
        taken = {
            "litellm_settings": {"fallbacks", "default_fallbacks"},
            "router_settings": {"routing_strategy", "fallbacks", "default_fallbacks", "model_group_alias"},
            "general_settings": {"master_key"},
        }
        for section, value in document.items():
            if section in taken:
                if not isinstance(value, dict) and value is not None:
                    self._found.leave(section, "It holds no settings.")
                for name in _raw(document, section).keys() - taken[section]:
                    self._found.leave(f"{section}.{name}", REASONS.get(name, STAYS))
            elif section not in {"model_list", "environment_variables"}:
                self._found.leave(section, REASONS.get(section, STAYS))


def _limits(params: Mapping[object, object], model: str, leave: Callable[[str], None]) -> Iterator[str]:
    """The limits of one deployment, each for its key and model alone."""
    scope = f"for key+model of {model}" if _MODEL.fullmatch(model) and "*" not in model else "for key+model"
    for name, unit, window in _RATES:
        value = params.get(name)
        if value is None:
            continue
        number: object = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value) else value
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _AMOUNT_MOST:
            leave(name)
        else:
            yield f"{number} {unit} {window} {scope}"


def _raw(document: Mapping[str, object], section: str) -> dict[str, object]:
    value = document.get(section)
    return {str(name): each for name, each in value.items()} if isinstance(value, dict) else {}


def _table(document: Mapping[str, object], section: str) -> dict[str, str]:
    return {name: value for name, value in _raw(document, section).items() if isinstance(value, str)}
