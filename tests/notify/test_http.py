import base64
import contextlib
import hashlib
import hmac
import socket
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.alerts import Channel, ChannelSecret, Outcome
from keyrelay.notify.bodies import chat_body
from keyrelay.notify.channels import Channels
from keyrelay.notify.http import HttpChannels
from keyrelay.notify.mail import Mail
from keyrelay.notify.operators import OperatorsChannel
from keyrelay.upstream.dialling import connect_allowed, verifying_context
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport
from tests.notify.messages import NOW_S, message
from tests.notify.servers import hooks

KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Clock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def epoch_s(self) -> float:
        return NOW_S


@contextlib.asynccontextmanager
async def channels(*, private: bool = True) -> AsyncIterator[Channels]:
    policy = AddressPolicy(private=private)
    transport = HttpTransport(TransportSettings(addresses=policy))

    async def connect(host: str, port: int, timeout_s: float) -> socket.socket:
        return await connect_allowed(host, port, policy, timeout_s=timeout_s)

    made = Channels(
        HttpChannels(transport, Clock()),
        lambda: Mail(connect, lambda: verifying_context("")),
        OperatorsChannel(tuple),
    )
    try:
        yield made
    finally:
        made.close()
        await transport.aclose()


async def test_a_webhook_is_signed_so_that_its_receiver_can_tell() -> None:
    async with hooks() as server, channels() as ways:
        outcome = await ways.notify(Channel(kind="webhook"), ChannelSecret(url=server.url, key=KEY), message())
        assert outcome == Outcome()
        taken = server.taken[0]
        assert taken.target == "/hooks/T0SECRETPATH?token=s3cr3t-in-query"
        assert taken.headers["content-type"] == "application/json"
        moment, message_id = taken.headers["webhook-timestamp"], taken.headers["webhook-id"]
        signed = hmac.new(bytes(range(32)), f"{message_id}.{moment}.".encode() + taken.body, hashlib.sha256).digest()
        assert taken.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
        assert message_id == "msg_0198c0de00007abc8def0123456789ab"
        assert moment == str(int(NOW_S))
        assert taken.json["type"] == "alert.firing"
        data = taken.json["data"]
        assert (data["rule"], data["severity"], data["count"]) == ("key_invalid", "warning", 1)
        assert data["alerts"][0]["subject"] == "groq/work"
        assert data["advice"] == "Rotate the key."


async def test_a_chat_gets_text_and_blocks_in_which_nobody_is_called() -> None:
    async with hooks() as server, channels() as ways:
        said = message(subject="<!channel> & co")
        assert await ways.notify(Channel(kind="slack"), ChannelSecret(url=server.url), said) == Outcome()
        document = server.taken[0].json
        assert "&lt;!channel&gt; &amp; co" in document["text"]
        assert [block["type"] for block in document["blocks"]] == ["section", "section"]
        assert "<!channel>" not in server.taken[0].body.decode()
        assert "webhook-signature" not in server.taken[0].headers


def test_discord_gets_a_text_that_it_takes() -> None:
    document = msgspec.json.decode(chat_body(message(lines=20, count=500), discord=True))
    assert document["allowed_mentions"] == {"parse": []}
    assert len(document["content"]) < 2_000
    assert document["content"].startswith("**⚠️ Warning")


@pytest.mark.parametrize(
    ("status", "lasting"),
    [(301, True), (400, True), (404, True), (410, True), (408, False), (429, False), (500, False)],
)
async def test_a_refusal_says_whether_to_try_again(status: int, *, lasting: bool) -> None:
    async with hooks(status) as server, channels() as ways:
        outcome = await ways.notify(Channel(kind="slack"), ChannelSecret(url=server.url), message())
        assert outcome == Outcome(problem=f"http://127.0.0.1:{server.port} answered {status}", lasting=lasting)
        assert len(server.taken) == 1, "no redirect is followed"


async def test_a_private_address_gets_nothing_unless_the_operator_allows_it() -> None:
    async with hooks() as server, channels(private=False) as ways:
        for host in ("127.0.0.1", "2130706433", "localhost", "0x7f.1"):
            for kind in ("webhook", "slack"):
                url = f"http://{host}:{server.port}/s3cr3t"
                outcome = await ways.notify(Channel(kind=kind), ChannelSecret(url=url, key=KEY), message())
                assert outcome.lasting
                assert "which only the operator can allow" in outcome.problem
                assert "s3cr3t" not in outcome.problem
        mail = Channel(
            kind="email", host="127.0.0.1", port=server.port, sender="a@b.example", recipients=("c@d.example",)
        )
        refused = await ways.notify(mail, ChannelSecret(), message())
        assert "which only the operator can allow" in refused.problem
        assert server.connections == 0


async def test_nobody_there_is_tried_again_later() -> None:
    async with hooks() as server:
        url = server.url
    async with channels() as ways:
        outcome = await ways.notify(Channel(kind="slack"), ChannelSecret(url=url), message())
        assert outcome.problem
        assert not outcome.lasting
        assert "SECRETPATH" not in outcome.problem


async def test_an_address_that_is_none_is_not_repeated() -> None:
    async with channels() as ways:
        outcome = await ways.notify(Channel(kind="slack"), ChannelSecret(url="s3cr3t"), message())
        assert (outcome.lasting, "s3cr3t" in outcome.problem) == (True, False)
