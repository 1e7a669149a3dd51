import pytest

from keyrelay.core.alerts import Outcome
from keyrelay.notify.operators import OperatorsChannel
from tests.notify.messages import message


class Recorder:
    """Stands for `apprise.Apprise`: knows addresses of `known`, and is told or not."""

    def __init__(self, *, told: bool = True) -> None:
        self.servers: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.told = told

    def add(self, servers: str) -> bool:
        self.servers.append(servers)
        return servers.startswith("known://")

    def notify(self, *, title: str, body: str) -> bool:
        self.said.append((title, body))
        return self.told


async def test_all_addresses_of_the_operator_are_told() -> None:
    apprise = Recorder()
    channel = OperatorsChannel(lambda: ("known://a", "known://b"), lambda: apprise)
    assert await channel.send(message()) == Outcome()
    assert apprise.servers == ["known://a", "known://b"]
    assert apprise.said[0][0] == "Warning: Key not accepted: groq/work"


@pytest.mark.parametrize(
    ("urls", "told", "words", "lasting"),
    [
        ((), True, "KEYRELAY_APPRISE_URLS is empty", True),
        (("other://s3cr3t",), True, "does not know 1", True),
        (("known://s3cr3t",), False, "could not tell all", False),
    ],
)
async def test_what_is_wrong_is_said_without_an_address(
    urls: tuple[str, ...], words: str, *, told: bool, lasting: bool
) -> None:
    outcome = await OperatorsChannel(lambda: urls, lambda: Recorder(told=told)).send(message())
    assert words in outcome.problem
    assert (outcome.lasting, "s3cr3t" in outcome.problem) == (lasting, False)


async def test_without_apprise_it_is_said_how_to_get_it() -> None:
    def missing() -> Recorder:
        raise ImportError("apprise")

    outcome = await OperatorsChannel(lambda: ("known://a",), missing).send(message())
    assert outcome == Outcome(problem="apprise is not installed: pip install 'keyrelay[apprise]'", lasting=True)
