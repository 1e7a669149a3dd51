"""How well estimates met what was used, and all that a calibration knows."""

import msgspec


class Deviation(msgspec.Struct, frozen=True):
    """How far estimates were from what was reported, as shares of that: 0.1 is 10 %.

    `absolute` is the mean of the distances; `bias` the mean of the differences, above zero when too much is reserved.
    """

    absolute: float
    bias: float


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How well reservations met what was used; the newest hundred answers count most.

    `answers` is how many were compared, `exceeded` the share of them that used more tokens in all than were reserved.
    """

    answers: int
    prompt: Deviation
    completion: Deviation
    exceeded: float


class CalibrationView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model. `learned` is False while `completion_tokens` is what is taken for any model."""

    provider: str
    model: str
    prompt_factor: float
    completion_tokens: int
    learned: bool
    accuracy: Accuracy | None


class CalibrationState(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one model, to be kept over a restart. `counts` are the buckets that are not empty."""

    provider: str
    model: str
    answers: int
    prompt_factor: float
    prompt_weight: float
    spread: float
    counts: dict[int, float]
    prompt: Deviation
    completion: Deviation
    exceeded: float
