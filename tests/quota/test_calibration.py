import math
import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.usage import Usage
from keyrelay.quota.accuracy import Accuracy, CalibrationState, Deviation
from keyrelay.quota.calibration import (
    ANSWERS_TO_LEARN,
    MAX_ERROR,
    MAX_FACTOR,
    MAX_MARGIN,
    MIN_FACTOR,
    PERCENTILE,
    SAMPLED,
    SPREADS,
    WELL_KNOWN,
    Calibration,
    Calibrations,
)
from keyrelay.quota.estimates import COMPLETION_TOKENS
from keyrelay.quota.values import Amounts, RawEstimate

TEXT = RawEstimate(1_000)
SUMMED_EVERY = 16
BUCKET = 2 ** (1 / 8)
"""How much further a bucket of answers reaches than the one before."""


def reserve(calibration: Calibration, raw: RawEstimate = TEXT, max_tokens: int | None = None) -> Amounts:
    input_tokens, output_tokens = calibration.estimate(raw, max_tokens)
    return Amounts(requests=1, input_tokens=input_tokens, output_tokens=output_tokens)


def serve(calibration: Calibration, answers: Iterable[tuple[int, int]], raw: RawEstimate = TEXT) -> Calibration:
    """Let requests like `raw` be reserved and answered with these tokens of prompt and completion."""
    for input_tokens, output_tokens in answers:
        calibration.observe(raw, reserve(calibration, raw), Usage(input_tokens, output_tokens))
    return calibration


def prompts(*input_tokens: int, raw: RawEstimate = TEXT) -> Calibration:
    return serve(Calibration(), [(tokens, 100) for tokens in input_tokens], raw)


def completions(output_tokens: Iterable[int], percentile: float = PERCENTILE) -> Calibration:
    return serve(Calibration(percentile), [(1_000, tokens) for tokens in output_tokens])


def accuracy_of(calibration: Calibration) -> Accuracy:
    accuracy = calibration.accuracy()
    assert accuracy is not None
    return accuracy


class TestPrompts:
    def test_without_answers_the_heuristic_stands(self) -> None:
        assert Calibration().estimate(RawEstimate(123, 2_000)) == (2_123, COMPLETION_TOKENS)

    @pytest.mark.parametrize("ratio", [0.3, 0.75, 1.0, 1.6, 4.0])
    def test_the_factor_finds_what_the_provider_reports(self, ratio: float) -> None:
        calibration = prompts(*[int(1_000 * ratio)] * 300)
        assert calibration.prompt_factor == pytest.approx(ratio, rel=0.05)
        assert calibration.estimate(RawEstimate(10_000))[0] == pytest.approx(10_000 * ratio, rel=0.05)

    def test_one_answer_is_not_believed_at_once_and_twenty_nearly(self) -> None:
        assert prompts(1_500).prompt_factor == pytest.approx(1 + 0.5 / 3)
        assert prompts(*[1_500] * 20).prompt_factor == pytest.approx(1.5, rel=0.05)

    def test_an_absurd_report_hardly_moves_it(self) -> None:
        used_to = prompts(*[1_200] * 200)
        before = used_to.prompt_factor
        serve(used_to, [(50_000_000, 100)])
        assert before < used_to.prompt_factor <= before * 1.011
        serve(used_to, [(1, 100)])
        assert before * 0.99 < used_to.prompt_factor

    def test_it_follows_a_change(self) -> None:
        calibration = prompts(*[1_000] * 1_000, *[2_000] * 300 * SAMPLED)
        assert calibration.prompt_factor == pytest.approx(2.0, rel=0.06)

    def test_what_is_added_to_tiny_requests_says_little_of_the_vocabulary(self) -> None:
        calibration = Calibration()
        for _ in range(100):
            serve(calibration, [(40, 10)], RawEstimate(10))
            serve(calibration, [(1_000, 10)], RawEstimate(1_000))
        assert calibration.prompt_factor == pytest.approx(1.0, abs=0.15)

    def test_media_are_not_multiplied(self) -> None:
        calibration = prompts(*[2_000] * 300)
        assert calibration.estimate(RawEstimate(1, 5_000))[0] == 5_000 + math.ceil(calibration.text_factor)

    def test_the_more_reports_differ_the_more_is_reserved_on_top(self) -> None:
        alike, apart = prompts(*[1_000] * 200), prompts(*[900, 1_100] * 100)
        assert alike.text_factor == pytest.approx(alike.prompt_factor)
        assert apart.text_factor == pytest.approx(apart.prompt_factor * (1 + SPREADS * 0.1), rel=0.02)
        assert prompts(*[600, 2_000] * 100).text_factor <= 2.0 * (1 + MAX_MARGIN)

    def test_requests_with_media_teach_no_factor(self) -> None:
        assert prompts(9_000, 9_000, raw=RawEstimate(1_000, 3_000)).prompt_factor == 1.0

    def test_a_request_without_text_teaches_no_factor(self) -> None:
        assert prompts(50, raw=RawEstimate(0, 0)).prompt_factor == 1.0

    @given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**12)), max_size=60))
    def test_whatever_is_reported_it_stays_in_bounds(self, requests: list[tuple[int, int]]) -> None:
        calibration = Calibration()
        for text_tokens, reported in requests:
            serve(calibration, [(reported, 0)], RawEstimate(text_tokens))
        assert MIN_FACTOR <= calibration.prompt_factor <= MAX_FACTOR
        assert calibration.estimate(RawEstimate(1))[0] >= 1

    def test_the_bounds_are_reached(self) -> None:
        assert prompts(*[10**9] * 100).prompt_factor == MAX_FACTOR
        assert prompts(*[1] * 400).prompt_factor == MIN_FACTOR


class TestCompletions:
    def test_five_answers_are_needed(self) -> None:
        four = completions([20] * (ANSWERS_TO_LEARN - 1))
        assert not four.learned
        assert four.estimate(TEXT)[1] == COMPLETION_TOKENS
        five = serve(four, [(1_000, 20)])
        assert five.learned
        assert 20 <= five.estimate(TEXT)[1] <= 20 * BUCKET

    @pytest.mark.parametrize("percentile", [0.1, 0.5, 0.75, 0.9, 1.0])
    def test_the_percentile_of_a_known_distribution(self, percentile: float) -> None:
        lengths = list(range(1, 321))
        random.Random(7).shuffle(lengths)
        exact = sorted(lengths)[math.ceil(percentile * 320) - 1]
        assert exact <= completions(lengths, percentile).completion_tokens <= exact * BUCKET + 1

    @given(
        st.lists(st.integers(0, 2**20 - 1), min_size=ANSWERS_TO_LEARN, max_size=15),
        st.sampled_from((0.25, 0.5, 0.75, 0.95, 1.0)),
    )
    def test_at_least_that_share_is_no_longer_and_the_guess_is_hardly_longer_than_needed(
        self, lengths: list[int], percentile: float
    ) -> None:
        guess = completions(lengths, percentile).completion_tokens
        assert sum(length <= guess for length in lengths) >= percentile * len(lengths)
        exact = sorted(lengths)[math.ceil(percentile * len(lengths)) - 1]
        assert exact <= guess <= exact * BUCKET + 1

    def test_it_forgets_what_a_model_used_to_do(self) -> None:
        calibration = completions([4_000] * 5_000)
        assert calibration.completion_tokens >= 4_000
        serve(calibration, [(1_000, 50)] * 2_500 * SAMPLED)
        assert 50 <= calibration.completion_tokens <= 50 * BUCKET

    def test_an_endless_answer_is_counted_as_the_longest(self) -> None:
        assert completions([10**12] * 10).completion_tokens >= 2**20

    @given(st.lists(st.integers(0, 10**7), max_size=40), st.integers(-5, 10**7))
    def test_the_callers_bound_always_holds(self, lengths: list[int], max_tokens: int) -> None:
        guess = completions(lengths).estimate(TEXT, max_tokens)[1]
        assert 0 <= guess <= max(0, max_tokens)

    @pytest.mark.parametrize("percentile", [0.0, -0.5, 1.01, math.nan])
    def test_a_percentile_that_is_none_is_refused(self, percentile: float) -> None:
        with pytest.raises(ValueError, match="not above 0 and at most 1"):
            Calibration(percentile)


class TestAccuracy:
    def test_before_the_first_answer_there_is_none(self) -> None:
        assert Calibration().accuracy() is None

    def test_errors_are_relative_to_what_was_used(self) -> None:
        calibration = Calibration()
        reserved = Amounts(requests=1, input_tokens=120, output_tokens=50)
        calibration.observe(TEXT, reserved, Usage(100, 100))
        calibration.observe(TEXT, reserved, Usage(160, 50))
        accuracy = accuracy_of(calibration)
        assert accuracy.answers == 2
        assert accuracy.prompt.absolute == pytest.approx((0.2 + 0.25) / 2)
        assert accuracy.prompt.bias == pytest.approx((0.2 - 0.25) / 2)
        assert accuracy.completion.absolute == pytest.approx((0.5 + 0) / 2)
        assert accuracy.completion.bias == pytest.approx((-0.5 + 0) / 2)

    @pytest.mark.parametrize(
        ("used", "exceeded"),
        [(Usage(100, 50), 0.0), (Usage(60, 90), 0.0), (Usage(110, 41), 1.0)],
        ids=["exactly", "one makes up for the other", "one token more in all"],
    )
    def test_more_than_reserved_is_about_the_tokens_in_all(self, used: Usage, exceeded: float) -> None:
        calibration = Calibration()
        calibration.observe(TEXT, Amounts(requests=1, input_tokens=100, output_tokens=50), used)
        assert accuracy_of(calibration).exceeded == exceeded

    def test_an_absurd_error_is_cut_short(self) -> None:
        calibration = Calibration()
        calibration.observe(TEXT, Amounts(requests=1, input_tokens=10**6, output_tokens=10**6), Usage(1, 0))
        assert accuracy_of(calibration).prompt == Deviation(MAX_ERROR, MAX_ERROR)
        assert accuracy_of(calibration).completion == Deviation(MAX_ERROR, MAX_ERROR)

    def test_embeddings_have_no_completion_to_be_wrong_about(self) -> None:
        calibration = Calibration()
        for _ in range(20):
            calibration.observe(TEXT, reserve(calibration, max_tokens=0), Usage(1_000, 0))
        assert accuracy_of(calibration).completion == Deviation(0.0, 0.0)

    @pytest.mark.parametrize(
        "usage",
        [Usage(0, 0), Usage(0, 500), Usage(500, 500, estimated=True), Usage(-3, 10), Usage(10, -3)],
        ids=["nothing", "no prompt", "estimated", "negative prompt", "negative completion"],
    )
    def test_what_is_no_report_teaches_nothing(self, usage: Usage) -> None:
        calibration = Calibration()
        calibration.observe(TEXT, reserve(calibration), usage)
        assert repr(calibration) == repr(Calibration())
        assert calibration.accuracy() is None

    def test_the_newest_hundred_count_most(self) -> None:
        calibration = Calibration()
        for used in [2_000] * 1_000 + [1_000] * 4_000:
            calibration.observe(TEXT, Amounts(requests=1, input_tokens=1_000, output_tokens=100), Usage(used, 100))
        accuracy = accuracy_of(calibration)
        assert accuracy.answers == WELL_KNOWN + (5_000 - WELL_KNOWN) // SAMPLED
        assert accuracy.prompt.absolute < 0.01
        assert accuracy.exceeded < 0.01

    def test_calibrated_estimates_are_nearer_than_raw_ones(self) -> None:
        source = random.Random(3)
        calibration = Calibration()
        for _ in range(600):
            raw = RawEstimate(source.randint(200, 4_000))
            used = int(raw.text_tokens * source.uniform(1.6, 1.9))  # as a vocabulary that splits words in pieces
            calibration.observe(raw, reserve(calibration, raw), Usage(used, int(source.lognormvariate(6, 0.8))))
        accuracy = accuracy_of(calibration)
        assert accuracy.prompt.absolute < 0.1  # without: 0.43
        assert 0 <= accuracy.prompt.bias < 0.1  # a little more than needed, on purpose
        assert 0.05 < accuracy.exceeded < 1 - PERCENTILE  # rarer than answers alone would, as prompts have a margin

    @given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=40))
    def test_shares_stay_what_they_are(self, answers: list[tuple[int, int]]) -> None:
        accuracy = serve(Calibration(), answers).accuracy()
        if accuracy is None:
            assert all(not input_tokens for input_tokens, _ in answers)
            return
        assert 0 <= accuracy.exceeded <= 1
        for deviation in (accuracy.prompt, accuracy.completion):
            assert abs(deviation.bias) <= deviation.absolute + 1e-9
            assert deviation.bias >= -1
            assert deviation.absolute <= MAX_ERROR


class TestCalibrations:
    def test_each_model_of_each_provider_has_its_own(self) -> None:
        book = Calibrations()
        assert book.of("groq", "llama") is book.of("groq", "llama")
        assert book.of("groq", "llama") is not book.of("cerebras", "llama")
        assert repr(book) == "<Calibrations of 2 models>"

    def test_its_percentile_holds_for_all(self) -> None:
        lowest, highest = (Calibrations(share).of("groq", "llama") for share in (0.1, 1.0))
        for calibration in (lowest, highest):
            serve(calibration, [(1_000, 10), (1_000, 500)] * 10)
        assert lowest.completion_tokens == 10
        assert 500 <= highest.completion_tokens <= 500 * BUCKET

    def test_the_one_that_has_seen_least_makes_room(self) -> None:
        book = Calibrations(most=2)
        busy = serve(book.of("groq", "busy"), [(1_000, 10)] * 3)
        serve(book.of("groq", "seldom"), [(1_000, 10)])
        book.of("groq", "new")
        assert [view.model for view in book.view()] == ["busy", "new"]
        assert book.of("groq", "busy") is busy

    def test_the_view_says_what_is_known(self) -> None:
        book = Calibrations()
        book.of("groq", "new")
        known = serve(book.of("gemini", "flash"), [(1_500, 20)] * ANSWERS_TO_LEARN)
        flash, new = book.view()
        assert (flash.provider, flash.model, flash.learned) == ("gemini", "flash", True)
        assert (flash.prompt_factor, flash.completion_tokens) == (known.prompt_factor, known.completion_tokens)
        assert flash.accuracy == known.accuracy()
        assert (new.learned, new.completion_tokens, new.accuracy) == (False, COMPLETION_TOKENS, None)


class TestState:
    """What is kept over a restart."""

    @given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**7)), max_size=60))
    def test_what_was_learned_is_known_again(self, answers: list[tuple[int, int]]) -> None:
        first, second = Calibrations(), Calibrations()
        serve(first.of("groq", "llama"), answers)
        first.of("groq", "never asked")
        states = msgspec.msgpack.decode(msgspec.msgpack.encode(first.states()), type=tuple[CalibrationState, ...])
        second.restore(states)
        assert second.states() == first.states()
        assert len(states) == bool(answers)
        before, after = (book.of("groq", "llama") for book in (first, second))
        assert after.estimate(TEXT)[0] == before.estimate(TEXT)[0]
        assert after.accuracy() == before.accuracy()
        if before.answers < SUMMED_EVERY:
            assert after.completion_tokens == before.completion_tokens

    @given(
        st.builds(
            CalibrationState,
            provider=st.just("groq"),
            model=st.just("llama"),
            answers=st.integers(-(2**63), 2**64 - 1),
            prompt_factor=st.floats(allow_nan=False),
            prompt_weight=st.floats(allow_nan=False),
            spread=st.floats(allow_nan=False),
            counts=st.dictionaries(st.integers(-5, 500), st.floats(-1e300, 1e300), max_size=9),
            prompt=st.just(Deviation(0.0, 0.0)),
            completion=st.just(Deviation(0.0, 0.0)),
            exceeded=st.floats(0, 1),
        )
    )
    def test_whatever_it_is_given_its_estimates_stay_within_bounds(self, state: CalibrationState) -> None:
        calibration = Calibration()
        calibration.restore(state)
        serve(calibration, [(1_000, 10)] * 3)
        input_tokens, output_tokens = calibration.estimate(TEXT)
        assert 1_000 * MIN_FACTOR - 1 <= input_tokens <= 1_000 * MAX_FACTOR * (1 + MAX_MARGIN) + 1
        assert 0 <= output_tokens <= 1 << 21


def test_its_state_can_be_read() -> None:
    assert repr(Calibration()) == "<Calibration x1.00 +256 after 0 answers>"
