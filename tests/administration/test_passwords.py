import asyncio
from collections.abc import Iterator

import pytest

from keyrelay.administration.passwords import LONGEST_BYTES, MAX_WAITING, Passwords, check_password
from keyrelay.core.errors import CallerError

GOOD = "correct horse battery staple"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


@pytest.mark.parametrize(
    "password",
    ["", "short", "aaaaaaaaaaaaaaaa", "abababababababab", "alice-2026-11", "ALICE1234567", "x" * LONGEST_BYTES * 2],
)
def test_a_password_that_would_be_guessed_is_refused(password: str) -> None:
    with pytest.raises(CallerError) as refused:
        check_password(password, "alice")
    assert (refused.value.status, refused.value.param) == (400, "password")


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "P@ssw0rd12345",
        "5unsh!ne2024",
        "Password!2026",
        "qwertyuiop12",
        "admin-admin-admin",
        "123456789012",
        "1q2w3e4r5t6y",
    ],
)
def test_one_of_the_first_that_are_tried_is_refused(password: str) -> None:
    with pytest.raises(CallerError, match="first that are tried"):
        check_password(password, "alice")


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "my secret gardener",
        "a-long-test-password",
        "8301749265103",
        "пароль-который-длинный",
        "alice and a very long sentence",
    ],
)
def test_a_good_one_is_taken(password: str) -> None:
    check_password(password, "alice")


async def test_a_hash_is_argon2id_and_matches_its_password_alone(passwords: Passwords) -> None:
    hashed = await passwords.hash(GOOD)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed != await passwords.hash(GOOD)
    assert await passwords.matches(GOOD, hashed)
    assert not await passwords.matches(GOOD + "!", hashed)
    assert not await passwords.matches(GOOD, "not a hash")
    assert not await passwords.matches(GOOD, None)
    assert not await passwords.matches("nobody has this password", None)


async def test_too_many_at_once_are_told_to_come_back(passwords: Passwords) -> None:
    hashed = await passwords.hash(GOOD)
    outcomes = await asyncio.gather(
        *(passwords.matches(GOOD, hashed) for _ in range(MAX_WAITING + 3)), return_exceptions=True
    )
    assert outcomes.count(True) == MAX_WAITING
    assert [type(each) for each in outcomes[MAX_WAITING:]] == [CallerError] * 3
