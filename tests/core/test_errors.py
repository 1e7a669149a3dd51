import pytest

from keyrelay.core.errors import CallerError, ConfigurationError, HostBindingError, KeyrelayError, StoreError


@pytest.mark.parametrize("kind", [CallerError, ConfigurationError, HostBindingError])
def test_one_base_catches_them_all(kind: type[Exception]) -> None:
    assert issubclass(kind, KeyrelayError)
    assert kind.__mro__[1] is KeyrelayError


def test_a_wrong_configuration_says_where_what_and_what_would_be_right() -> None:
    error = ConfigurationError("keyrelay.toml: port", "'x' is not a number.", "Write 8080.")
    assert str(error) == "keyrelay.toml: port: 'x' is not a number. Write 8080."
    assert (error.where, error.problem, error.fix) == ("keyrelay.toml: port", "'x' is not a number.", "Write 8080.")
    assert str(ConfigurationError("a", "b.")) == "a: b."


def test_a_caller_error_is_one_of_the_request_unless_it_says_otherwise() -> None:
    error = CallerError(400, "No.")
    assert str(error) == error.message == "No."
    assert (error.status, error.kind, error.code, error.param) == (400, "invalid_request_error", None, None)
    assert (error.headers, error.detail) == ((), None)


def test_a_caller_error_carries_what_its_answer_needs() -> None:
    error = CallerError(
        429,
        "Later.",
        kind="rate_limit_error",
        code="all_limited",
        param="model",
        headers=(("retry-after", "3"),),
        detail={"candidates": []},
    )
    assert (error.status, error.kind, error.code, error.param) == (429, "rate_limit_error", "all_limited", "model")
    assert (error.headers, error.detail) == ((("retry-after", "3"),), {"candidates": []})


def test_a_store_error_passes_unless_it_says_otherwise() -> None:
    error = StoreError("The database is away.")
    assert (str(error), error.lasting) == ("The database is away.", False)
    assert StoreError("There is no such database.", lasting=True).lasting
