"""The generic failure table: what an error means when the provider's own rows say nothing.

Ordered, the first row that matches decides, and the order is the point: each row says why it stands where it
does. Matching is on the extracted message and codes only (`core.providers.FailureRow` says how).

The message of a 400 may repeat what the caller sent (the name of an unknown field, of a model), and so say anything.
So words alone never rest anything on a 400: another key is tried, and that is all.
"""

from keyrelay.core.failures import FailureKind, FailureScope
from keyrelay.core.providers import FailureRow

_CONTEXT_PHRASES = (
    r"prompt is too long|exceeds the context window|maximum context length|exceeds the maximum number of tokens allowed"
    r"|maximum prompt length is|reduce the length of the messages|longer than the model's context length"
    r"|too large for model with \d+ maximum|^too many tokens: |exceeds the available context size"
    r"|greater than the context length|exceeded max context length|input is too long for requested model"
    r"|exceeded model token limit|context window exceeds limit|range of input length should be"
    r"|model_context_window_exceeded|token count exceeds the model's maximum"
)

_DEAD_KEY = (
    r"api key (is )?(not valid|invalid|expired|not found|was reported as leaked)"
    r"|invalid api[ _-]?(key|token)|(incorrect|wrong) api key|invalid (credentials|x-api-key)"
    r"|authentication fails|your api key has expired"
)
_EMPTY_ACCOUNT = (
    r"insufficient balance|credit balance is (too low|depleted)|used all available credits"
    r"|monthly spending limit|depleted your monthly|positive balance|insufficient credits"
)
_NO_MODEL = (
    r"model .{0,120}(does not exist|not found|not exist|is not supported|not available)|has been decommissioned"
    r"|no such model|invalid model|no endpoints found|not supported by provider|unknown model"
    r"|function .{0,80}not found for account"
)

GENERIC_FAILURES: tuple[FailureRow, ...] = (
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.KEY,
        rest="manual",
        status=(400, 401, 403),
        code=("invalid_api_key", "api_key_invalid", "authentication_error", "wrong_api_key", "token_expired"),
        why="a dead key says so in a code, whatever the status; before everything that looks at the status alone",
    ),
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.KEY,
        rest="manual",
        status=(401, 403),
        message=_DEAD_KEY,
        why="the same said in words, by providers without a code",
    ),
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.KEY,
        status=(400,),
        message=_DEAD_KEY,
        why="the words may be the caller's, so the key does not rest",
    ),
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.ACCOUNT,
        rest="manual",
        status=(400, 401, 403),
        code=(
            "organization_restricted",
            "organization_on_hold",
            "consumer_suspended",
            "account_deactivated",
        ),
        why="a banned organisation takes all its keys with it; before billing, whose words it shares",
    ),
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.ACCOUNT,
        rest="manual",
        status=(401, 403),
        message=r"organization has been (restricted|disabled)|account (is|has been) (suspended|deactivated)"
        r"|has been denied access",
        why="the same said in words",
    ),
    FailureRow(
        kind=FailureKind.BILLING,
        scope=FailureScope.ACCOUNT,
        rest="6h",
        code=(
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
            "enforced_spend_limit_reached",
            "contract_spend_limit_reached",
            "billing_error",
            "payment_required",
        ),
        why="an empty account answers 400, 402, 403 or 429: the code decides before the status can mislead",
    ),
    FailureRow(
        kind=FailureKind.BILLING,
        scope=FailureScope.ACCOUNT,
        rest="6h",
        status=(401, 402, 403, 412, 429),
        message=_EMPTY_ACCOUNT,
        why="the same said in words, xAI's 403 among them",
    ),
    FailureRow(
        kind=FailureKind.BILLING,
        scope=FailureScope.ACCOUNT,
        status=(400,),
        message=_EMPTY_ACCOUNT,
        why="the words may be the caller's, so the account does not rest",
    ),
    FailureRow(
        kind=FailureKind.BILLING,
        scope=FailureScope.ACCOUNT,
        rest="6h",
        status=(402,),
        why="402 means money unless a provider's own row said otherwise",
    ),
    FailureRow(
        kind=FailureKind.CONTEXT,
        scope=FailureScope.REQUEST,
        status=(400, 403, 413, 422, 429, 500),
        code=("context_length_exceeded", "exceed_context_size_error"),
        why="before the rate rows: some carry a rate limit's code although waiting never helps",
    ),
    FailureRow(
        kind=FailureKind.CONTEXT,
        scope=FailureScope.REQUEST,
        status=(413, 429),
        message=r"request too large",
        why="larger than the whole budget of a minute, with a rate limit's code",
    ),
    FailureRow(
        kind=FailureKind.CONTEXT,
        scope=FailureScope.REQUEST,
        status=(400, 413, 422, 500),
        message=_CONTEXT_PHRASES,
        why="one observed sentence per provider; not on 429, where the same words mean a rate",
    ),
    FailureRow(
        kind=FailureKind.CONTEXT,
        scope=FailureScope.REQUEST,
        status=(413,),
        why="too large in bytes: another provider may take it",
    ),
    FailureRow(
        kind=FailureKind.OVERLOADED,
        scope=FailureScope.PROVIDER,
        status=(429, 498, 503),
        code=("slow_down", "queue_exceeded", "capacity_exceeded", "server_is_overloaded", "overloaded_error"),
        why="the provider is full, not the key; before the rate rows, which would rest an innocent key",
    ),
    FailureRow(
        kind=FailureKind.OVERLOADED,
        scope=FailureScope.PROVIDER,
        status=(429, 498, 503),
        message=r"service tier capacity|high traffic|overloaded|over capacity|at capacity|out of capacity|model busy",
        why="the same said in words",
    ),
    FailureRow(
        kind=FailureKind.QUOTA,
        scope=FailureScope.PAIR,
        rest="month",
        status=(429,),
        message=r"per month|/ ?month|monthly",
        why="a monthly marker beats the daily one and any short hint",
    ),
    FailureRow(
        kind=FailureKind.QUOTA,
        scope=FailureScope.PAIR,
        rest="day",
        status=(429,),
        message=r"per day|/ ?day\b|\brpd\b|\btpd\b|daily|free-models-per-day|duration_s: 86400|neurons",
        why="a daily marker beats a short hint: trusting the hint costs a refusal per minute until midnight",
    ),
    FailureRow(
        kind=FailureKind.QUOTA,
        scope=FailureScope.PAIR,
        rest="day",
        status=(429,),
        detail=r"per_?day",
        why="the same in machine-readable details",
    ),
    FailureRow(
        kind=FailureKind.RATE,
        scope=FailureScope.PAIR,
        rest="hint",
        rest_default="backoff",
        status=(429,),
        why="every other 429 is a short rate limit of this account for this model",
    ),
    FailureRow(
        kind=FailureKind.CONTENT,
        scope=FailureScope.REQUEST,
        status=(400, 403, 422),
        code=("content_filter", "content_policy_violation", "invalid_prompt"),
        why="refused content is the caller's to change; before 403, which would rest a key for it",
    ),
    FailureRow(
        kind=FailureKind.CONTENT,
        scope=FailureScope.REQUEST,
        status=(400, 403, 422),
        message=r"violat\w+ (our )?usage polic|violates usage guidelines|content[ _]policy|content exists risk"
        r"|content management policy|output blocked by content filtering",
        why="the same said in words",
    ),
    FailureRow(
        kind=FailureKind.MODEL,
        scope=FailureScope.PAIR,
        rest="10m",
        status=(400, 403, 404, 422),
        code=("model_not_found", "invalid_model", "model_decommissioned", "deploymentnotfound", "model_terms_required"),
        why="an unknown model may come as a 400; before the rows that would blame the caller",
    ),
    FailureRow(
        kind=FailureKind.MODEL,
        scope=FailureScope.PAIR,
        rest="10m",
        status=(403, 404),
        message=_NO_MODEL,
        why="the same said in words",
    ),
    FailureRow(
        kind=FailureKind.MODEL,
        scope=FailureScope.PAIR,
        status=(400,),
        message=_NO_MODEL,
        why="the words may be the caller's, so the pair does not rest",
    ),
    FailureRow(
        kind=FailureKind.MODEL,
        scope=FailureScope.PAIR,
        rest="10m",
        status=(404, 410),
        why="an endpoint that is not there for this model and account",
    ),
    FailureRow(
        kind=FailureKind.AUTH,
        scope=FailureScope.KEY,
        rest="manual",
        status=(401,),
        message=r"unauthori[sz]ed|not authenticated|no api key|invalid token|invalid api|user not found",
        why="a 401 in plain words; a 401 without any goes to the next row",
    ),
    FailureRow(
        kind=FailureKind.PERMISSION,
        scope=FailureScope.PAIR,
        rest="15m",
        status=(401, 403, 407, 451),
        why="often an entitlement for one model or region: the pair rests, the key lives",
    ),
    FailureRow(
        kind=FailureKind.TIMEOUT,
        scope=FailureScope.PROVIDER,
        status=(408, 504, 522, 524),
        why="the provider gave up waiting for itself",
    ),
    FailureRow(
        kind=FailureKind.OVERLOADED,
        scope=FailureScope.PROVIDER,
        status=(498, 503, 529),
        why="full or down for a while",
    ),
    FailureRow(
        kind=FailureKind.SERVICE,
        scope=FailureScope.PROVIDER,
        status=(409, 424, 425, 499, 500, 501, 502, 505, 507, 508, 520, 521, 523, 525, 526, 527, 530),
        why="a fault inside the provider",
    ),
    FailureRow(
        kind=FailureKind.REQUEST,
        scope=FailureScope.REQUEST,
        status=(400, 405, 406, 411, 412, 414, 415, 416, 421, 422, 428, 431),
        why="what is left of the 4xx is the caller's to change",
    ),
    FailureRow(
        kind=FailureKind.MALFORMED,
        scope=FailureScope.PROVIDER,
        why="anything else (a redirect, a 204, a status nobody uses) is no answer; last because it matches all",
    ),
)
