"""What stands before and in the greeting."""

import pytest

from keyrelay.api.worker_channel import Ready
from keyrelay.cli.opening import base_url, bind, greet
from keyrelay.core.secrets import Secret


@pytest.mark.parametrize(
    ("host", "words"), [("300.1.1.1", "with --host or KEYRELAY_HOST"), ("192.0.2.1", "with --host or KEYRELAY_HOST")]
)
def test_a_host_that_is_none_of_this_machine_is_not_blamed_on_the_port(
    host: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bind(host, 0) is None
    said = capsys.readouterr().err
    assert words in said
    assert "--port" not in said


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "[::1]")])
def test_links_lead_somewhere_where_every_address_is_listened_on(host: str, shown: str) -> None:
    bound = bind(host, 0)
    assert bound is not None
    with bound:
        assert base_url(host, bound) == f"http://{shown}:{bound.getsockname()[1]}/v1"


@pytest.mark.parametrize(
    ("ready", "secret", "words"),
    [
        (Ready(clients=2), "", "2 clients may call, with secrets known before"),
        (Ready(knows_clients=False), "", "which clients may call is not known until the store answers"),
        (Ready(clients=1), "kr-test-1", "client secret, shown only now: kr-test-1"),
    ],
)
def test_the_greeting_says_who_may_call_as_far_as_that_is_known(
    ready: Ready, secret: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    greet(ready, Secret(secret), "http://127.0.0.1:8787/v1")
    assert words in capsys.readouterr().err.splitlines()[1]
