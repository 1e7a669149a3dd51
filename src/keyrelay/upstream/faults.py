"""What the network's exceptions mean: the one place where they become faults.

Messages are for a person. They name the host and what to do, and are built from fixed text, the operating system's
words and OpenSSL's; never from a request, a URL or a proxy's credentials.
"""

import os
import socket
import ssl
from collections.abc import Callable

from keyrelay.core.errors import AddressDeniedError
from keyrelay.core.origins import Origin
from keyrelay.ports import Fault


class TunnelError(Exception):
    """The proxy did not open a tunnel. The text is safe to show."""


def _because(error: BaseException) -> str:
    """The operating system's or OpenSSL's own words for an error, else the name of its class."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or "protocol error").replace("_", " ").lower()
    if isinstance(error, socket.gaierror):
        return error.strerror or "no address"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


_CONNECT_RULES: tuple[tuple[type[BaseException], Callable[[str, BaseException], str]], ...] = (
    (TunnelError, lambda _, error: str(error)),
    # Verification before TLS before OSError: each is a subclass of the next.
    (
        ssl.SSLCertVerificationError,
        lambda host, error: (
            f"the certificate of {host} could not be verified ({_because(error)}): "
            "check the base URL, the clock, and whether its CA is trusted (SSL_CERT_FILE)"
        ),
    ),
    (
        ssl.SSLError,
        lambda host, error: (
            f"no TLS connection with {host} ({_because(error)}): check that the base URL's scheme and port are right"
        ),
    ),
    (
        socket.gaierror,
        lambda host, error: f"the name of {host} could not be resolved ({_because(error)}): check the base URL and DNS",
    ),
    (
        ConnectionRefusedError,
        lambda host, _: f"{host} refused the connection: check that the server runs and the base URL's port is right",
    ),
    (
        ConnectionError,
        lambda host, _: f"{host} closed the connection while it was being set up: check the scheme, port and proxy",
    ),
    (OSError, lambda host, error: f"{host} could not be reached ({_because(error)}): check network, DNS and proxy"),
    # A host that IDNA or TLS cannot express; UnicodeError is a ValueError.
    (ValueError, lambda host, _: f"{host} is not a name that can be looked up: check the base URL"),
)
"""Ordered: the first class that fits decides."""

CONNECT_ERRORS = (OSError, ValueError, TunnelError, AddressDeniedError)
"""What setting up a connection may raise because of the other side or the network."""


def connect_fault(error: BaseException, origin: Origin, timeout_s: float) -> Fault:
    """What an exception while connecting means; the provider has seen nothing of the request."""
    host = origin.authority
    if isinstance(error, AddressDeniedError):
        return Fault(kind="address", message=str(error), reached=False)
    # The kernel's ETIMEDOUT is the network's verdict and carries an errno; our own deadline carries none.
    if isinstance(error, TimeoutError) and not error.errno:
        message = f"{host} could not be connected within {timeout_s:.3g} s: check network, DNS and proxy"
        return Fault(kind="timeout", message=message, reached=False)
    for kind, message_of in _CONNECT_RULES:
        if isinstance(error, kind):
            return Fault(kind="network", message=message_of(host, error), reached=False)
    raise error


def lost_fault(error: BaseException | None, origin: Origin, *, answering: bool) -> Fault:
    """What the loss of a connection in the middle of an exchange means."""
    how = "closed the connection" if error is None else f"lost the connection ({_because(error)})"
    when = "in the middle of its answer" if answering else "before it answered"
    return Fault(kind="network", message=f"{origin.authority} {how} {when}: try again")


def overdue_fault(origin: Origin, *, answering: bool) -> Fault:
    """A deadline has passed after the request was sent."""
    what = "did not go on with its answer in time" if answering else "did not answer in time"
    return Fault(kind="timeout", message=f"{origin.authority} {what}: try again, or raise the deadline")


def malformed_fault(origin: Origin, problem: str) -> Fault:
    """The answer cannot be used; `problem` is fixed text or a parser's own words."""
    return Fault(kind="malformed", message=f"{origin.authority} sent an answer that cannot be used: {problem}")


def busy_fault(origin: Origin, problem: str) -> Fault:
    """There is no connection to spare on our side; nothing was sent."""
    return Fault(kind="network", message=f"no connection to {origin.authority}: {problem}", reached=False)
