import pytest

from keyrelay.routing.retries import RetrySettings


def test_retries_add_a_tenth_unless_something_else_is_set() -> None:
    settings = RetrySettings()
    assert (settings.attempts, settings.percent, settings.floor) == (3, 10.0, 3)
    assert settings.backoff_s < settings.backoff_max_s


def test_settings_are_replaced_and_not_changed() -> None:
    settings = RetrySettings(attempts=5)
    with pytest.raises(AttributeError):
        settings.attempts = 6  # type: ignore[misc]
