"""Messages to where the operator says in the environment, by apprise if that is there.

Apprise connects by itself, so that nobody could see to where it does: its addresses are no business of the API's.
"""

import asyncio
import importlib
from collections.abc import Callable
from typing import Any, Protocol

from keyrelay.alerting.texts import text_of
from keyrelay.core.alerts import AlertMessage, Outcome


class Apprise(Protocol):
    """The part of `apprise.Apprise` that is used."""

    def add(self, servers: str) -> bool:
        """Add an address; False for one that it does not know how to reach."""
        ...

    def notify(self, *, title: str, body: str) -> bool:
        """Tell all of them; False when one of them was not told."""
        ...


class OperatorsChannel:
    """Tells the operator's own addresses; `make` makes what tells them, and raises ImportError without apprise."""

    __slots__ = ("_make", "_urls")

    def __init__(self, urls: Callable[[], tuple[str, ...]], make: "Callable[[], Apprise] | None" = None) -> None:
        self._urls = urls
        self._make = make or _installed

    async def send(self, message: AlertMessage) -> Outcome:
        """Tell all of them."""
        urls = self._urls()
        if not urls:
            return Outcome(problem="the operator has named nowhere to go: KEYRELAY_APPRISE_URLS is empty", lasting=True)
        try:
            apprise = self._make()
        except ImportError:
            problem = "apprise is not installed: pip install 'keyrelay[apprise]'"
            return Outcome(problem=problem, lasting=True)
        refused = sum(not apprise.add(url) for url in urls)
        if refused:
            return Outcome(problem=f"apprise does not know {refused} of KEYRELAY_APPRISE_URLS", lasting=True)
        told = await asyncio.to_thread(apprise.notify, title=message.title, body=text_of(message))
        return Outcome() if told else Outcome(problem="apprise could not tell all of KEYRELAY_APPRISE_URLS")

    def __repr__(self) -> str:
        return f"<OperatorsChannel to {len(self._urls())} addresses>"


def _installed() -> Apprise:
    module: Any = importlib.import_module("apprise")
    made: Apprise = module.Apprise()
    return made
