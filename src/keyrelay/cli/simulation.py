"""`keyrelay simulator`, and `keyrelay demo`: the gateway, simulated providers and synthetic traffic in one process."""

import asyncio
import contextlib
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from keyrelay import __version__
from keyrelay.api.app import Application
from keyrelay.cli.exits import Exit
from keyrelay.cli.opening import base_url, bind, curl_line
from keyrelay.cli.output import note, print_warnings
from keyrelay.cli.serving import new_loop, serve
from keyrelay.configuration import Configuration, load_configuration, with_clients
from keyrelay.configuration.clients import digest_of
from keyrelay.configuration.first_run import new_secret
from keyrelay.configuration.local_secret import demo_directory
from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret
from keyrelay.simulator.demo import DEMO_PROVIDERS, demo_environment, demo_scenario
from keyrelay.simulator.scenario import Scenario, load_scenario
from keyrelay.simulator.server import Simulator
from keyrelay.simulator.server import run as run_until_cancelled
from keyrelay.simulator.traffic import Plan, send_traffic
from keyrelay.upstream.catalogue import load_catalogue

_REQUESTS_PER_S = 2.0
_MOST_REQUESTS = 50_000
_LONGEST_TRAFFIC_S = 24 * 3600.0

FIRST_KEY = "echo 'GROQ_API_KEY=<your key>' >> .env"


def run_demo(configuration: Configuration) -> int:
    """Serve simulated providers with the operator's own settings, until stopped; the exit code."""
    print_warnings(configuration.warnings)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            return runner.run(_demo(configuration))
        except KeyboardInterrupt:
            return Exit.INTERRUPTED


async def _demo(configuration: Configuration) -> int:
    bound = bind(configuration.settings.host, configuration.settings.port)
    if bound is None:
        return Exit.FAILED
    simulator = Simulator(demo_scenario(), _rows(DEMO_PROVIDERS))
    port = await simulator.start()
    secret, traffic_secret = new_secret(), new_secret()
    clients = {"demo": secret, "demo-traffic": traffic_secret}
    traffic: list[asyncio.Task[None]] = []

    async def greet(application: Application, address: str) -> None:
        _greet(address, secret, _options(configuration, application.watch.configuration.settings.data_dir, bound))
        traffic.append(asyncio.ensure_future(_send_traffic(address, traffic_secret)))

    with bound, _directory(configuration.settings.data_dir, bound) as kept:
        try:
            return await serve(_demo_configuration(configuration, port, clients, kept), greet, bound=bound)
        finally:
            for task in traffic:
                task.cancel()
            await asyncio.gather(*traffic, return_exceptions=True)
            await simulator.stop()


@contextlib.contextmanager
def _directory(data_dir: Path, bound: socket.socket) -> Iterator[Path]:
    """Where the demonstration keeps what it has, empty at first and gone in the end.

    It is where commands look for who listens on this port; elsewhere if that cannot be written.
    """
    kept = demo_directory(data_dir, bound.getsockname()[1])
    try:
        shutil.rmtree(kept, ignore_errors=True)  # what one has left that was killed: nobody else has the port
        kept.mkdir(mode=0o700, parents=True)
    except OSError:
        with tempfile.TemporaryDirectory(prefix="keyrelay-demo-") as elsewhere:
            yield Path(elsewhere)
        return
    try:
        yield kept
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _options(configuration: Configuration, kept: Path, bound: socket.socket) -> str:
    """What commands need to be told to find the demonstration by themselves."""
    settings = configuration.settings
    options = ""
    if kept.parent != settings.data_dir:
        options += f" --data-dir {kept}"
    if bound.getsockname()[1] != settings.port:
        options += f" --url {base_url(settings.host, bound).removesuffix('/v1')}"
    return options


async def _send_traffic(base_url: str, secret: Secret) -> None:
    plan = Plan(
        rate_per_s=_REQUESTS_PER_S,
        requests=_MOST_REQUESTS,
        duration_s=_LONGEST_TRAFFIC_S,
        seed=secrets.randbits(32),
    )
    await send_traffic(base_url, secret.reveal(), plan=plan, on_result=lambda _: None)


def _demo_configuration(
    configuration: Configuration, port: int, clients: dict[str, Secret], data_dir: Path
) -> Configuration:
    """The demo's providers under the operator's settings; no file of the working directory is read.

    What it keeps goes into a directory of its own: simulated requests are nothing to remember.
    """
    with tempfile.TemporaryDirectory() as empty:
        demo = load_configuration(demo_environment(port), directory=Path(empty), overrides={"data_dir": empty})
    settings = msgspec.structs.replace(
        configuration.settings, data_dir=data_dir, database_url=Secret(""), redis_url=Secret(""), workers=1
    )
    if settings.log_level == "info":  # the traffic's lines would carry the secret away that was shown at the start
        settings = msgspec.structs.replace(settings, log_level="warning")
    demo = msgspec.structs.replace(demo, settings=settings)
    made = tuple(Client(label, digest_of(secret.reveal())) for label, secret in clients.items())
    return with_clients(demo, made, source="demo")


def _greet(address: str, secret: Secret, options: str) -> None:
    note(f"keyrelay {__version__} at {address}")
    note("DEMO: no key is configured. Providers, answers and traffic are simulated; nothing leaves this machine.")
    note(f"add a first real key, then start again:  {FIRST_KEY}")
    note(f"client secret of this run: {secret.reveal()}")
    note(f"try it:  {curl_line(address, secret.reveal())}")
    note(f"look at it:  keyrelay{options} status  (or quota, usage, errors)")
    note(f"docs at {address.removesuffix('/v1')}/docs")


def run_simulator(*, host: str, port: int, seed: int, scenario_file: Path | None, provider_ids: tuple[str, ...]) -> int:
    """Serve simulated providers until stopped; the exit code."""
    scenario = load_scenario(scenario_file) if scenario_file is not None else Scenario(seed=seed)
    rows = _rows(provider_ids)

    def ready(simulator: Simulator) -> None:
        note(f"simulated providers at {simulator.address}; point a gateway at them with:")
        for provider_id in rows:
            prefix = provider_id.upper()
            note(f"  {prefix}_BASE_URL={simulator.base_url(provider_id)} {prefix}_API_KEY=sim-{provider_id}-a")
        note(f"calls so far: {simulator.address}/__simulator/summary; faults: {simulator.address}/__simulator/faults")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            runner.run(run_until_cancelled(scenario, rows, host=host, port=port, on_ready=ready))
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        except OSError as error:
            note(f"keyrelay: cannot listen on {host} port {port}: {error.strerror}. Choose another with --port.")
            return Exit.FAILED
    return Exit.FINE


def _rows(provider_ids: tuple[str, ...]) -> dict[str, ProviderRow]:
    """The catalogue's rows of these providers, of all for none. Raise ConfigurationError for an unknown one."""
    rows = load_catalogue()
    unknown = [provider_id for provider_id in provider_ids if provider_id not in rows]
    if unknown:
        raise ConfigurationError("--provider", f"{unknown[0]!r} is not in the catalogue.", f"Known: {', '.join(rows)}.")
    return {provider_id: rows[provider_id] for provider_id in provider_ids or rows}
