"""E-mail over real connections, to a server that is as bad as a test wants."""

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.alerts import Channel, ChannelSecret, Outcome
from keyrelay.notify import mail as mail_module
from keyrelay.notify.mail import Mail, mail_of
from keyrelay.upstream.dialling import connect_allowed
from tests.notify.messages import message
from tests.notify.servers import Post, post
from tests.upstream.certificates import Authority

PASSWORD = "s3cr3t-p4ssword"
SECRET = ChannelSecret(password=PASSWORD)
LOCAL = AddressPolicy(private=True)


async def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    return await connect_allowed(host, port, LOCAL, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca_file)


def channel(server: Post, **more: Any) -> Channel:
    fixed: dict[str, Any] = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "sender": "keyrelay@example.com",
        "recipients": ("ops@example.com", "alice@example.com"),
    }
    return Channel(**fixed | more)


async def test_a_mail_arrives_whole() -> None:
    ways = Mail(connect, ssl.create_default_context)
    async with post() as server:
        assert await ways.send(channel(server), ChannelSecret(), message()) == Outcome()
        taken = server.mails[0]
        assert taken["subject"] == "[Keyrelay] Warning: Key not accepted: groq/work"
        assert (taken["from"], taken["to"]) == ("keyrelay@example.com", "ops@example.com, alice@example.com")
        assert taken["message-id"] == "<msg_0198c0de00007abc8def0123456789ab@keyrelay.invalid>"
        assert "Rotate the key." in taken.get_payload()
        assert server.recipients == ["ops@example.com", "alice@example.com"]
        assert server.commands[0] == "ehlo [127.0.0.1]"
    ways.close()


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_password_goes_over_tls_that_verifies(authority: Authority, security: Any) -> None:
    ways = Mail(connect, lambda: trusting(authority))
    context = authority.context("IP:127.0.0.1")
    tls = {"wrapped": context} if security == "tls" else {"tls": context}
    async with post(users={"relay": PASSWORD}, **tls) as server:
        outcome = await ways.send(channel(server, security=security, user="relay"), SECRET, message())
        assert outcome == Outcome()
        assert server.encrypted is (security == "starttls")
        assert len(server.mails) == 1
    ways.close()


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_nobody_vouches_for_gets_no_password(authority: Authority, security: Any) -> None:
    ways = Mail(connect, ssl.create_default_context)
    context = authority.context("IP:127.0.0.1")
    tls = {"wrapped": context} if security == "tls" else {"tls": context}
    async with post(users={"relay": PASSWORD}, **tls) as server:
        outcome = await ways.send(channel(server, security=security, user="relay"), SECRET, message())
        assert outcome.problem.startswith("127.0.0.1: ")
        assert not any(command.startswith("AUTH") for command in server.commands)
    ways.close()


async def test_without_starttls_nothing_is_sent_in_the_clear() -> None:
    ways = Mail(connect, ssl.create_default_context)
    async with post(users={"relay": PASSWORD}) as server:
        outcome = await ways.send(channel(server, security="starttls", user="relay"), SECRET, message())
        assert outcome.lasting
        assert "does not offer" in outcome.problem
        assert not any("AUTH" in command.upper() for command in server.commands)
        assert server.mails == []
    ways.close()


@pytest.mark.parametrize(
    ("answers", "problem", "lasting"),
    [
        ({"MAIL": "451 later"}, "127.0.0.1 refused the message (451)", False),
        ({"DATA": "554 never"}, "127.0.0.1 refused the message (554)", True),
        ({"RCPT": "550 nobody"}, "127.0.0.1 refused the recipients (550)", True),
        ({"RCPT": "450 busy"}, "127.0.0.1 refused the recipients (450)", False),
        ({"EHLO": "421 away", "HELO": "421 away"}, "127.0.0.1 refused the message (421)", False),
    ],
)
async def test_a_refusal_says_whether_to_try_again(answers: dict[str, str], problem: str, *, lasting: bool) -> None:
    ways = Mail(connect, ssl.create_default_context)
    async with post(answers=answers) as server:
        outcome = await ways.send(channel(server), ChannelSecret(), message())
        assert outcome == Outcome(problem=problem, lasting=lasting)
    ways.close()


async def test_a_wrong_password_is_not_repeated(authority: Authority) -> None:
    ways = Mail(connect, lambda: trusting(authority))
    async with post(users={"relay": "another"}, tls=authority.context("IP:127.0.0.1")) as server:
        outcome = await ways.send(channel(server, security="starttls", user="relay"), SECRET, message())
        assert outcome == Outcome(problem="127.0.0.1 refused the user or password (535)", lasting=True)
    ways.close()


@pytest.mark.parametrize("silent", ["greeting", "EHLO", "DATA"])
async def test_a_server_that_hangs_is_left_and_its_thread_ends(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "TOTAL_S", 0.1)
    ways = Mail(connect, ssl.create_default_context)
    async with post(silent=silent) as server:
        started_at = time.monotonic()
        outcome = await ways.send(channel(server), ChannelSecret(), message())
        assert outcome == Outcome(problem="127.0.0.1 did not take it within 0.1 s")
        assert time.monotonic() - started_at < 2.0
        server.silent = ""
        assert await ways.send(channel(server), ChannelSecret(), message()) == Outcome()
    threads = ways._threads
    assert threads is not None
    await asyncio.wait_for(asyncio.to_thread(threads.shutdown), 2.0)


async def test_nobody_there_is_tried_again_later() -> None:
    ways = Mail(connect, ssl.create_default_context)
    async with post() as server:
        gone = channel(server)
    outcome = await ways.send(gone, ChannelSecret(), message())
    assert outcome.problem.startswith("no connection to 127.0.0.1: ")
    assert not outcome.lasting


def test_nothing_that_is_said_ends_a_header(tmp_path: Path) -> None:
    nasty = msgspec.structs.replace(message(), title="a\r\nBcc: everybody@example.com")
    written = mail_of(Channel(kind="email", sender="a@b.example", recipients=("c@d.example",)), nasty).as_string()
    assert "\nBcc:" not in written
    assert "Subject: [Keyrelay] a Bcc: everybody@example.com" in written
