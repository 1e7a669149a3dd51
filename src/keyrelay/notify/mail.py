"""Messages by e-mail: SMTP over a connection that was checked before, in a thread of its own."""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from keyrelay.core.alerts import AlertMessage, Channel, ChannelSecret, Outcome
from keyrelay.core.errors import AddressDeniedError
from keyrelay.notify.bodies import mail_text, webhook_id

TIMEOUT_S = 10.0
"""Longest wait for the connection, and for each answer of the server."""

TOTAL_S = 25.0

MAX_AT_A_TIME = 2
_READY = 220
_PERMANENT = range(500, 600)

Connect = Callable[[str, int, float], Awaitable[socket.socket]]
"""Opens a connection to host and port within so many seconds. Raise AddressDeniedError and OSError."""


class Mail:
    """Sends e-mails over connections that `connect` opens; `context` makes TLS that verifies."""

    __slots__ = ("_connect", "_context", "_threads")

    def __init__(self, connect: Connect, context: Callable[[], ssl.SSLContext]) -> None:
        self._connect = connect
        self._context = context
        self._threads: ThreadPoolExecutor | None = None

    async def send(self, channel: Channel, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        """Send one message to all recipients."""
        mail = mail_of(channel, message)
        try:
            connection = await self._connect(channel.host, channel.port, TIMEOUT_S)
        except AddressDeniedError as error:
            return Outcome(problem=str(error), lasting=True)
        except OSError as error:
            return Outcome(problem=f"no connection to {channel.host}: {_words(error)}")
        connection.settimeout(TIMEOUT_S)
        conversation = _Conversation(connection)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MAX_AT_A_TIME, thread_name_prefix="mail")
        work = self._threads.submit(self._talk, conversation, channel, secret, mail)
        work.add_done_callback(lambda _: conversation.let_go())
        try:
            async with asyncio.timeout(TOTAL_S):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            return Outcome(problem=f"{channel.host} did not take it within {TOTAL_S:g} s")
        finally:
            conversation.cut()

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _talk(
        self, conversation: "_Conversation", channel: Channel, secret: ChannelSecret, mail: EmailMessage
    ) -> Outcome:
        """The whole conversation with a server, in a thread."""
        try:
            context = None if channel.security == "none" else self._context()
            conversation.begin(channel.host, channel.port, context if channel.security == "tls" else None)
            if context is not None and channel.security == "starttls":
                conversation.starttls(context=context)
            if channel.user:
                conversation.login(channel.user, secret.password)
            conversation.send_message(mail, channel.sender, list(channel.recipients))
            conversation.quit()
        except smtplib.SMTPException as error:
            return _refused(channel.host, error)
        except OSError as error:  # TLS that does not verify is one as well
            return Outcome(problem=f"{channel.host}: {_words(error)}")
        return Outcome()

    def __repr__(self) -> str:
        return "<Mail>"


class _Conversation(smtplib.SMTP):
    """SMTP over a connection that is open already."""

    def __init__(self, connection: socket.socket) -> None:
        # Without a name of its own smtplib would ask the DNS for one, here and now.
        super().__init__(local_hostname=_literal(connection), timeout=TIMEOUT_S)
        self._connection = connection

    def begin(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Begin, by the name that TLS is to verify; with a context in TLS from the first byte on."""
        if context is not None:
            self._connection = context.wrap_socket(self._connection, server_hostname=host)
        self._host = host
        code, _ = self.connect(host, port)
        if code != _READY:
            raise smtplib.SMTPConnectError(code, "")

    def cut(self) -> None:
        """End it, whatever a thread is waiting for."""
        for each in (self._connection, self.sock):
            if each is not None:
                with contextlib.suppress(OSError):  # it is over already
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # not TLS's own, which the thread is still using

    def let_go(self) -> None:
        """Close it; nobody uses it any more."""
        self.close()
        self._connection.close()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """What smtplib would open a connection by."""
        del host, port, timeout
        return self._connection


def mail_of(channel: Channel, message: AlertMessage) -> EmailMessage:
    """A message as an e-mail; nothing of it can end a header."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[Keyrelay] {message.title}".split())
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.recipients)
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = f"<{webhook_id(message)}@keyrelay.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(mail_text(message))
    return mail


def _refused(host: str, error: smtplib.SMTPException) -> Outcome:
    """What a refusal means. What the server said may repeat what it was sent, and is left out."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        code, what = codes[0] if codes else 0, "the recipients"
        lasting = all(code in _PERMANENT for code in codes)
        return Outcome(problem=f"{host} refused {what} ({code})", lasting=lasting)
    if isinstance(error, smtplib.SMTPResponseException):
        what = "the user or password" if isinstance(error, smtplib.SMTPAuthenticationError) else "the message"
        return Outcome(problem=f"{host} refused {what} ({error.smtp_code})", lasting=error.smtp_code in _PERMANENT)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome(problem=f"{host} does not offer what the channel asks for (TLS or a log-in)", lasting=True)
    return Outcome(problem=f"{host}: {type(error).__name__}")


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _literal(connection: socket.socket) -> str:
    """One's own end of a connection as SMTP names machines that have no name."""
    address = connection.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
