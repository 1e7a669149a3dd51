from keyrelay.core.failures import (
    ADVICE,
    CALLER_KINDS,
    FAULT_KINDS,
    LIMIT_KINDS,
    Failure,
    FailureKind,
    FailureScope,
    ProviderError,
    Rest,
)


def test_every_kind_has_advice_in_sentences_of_its_own() -> None:
    assert set(ADVICE) == set(FailureKind)
    assert all(advice[0].isupper() and advice.endswith(".") for advice in ADVICE.values())
    assert len(set(ADVICE.values())) == len(FailureKind)


def test_no_kind_is_of_two_natures() -> None:
    assert {"overloaded", "service", "network", "timeout", "malformed"} == FAULT_KINDS
    assert {"request", "content"} == CALLER_KINDS
    assert {"rate", "quota"} == LIMIT_KINDS
    assert not FAULT_KINDS & CALLER_KINDS
    assert not FAULT_KINDS & LIMIT_KINDS
    assert not CALLER_KINDS & LIMIT_KINDS


def test_scopes_stand_from_the_narrowest_to_the_widest() -> None:
    assert [*FailureScope] == ["request", "pair", "key", "account", "model", "provider"]


def test_rests_are_the_words_of_the_catalogue() -> None:
    assert [*Rest] == ["none", "hint", "day", "month", "manual"]


def test_a_failure_was_seen_by_the_provider_and_rests_nothing_unless_it_says_so() -> None:
    failure = Failure(kind=FailureKind.CONTENT, scope=FailureScope.REQUEST, message="No.")
    assert (failure.status, failure.code, failure.until_s, failure.reached) == (0, "", None, True)


def test_an_empty_error_says_nothing() -> None:
    error = ProviderError(status=503)
    assert (error.message, error.codes, error.detail) == ("", (), "")
    assert (error.param, error.hint_s, error.should_retry) == (None, None, None)
