"""The tables, the same in SQLite and PostgreSQL.

Rows are only ever inserted, sums only ever added to. What is read often is read from sums: `usage_minutes`, `…_hours`
and `…_days` have a row per start and combination of provider, model, key, client and category; charts never touch
`requests`. An index costs as much as a fourth of the row itself, so `requests` has its primary key, by which it is
ordered in time, and two partial ones for what is rare. A list that filters by provider, model, key or client looks up
in the sums where in time there is anything to be found, and reads there.

`used_seconds`, `…_minutes`, `…_quarters` and `…_totals` are what the ledger is rebuilt from. Times are UTC: `…_s` epoch
seconds, `…_ms` epoch milliseconds (durations where the name has no other part); money is billionths of a US dollar
(`nanos`) or, as the ledger counts, millionths (`micros`). A request belongs to the minute, hour and day in which it
began, as its id says.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS

_PREFIX = "req_"
_TIME_DIGITS, _OTHER_DIGITS = 12, 20


def id_floor(ms: int) -> str:
    """The lowest id of a request that began in this millisecond (epoch): ranges of time are ranges of ids."""
    return f"{_PREFIX}{max(0, ms):0{_TIME_DIGITS}x}{'0' * _OTHER_DIGITS}"


class RequestId(TypeDecorator[str]):
    """A request's id (`req_` and 32 hex digits) as its 16 bytes: `uuid` in PostgreSQL, a blob in SQLite.

    Both compare it byte by byte, so that ids sort by time.
    """

    impl = sa.LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type in this database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.Uuid(as_uuid=False))
        return dialect.type_descriptor(sa.LargeBinary(16))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """An id as the driver takes it."""
        if value is None:
            return None
        digits = value.removeprefix(_PREFIX)
        return digits if dialect.name == "postgresql" else bytes.fromhex(digits)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """An id as the rest of Keyrelay writes it."""
        if value is None:
            return None
        digits: str = value.replace("-", "") if dialect.name == "postgresql" else value.hex()
        return _PREFIX + digits


VERSIONS = ("0001", "0002", "0003", "0004")
"""Every version of these tables that there has been, the present one last; `migrations` leads from one to the next."""

VERSION_TABLE = "keyrelay_version"

METADATA = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any] | sa.Index) -> sa.Table:
    """A table whose rows SQLite keeps in the order of the primary key, without a second tree for it."""
    return sa.Table(name, METADATA, *columns, sqlite_with_rowid=False)


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=False)


def _count(name: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=primary_key, nullable=False, autoincrement=False)


def _ms(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


REQUESTS = _table(
    "requests",
    sa.Column("id", RequestId, primary_key=True, nullable=False),
    _count("started_ms"),
    _count("ended_ms"),
    _text("client"),
    _text("operation"),
    _text("model_asked"),
    _text("provider"),
    _text("key"),
    _text("model"),
    sa.Column("status", sa.Integer, nullable=False),
    _text("category"),
    sa.Column("stream", sa.Boolean, nullable=False),
    _text("cached"),
    _ms("ms"),
    _ms("upstream_ms"),
    _ms("waited_ms"),
    _ms("first_token_ms", nullable=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    _count("input_tokens"),
    _count("output_tokens"),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("cost_nanos", sa.BigInteger),
    _text("price_version"),
    sa.Column("sent_ms", sa.BigInteger),
    sa.Column("usd_micros", sa.BigInteger),
    sa.Index(
        "requests_by_category",
        "category",
        "id",
        sqlite_where=sa.text("category <> ''"),
    ),
    sa.Index(
        "requests_by_status",
        "status",
        "id",
        sqlite_where=sa.text("status <> 200"),
    ),
)
"""A request each. `cost_nanos` is NULL without a price. `sent_ms` is when its only call was sent, if this row says
everything about that: it answered, took `upstream_ms`, and the ledger counted one request, the tokens that are here and
`usd_micros` (NULL for none); then it has no row in `attempts`. The partial indexes serve a query only if it repeats
their condition (`category = :category AND category <> ''`)."""

ATTEMPTS = _table(
    "attempts",
    sa.Column("request_id", RequestId, primary_key=True, nullable=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, nullable=False, autoincrement=False),
    _count("sent_ms"),
    _ms("ms"),
    _text("provider"),
    _text("key"),
    _text("model"),
    _text("kind"),
    _text("scope"),
    sa.Column("http_status", sa.Integer, nullable=False),
    _text("message"),
    _count("requests"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("usd_micros"),
    _count("units"),
)
"""A request's attempts, from `ordinal` 0; none where `requests.sent_ms` is there. `kind` and `scope` are empty for one
that answered."""

USAGE_KEY = ("start_s", "provider", "model", "key", "client", "category")
"""The columns that tell the rows of a roll-up apart."""

USAGE_SUMS = (
    "requests",
    "failed",
    "cached",
    "estimated",
    "unpriced",
    "streams",
    "attempts",
    "retried",
    "input_tokens",
    "output_tokens",
    "cost_nanos",
    "ms_sum",
    "first_token_ms_sum",
    "first_tokens",
)
"""The sums of a roll-up. `failed`: with a category; `unpriced`: tokens of a provider without a price; `retried`: more
than one attempt; `first_tokens`: requests that `first_token_ms_sum` is over. Sums of milliseconds are whole."""

LATENCY_COLUMNS = tuple(f"latency_{place:02}" for place in range(len(LATENCY_MS) + 1))
"""How many requests took how long (`core.histograms.LATENCY_MS`)."""

FIRST_TOKEN_COLUMNS = tuple(f"first_token_{place:02}" for place in range(len(FIRST_TOKEN_MS) + 1))
"""How many streams took how long to their first token (`core.histograms.FIRST_TOKEN_MS`)."""


def _usage_table(name: str) -> sa.Table:
    columns: list[sa.Column[Any]] = [_count("start_s", primary_key=True)]
    columns += (_text(column, primary_key=True) for column in USAGE_KEY[1:])
    columns += (_count(column) for column in USAGE_SUMS)
    columns += (
        sa.Column(column, sa.Integer, nullable=False, server_default=sa.text("0"))
        for column in (*LATENCY_COLUMNS, *FIRST_TOKEN_COLUMNS)
    )
    return _table(name, *columns)


USAGE_MINUTES = _usage_table("usage_minutes")
USAGE_HOURS = _usage_table("usage_hours")
USAGE_DAYS = _usage_table("usage_days")

USED_SUMS = ("requests", "input_tokens", "output_tokens", "usd_micros", "units")
"""What the ledger counts."""


def _used_table(name: str, *key: sa.Column[Any]) -> sa.Table:
    place = (_text(column, primary_key=True) for column in ("provider", "key", "model"))
    return _table(name, *key, *place, _count("last_ms"), *(_count(column) for column in USED_SUMS))


USED_SECONDS = _used_table("used_seconds", _count("start_s", primary_key=True))
USED_MINUTES = _used_table("used_minutes", _count("start_s", primary_key=True))
USED_QUARTERS = _used_table("used_quarters", _count("start_s", primary_key=True))
USED_TOTALS = _used_table("used_totals")
"""What attempts used: per second, minute and quarter of an hour in which they ended, and for all time. `last_ms` is
when the latest did. Days begin with a quarter of an hour in every time zone."""

KEYS_SEEN = _table(
    "keys_seen",
    _text("provider", primary_key=True),
    _text("label", primary_key=True),
    _text("fingerprint", primary_key=True),
    _count("first_seen_s"),
    _count("last_seen_s"),
)
"""Every key that was ever configured, so that old rows can be understood."""

STATES = _table(
    "states",
    _text("name", primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    _count("updated_s"),
)
"""Small snapshots of what was learned, each written whole."""

VAULT_RING = _table(
    "vault_ring",
    _text("name", primary_key=True),
    _count("generation"),
    sa.Column("value", sa.LargeBinary, nullable=False),
    _count("updated_s"),
)
"""The vault's key ring, one row: data keys, wrapped by a master key that is not here. `generation` counts changes."""

TEXTS = sa.Table(
    "texts",
    METADATA,
    sa.Column("id", RequestId, primary_key=True, nullable=False),
    sa.Column("request", sa.LargeBinary),
    sa.Column("answer", sa.LargeBinary),
)
"""Prompts and answers of requests, sealed by the vault (`core.kept_texts`). Values are long, so SQLite keeps its rows
apart from the tree of ids."""

ENTRIES = _table(
    "entries",
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
"""What people administer: a document in JSON without secrets, and the secret as the vault has sealed it."""

REVISIONS = _table("revisions", _text("name", primary_key=True), _count("value"))
"""How often something was changed, by name."""

AUDIT = _table(
    "audit",
    sa.Column("id", RequestId, primary_key=True, nullable=False),
    _count("at_ms"),
    _text("actor"),
    _text("action"),
    _text("kind"),
    _text("entry"),
    sa.Column("before", sa.LargeBinary, nullable=False),
    sa.Column("after", sa.LargeBinary, nullable=False),
    _text("address"),
)
"""Every change of an entry, and every attempt to sign in. Rows are only ever added, and deleted when they are old."""

SESSIONS = _table(
    "sessions",
    sa.Column("digest", sa.LargeBinary, primary_key=True, nullable=False),
    _text("user"),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("seen_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
    _text("address"),
)
"""Who has signed in, by the SHA-256 of what the cookie holds."""

GUESSES = _table(
    "guesses", _text("name", primary_key=True), _count("wrong"), sa.Column("last_s", sa.Double, nullable=False)
)
"""Wrong guesses at passwords in a row, by what they are counted for."""

ALERTS = _table(
    "alerts",
    sa.Column("id", RequestId, primary_key=True, nullable=False),
    sa.Column("waiting", sa.Boolean, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Index(
        "alerts_waiting",
        "id",
        sqlite_where=sa.text("waiting"),
    ),
)
"""Messages on alerts with what became of them, each a document in JSON; `waiting` ones are still to be delivered."""


def prepare_for_postgres() -> None:
    """Let the indexes that hold only some of the rows do so in PostgreSQL too; before anything is asked of it.

    SQLAlchemy loads the whole of a dialect as soon as one of its options is named, and that takes 2 MB: so a process
    that keeps its rows in SQLite never names one.
    """
    for table in METADATA.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
