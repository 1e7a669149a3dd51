"""The words of alerts: rules and what people change of them, channels, messages, and what became of those."""

from enum import StrEnum
from typing import Literal

import msgspec


class Severity(StrEnum):
    """How much it matters, from the least on. What is critical is told in quiet hours too."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return tuple(Severity).index(self)


class RuleName(StrEnum):
    """What alerts are about."""

    QUOTA = "quota"
    EXHAUSTION = "exhaustion"
    KEY_INVALID = "key_invalid"
    KEY_EXPIRING = "key_expiring"
    KEY_CREDIT = "key_credit"
    PROVIDER_DOWN = "provider_down"
    NOTHING_SERVES = "nothing_serves"
    ERROR_RATE = "error_rate"
    LATENCY_P95 = "latency_p95"
    SPEND_DAY = "spend_day"
    SPEND_MONTH = "spend_month"
    CLIENT_BUDGET = "client_budget"
    STORE = "store"
    JOURNAL = "journal"
    REDIS = "redis"


class RuleChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody has changed of a rule; None leaves it as it ships.

    `thresholds` are one per step, in the order of the steps; the rest is as in `alerting.rules.Rule`.
    """

    enabled: bool | None = None
    thresholds: tuple[float, ...] | None = None
    fall: float | None = None
    for_s: float | None = None
    clear_for_s: float | None = None
    gather_s: float | None = None
    remind_s: float | None = None
    per_hour: int | None = None


class QuietHours(msgspec.Struct, frozen=True):
    """From one time of day (`22:00`) to another (`07:00`) in a zone (an IANA name) only what is critical is told."""

    start: str
    end: str
    zone: str = "UTC"


class Hush(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person has said of one alert. Times are epoch seconds, 0: never.

    Who has acknowledged it is not reminded of it until it fires anew. While it is silenced nothing of it is told.
    """

    acknowledged_s: float = 0.0
    acknowledged_by: str = ""
    silenced_until_s: float = 0.0


ChannelKind = Literal["webhook", "slack", "email", "apprise"]
"""How messages are delivered. `slack`: whatever takes Slack's incoming webhooks; `apprise`: where the operator says."""

CHANNEL_KINDS: tuple[ChannelKind, ...] = ("webhook", "slack", "email", "apprise")

MailSecurity = Literal["starttls", "tls", "none"]

DEFAULT_MAIL_PORT = 587


class Channel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where messages go; what of it is secret is a `ChannelSecret` beside it.

    Told are messages of at least the severity `least`, of these `rules` (none: all), and, if `resolved`, when something
    is over. `target` says in words where it leads. The others are those of e-mail.
    """

    kind: ChannelKind
    enabled: bool = True
    least: Severity = Severity.INFO
    rules: tuple[RuleName, ...] = ()
    resolved: bool = True
    target: str = ""
    host: str = ""
    port: int = DEFAULT_MAIL_PORT
    security: MailSecurity = "starttls"
    user: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    created_s: float = 0.0
    set_by: str = ""

    def wants(self, message: "AlertMessage") -> bool:
        """Whether a message is one for it."""
        return (
            self.enabled
            and message.severity.rank >= self.least.rank
            and (not self.rules or message.rule in self.rules)
            and (self.resolved or message.kind != "resolved")
        )


class ChannelSecret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is secret of a channel: the URL, since whoever knows it may post there; signing key; password of mail."""

    url: str = ""
    key: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return "ChannelSecret(…)"


class Destination(msgspec.Struct, frozen=True):
    """A channel with what is secret of it."""

    channel: Channel
    secret: ChannelSecret


class AlertLine(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a message. `subject` is what it is about, `detail` a sentence; `since_s` epoch seconds."""

    id: str
    subject: str
    firing: bool
    severity: Severity
    detail: str
    since_s: float


MessageKind = Literal["firing", "resolved", "reminder", "test"]


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What is told: alerts of one `rule` (`test`: of none) and one cause. `lines` are the first of `count`.

    `title` is a line for a subject or a heading, `advice` a sentence that says what to do; `at_s` are epoch seconds.
    Nothing of it is secret.
    """

    rule: str
    kind: MessageKind
    severity: Severity
    title: str
    advice: str
    at_s: float
    lines: tuple[AlertLine, ...]
    count: int
    id: str = ""


DeliveryState = Literal["waiting", "sent", "failed"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message on one channel: after how many `attempts`, when (epoch seconds), and why not."""

    channel: str
    state: DeliveryState = "waiting"
    attempts: int = 0
    at_s: float = 0.0
    problem: str = ""


class AlertRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A message with what became of it, as the history keeps it."""

    message: AlertMessage
    deliveries: tuple[Delivery, ...] = ()

    @property
    def open(self) -> bool:
        """Whether it is still to be delivered somewhere."""
        return any(each.state == "waiting" for each in self.deliveries)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel made of a message: taken when `problem` is empty; `lasting`: it would not take it later either."""

    problem: str = ""
    lasting: bool = False
