"""Every setting of Keyrelay itself: one table of name, default, bounds and one line of help.

The environment, `keyrelay.toml`, the command line, `docs/configuration.md` and the tests all read `SETTINGS`. A
name carries its unit. `Settings` holds the values that are in force; a test keeps table and struct in step.
"""

from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from keyrelay.core.configuration import CacheMode, PolicyName
from keyrelay.core.secrets import Secret

PREFIX = "KEYRELAY_"

DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+asyncpg://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://")
"""With what the addresses of stores begin."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
TokenCounterName = Literal["heuristic", "tiktoken"]
CacheScope = Literal["client", "shared"]
KeepTexts = Literal["off", "errors", "all"]
MasterKeySourceName = Literal["file", "keyring"]


class Kind(StrEnum):
    """How the text of a setting is read."""

    TEXT = "text"
    NUMBER = "whole number"
    SECONDS = "seconds"
    SWITCH = "switch"
    CHOICE = "choice"
    PATH = "path"
    LIST = "comma list"


class Setting(msgspec.Struct, frozen=True):
    """One row: `default` as text, bounds inclusive, `extra_names` further environment names after the own one."""

    name: str
    kind: Kind
    default: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    extra_names: tuple[str, ...] = ()
    secret: bool = False
    own_file: bool = False
    """Of a secret: the name with `_FILE` is a setting in its own right."""

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names under which the environment may hold it, the first one wins."""
        return (PREFIX + self.name.upper(), *self.extra_names)

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which the environment may say which file holds it; none but for a secret."""
        return tuple(f"{name}_FILE" for name in self.environment_names if self._in_file and name.isupper())

    @property
    def _in_file(self) -> bool:
        return self.secret and not self.own_file

    @property
    def expected(self) -> str:
        """What would be right, as the end of a sentence."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is Kind.SWITCH:
            return "true or false"
        if self.minimum is None or self.maximum is None:
            return f"a {self.kind}"
        noun = "a number of seconds" if self.kind is Kind.SECONDS else f"a {self.kind}"
        return f"{noun} from {self.minimum:.15g} to {self.maximum:.15g}"


def _number(name: str, default: int, bounds: tuple[int, int], text: str, *extra_names: str) -> Setting:
    return Setting(name, Kind.NUMBER, str(default), text, *bounds, extra_names=extra_names)


def _seconds(name: str, default: float, bounds: tuple[float, float], text: str) -> Setting:
    return Setting(name, Kind.SECONDS, f"{default:g}", text, *bounds)


def _choice(name: str, default: str, choices: tuple[str, ...], text: str) -> Setting:
    return Setting(name, Kind.CHOICE, default, text, choices=choices)


_DAY_S = 86_400
_GIB = 1024**3

SETTINGS: tuple[Setting, ...] = (
    # Where it listens and where its files are.
    Setting("host", Kind.TEXT, "127.0.0.1", "Address to listen on; beyond this machine only with clients configured."),
    _number("port", 8787, (0, 65_535), "Port to listen on; 0 takes a free one.", "PORT"),
    Setting(
        "data_dir",
        Kind.PATH,
        "~/.local/share/keyrelay",
        "Directory of what Keyrelay keeps; by default `$XDG_DATA_HOME/keyrelay` where that is set.",
    ),
    Setting(
        "config_file",
        Kind.PATH,
        "keyrelay.toml",
        "Configuration file; the default one may be missing, a named one may not.",
        extra_names=("KEYRELAY_CONFIG",),
    ),
    Setting("env_file", Kind.PATH, ".env", "File of environment variables; a real variable wins over it."),
    # Log.
    _choice("log_level", "info", ("debug", "info", "warning", "error"), "Least severity that is logged."),
    _choice("log_format", "auto", ("auto", "json", "text"), "Form of the log; `auto`: text on a terminal, else JSON."),
    # Routing.
    _choice(
        "policy",
        PolicyName.ROUND_ROBIN.value,
        tuple(policy.value for policy in PolicyName),
        "How candidates of equal priority are ordered.",
    ),
    Setting(
        "fallback",
        Kind.LIST,
        "",
        "Targets (`provider/model`) that serve a request when nothing else can, for example `ollama/llama3.2`.",
    ),
    # Deadlines.
    _seconds("connect_timeout_s", 3, (0.05, 120), "Longest wait for a connection to a provider, TLS included."),
    _seconds("first_byte_timeout_s", 60, (0.1, 3600), "Longest wait for a stream's first content."),
    _seconds("answer_timeout_s", 300, (0.1, 7200), "Longest wait for an answer that is not streamed."),
    _seconds("content_gap_timeout_s", 60, (0.1, 3600), "Longest silence between two pieces of a stream's content."),
    _seconds("total_timeout_s", 600, (0.1, _DAY_S), "Longest time for a request with all its attempts."),
    _seconds("body_timeout_s", 30, (0.1, 3600), "Longest time for a caller to send the request's body."),
    _seconds("drain_timeout_s", 60, (0, 3600), "Longest time for running requests to end when Keyrelay stops."),
    # Bounds on what is read.
    _number("max_body_bytes", 33_554_432, (1024, _GIB), "Largest request body that is accepted."),
    _number("max_upload_bytes", 209_715_200, (1024, 64 * _GIB), "Largest form with files that is accepted."),
    _number(
        "max_spool_bytes", 2 * _GIB, (1024, 1024 * _GIB), "Bytes that forms under way may take in `data_dir` together."
    ),
    _number("max_answer_bytes", 16_777_216, (1024, _GIB), "Largest answer that is taken from a provider in one piece."),
    _number("max_body_depth", 64, (4, 512), "Deepest nesting of a request's JSON."),
    _number("max_event_bytes", 4_194_304, (1024, _GIB), "Largest single event of a stream."),
    # Retries and circuits.
    _number(
        "retry_attempts",
        3,
        (1, 20),
        "Attempts at providers that fail; rotation over limited keys is not counted, nor are providers never reached.",
    ),
    _number("retry_budget_percent", 10, (0, 100), "Retries as a share of recent requests, in percent."),
    _number("retry_budget_floor", 3, (0, 1000), "Retries that are always allowed, however few the requests."),
    _number("circuit_failures", 5, (1, 1000), "Failures in a row that take a provider out of service."),
    _seconds("circuit_open_s", 30, (0.1, _DAY_S), "Time a failing provider is left alone at first."),
    _seconds("circuit_open_max_s", 300, (0.1, _DAY_S), "Time a failing provider is left alone at most."),
    # Asking after keys and providers by calls that cost nothing.
    _seconds(
        "health_probe_every_s",
        0,
        (0, 30 * _DAY_S),
        "How often a key without traffic is tested by its provider's free call; 0: never.",
    ),
    _seconds(
        "health_recovery_probe_s",
        5,
        (0, 3600),
        "How soon a provider that keeps failing is asked by its free call, ever less often; 0: never.",
    ),
    _number("health_probes_per_day", 288, (0, 86_400), "Such calls with one key in a day at most; 0: none."),
    # Waiting for quota.
    _seconds("max_wait_s", 30, (0, _DAY_S), "Longest wait for quota of a request that names no deadline; 0: none."),
    _number("max_waiting", 1000, (0, 1_000_000), "Requests that may wait for quota at a time."),
    _number("max_waiting_bytes", 268_435_456, (0, 64 * _GIB), "Bytes that the bodies of those may have together."),
    _seconds("reset_jitter_s", 1, (0, 60), "Those who wait for a reset go at random within this time after it."),
    _seconds("waiting_comment_s", 10, (0.05, 3600), "How often a caller of a stream is told that it still waits."),
    _choice(
        "token_counter",
        "heuristic",
        ("heuristic", "tiktoken"),
        "How prompts are counted before they are sent; `tiktoken`: exactly, where its vocabularies are at hand.",
    ),
    _number("completion_percentile", 75, (1, 100), "Share of a model's answers, in percent, that reservations cover."),
    # Connections.
    _number("max_connections_per_provider", 512, (1, 65_535), "Connections to one provider at a time."),
    Setting(
        "upstream_proxy",
        Kind.TEXT,
        "",
        "HTTP proxy for calls to providers, `http://[user:password@]host:port`; `none` for no proxy at all.",
        extra_names=("HTTPS_PROXY", "https_proxy"),
        secret=True,
    ),
    Setting(
        "no_proxy",
        Kind.LIST,
        "",
        "Hosts that are reached without the proxy.",
        extra_names=("NO_PROXY", "no_proxy"),
    ),
    Setting(
        "allow_private_addresses",
        Kind.SWITCH,
        "false",
        "Whether what is administered by API may lead to this machine and to private networks.",
    ),
    Setting(
        "allowed_networks",
        Kind.LIST,
        "",
        "Networks and addresses, none of them public, that what is administered by API may lead to all the same.",
    ),
    Setting(
        "trusted_proxies",
        Kind.LIST,
        "",
        "Networks and addresses of proxies in front, whose `x-forwarded-for` says where people come from.",
    ),
    _number("max_concurrent_requests", 10_000, (1, 1_000_000), "Requests in progress at a time; more are refused."),
    # Answers.
    Setting("answer_headers", Kind.SWITCH, "true", "Whether answers carry the `x-keyrelay-…` headers."),
    # What is kept.
    Setting(
        "database_url",
        Kind.TEXT,
        "",
        "Where usage is kept: `postgresql://user:password@host/name`; by default an SQLite file in the data directory.",
        extra_names=("DATABASE_URL",),
        secret=True,
    ),
    _number("keep_requests_days", 90, (1, 36_500), "Days after which the rows of single requests are deleted."),
    _number("keep_minutes_days", 14, (1, 36_500), "Days after which sums per minute are deleted."),
    _number("keep_hours_days", 400, (1, 36_500), "Days after which sums per hour are deleted; those per day stay."),
    _number(
        "keep_audit_days",
        400,
        (30, 36_500),
        "Days after which lines of the log of changes are deleted; it can only be set on the machine.",
    ),
    _number(
        "journal_max_bytes",
        1_073_741_824,
        (16_777_216, 1024 * _GIB),
        "Bytes of journal that may wait for the store; beyond them requests are refused rather than forgotten.",
    ),
    Setting(
        "journal_fsync",
        Kind.SWITCH,
        "false",
        "Whether an answer waits until its row is on the disk, and so survives a loss of power.",
    ),
    # Prompts and answers, and the key that encrypts them.
    _choice(
        "keep_texts",
        "off",
        ("off", "errors", "all"),
        "Prompts and answers that are kept, encrypted; `errors`: of requests that did not end well. Off: none, ever.",
    ),
    _number("keep_texts_days", 7, (1, 36_500), "Days after which those are deleted."),
    _number("keep_texts_max_bytes", 65_536, (256, 4_194_304), "Bytes kept of a prompt, and as many of an answer."),
    Setting(
        "master_key",
        Kind.TEXT,
        "",
        "Master key of what is encrypted: 32 random bytes in base64 or hex; instead of `master_key_file`.",
        secret=True,
        own_file=True,
    ),
    Setting(
        "master_key_file",
        Kind.TEXT,
        "",
        "File of the master key, absolute, its owner's alone; by default `master.key` in the data directory, and made.",
    ),
    _choice(
        "master_key_source",
        "file",
        ("file", "keyring"),
        "Where the master key is: in its file, or in the operating system's keyring, which needs `keyrelay[keyring]`.",
    ),
    # Alerts.
    _seconds("alert_interval_s", 30, (0.1, 3600), "How often it is looked whether an alert fires, or is over."),
    _number("keep_alerts_days", 90, (1, 36_500), "Days after which messages on alerts are deleted from the history."),
    Setting(
        "apprise_urls",
        Kind.TEXT,
        "",
        "Where channels of the kind `apprise` lead, addresses as apprise takes them, with spaces between.",
        secret=True,
    ),
    # Several workers and hosts.
    _number("workers", 1, (1, 256), "Processes that serve on one port; more than one needs `redis_url`."),
    Setting(
        "redis_url",
        Kind.TEXT,
        "",
        "Redis 6.2 or newer, or Valkey, that workers and hosts share limits through: `redis://[user:password@]host:port/0`.",
        extra_names=("REDIS_URL",),
        secret=True,
    ),
    Setting("redis_prefix", Kind.TEXT, "keyrelay", "What every key in Redis begins with."),
    _seconds("redis_timeout_s", 0.1, (0.01, 5), "Longest wait for Redis; after that a worker goes on with its share."),
    _seconds("worker_expiry_s", 600, (10, _DAY_S), "Time after which a silent worker's share of the limits is freed."),
    # Cache.
    _choice(
        "cache",
        "deterministic",
        ("off", "deterministic", "all"),
        "Answers that may be given again; `deterministic`: those to requests with temperature 0 or a seed.",
    ),
    _choice("cache_generate", "all", ("off", "deterministic", "all"), "The same for `/v1/generate`."),
    _choice("cache_scope", "client", ("client", "shared"), "Who may get a kept answer: the same client, or every one."),
    Setting("cache_tools", Kind.SWITCH, "false", "Whether answers with tool calls are kept too."),
    _seconds("cache_ttl_s", 3600, (1, 30 * _DAY_S), "Time for which an answer is kept, unless the request says less."),
    _number("cache_max_bytes", 67_108_864, (0, 64 * _GIB), "Bytes that kept answers may have together."),
    _number("cache_max_answer_bytes", 1_048_576, (0, _GIB), "Bytes of the largest answer that is kept."),
    _seconds("state_ttl_s", 86_400, (0, 30 * _DAY_S), "Time for which conversations are remembered; 0: not at all."),
    _number(
        "state_max_bytes",
        67_108_864,
        (0, 64 * _GIB),
        "Bytes that remembered conversations may have in a process, and in Redis.",
    ),
    # Views of what is going on.
    _number("kept_requests", 10_000, (1, 1_000_000), "Requests, the newest ones, that can be explained afterwards."),
    Setting(
        "operator_secret",
        Kind.TEXT,
        "",
        "Secret of the operator, at least 16 characters: sees every client's requests; serves none.",
        secret=True,
    ),
    # Commands that ask a running gateway.
    Setting("url", Kind.TEXT, "", "Address of the gateway that commands ask; by default this machine and `port`."),
    Setting("api_key", Kind.TEXT, "", "Client secret with which commands ask the gateway.", secret=True),
)
"""Every setting, in the order in which the documentation lists them."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force; `SETTINGS` says what each one means. Paths are absolute."""

    host: str
    port: int
    data_dir: Path
    config_file: Path
    env_file: Path
    log_level: LogLevel
    log_format: LogFormat
    policy: PolicyName
    fallback: tuple[str, ...]
    connect_timeout_s: float
    first_byte_timeout_s: float
    answer_timeout_s: float
    content_gap_timeout_s: float
    total_timeout_s: float
    body_timeout_s: float
    drain_timeout_s: float
    max_body_bytes: int
    max_upload_bytes: int
    max_spool_bytes: int
    max_answer_bytes: int
    max_body_depth: int
    max_event_bytes: int
    retry_attempts: int
    retry_budget_percent: int
    retry_budget_floor: int
    circuit_failures: int
    circuit_open_s: float
    circuit_open_max_s: float
    health_probe_every_s: float
    health_recovery_probe_s: float
    health_probes_per_day: int
    max_wait_s: float
    max_waiting: int
    max_waiting_bytes: int
    reset_jitter_s: float
    waiting_comment_s: float
    token_counter: TokenCounterName
    completion_percentile: int
    max_connections_per_provider: int
    upstream_proxy: Secret
    no_proxy: tuple[str, ...]
    allow_private_addresses: bool
    allowed_networks: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    max_concurrent_requests: int
    answer_headers: bool
    database_url: Secret
    keep_requests_days: int
    keep_minutes_days: int
    keep_hours_days: int
    keep_audit_days: int
    journal_max_bytes: int
    journal_fsync: bool
    keep_texts: KeepTexts
    keep_texts_days: int
    keep_texts_max_bytes: int
    master_key: Secret
    master_key_file: str
    master_key_source: MasterKeySourceName
    alert_interval_s: float
    keep_alerts_days: int
    apprise_urls: Secret
    workers: int
    redis_url: Secret
    redis_prefix: str
    redis_timeout_s: float
    worker_expiry_s: float
    cache: CacheMode
    cache_generate: CacheMode
    cache_scope: CacheScope
    cache_tools: bool
    cache_ttl_s: float
    cache_max_bytes: int
    cache_max_answer_bytes: int
    state_ttl_s: float
    state_max_bytes: int
    kept_requests: int
    operator_secret: Secret
    url: str
    api_key: Secret
