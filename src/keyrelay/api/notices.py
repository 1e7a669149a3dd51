"""A line in the head of answers to changes, where there is something that who changes things has to know.

That files are invalid keeps nobody from administering, so it has to be said where it is seen.
"""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTICE_HEADER = "x-keyrelay-notice"

_MOST_LETTERS = 500
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_TOLD = frozenset({*range(200, 300), 409, 422})
"""Statuses of answers to those who may change something: others may be those of strangers."""

Notice = Callable[[], str]
"""What is to be said; empty for nothing."""


class Notices:
    """Puts the notice into the heads of answers to what has changed something, or does not fit what there is."""

    def __init__(self, app: ASGIApp, notice: Notice) -> None:
        self._app = app
        self._notice = notice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return

        async def noticing(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _TOLD:
                text = self._notice()
                if text:
                    MutableHeaders(scope=message)[NOTICE_HEADER] = as_line(text)
            await send(message)

        await self._app(scope, receive, noticing)

    def __repr__(self) -> str:
        return f"<Notices before {self._app!r}>"


def as_line(text: str) -> str:
    """A text as the value of a field: one line of ASCII, and no more than a head has room for."""
    line = " ".join(text.split()).encode("ascii", "replace").decode("ascii")
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 4]} ..."
