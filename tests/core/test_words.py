import pytest

from keyrelay.core.words import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (1_000, "1,000 keys")])
def test_a_noun_follows_its_number(number: int, text: str) -> None:
    assert counted(number, "key") == text
