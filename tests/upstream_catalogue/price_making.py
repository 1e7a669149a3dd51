"""Makes `prices.json` from the installed genai-prices; `scripts/prices` runs it.

Only what Keyrelay can use is kept: models of the providers in the catalogue, rates of text tokens and of requests.
Rules by which genai-prices matches names become names and patterns with `*`; a rule that cannot be said so stops this.
The hosts behind Hugging Face's router become one provider, whose models carry the host as the router wants it
(`openai/gpt-oss-120b:together`).
"""

import re
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from importlib.metadata import version
from importlib.resources import files

import msgspec
from genai_prices import types
from genai_prices.data import providers as known_providers

from keyrelay.core.prices import Rates, Tier
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.upstream.catalogue.prices import FILE, ListedModel, ListedPeriod

ROUTER = "huggingface"
_BEHIND_ROUTER = "huggingface_"
_DATED = re.compile(r"\^([\w./\\~-]+?)(?:-|\[-@\])(?:\\d\{8\}|\\d\{4\}-\\d\{2\}-\\d\{2\})\$")
_NUMBERED = re.compile(r"\^([\w./\\~-]+)-\\d")
_NO_SPEECH = "^(?!.*-[tT][tT][sS](?:$|-))"
_FORMS = (
    (types.ClauseEquals, "equals", "{}"),
    (types.ClauseStartsWith, "starts_with", "{}*"),
    (types.ClauseEndsWith, "ends_with", "*{}"),
    (types.ClauseContains, "contains", "*{}*"),
)
_TEXT = ("input_mtok", "output_mtok", "cache_read_mtok")


def price_file() -> bytes:
    """The whole file, one model to a line."""
    wanted = [row.price.genai_prices_id for row in load_catalogue().values() if row.price.genai_prices_id]
    found = {provider.id: provider for provider in known_providers}
    borrowed = [other for name in wanted if name in found for other in found[name].fallback_model_providers or ()]
    blocks = []
    for name in sorted({*wanted, *borrowed}):
        if name == ROUTER:
            blocks.append(_block(name, (), _routed()))
        else:
            blocks.append(_block(name, found[name].fallback_model_providers or (), _models(found[name])))
    head = msgspec.json.encode(f"genai-prices {version('genai-prices')}").decode()
    body = ",\n".join(blocks)
    return f'{{"version": {head}, "providers": {{\n{body}\n}}}}\n'.encode()


def _block(name: str, borrows: Iterable[str], models: Iterable[ListedModel]) -> str:
    lines = ",\n".join(msgspec.json.encode(model).decode() for model in models)
    lent = f'"borrows": {msgspec.json.encode(list(borrows)).decode()}, ' if borrows else ""
    return f'"{name}": {{{lent}"models": [\n{lines}\n]}}'


def _routed() -> Iterator[ListedModel]:
    for provider in known_providers:
        if provider.id.startswith(_BEHIND_ROUTER):
            host = provider.id.removeprefix(_BEHIND_ROUTER)
            for model in _models(provider):
                yield msgspec.structs.replace(model, names=tuple(f"{name}:{host}" for name in model.names))


def _models(provider: types.Provider) -> Iterator[ListedModel]:
    """The models in their order; a name that two of them claim belongs to the first, as in genai-prices."""
    taken = set[str]()
    for model in provider.models:
        names, refused = _names(model.match)
        names = [name for name in dict.fromkeys(names) if name not in taken]
        taken.update(names)
        if names:
            yield _listed(model, tuple(names))
        if refused:
            yield ListedModel(names=tuple(refused))


def _names(match: types.MatchLogic) -> tuple[list[str], list[str]]:
    """What a rule matches, and what it does not although one of those patterns does."""
    if isinstance(match, types.ClauseOr):
        parts = [_names(part) for part in match.or_]
        return [name for names, _ in parts for name in names], [name for _, names in parts for name in names]
    if isinstance(match, types.ClauseAnd):
        first, second = match.and_
        if isinstance(second, types.ClauseRegex) and second.regex == _NO_SPEECH:
            names, _ = _names(first)
            return names, [f"{name}-tts*" for name in names]
    return _simple_names(match), []


def _simple_names(match: types.MatchLogic) -> list[str]:
    for kind, field, form in _FORMS:
        if isinstance(match, kind):
            return [form.format(getattr(match, field).lower())]
    if isinstance(match, types.ClauseRegex) and _DATED.fullmatch(match.regex):
        return []  # Keyrelay takes dates off by itself
    if isinstance(match, types.ClauseRegex) and (found := _NUMBERED.fullmatch(match.regex)):
        return [re.sub(r"\\(.)", r"\1", found[1]) + "-0*"]
    raise SystemExit(f"a rule that Keyrelay's patterns cannot say: {match}")


def _listed(model: types.ModelInfo, names: tuple[str, ...]) -> ListedModel:
    periods = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    first, *later = periods
    rates = _rates(first.prices)
    if rates is None and all(name.endswith(":free") for name in names):
        return ListedModel(names=names, rates=Rates(0.0))
    others = [_period(period) for period in later]
    if first.constraint is not None or rates is None or None in others:
        return ListedModel(names=names)
    return ListedModel(
        names=names,
        rates=rates,
        tiers=_tiers(first.prices),
        later=tuple(period for period in others if period is not None),
    )


def _period(period: types.ConditionalPrice) -> ListedPeriod | None:
    rates = _rates(period.prices)
    if rates is None:
        return None
    tiers, condition = _tiers(period.prices), period.constraint
    if isinstance(condition, types.StartDateConstraint):
        return ListedPeriod(rates=rates, tiers=tiers, since=condition.start_date)
    if isinstance(condition, types.TimeOfDateConstraint):
        between = (f"{condition.start_time:%H:%M}", f"{condition.end_time:%H:%M}")
        return ListedPeriod(rates=rates, tiers=tiers, between=between)
    raise SystemExit(f"a condition that Keyrelay's prices cannot say: {condition}")


def _rates(prices: types.ModelPrice, above_tokens: int = 0) -> Rates | None:
    """The rates of prompts of more than so many tokens; None when text is not what is paid for."""
    values = prices._comparable_values()
    texts = [_at(values.get(name), above_tokens) for name in _TEXT]
    spoken = any(name.startswith("output_") and name not in _TEXT for name in values)
    if texts[0] is None or (texts[1] is None and spoken):
        return None
    per_request = _at(values.get("requests_kcount"), above_tokens)
    return Rates(texts[0], texts[1] or 0.0, texts[2], 0.0 if per_request is None else per_request / 1000)


def _tiers(prices: types.ModelPrice) -> tuple[Tier, ...]:
    values = [value for value in prices._comparable_values().values() if isinstance(value, types.TieredPrices)]
    starts = sorted({tier.start for value in values for tier in value.tiers})
    tiers = [(start, _rates(prices, start)) for start in starts]
    return tuple(Tier(start, rates) for start, rates in tiers if rates is not None)


def _at(value: object, above_tokens: int) -> float | None:
    if isinstance(value, types.TieredPrices):
        reached = [tier.price for tier in value.tiers if tier.start <= above_tokens]
        value = reached[-1] if reached and above_tokens else value.base
    return float(value) if isinstance(value, Decimal) else None


if __name__ == "__main__":
    made = price_file()
    target = files("keyrelay.upstream.catalogue") / FILE
    with open(str(target), "wb") as file:  # noqa: PTH123 - a resource is not promised to be a path
        file.write(made)
    sys.stdout.write(f"{target}: {len(made):,} bytes\n")
