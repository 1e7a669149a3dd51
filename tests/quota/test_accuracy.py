import msgspec

from keyrelay.quota.accuracy import CalibrationState, Deviation


def test_what_is_known_of_a_model_survives_being_written_down() -> None:
    state = CalibrationState(
        provider="gemini",
        model="flash",
        answers=12,
        prompt_factor=1.1,
        prompt_weight=9.5,
        spread=0.2,
        counts={3: 2.0, 40: 10.0},
        prompt=Deviation(0.1, 0.05),
        completion=Deviation(0.4, -0.2),
        exceeded=0.08,
    )
    assert msgspec.json.decode(msgspec.json.encode(state), type=CalibrationState) == state
