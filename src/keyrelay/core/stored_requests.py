"""Single requests as they are kept in a store, which of them may be asked for, and where the next page begins.

Requests are ordered by id, which is the order in which they came. A page begins below an id and not at a number, so
that rows that come in meanwhile move nothing.
"""

import base64
import binascii
import re

import msgspec

from keyrelay.core.moments import rfc3339
from keyrelay.core.usage_views import UsageFilter

_ID = re.compile(r"req_[0-9a-f]{32}")
_PREFIX = "req_"
_ID_BYTES = 16
_TIME_DIGITS = 12


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are wanted.

    `from_s` and `to_s` (epoch) bound when they came; `statuses` are the lowest and the highest wanted. `failed` leaves
    out those that were answered and those whose caller left, `min_ms` those that were shorter.
    """

    fields: UsageFilter = UsageFilter()
    from_s: float | None = None
    to_s: float | None = None
    statuses: tuple[int, int] | None = None
    failed: bool = False
    min_ms: float | None = None


class StoredAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a provider, `ms` long from `sent` (RFC 3339) on; without a `kind` it answered.

    `kind`, `scope` and `status` classify a failure, `message` is the provider's word, redacted. The rest is what the
    ledger counted for it, money in millionths of a US dollar.
    """

    provider: str
    key: str
    model: str
    sent: str
    ms: float
    kind: str
    scope: str
    status: int
    message: str
    requests: int
    input_tokens: int
    output_tokens: int
    usd_micros: int
    units: int


class StoredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that has ended.

    `time` is when it came, `ended` when it ended (RFC 3339, milliseconds). `category` is why there was no whole
    answer, empty when there was one; `cached` is `hit` or `shared` for an answer that no call was made for. `ms` is
    its length, `upstream_ms` the part spent waiting for providers, `waited_ms` that for quota, `first_token_ms` the
    wait for a stream's first content. `estimated`: nobody reported the tokens. `cost_usd` is null when no price is
    known; `price_version` names the price list. `attempts` counts the calls, `calls` are those, when asked for.
    """

    request_id: str
    time: str
    ended: str
    client: str
    operation: str
    model_asked: str
    provider: str
    key: str
    model: str
    status: int
    category: str
    stream: bool
    cached: str
    ms: float
    upstream_ms: float
    waited_ms: float
    first_token_ms: float | None
    attempts: int
    input_tokens: int
    output_tokens: int
    estimated: bool
    cost_usd: float | None
    price_version: str
    calls: tuple[StoredAttempt, ...] | msgspec.UnsetType = msgspec.UNSET


def moment_text(epoch_ms: int) -> str:
    """A time to the millisecond: `2027-01-15T08:00:00.250Z`."""
    return f"{rfc3339(epoch_ms // 1000)[:-1]}.{epoch_ms % 1000:03}Z"


def came_ms(request_id: str) -> int:
    """When a request came, in epoch milliseconds: its id says so (`core.ids`)."""
    return int(request_id[len(_PREFIX) : len(_PREFIX) + _TIME_DIGITS], 16)


def is_request_id(text: str) -> bool:
    """Whether a text has the form of a request's id."""
    return _ID.fullmatch(text) is not None


def cursor_of(request_id: str) -> str:
    """What stands for the page that follows the request with this id."""
    return base64.urlsafe_b64encode(bytes.fromhex(request_id.removeprefix(_PREFIX))).decode().rstrip("=")


def id_of_cursor(cursor: str) -> str:
    """The id that the page named by a cursor lies below. Raise ValueError when it is none."""
    try:
        data = base64.b64decode(cursor + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _ID_BYTES:
        message = "must be the `next` of an earlier page, unchanged"
        raise ValueError(message)
    return _PREFIX + data.hex()
