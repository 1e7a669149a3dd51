"""Real clients over real sockets find what docs/compatibility.md says."""

import asyncio

import pytest

from tests.clients.compatibility import surprises
from tests.clients.matrix import CLIENTS, REASONS, Client
from tests.clients.page import PAGE, expected, renewed
from tests.clients.running import Outcomes, is_installed, run_clients


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    installed = [client for client in CLIENTS if is_installed(client)]
    return asyncio.run(run_clients(tmp_path_factory.mktemp("clients"), installed)) if installed else {}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_the_page_is_true_of(client: Client, outcomes: Outcomes) -> None:
    if not is_installed(client):
        pytest.skip("its environment is missing: scripts/compatibility --install")
    found = surprises(outcomes, client)
    assert not found, "\n".join(found)


def test_the_page_is_what_a_run_would_write() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text, expected) == text, "run scripts/compatibility"


def test_every_reason_is_the_reason_for_something() -> None:
    cells = [
        (client, target, feature) for client in CLIENTS for target in client.targets for feature in client.features
    ]
    idle = [reason.text for reason in REASONS if not any(reason.covers(*cell) for cell in cells)]
    assert not idle, "nothing is a no because of these"
