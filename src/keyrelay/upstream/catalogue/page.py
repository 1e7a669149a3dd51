"""The page docs/providers.md, made from the catalogue's rows; `scripts/provider-docs` prints it."""

import datetime as dt
import sys
from collections.abc import Iterable, Iterator

from keyrelay.core.prices import LOCAL, Price
from keyrelay.core.providers import OPAQUE_OPERATIONS, LimitHeadersRow, LimitRow, ModelRow, ProviderRow
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.upstream.catalogue.prices import PriceFile, load_price_file

INTRODUCTION = """# Providers

Made by `scripts/provider-docs` from `src/keyrelay/upstream/catalogue/*.toml`; change those, then run it again.

A provider takes part as soon as it has a key. Keys stand in `<ID>_API_KEY` (one) or `<ID>_API_KEYS` (a comma list,
`label=key` and `account:label=key` allowed), or in one of the other names below; each also as `…_FILE`. Any other
prefix with keys and a base URL (`ACME_API_KEY`, `ACME_BASE_URL`) is a new OpenAI-compatible provider.

Limits are those of the free tier. For a key whose tier is not said they are a belief, not a bound: they order and pace
requests, and the provider's own word corrects them. A lower priority is tried first.
"""

PRICES = """## List prices

What the models above cost in US dollars per million tokens, by the price list that ships with Keyrelay ({version}), or
by the catalogue where the list has none. Other models of these providers are looked up in the list too, {models} names
and patterns in all. "Varies" means that long prompts, a time of the day or a day to come have other prices; these are
known too, and count. A model without a price costs an unknown amount, never nothing:
[quota.md](quota.md#money-and-units) says what becomes of it.
"""


def main() -> None:
    """Print the page."""
    sys.stdout.write(page(load_catalogue().values(), load_price_file()))


def page(rows: Iterable[ProviderRow], prices: PriceFile) -> str:
    """The whole page: an overview in order of priority, a section for each provider, and what models cost."""
    ordered = sorted(rows, key=lambda row: row.priority)
    lines = [
        INTRODUCTION,
        "| priority | provider | id | standing free tier | terms | verified |",
        "|---:|---|---|---|---|---|",
        *(_overview(row) for row in ordered),
    ]
    for row in ordered:
        lines += ["", *_section(row)]
    lines += ["", PRICES.format(version=prices.version, models=f"{prices.names:,}"), *_prices(ordered, prices)]
    return "\n".join(lines) + "\n"


def _overview(row: ProviderRow) -> str:
    free = "own server" if row.local else "yes" if row.terms.free_tier else "no"
    terms = ", ".join(_flags(row)) or "none"
    return f"| {row.priority} | [{row.name}](#{_anchor(row)}) | `{row.id}` | {free} | {terms} | {row.verified_at} |"


def _anchor(row: ProviderRow) -> str:
    """The anchor that a heading with this name gets."""
    return "".join(letter for letter in row.name.lower().replace(" ", "-") if letter.isalnum() or letter == "-")


def _flags(row: ProviderRow) -> Iterator[str]:
    """The terms that an operator wants to see, in words."""
    words = {
        "trains on your data": row.terms.trains_on_data,
        "not for production": row.terms.non_production,
        "restricted in the EEA": row.terms.eea_restricted,
    }
    yield from (word for word, holds in words.items() if holds)
    if row.retired_on is not None:
        yield f"announced to end on {row.retired_on}"


def _section(row: ProviderRow) -> Iterator[str]:
    """One provider."""
    yield f"## {row.name}"
    yield ""
    for name, value in _facts(row):
        yield f"- {name}: {value}"
    if row.limits:
        yield ""
        yield "| limit | window | counted per | models |"
        yield "|---:|---|---|---|"
        yield from (_limit(limit) for limit in row.limits)


def _facts(row: ProviderRow) -> Iterator[tuple[str, str]]:
    """Name and value of each line of a section."""
    yield "id", f"`{row.id}`"
    yield "keys", _code([f"{row.id.upper()}_API_KEY", f"{row.id.upper()}_API_KEYS", *row.key_env]) + _key_note(row)
    yield "base URL", f"`{row.base_url}`, changed by {_code([f'{row.id.upper()}_BASE_URL', *row.base_url_env])}"
    if row.variables:
        yield "also needed", _code(row.variables.values()) + " for the base URL, unless that is given in full"
    both = f"{row.native_dialect}, and OpenAI's for requests in that dialect"
    yield "dialect", row.dialect if row.native_dialect == row.dialect else both
    yield "default model", f"`{row.default_model}`" if row.default_model else "none: name one"
    yield "models", _models(row)
    opaque = [operation for operation in OPAQUE_OPERATIONS if getattr(row.paths, operation)]
    if opaque:
        yield "[passed through](passthrough.md)", _code(opaque)
    if not row.limits:
        yield "free-tier limits", "none that can be counted"
    if row.limit_headers:
        yield "limits told by answers", ", ".join(_told(headers) for headers in row.limit_headers)
    if row.terms.note or any(_flags(row)):
        yield "terms", "; ".join(filter(None, [*_flags(row), row.terms.note]))
    yield "check of a key", _probe(row)
    yield "verified", str(row.verified_at) + (f", see <{row.docs_url}>" if row.docs_url else "")


def _told(row: LimitHeadersRow) -> str:
    """What one limit's headers count, and where they say it."""
    window = f"per {row.window}" if row.window else "with their window"
    return f"{row.unit.replace('_', ' ')} {window} (`{row.policy or row.limit or row.remaining}`)"


def _key_note(row: ProviderRow) -> str:
    """What a key looks like, or that none is needed."""
    if row.auth.optional:
        return " (optional)"
    return f" (a key begins with {_code(row.key_prefixes, ' or ')})" if row.key_prefixes else ""


def _models(row: ProviderRow) -> str:
    """Listed models and the names beyond them that find this provider."""
    parts = [_code(model.id for model in row.models)] if row.models else []
    if row.open_models:
        parts.append("any other name" if row.models else "any name")
    elif row.model_prefixes:
        parts.append("names that begin with " + _code(row.model_prefixes))
    return "; ".join(parts)


def _probe(row: ProviderRow) -> str:
    """How a key is validated, and what that does not show."""
    if row.probe.method == "none":
        return f"no free call. {row.probe.limits_of}"
    what = f"`{row.probe.method} {row.probe.path}` proves that {row.probe.proves}."
    unseen = row.probe.limits_of
    return f"{what} It does not show: {unseen[0].lower()}{unseen[1:]}" if unseen else what


def _limit(limit: LimitRow) -> str:
    """One row of a table of limits."""
    unit = limit.unit.replace("_", " ")
    return f"| {limit.amount:,} {unit} | {limit.window} | {', '.join(limit.scope)} | {_code(limit.models) or 'all'} |"


def _prices(rows: Iterable[ProviderRow], file: PriceFile) -> Iterator[str]:
    """The table of prices: a line for each model of the catalogue, and one for servers of the operator's own."""
    yield "| provider | model | input | output | price by |"
    yield "|---|---|---:|---:|---|"
    for row in rows:
        listed = file.list_prices(row, private=row.local)
        if row.price.unbilled:
            yield f"| `{row.id}` | any, at a private address | 0 | 0 | {LOCAL} |"
        yield from (_model_price(row, model, listed.find(model.id)) for model in row.models)


def _model_price(row: ProviderRow, model: ModelRow, price: Price | None) -> str:
    if price is None:
        return f"| `{row.id}` | `{model.id}` |  |  | unpriced |"
    at_s = dt.datetime.combine(row.verified_at, dt.time(12), dt.UTC).timestamp()
    rates = price.base(at_s)
    each = f" and {rates.request:g} per request" if rates.request else ""
    varies = ", varies" if len(price.periods) > 1 or any(period.tiers for period in price.periods) else ""
    return f"| `{row.id}` | `{model.id}` | {rates.input:g}{each} | {rates.output:g} | {price.version}{varies} |"


def _code(words: Iterable[str], separator: str = ", ") -> str:
    """Words in code type."""
    return separator.join(f"`{word}`" for word in words)


if __name__ == "__main__":
    main()
