"""What comes before the first request, whether one process serves or several: the port, the first client, the greeting.

The first client is made last of all, when requests are taken and the store has said that there is none: a start that
fails leaves no client behind whose secret nobody has seen. Nothing here needs a server or an event loop: a supervisor
that only watches over others stays small.
"""

import errno
import socket
from pathlib import Path

from keyrelay import __version__
from keyrelay.api.worker_channel import Ready
from keyrelay.cli.output import note
from keyrelay.configuration import make_first_client
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.secrets import Secret
from keyrelay.core.words import counted

NO_PROVIDER = """\
no provider is in use yet; requests are refused until one is:
  keyrelay keys add groq                                  a key; `keyrelay providers list` names every provider
  keyrelay providers add my_llm https://host.example/v1   any server that speaks OpenAI's dialect
  echo 'GROQ_API_KEY=<your key>' >> .env                  or in the environment"""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - looked up, not listened on
"""By which address this machine reaches what listens on all of them."""


def bind(host: str, port: int) -> socket.socket | None:
    """A socket bound to this address, which does not listen yet; None, with a note, when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio's own loop too sends small answers at once (TCP_NODELAY).
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        note(f"keyrelay: cannot listen on {host} port {port}: {error.strerror}. {_advice(error)}")
        return None
    return bound


def _advice(error: OSError) -> str:
    """What to choose another one of."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Choose an address of this machine with --host or KEYRELAY_HOST; 0.0.0.0 is all of them."
    return "Choose another with --port (0 takes a free one) or KEYRELAY_PORT."


def base_url(host: str, bound: socket.socket) -> str:
    """The address that callers on this machine use."""
    host = _EVERYWHERE.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}/v1"


def first_client(data_dir: Path) -> Secret:
    """Make the first client, so that somebody can call; empty, with a note, when it cannot be kept."""
    try:
        return make_first_client(data_dir)
    except ConfigurationError as error:
        note(f"keyrelay: no client could be made: {error}")
        return Secret("")


def greet(ready: Ready, secret: Secret, address: str) -> None:
    """Tell a person where Keyrelay is and how to call it, with this client secret if one was made just now.

    `address` is the base URL.
    """
    counts = f"{counted(len(ready.providers), 'provider')}, {counted(ready.keys, 'key')}"
    names = f": {', '.join(ready.providers)}" if ready.providers else ""
    note(f"keyrelay {__version__} at {address}  ({counts}{names})")
    if secret:
        note(f"client secret, shown only now: {secret.reveal()}")
    elif not ready.knows_clients:
        note("which clients may call is not known until the store answers")
    else:
        callers = counted(ready.clients, "client")
        note(f"{callers} may call, with secrets known before; `keyrelay clients new` makes another")
    if not ready.providers:
        note(NO_PROVIDER)
    note(f"try it:  {curl_line(address, secret.reveal() or '<client secret>')}")
    note(f"docs at {address.removesuffix('/v1')}/docs")


def invite(code: Secret, address: str) -> None:
    """Tell a person how the first administrator is made, if that is still to be done; `address` is the base URL."""
    if code:
        note(f"first administrator, link for once: {address.removesuffix('/v1')}/setup#{code.reveal()}")


def curl_line(address: str, secret: str) -> str:
    """A command that shows that it works."""
    body = '\'{"prompt":"Say hello in five words."}\''
    return f"curl {address}/generate -H 'Authorization: Bearer {secret}' -H 'content-type: application/json' -d {body}"
