"""What a fault is: a name, where it strikes, and the coroutine that does the damage."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import msgspec

from keyrelay.simulator.exchange import Exchange

Strike = Callable[[Exchange, str], Coroutine[Any, Any, None]]
Group = Literal["status", "connection", "body", "stream"]

LONGEST_SILENCE_S = 600.0
SILENCE_S = 60.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One way for a provider to misbehave.

    `strikes`: `before` the first content byte (failover is still possible), `after` it, or `harmless` (a correct
    client gets a whole answer). `only` restricts it to streams, `sse` to those of server-sent events. A fault
    `before_admission` asks no key and uses up no quota. `argument` says what may stand behind a colon after the name,
    with its default.
    """

    name: str
    description: str
    group: Group
    strikes: Literal["before", "after", "harmless"]
    strike: Strike
    only: Literal["any", "stream"] = "any"
    sse: bool = False
    before_admission: bool = False
    argument: str = ""

    def applies(self, *, stream: bool, sse: bool = True) -> bool:
        """Whether it can strike such a call; a call that it cannot strike is answered as if there were no fault."""
        return (stream or self.only == "any") and (sse or not self.sse)

    def describe(self) -> dict[str, str]:
        """What a person needs to know of it."""
        return {
            "description": self.description,
            "group": self.group,
            "strikes": self.strikes,
            "only": self.only,
            "argument": self.argument,
        }


def split_fault(text: str) -> tuple[str, str]:
    """Name and argument of `name[:argument]`."""
    name, _, argument = text.partition(":")
    return name.strip(), argument.strip()


def number(argument: str, default: float, most: float) -> float:
    """The argument as a number within bounds; the default for none or a wrong one."""
    try:
        return min(max(float(argument), 0.0), most)
    except ValueError:
        return default


async def silence(argument: str) -> None:
    """Say nothing for as many seconds as the argument says, a minute by default."""
    await asyncio.sleep(number(argument, SILENCE_S, LONGEST_SILENCE_S))
