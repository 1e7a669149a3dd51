import errno
import socket
import ssl

import pytest

from keyrelay.core.origins import Origin
from keyrelay.upstream.faults import TunnelError, connect_fault, lost_fault

ORIGIN = Origin("https", "provider.example", 443)


def test_each_exception_has_its_words() -> None:
    verification = ssl.SSLCertVerificationError(1, "x")
    verification.verify_message = "certificate has expired"
    expected = {
        "the certificate of provider.example could not be verified (certificate has expired)": verification,
        "no TLS connection with provider.example (protocol error)": ssl.SSLError(1, "x"),
        "could not be resolved (Name or service not known)": socket.gaierror(-2, "Name or service not known"),
        "could not be resolved (no address)": socket.gaierror(),
        "refused the connection": ConnectionRefusedError(),
        "closed the connection while": ConnectionResetError(),
        "could not be reached (No route to host)": OSError(errno.EHOSTUNREACH, "x"),
        "could not be reached (Connection timed out)": TimeoutError(errno.ETIMEDOUT, "x"),
        "could not be reached (OSError)": OSError("all attempts failed: secret"),
        "not a name": UnicodeError("x"),
        "as it says": TunnelError("as it says"),
    }
    for words, error in expected.items():
        fault = connect_fault(error, ORIGIN, 3.0)
        assert (fault.kind, fault.reached) == ("network", False)
        assert words in fault.message


def test_our_own_deadline_is_a_timeout() -> None:
    fault = connect_fault(TimeoutError(), ORIGIN, 3.0)
    assert (fault.kind, fault.reached) == ("timeout", False)
    assert "within 3 s" in fault.message


def test_what_is_not_the_networks_fault_is_raised() -> None:
    with pytest.raises(KeyError):
        connect_fault(KeyError("x"), ORIGIN, 3.0)


def test_losing_a_connection() -> None:
    assert "closed the connection before it answered" in lost_fault(None, ORIGIN, answering=False).message
    reset = lost_fault(ConnectionResetError(errno.ECONNRESET, "x"), ORIGIN, answering=True)
    assert "(Connection reset by peer) in the middle of its answer" in reset.message
