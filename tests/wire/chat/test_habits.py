import pytest

from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.chat.habits import _HABITS, Habits, habits_of
from tests.wire.chat.samples import target


def test_an_unknown_provider_has_no_habits() -> None:
    assert habits_of(target("my_server")) == Habits()


@pytest.mark.parametrize("provider_id", _HABITS)
def test_each_provider_with_habits_is_one_of_the_catalogue(provider_id: str) -> None:
    assert provider_id in load_catalogue()
    assert habits_of(target(provider_id)) != Habits()
