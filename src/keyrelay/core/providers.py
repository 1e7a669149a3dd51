"""A provider is a row: the types of the catalogue's data files.

The rows stand in `upstream/catalogue/*.toml`; `upstream.catalogue` reads them into these types and refuses a
wrong file with file, row and field. What a field means is said here, so that a row can be written from this page.
"""

import datetime as dt
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

import msgspec

from keyrelay.core.failures import FailureKind, FailureScope
from keyrelay.core.limits import ScopePart, Unit

Operation = Literal[
    "chat",
    "completions",
    "embeddings",
    "images",
    "speech",
    "moderations",
    "rerank",
    "image_edits",
    "image_variations",
    "transcriptions",
    "translations",
    "files",
]
"""What a caller wants done; each has its path at a provider."""

FORM_OPERATIONS: tuple[Operation, ...] = ("image_edits", "image_variations", "transcriptions", "translations")
"""Those that are asked with a form that holds files."""

OPAQUE_OPERATIONS: tuple[Operation, ...] = ("images", "speech", "moderations", "rerank", *FORM_OPERATIONS, "files")
"""Those of OpenAI's dialect that go through as they are and have no counterpart in any other."""

OPERATIONS: tuple[Operation, ...] = ("chat", "completions", "embeddings", *OPAQUE_OPERATIONS)

ProviderDialect = Literal["openai", "anthropic", "gemini", "cohere", "ollama"]
"""The wire formats that providers speak."""

PROVIDER_DIALECTS: tuple[ProviderDialect, ...] = ("openai", "anthropic", "gemini", "cohere", "ollama")

Capability = Operation | Literal["tools", "json", "json_schema", "vision", "reasoning"]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all catalogue rows: immutable, keyword-only, unknown fields refused."""


class AuthRow(Row, frozen=True):
    """How the key travels: `header: prefix + key`. `optional` providers also work without any key."""

    header: str = "authorization"
    prefix: str = "Bearer "
    optional: bool = False


class PathsRow(Row, frozen=True):
    """Path of each operation below the base URL; empty where the provider has none."""

    chat: str = "/chat/completions"
    completions: str = ""
    embeddings: str = ""
    images: str = ""
    image_edits: str = ""
    image_variations: str = ""
    speech: str = ""
    transcriptions: str = ""
    translations: str = ""
    moderations: str = ""
    rerank: str = ""
    files: str = ""
    models: str = "/models"


class NativeRow(Row, frozen=True):
    """How a dialect that is not OpenAI's is spoken, wherever it is: paths below the base URL, key, headers.

    Paths may hold `{model}`. `stream` is where streams go when that is another one.
    """

    chat: str
    stream: str = ""
    embeddings: str = ""
    auth: AuthRow = AuthRow()
    headers: dict[str, str] = {}


NATIVE: Mapping[str, NativeRow] = MappingProxyType(
    {
        # The newer version 2026-10-21 refuses temperature, top_p and top_k.
        "anthropic": NativeRow(
            chat="/v1/messages",
            auth=AuthRow(header="x-api-key", prefix=""),
            headers={"anthropic-version": "2023-06-01"},
        ),
        # v1 does not have the previews.
        "gemini": NativeRow(
            chat="/v1beta/models/{model}:generateContent",
            stream="/v1beta/models/{model}:streamGenerateContent?alt=sse",
            embeddings="/v1beta/models/{model}:batchEmbedContents",
            auth=AuthRow(header="x-goog-api-key", prefix=""),
        ),
        "cohere": NativeRow(chat="/v2/chat", embeddings="/v2/embed"),
        "ollama": NativeRow(chat="/api/chat", embeddings="/api/embed"),
    }
)
"""The dialects of `ProviderRow.dialect` besides OpenAI's."""


class QuirksRow(Row, frozen=True):
    """Parameter rules as data, applied to the top level of a request body in the dialect that is spoken, in this order.

    `rename` old name → new name, `drop` names removed, `clamp` name → values allowed (anything else is
    removed), `defaults` name → value set when the caller gave none. `strip_tool_schema` lists JSON Schema
    keywords that the provider rejects in tool parameters. `model_prefix` is put before a model name that lacks it.
    """

    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    clamp: dict[str, tuple[str, ...]] = {}
    defaults: dict[str, str | int | float | bool] = {}
    strip_tool_schema: tuple[str, ...] = ()
    model_prefix: str = ""


class ModelQuirksRow(QuirksRow, frozen=True):
    """Rules for some models, on top of their provider's: names, or patterns with `*` in them, in lower case."""

    models: tuple[str, ...] = ()


class HabitsRow(Row, frozen=True):
    """What a provider of OpenAI's dialect takes inside of messages, where quirks do not see.

    `thoughts` is the member of an assistant's message that takes thoughts back, `content` for a part of its content,
    empty for none. `needs_thoughts`: it refuses an assistant's message without them. `strict`: it refuses members that
    it does not know. `own`: it knows what only OpenAI has (custom tools, `allowed_tools`, `refusal`). `short_ids`: a
    call's id has nine letters or digits. `signs_calls`: it takes Gemini's signatures. `takes_cache_marks`,
    `takes_top_k` say what it takes beyond OpenAI. `system_first`: it takes system messages at the beginning only.
    `inline_thoughts` are models, by name or by patterns with `*` in them, in lower case, that write their thoughts
    into the words of an answer, between `<think>` and `</think>`.
    """

    thoughts: Literal["", "reasoning_content", "reasoning", "reasoning_details", "content"] = ""
    needs_thoughts: bool = False
    strict: bool = False
    own: bool = False
    short_ids: bool = False
    signs_calls: bool = False
    takes_cache_marks: bool = False
    takes_top_k: bool = False
    system_first: bool = False
    inline_thoughts: tuple[str, ...] = ()


class StreamRow(Row, frozen=True):
    """How a stream behaves.

    `usage`: `include_usage` when `stream_options.include_usage` has to be sent, `always` when usage comes by
    itself, `never` when it never comes. `terminator`: `done` when only `[DONE]` ends a whole answer, `any` when
    a finish reason and a clean end of the body are enough.
    """

    usage: Literal["include_usage", "always", "never"] = "include_usage"
    terminator: Literal["done", "any"] = "done"


class LimitRow(Row, frozen=True):
    """One limit of the free tier (see `core.limits.Limit`); `window` is text such as `60s` or `day@UTC`."""

    unit: Unit
    amount: int
    window: str
    scope: tuple[ScopePart, ...] = (ScopePart.ACCOUNT, ScopePart.MODEL)
    models: tuple[str, ...] = ()


class LimitHeadersRow(Row, frozen=True):
    """One limit as the headers of an answer tell it; which header means which unit and window differs by provider.

    `unit`, `window` (text such as `60s`) and `scope` are what the limit counts. `limit`, `remaining` and `reset` are
    header names in lower case, empty where the provider sends none. A reset is read in any format (Go durations, RFC
    3339, epoch seconds or milliseconds); `reset_unit` is the unit of a bare small number. With `policy`, the name of a
    header in the form of the IETF's draft (`"default";q=100;w=60`), quota and window are read from there and `window`
    is empty; `limit` then names the draft's `ratelimit` header.
    """

    unit: Unit
    window: str = ""
    limit: str = ""
    remaining: str = ""
    reset: str = ""
    reset_unit: Literal["s", "ms"] = "s"
    policy: str = ""
    scope: tuple[ScopePart, ...] = (ScopePart.ACCOUNT, ScopePart.MODEL)


class ModelRow(Row, frozen=True):
    """One model; without `capabilities` nothing is known of what it can do.

    Prices are list prices in USD per million tokens, base tier, as `price_source` gave them; they count where the price
    list has none. `units_…` is what the model takes of the provider's own measure (neurons, credits), per million
    tokens and per request, where that does not follow from the price (`PriceRow.units_per_usd`).
    """

    id: str
    aliases: tuple[str, ...] = ()
    context_tokens: int = 0
    max_output_tokens: int = 0
    capabilities: tuple[Capability, ...] = ("chat",)
    price_input_usd_per_mtok: float | None = None
    price_output_usd_per_mtok: float | None = None
    price_source: str = ""
    units_input_per_mtok: float | None = None
    units_output_per_mtok: float | None = None
    units_per_request: float | None = None

    @property
    def counts_units(self) -> bool:
        """Whether it says what the model takes of the provider's own measure."""
        return any((self.units_input_per_mtok, self.units_output_per_mtok, self.units_per_request))


class FailureRow(Row, frozen=True):
    """One row of an ordered failure table: the first row whose tests all hold decides.

    Tests (each empty test holds): `status` any of; `code` any of, compared in lower case with the body's code,
    type, status and reason; `message` a regular expression searched, without regard to case, in the extracted
    message; `detail` the same in the machine-readable details (Gemini's quotaId, OpenRouter's limit_source).
    Consequence: `kind`, `scope`, and `rest` (`none`, `hint`, `day`, `month`, `manual`, or a duration such as
    `30s`, `10m`, `6h`); `rest_default` is the duration when `hint` finds no hint. `why` says why the row stands
    where it stands.
    """

    kind: FailureKind
    scope: FailureScope
    rest: str = "none"
    rest_default: str = "30s"
    status: tuple[int, ...] = ()
    code: tuple[str, ...] = ()
    message: str = ""
    detail: str = ""
    why: str = ""


class ProbeRow(Row, frozen=True):
    """A call that proves a key at no cost. `path` may be absolute (`https://…`) on the provider's own hosts.

    `proves` says what a 200 means, `limits_of` what it does not prove. Some providers answer 200 for any key and say in
    the body what it is worth: `holds` names members (dots lead inward) and what they are of a good key, `credit` those
    that are true, or a number above 0, while the account can pay; where one of them is missing or null, it says
    nothing.
    """

    method: Literal["GET", "POST", "none"] = "GET"
    path: str = "/models"
    holds: dict[str, str | bool] = {}
    credit: tuple[str, ...] = ()
    proves: str = "the key is alive"
    limits_of: str = ""


class TermsRow(Row, frozen=True):
    """Flags from the provider's terms that an operator wants to see before using it."""

    trains_on_data: bool = False
    non_production: bool = False
    eea_restricted: bool = False
    free_tier: bool = False
    note: str = ""


class PriceRow(Row, frozen=True):
    """Where prices of this provider are looked up: its names in genai-prices and in LiteLLM's price file.

    `unbilled` marks a server of the operator's own whose models cost nothing. `units_per_usd` is how much of the
    provider's own measure one US dollar of list price is, where it bills every model in that measure.
    """

    genai_prices_id: str = ""
    litellm_prefix: str = ""
    unbilled: bool = False
    units_per_usd: float | None = None


class ProviderRow(Row, frozen=True):
    """One provider of the catalogue.

    `base_url` has the form that the provider's official SDK takes and may hold `{name}` for each entry of
    `variables` (name → environment variable). `key_env` are environment names for a key besides
    `<ID>_API_KEY` and `<ID>_API_KEYS`. A key begins with one of `key_prefixes`, or is whole one of `key_patterns`
    (regular expressions), as far as is known: a hint, never a test. `native_dialect` is its own; `dialect` is the one
    in which requests of OpenAI's dialect go to it: OpenAI's where it has a compatible endpoint that is as good, whose
    paths are `paths`.
    `day_zone` is the IANA zone of its calendar day and month. Lower `priority` is tried first.
    `model_prefixes` lets unlisted names (`gemini-1.0-pro`) find this provider; `open_models` accepts any name.
    `local` marks a server of the operator's own: no quota, private addresses, slow first answer.
    `day_rolls` says that what the provider calls a day is the last 24 hours, not a calendar day. `refused_counts`:
    a call refused with 429 uses up a request all the same; true where nobody knows, since that is the safe side.
    `insists`: it refuses a conversation in which a call of a tool comes back without the thoughts or the signature that
    came with it. `organisation_headers` name, in lower case, the headers in which answers say whose key it was.
    `file_purposes` are those for which it keeps files; none named: any.
    """

    id: str
    name: str
    base_url: str
    verified_at: dt.date
    priority: int
    dialect: ProviderDialect = "openai"
    native_dialect: ProviderDialect = "openai"
    enabled: bool = True
    retired_on: dt.date | None = None
    variables: dict[str, str] = {}
    key_env: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    key_prefixes: tuple[str, ...] = ()
    key_patterns: tuple[str, ...] = ()
    extra_headers: dict[str, str] = {}
    auth: AuthRow = AuthRow()
    paths: PathsRow = PathsRow()
    quirks: QuirksRow = QuirksRow()
    model_quirks: tuple[ModelQuirksRow, ...] = ()
    habits: HabitsRow = HabitsRow()
    stream: StreamRow = StreamRow()
    day_zone: str = "UTC"
    default_model: str = ""
    model_prefixes: tuple[str, ...] = ()
    open_models: bool = False
    local: bool = False
    first_byte_timeout_s: float | None = None
    day_rolls: bool = False
    refused_counts: bool = True
    insists: bool = False
    organisation_headers: tuple[str, ...] = ()
    file_purposes: tuple[str, ...] = ()
    limits: tuple[LimitRow, ...] = ()
    limit_headers: tuple[LimitHeadersRow, ...] = ()
    models: tuple[ModelRow, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    probe: ProbeRow = ProbeRow()
    terms: TermsRow = TermsRow()
    price: PriceRow = PriceRow()
    docs_url: str = ""

    def quirks_of(self, model: str) -> QuirksRow:
        """The rules for a model: its provider's, and those for it alone, which come later and so decide."""
        merged = self.quirks
        for rules in self.model_quirks:
            if any(fnmatchcase(model.lower(), pattern) for pattern in rules.models):
                merged = QuirksRow(
                    rename={**merged.rename, **rules.rename},
                    drop=(*merged.drop, *rules.drop),
                    clamp={**merged.clamp, **rules.clamp},
                    defaults={**merged.defaults, **rules.defaults},
                    strip_tool_schema=(*merged.strip_tool_schema, *rules.strip_tool_schema),
                    model_prefix=rules.model_prefix or merged.model_prefix,
                )
        return merged
