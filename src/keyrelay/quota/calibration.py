"""What a model makes of a request, learned from what its provider reports.

Each request is measured once in bytes (`quota.estimates`); for each model that may serve it, a `Calibration` turns that
into the amounts to reserve:

- **prompt**: the text's tokens times a factor. The factor is an exponentially weighted mean of reported to estimated
  tokens. A ratio counts as at most twice and at least half the present factor, so that no single report moves it far,
  and requests below 100 tokens count in proportion, since what a provider adds to each of them (a template, a system
  prompt) says little of its vocabulary. Requests with media teach nothing, since theirs cannot be told apart.
- **completion**: a percentile of reported answers. These are counted in buckets, each reaching 9 % further than the one
  before; at 512 answers all counts are halved, so the newest some hundreds decide. A percentile is the upper end of
  its bucket: at least that share of the answers counted is no longer.

Both begin with what is taken for any model. All of it runs for every request: an estimate costs a tenth of a
microsecond, an answer about one, with the buckets summed at every sixteenth answer only.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from math import ceil
from typing import Final

from keyrelay.core.usage import Usage
from keyrelay.quota.accuracy import Accuracy, CalibrationState, CalibrationView, Deviation
from keyrelay.quota.estimates import COMPLETION_TOKENS
from keyrelay.quota.values import Amounts, RawEstimate

PERCENTILE: Final = 0.75
"""Share of a model's answers that a reservation is meant to cover."""

ANSWERS_TO_LEARN: Final = 5
"""So many answers are needed before their lengths say more than COMPLETION_TOKENS."""

MIN_FACTOR, MAX_FACTOR = 0.2, 5.0

PRIOR_ANSWERS: Final = 2
"""How many answers the first factor, 1, is worth."""

MEMORY_ANSWERS: Final = 100
"""Means weigh each answer by at least one in so many."""

SPREADS: Final = 2.0
"""Prompts are reserved with so many times the mean distance of reports from the factor on top, at most MAX_MARGIN.

Reservations in flight together would else come out too low as often as too high, and a full limit would be exceeded.
"""

MAX_MARGIN: Final = 0.25

WELL_KNOWN: Final = 256
"""From so many answers on a model is known well enough that one answer in SAMPLED is looked at."""

SAMPLED: Final = 8

MAX_CALIBRATIONS: Final = 1_000
"""Models kept, at some 5 kB each."""

MAX_ERROR: Final = 10.0
"""An estimate that is off by more than so many times the true amount counts as off by that much."""

_FULL_WEIGHT_TOKENS: Final = 100
_MAX_STEP: Final = 2.0
_SPREAD_MEMORY: Final = 16
_MAX_COUNTED: Final = 512
_SUMMED_EVERY: Final = 16
_MAX_COMPLETION_TOKENS: Final = 1 << 20


def _bucket_ends() -> tuple[int, ...]:
    """The longest answer of each bucket: 0, 1, 2, …, each at most 9 % above the one before from 12 on."""
    growth = 2 ** (1 / 8)
    ends = [0]
    while ends[-1] < _MAX_COMPLETION_TOKENS:
        ends.append(max(ends[-1] + 1, int(ends[-1] * growth)))
    return tuple(ends)


_ENDS: Final = _bucket_ends()


class Calibration:
    """What is learned of one model at one provider. `percentile` is above 0 and at most 1, else ValueError."""

    __slots__ = (
        "_completion_bias",
        "_completion_error",
        "_counts",
        "_exceeded",
        "_passed_over",
        "_percentile",
        "_prompt_bias",
        "_prompt_error",
        "_prompt_weight",
        "_spread",
        "answers",
        "completion_tokens",
        "prompt_factor",
        "text_factor",
    )

    def __init__(self, percentile: float = PERCENTILE) -> None:
        if not 0 < percentile <= 1:
            raise ValueError(f"a percentile of {percentile} is not above 0 and at most 1")
        self.answers = 0
        self.prompt_factor = self.text_factor = 1.0
        self._spread = 0.0
        self.completion_tokens = COMPLETION_TOKENS
        self._percentile = percentile
        self._counts = [0.0] * len(_ENDS)
        self._prompt_weight = float(PRIOR_ANSWERS)
        self._prompt_bias = self._prompt_error = 0.0
        self._completion_bias = self._completion_error = 0.0
        self._exceeded = 0.0
        self._passed_over = 0

    @property
    def learned(self) -> bool:
        """Whether enough answers were seen to say how long one will be."""
        return self.answers >= ANSWERS_TO_LEARN

    def estimate(self, raw: RawEstimate, max_tokens: int | None = None) -> tuple[int, int]:
        """Input and output tokens to reserve; `max_tokens` is the caller's bound on the answer, 0 for embeddings."""
        output_tokens = self.completion_tokens
        if max_tokens is not None and max_tokens < output_tokens:
            output_tokens = max(0, max_tokens)
        return ceil(raw.text_tokens * self.text_factor) + raw.media_tokens, output_tokens

    def observe(self, raw: RawEstimate, reserved: Amounts, usage: Usage) -> None:
        """Learn from a complete answer: what was `reserved` for it, and what the provider reported.

        A report without input tokens, or one that was estimated, is none. Answers that broke off are not to be given.
        """
        if self._passed_over:
            self._passed_over -= 1
            return
        used_input, used_output = usage.input_tokens, usage.output_tokens
        if usage.estimated or used_input <= 0 or used_output < 0:
            return
        self.answers = answers = self.answers + 1
        weight = 1 / answers if answers < MEMORY_ANSWERS else 1 / MEMORY_ANSWERS

        difference = reserved.input_tokens - used_input
        error = min(difference / used_input, MAX_ERROR)
        self._prompt_bias += weight * (error - self._prompt_bias)
        self._prompt_error += weight * ((error if error > 0 else -error) - self._prompt_error)

        output_difference = reserved.output_tokens - used_output
        error = min(output_difference / (used_output or 1), MAX_ERROR)
        self._completion_bias += weight * (error - self._completion_bias)
        self._completion_error += weight * ((error if error > 0 else -error) - self._completion_error)

        self._exceeded += weight * ((difference + output_difference < 0) - self._exceeded)
        if raw.text_tokens > 0 and not raw.media_tokens:
            self._learn_prompt(raw.text_tokens, used_input)
        self._counts[bisect_left(_ENDS, used_output) if used_output < _MAX_COMPLETION_TOKENS else -1] += 1.0
        if answers < _SUMMED_EVERY or not answers % _SUMMED_EVERY:
            self._learn_completion()
        if answers >= WELL_KNOWN:
            self._passed_over = SAMPLED - 1

    def _learn_prompt(self, text_tokens: int, used: int) -> None:
        factor = self.prompt_factor
        ratio = used / text_tokens
        if ratio > factor * _MAX_STEP:
            ratio = factor * _MAX_STEP
        elif ratio < factor / _MAX_STEP:
            ratio = factor / _MAX_STEP
        weight = text_tokens / _FULL_WEIGHT_TOKENS if text_tokens < _FULL_WEIGHT_TOKENS else 1.0
        known = self._prompt_weight
        if known < MEMORY_ANSWERS:
            self._prompt_weight = known = known + weight
        factor += (ratio - factor) * weight / known
        if factor > MAX_FACTOR:
            factor = MAX_FACTOR
        elif factor < MIN_FACTOR:
            factor = MIN_FACTOR
        distance = ratio / factor - 1
        self._spread += ((distance if distance > 0 else -distance) - self._spread) / _SPREAD_MEMORY
        self.prompt_factor = factor
        self.text_factor = factor * (1 + min(SPREADS * self._spread, MAX_MARGIN))

    def _learn_completion(self) -> None:
        sums = list(accumulate(self._counts))
        counted = sums[-1]
        if self.answers >= ANSWERS_TO_LEARN:
            self.completion_tokens = _ENDS[bisect_left(sums, self._percentile * counted)]
        if counted >= _MAX_COUNTED:
            self._counts = [count / 2 for count in self._counts]

    def accuracy(self) -> Accuracy | None:
        """How well reservations met what was used; None before the first answer."""
        if not self.answers:
            return None
        return Accuracy(
            answers=self.answers,
            prompt=Deviation(self._prompt_error, self._prompt_bias),
            completion=Deviation(self._completion_error, self._completion_bias),
            exceeded=self._exceeded,
        )

    def state(self, provider: str, model: str) -> CalibrationState:
        """All that is known, to be kept."""
        return CalibrationState(
            provider=provider,
            model=model,
            answers=self.answers,
            prompt_factor=self.prompt_factor,
            prompt_weight=self._prompt_weight,
            spread=self._spread,
            counts={bucket: count for bucket, count in enumerate(self._counts) if count},
            prompt=Deviation(self._prompt_error, self._prompt_bias),
            completion=Deviation(self._completion_error, self._completion_bias),
            exceeded=self._exceeded,
        )

    def restore(self, state: CalibrationState) -> None:
        """Know what was kept; figures out of their bounds are brought within them, buckets that are none left out."""
        self.answers = max(0, state.answers)
        self._prompt_weight = _within(1.0, state.prompt_weight, MEMORY_ANSWERS)
        self._spread = _within(0.0, state.spread, _MAX_STEP)
        self.prompt_factor = _within(MIN_FACTOR, state.prompt_factor, MAX_FACTOR)
        self.text_factor = self.prompt_factor * (1 + min(SPREADS * self._spread, MAX_MARGIN))
        self._counts = [_within(0.0, state.counts.get(bucket, 0.0), _MAX_COUNTED) for bucket in range(len(_ENDS))]
        self._prompt_error, self._prompt_bias = state.prompt.absolute, state.prompt.bias
        self._completion_error, self._completion_bias = state.completion.absolute, state.completion.bias
        self._exceeded = state.exceeded
        if self.answers and any(self._counts):
            self._learn_completion()

    def __repr__(self) -> str:
        return f"<Calibration x{self.prompt_factor:.2f} +{self.completion_tokens} after {self.answers} answers>"


def _within(least: float, value: float, most: float) -> float:
    return min(max(least, value), most)  # in this order NaN is `least`


class Calibrations:
    """The calibrations of all models, by provider and model. Bounded: the one that has seen least makes room."""

    __slots__ = ("_by_model", "_most", "_percentile")

    def __init__(self, percentile: float = PERCENTILE, *, most: int = MAX_CALIBRATIONS) -> None:
        self._percentile = percentile
        self._most = most
        self._by_model: dict[tuple[str, str], Calibration] = {}

    def of(self, provider_id: str, model: str) -> Calibration:
        """The calibration of a model, made when first asked for."""
        calibration = self._by_model.get((provider_id, model))
        if calibration is None:
            calibration = Calibration(self._percentile)
            if len(self._by_model) >= self._most:
                del self._by_model[min(self._by_model, key=lambda name: self._by_model[name].answers)]
            self._by_model[provider_id, model] = calibration
        return calibration

    def view(self) -> tuple[CalibrationView, ...]:
        """What is known of each model, in order of names."""
        return tuple(
            CalibrationView(
                provider=provider,
                model=model,
                prompt_factor=calibration.prompt_factor,
                completion_tokens=calibration.completion_tokens,
                learned=calibration.learned,
                accuracy=calibration.accuracy(),
            )
            for (provider, model), calibration in sorted(self._by_model.items(), key=lambda item: item[0])
        )

    def states(self) -> tuple[CalibrationState, ...]:
        """What is known of each model that has answered, to be kept over a restart."""
        return tuple(
            calibration.state(provider, model)
            for (provider, model), calibration in self._by_model.items()
            if calibration.answers
        )

    def restore(self, states: Iterable[CalibrationState]) -> None:
        """Know what was kept."""
        for state in states:
            self.of(state.provider, state.model).restore(state)

    def __repr__(self) -> str:
        return f"<Calibrations of {len(self._by_model)} models>"
