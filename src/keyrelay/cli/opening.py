"""What comes before the first request, whether one process serves or several: the port, the first client, the greeting.

Nothing here needs a server or an event loop: a supervisor that only watches over others stays small.
"""

import socket

from keyrelay import __version__
from keyrelay.cli.output import note
from keyrelay.configuration import Configuration, FirstRun, ensure_client, with_clients
from keyrelay.core.configuration import Client
from keyrelay.core.secrets import Secret

NO_PROVIDER = """\
no provider is in use yet; requests are refused until one is:
  keyrelay keys add groq                                  a key; `keyrelay providers list` names every provider
  keyrelay providers add my_llm https://host.example/v1   any server that speaks OpenAI's dialect
  echo 'GROQ_API_KEY=<your key>' >> .env                  or in the environment"""

FIRST_START = "made at the first start"
"""Source of a client that Keyrelay has just made."""


def bind(host: str, port: int) -> socket.socket | None:
    """A socket bound to this address, which does not listen yet; None, with a note, when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        note(
            f"keyrelay: cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --port (0 takes a free one) or KEYRELAY_PORT."
        )
        return None
    return bound


def base_url(host: str, bound: socket.socket) -> str:
    """The address that callers use."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}/v1"


def let_in_first(configuration: Configuration) -> tuple[Configuration, FirstRun]:
    """The configuration with a client, made now when there is none, so that the data plane is never open."""
    if configuration.snapshot.clients:
        return configuration, FirstRun(clients=())
    first_run = ensure_client(configuration.settings.data_dir)
    return with_clients(configuration, first_run.clients, source=FIRST_START), first_run


def unkept_clients(first_run: FirstRun) -> tuple[Client, ...]:
    """The clients that no file holds: those of this run alone."""
    return first_run.clients if first_run.notice else ()


def greet(configuration: Configuration, first_run: FirstRun, address: str) -> None:
    """Tell a person where Keyrelay is and how to call it; `address` is the base URL."""
    snapshot = configuration.snapshot
    counts = f"{_counted(len(snapshot.providers), 'provider')}, {_counted(len(snapshot.keys), 'key')}"
    names = f": {', '.join(sorted(snapshot.providers))}" if snapshot.providers else ""
    note(f"keyrelay {__version__} at {address}  ({counts}{names})")
    if first_run.secret is not None:
        note(f"client secret, shown only now: {first_run.secret.reveal()}")
    else:
        callers = _counted(len(snapshot.clients), "client")
        note(f"{callers} may call, with secrets known before; `keyrelay clients new` makes another")
    if first_run.notice:
        note(first_run.notice)
    if not snapshot.providers:
        note(NO_PROVIDER)
    secret = first_run.secret.reveal() if first_run.secret else "<client secret>"
    note(f"try it:  {curl_line(address, secret)}")
    note(f"docs at {address.removesuffix('/v1')}/docs")


def invite(code: Secret, address: str) -> None:
    """Tell a person how the first administrator is made, if that is still to be done; `address` is the base URL."""
    if code:
        note(f"first administrator, link for once: {address.removesuffix('/v1')}/setup#{code.reveal()}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def curl_line(address: str, secret: str) -> str:
    """A command that shows that it works."""
    body = '\'{"prompt":"Say hello in five words."}\''
    return f"curl {address}/generate -H 'Authorization: Bearer {secret}' -H 'content-type: application/json' -d {body}"
