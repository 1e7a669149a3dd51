"""Takes connections from a socket that several workers listen on, so that each gets its share.

An event loop that finds connections waiting takes all of them at once, and so one worker gets a whole burst, which it
keeps, since connections live long (measured: 64 of 64). Here each look at the socket takes one, and a worker that has
more than another one leaves the next to it for a moment: for no longer, since the other may be busy.
"""

import asyncio
import socket
from collections.abc import Callable

from keyrelay.cli.loads import NOBODY, Loads

_LEAVE_S = 0.001
_NO_ROOM_S = 0.1
"""When no descriptor is free for a connection, it waits in the system's queue this long before the next try."""


class Acceptor:
    """What an `asyncio.Server` is to uvicorn. `slot` is this worker's place in `loads`, `count` its connections."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        loads: Loads,
        slot: int,
        count: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._loads = loads
        self._slot = slot
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self.taking: set[asyncio.Task[None]] = set()

    def open(self, backlog: int) -> None:
        """Begin to listen."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self.tell()
        self._loop.add_reader(self._listener, self._look)

    def tell(self) -> int:
        """Let the others know how many connections there are here."""
        load = self._count() + len(self.taking)
        self._loads.set(self._slot, NOBODY if self._closed else load)
        return load

    def close(self) -> None:
        """Take no more; what has been taken goes on."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self.tell()

    async def wait_closed(self) -> None:
        """Return at once: closing waits for nothing."""

    def _look(self) -> None:
        """Connections are waiting: take one, or leave it to others who have fewer."""
        if self.tell() <= self._loads.least():
            self._take()
        else:
            self._pause(_LEAVE_S)

    def _pause(self, pause_s: float) -> None:
        self._loop.remove_reader(self._listener)
        self._loop.call_later(pause_s, self._go_on)

    def _go_on(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._look)
            self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was quicker, or it is gone
            return
        except OSError:  # no descriptor or no memory is left
            self._pause(_NO_ROOM_S)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._hand_on(connection))
        self.taking.add(task)
        task.add_done_callback(self.taking.discard)

    async def _hand_on(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # it has gone already
            connection.close()

    def __repr__(self) -> str:
        return f"<Acceptor {'closed' if self._closed else 'open'}, {self._count()} connections>"
