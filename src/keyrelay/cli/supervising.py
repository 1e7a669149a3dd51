"""`keyrelay up --workers N`: several processes that serve on one port, and one that watches over them.

The supervisor binds the port and never takes a connection: the workers inherit the listening socket, so a connection
that waits to be taken belongs to none of them, and none is lost when a worker goes. (With a socket of its own for each,
`SO_REUSEPORT`, what waits in a worker's queue dies with it.) It starts another worker for one that has died, replaces
them one by one at SIGHUP, passes on what they ask each other (`switchboard`), and watches the configuration's files for
all of them. Each worker is a new interpreter: after an update, SIGHUP brings in the new code.

SIGTERM and SIGINT drain, the second one ends at once; SIGHUP reads the configuration anew and replaces the workers, a
new one for each before the old one drains. A terminal or a service manager sends its signals to the workers as well:
they take any of them as a wish to drain, and leave it to the supervisor to count.
"""

import asyncio
import itertools
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from keyrelay.api.request_log import RequestLog, logs_json
from keyrelay.api.worker_channel import Orders, Ready
from keyrelay.cli.exits import Exit
from keyrelay.cli.loads import LOADS_BYTES, NOBODY, Loads
from keyrelay.cli.opening import base_url, bind, first_client, greet
from keyrelay.cli.options import Overrides, configuration_of
from keyrelay.cli.output import print_warnings
from keyrelay.cli.switchboard import Switchboard
from keyrelay.cli.whole_lines import WholeLines
from keyrelay.cli.worker_process import WorkerProcess, worker_command
from keyrelay.configuration import Configuration
from keyrelay.configuration.watching import Changes, Watch
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.identity import instance_name
from keyrelay.core.redaction import Redactor
from keyrelay.core.secrets import Secret

START_TIMEOUT_S = 60.0
"""Longest time for a worker from its start until it takes requests."""

STOP_MARGIN_S = 10.0
"""Beyond the time for draining: to write down what has ended, and to end."""

HURRY_S = 2.0
"""What is left to workers after the second signal."""

FAILED_STARTS = 5
"""After so many starts in a row without a worker that gets ready, and with none left, the supervisor gives up."""

LONGEST_LETTING_IN_S = 5.0
"""So long the greeting waits until every worker knows the client that was made just now."""

_LOOK_S = 0.02
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_SOURCE = "keyrelay.supervisor"

NO_SECRET = Secret("")


class Supervisor:
    """Starts and replaces workers until it is told to stop.

    `load` reads the configuration anew; `orders` makes a worker's orders of its slot; `close` stops listening; `loads`
    is where workers say how many connections they have; `report` takes a level and a sentence that a person should
    know; `command` starts a worker. `make_client` makes the first client when there is none, and gives its secret.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Callable[[], Configuration],
        *,
        orders: Callable[[int], Orders],
        close: Callable[[], None],
        loads: Loads,
        report: Callable[[str, str], None],
        command: Sequence[str],
        make_client: Callable[[], Secret] = lambda: NO_SECRET,
    ) -> None:
        self._orders = orders
        self._close = close
        self._loads = loads
        self._report = report
        self._command = command
        self._make_client = make_client
        self._watch = Watch(
            configuration,
            lambda _: load(),  # the workers know what is administered
            take=self._take,
            refuse=lambda text: report("error", f"the change is refused, all stays as it is: {text}"),
        )
        self._workers: list[WorkerProcess] = []
        self._switchboard = Switchboard(lambda: self._workers)
        self._slots: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_number = 0
        self._failed_starts = 0
        self._renewing = self._renew_again = False
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()
        self._code = Exit.FINE

    async def run(self, on_ready: Callable[[Ready, Secret], None]) -> int:
        """Serve until stopped; the exit code.

        When requests are taken, say with what, and with which secret of a client that was made for that.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_renew)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            if await self._start_all():
                secret = await self._let_in_first()
                on_ready(next((worker.serves_with for worker in self._workers), Ready()), secret)
                self._begin(self._watch.run())
                await self._stopping.wait()
        finally:
            await self._stop_all()
        return self._code

    # Starting.

    async def _start_all(self) -> bool:
        """Start the first worker, which finds out whether it can be done, then all others; False when it cannot."""
        wanted = self._watch.configuration.settings.workers
        for number in (1, wanted - 1):
            started = [await self._start() for _ in range(number)]
            await self._unless_stopped(asyncio.gather(*(self._is_up(worker) for worker in started)))
            if self._stopping.is_set():
                return False
            failed = [worker for worker in started if not worker.is_ready]
            if failed:
                self._code = Exit.USAGE if failed[0].code == Exit.USAGE else Exit.FAILED
                return False
        return True

    async def _start(self) -> WorkerProcess:
        slot = next(slot for slot in itertools.count() if slot not in self._slots)
        self._slots.add(slot)
        self._last_number += 1
        try:
            worker = await WorkerProcess.start(
                self._last_number, self._orders(slot), self._command, self._switchboard.receive
            )
        except OSError:
            self._slots.discard(slot)
            raise
        self._workers.append(worker)
        worker.reap()  # if it ended before it was known here
        self._begin(self._keep(worker))
        return worker

    async def _is_up(self, worker: WorkerProcess) -> bool:
        """Wait until a worker takes requests; one that does not is ended."""
        if await worker.ready(START_TIMEOUT_S):
            self._failed_starts = 0
            return True
        self._failed_starts += 1
        if not worker.has_ended:
            self._report("error", f"{worker.name} is not ready after {START_TIMEOUT_S:g} s and is ended")
            worker.kill()
        await worker.ended()
        return False

    async def _let_in_first(self) -> Secret:
        """Make a client if nobody may call yet, and have all workers let it in."""
        if not any(worker.serves_with.lacks_client for worker in self._serving()):
            return NO_SECRET
        if secret := self._make_client():
            for worker in self._workers:
                worker.reload()
            until_at = asyncio.get_running_loop().time() + LONGEST_LETTING_IN_S
            while any(worker.serves_with.lacks_client for worker in self._serving()):
                await self._unless_stopped(asyncio.sleep(_LOOK_S))
                if self._stopping.is_set() or asyncio.get_running_loop().time() > until_at:
                    break
        return secret

    # Keeping.

    async def _keep(self, worker: WorkerProcess) -> None:
        """See a worker to its end, and put another in its place when that was not meant to be."""
        code = await worker.ended()
        self._workers.remove(worker)
        self._slots.discard(worker.slot)
        self._loads.set(worker.slot, NOBODY)
        self._switchboard.ended(worker)
        worker.close()
        if worker.is_ready and not worker.leaving and not self._stopping.is_set():
            self._report("error", f"{worker.name} {_end_in_words(code)}; another takes its place")
            await self._replace(_FIRST_PAUSE_S if worker.died_young else 0.0)

    async def _replace(self, pause_s: float) -> None:
        """Start workers until one stays, or give up when none ever does."""
        while True:
            await self._unless_stopped(asyncio.sleep(pause_s))
            if self._stopping.is_set() or len(self._serving()) >= self._watch.configuration.settings.workers:
                return
            if await self._start_one_more():
                return
            if self._failed_starts >= FAILED_STARTS and not self._serving():
                self._report("error", f"{self._failed_starts} workers in a row ended before they were ready: giving up")
                self._code = Exit.FAILED
                self._stopping.set()
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    async def _start_one_more(self) -> bool:
        """Start a worker; whether it is up."""
        try:
            return await self._is_up(await self._start())
        except OSError as error:
            self._failed_starts += 1
            self._report("error", f"a worker cannot be started: {error.strerror}")
            return False

    def _serving(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker.is_ready and not worker.leaving and not worker.has_ended]

    # Changing.

    def _take(self, configuration: Configuration, changes: Changes) -> None:
        """A valid change: every worker reads it for itself."""
        del configuration
        self._report("info", str(changes))
        for worker in self._workers:
            worker.reload()

    async def _renew(self) -> None:
        """Replace the workers as often as that was asked for meanwhile."""
        try:
            while self._renew_again and not self._stopping.is_set():
                self._renew_again = False
                if not await self._watch.look_again():
                    self._report("error", "the configuration is refused: the workers stay as they are")
                elif await self._replace_all():
                    self._report("info", "all workers have been replaced")
        finally:
            self._renewing = False

    async def _replace_all(self) -> bool:
        """One by one: first the new worker, then the old one's end. False when that had to be left off.

        The first slot goes first, so that another worker gets it: who has it sees to what one of them has to do.
        """
        wanted = self._watch.configuration.settings.workers
        for old in sorted(self._serving(), key=lambda worker: worker.slot):
            if not await self._replace_one(old, wanted):
                return False
        left = self._serving()
        if len(left) == wanted == 1 and left[0].slot and not await self._replace_one(left[0], wanted):
            return False
        while len(self._serving()) < wanted:
            if not await self._start_one_more():
                return False
        return True

    async def _replace_one(self, old: WorkerProcess, wanted: int) -> bool:
        """Start another one, unless more are there than enough, and end this one; False if that had to be left off."""
        if len(self._serving()) <= wanted and not await self._start_one_more():
            self._report("error", "no new worker gets ready: those that are left stay as they are")
            return False
        await self._let_go(old)
        return not self._stopping.is_set()

    async def _let_go(self, worker: WorkerProcess) -> None:
        """Let a worker end what it has begun; nobody notices, since the others serve on the same port."""
        worker.drain(handing_over=True)
        await self._unless_stopped(self._ended([worker]))
        if not worker.has_ended and not self._stopping.is_set():
            worker.kill()
            await worker.ended()

    # Stopping.

    async def _stop_all(self) -> None:
        """Drain all workers, or end them at once when told so; none is left behind."""
        self._stopping.set()
        self._close()
        for worker in self._workers:
            worker.drain(handing_over=False)
        hurry = asyncio.ensure_future(self._hurry.wait())
        drained = asyncio.ensure_future(self._ended(list(self._workers)))
        await asyncio.wait({hurry, drained}, return_when=asyncio.FIRST_COMPLETED)
        for worker in self._workers:
            worker.stop()
        await asyncio.wait({drained}, timeout=HURRY_S)
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*(worker.ended() for worker in self._workers))
        for task in (hurry, drained, *self._tasks):
            task.cancel()
        await asyncio.gather(hurry, drained, *self._tasks, return_exceptions=True)

    async def _ended(self, workers: list[WorkerProcess]) -> None:
        """Wait until these have ended, but no longer than draining may take."""
        if workers:
            timeout_s = self._watch.configuration.settings.drain_timeout_s + STOP_MARGIN_S
            ends = [asyncio.ensure_future(worker.ended()) for worker in workers]
            _, waiting = await asyncio.wait(ends, timeout=timeout_s)
            for end in waiting:
                end.cancel()

    async def _unless_stopped(self, wait: Awaitable[object]) -> None:
        """Wait, but not beyond the moment at which everything is to stop."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        waiting = asyncio.ensure_future(wait)
        await asyncio.wait({stopped, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for future in (stopped, waiting):
            future.cancel()
        await asyncio.gather(stopped, waiting, return_exceptions=True)

    # What the system says.

    def _told_to_stop(self) -> None:
        (self._hurry if self._stopping.is_set() else self._stopping).set()

    def _told_to_renew(self) -> None:
        self._renew_again = True
        if not self._renewing:
            self._renewing = True
            self._begin(self._renew())

    def _reap(self) -> None:
        for worker in self._workers:
            worker.reap()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        """A task that fails is a mistake of the program: say so and stop, rather than serve without it."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._report("error", f"the supervisor failed: {task.exception()!r}")
            self._code = Exit.FAILED
            self._stopping.set()

    def __repr__(self) -> str:
        return f"<Supervisor {len(self._serving())} of {len(self._workers)} workers serving>"


def _end_in_words(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def supervise(configuration: Configuration, overrides: Overrides) -> int:
    """Serve with several workers until stopped; the exit code. Raise ConfigurationError when they could not share."""
    refuse_alone(configuration)
    print_warnings(configuration.warnings)
    settings = configuration.settings
    bound = bind(settings.host, settings.port)
    if bound is None:
        return Exit.FAILED
    address = base_url(settings.host, bound)
    instance = instance_name(socket.gethostname(), bound.getsockname()[1])

    def load() -> Configuration:
        new = configuration_of(overrides)
        refuse_alone(new)
        return new

    with bound, tempfile.TemporaryFile() as shared:
        shared.truncate(LOADS_BYTES)
        loads = Loads(shared.fileno())
        loads.clear()
        sys.stderr = WholeLines(sys.stderr.fileno(), shared.fileno())
        # What it has to say holds no secret: there is nothing to redact.
        log = RequestLog(as_json=logs_json(settings), redactor=Redactor(), least=settings.log_level)
        supervisor = Supervisor(
            configuration,
            load,
            orders=lambda slot: Orders(
                overrides=dict(overrides),
                listener=bound.fileno(),
                shared=shared.fileno(),
                instance=instance,
                slot=slot,
            ),
            close=bound.close,
            loads=loads,
            report=lambda level, text: log.write_message(time.time(), level, text, _SOURCE),
            command=worker_command(),
            make_client=lambda: first_client(settings.data_dir),
        )
        return asyncio.run(supervisor.run(lambda ready, secret: greet(ready, secret, address)))


def refuse_alone(configuration: Configuration) -> None:
    """Raise ConfigurationError for several workers without the memory that they have to share."""
    settings = configuration.settings
    if settings.workers > 1 and not settings.redis_url:
        raise ConfigurationError(
            "workers",
            f"{settings.workers} workers need Redis: each of them alone would count the quotas for itself, "
            "and all together exceed them.",
            "Set KEYRELAY_REDIS_URL=redis://127.0.0.1:6379/0 (or wherever yours is), or start one worker: "
            "it serves some thousand requests per second.",
        )
