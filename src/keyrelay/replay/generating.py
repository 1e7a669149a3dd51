"""How the shipped traces were made: drawn from a seed, so that `scripts/make-traces` gives the same ones again.

`day` is a day of somebody who has collected free tiers, from midnight to midnight in Los Angeles, where Gemini's days
begin. Six applications share the keys; each is a line of a table below. `burst` is a minute in which everyone comes at
once. Sizes are log-normal, as token counts of real traffic are; nothing else is taken from anybody's traffic.
"""

import datetime as dt
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from keyrelay.core.providers import Operation
from keyrelay.replay.trace import SUFFIX, VERSION, Header, Priority, TraceRequest, write_trace

_DAY_S = 86_400.0
_HOUR_S = 3600.0
_START = dt.datetime(2026, 11, 16, 8, tzinfo=dt.UTC)  # midnight in Los Angeles
_SEED = 20261116

# Share of a day's use in each hour: a quiet night, a morning, a dip at noon, an afternoon, an evening.
_PEOPLE = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 17, 10, 15, 19, 20, 18, 13, 9, 8, 9, 8, 7, 6)
_WORKING = (0, 0, 0, 0, 0, 0, 1, 4, 9, 10, 10, 9, 4, 9, 10, 10, 9, 6, 2, 1, 1, 0, 0, 0)

Rate = Sequence[int]


class App(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one application have in common. `sizes` are the medians of tokens in and out."""

    client: str
    model: str
    sizes: tuple[int, int]
    spread: float
    deadline_s: float
    priority: Priority
    operation: Operation = "chat"
    stream: float = 0.0
    max_tokens: int | None = None


CHAT = App(
    client="chat",
    model="gemini-3.1-flash-lite",
    sizes=(650, 180),
    spread=0.7,
    deadline_s=90,
    priority="interactive",
    stream=0.85,
)
REPORTS = App(
    client="reports",
    model="gemini-3.5-flash",
    sizes=(5000, 900),
    spread=0.5,
    deadline_s=180,
    priority="interactive",
    stream=0.5,
)
AGENT = App(
    client="agent",
    model="openai/gpt-oss-120b",
    sizes=(1500, 220),
    spread=0.35,
    deadline_s=180,
    priority="agent",
    stream=1.0,
    max_tokens=1024,
)
EDITOR = App(
    client="editor",
    model="mistral-small-latest",
    sizes=(900, 40),
    spread=0.4,
    deadline_s=30,
    priority="interactive",
    max_tokens=128,
)
LABELS = App(
    client="labels",
    model="gemma-3-27b-it",
    sizes=(600, 60),
    spread=0.3,
    deadline_s=600,
    priority="batch",
    max_tokens=200,
)
SEARCH = App(
    client="search",
    model="gemini-embedding-001",
    sizes=(300, 0),
    spread=0.6,
    deadline_s=30,
    priority="interactive",
    operation="embeddings",
)


class Drawer:
    """Draws requests from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a trace that anybody can draw again

    def one(self, app: App, at_s: float, *, growth: float = 1.0) -> TraceRequest:
        """One request of an application; `growth` makes its prompt longer."""
        tokens_in, tokens_out = app.sizes
        wanted = self._size(tokens_out, app.spread)
        return TraceRequest(
            at_s=round(at_s, 3),
            client=app.client,
            model=app.model,
            operation=app.operation,
            stream=self._random.random() < app.stream,
            input_tokens=self._size(int(tokens_in * growth), app.spread),
            output_tokens=wanted if app.max_tokens is None else min(wanted, app.max_tokens),
            max_tokens=app.max_tokens,
            deadline_s=app.deadline_s,
            priority=app.priority,
        )

    def through_the_day(self, app: App, count: int, rate: Rate) -> Iterator[TraceRequest]:
        """So many requests, each at a moment of its own, more of them in the hours of a higher rate."""
        for hour in self._random.choices(range(len(rate)), weights=rate, k=count):
            yield self.one(app, (hour + self._random.random()) * _HOUR_S)

    def together(self, app: App, count: int, at_s: float, within_s: float) -> Iterator[TraceRequest]:
        """So many requests within a short time."""
        for _ in range(count):
            yield self.one(app, at_s + self._random.random() * within_s)

    def session(self, app: App, steps: int, at_s: float, *, growth: float) -> Iterator[TraceRequest]:
        """An agent at work: each step some seconds after the one before, each prompt longer than the last."""
        for step in range(steps):
            yield self.one(app, at_s, growth=1.0 + growth * step)
            at_s += self._random.uniform(6.0, 20.0)

    def moments(self, count: int, rate: Rate) -> list[float]:
        """Moments of the day, in seconds, more of them in the hours of a higher rate."""
        hours = self._random.choices(range(len(rate)), weights=rate, k=count)
        return sorted((hour + self._random.random()) * _HOUR_S for hour in hours)

    def _size(self, median: int, spread: float) -> int:
        return max(1, round(median * self._random.lognormvariate(0.0, spread))) if median else 0


def day() -> tuple[Header, list[TraceRequest]]:
    """A day of mixed use of free tiers: minutes in which too much comes, and days' limits reached in the evening."""
    draw = Drawer(_SEED)
    requests = [
        *draw.through_the_day(CHAT, 1500, _PEOPLE),
        *(each for hour in (9.0, 10.5, 14.0, 16.25) for each in draw.together(CHAT, 110, hour * _HOUR_S, 45.0)),
        *draw.together(CHAT, 130, 20.0 * _HOUR_S, 600.0),
        *draw.through_the_day(REPORTS, 88, _WORKING),
        *(step for at_s in draw.moments(28, _WORKING) for step in draw.session(AGENT, 15, at_s, growth=0.12)),
        *(each for at_s in draw.moments(150, _WORKING) for each in draw.together(EDITOR, 4, at_s, 3.0)),
        *(each for hour in (1.0, 2.0, 3.0) for each in draw.together(LABELS, 320, hour * _HOUR_S, 30.0)),
        *(each for at_s in draw.moments(35, _PEOPLE) for each in draw.together(SEARCH, 20, at_s, 10.0)),
    ]
    return _finished("day", requests, _DAY_S, "A day of mixed use of free tiers, from midnight in Los Angeles.")


def burst() -> tuple[Header, list[TraceRequest]]:
    """Everyone at once: 500 requests within a minute, several times what a minute's quota serves."""
    draw = Drawer(_SEED + 1)
    crowd = ((CHAT, 200), (LABELS, 120), (AGENT, 50), (EDITOR, 60), (SEARCH, 60), (REPORTS, 10))
    requests = [each for app, count in crowd for each in draw.together(app, count, 0.0, 60.0)]
    return _finished("burst", requests, 60.0, "500 requests within a minute, several times what its quota serves.")


def _finished(
    name: str, requests: list[TraceRequest], length_s: float, description: str
) -> tuple[Header, list[TraceRequest]]:
    header = Header(trace=name, version=VERSION, start=_START, seed=_SEED, description=description)
    kept = [request for request in requests if request.at_s < length_s]
    return header, sorted(kept, key=lambda request: request.at_s)


TRACES = {"day": day, "burst": burst}
"""Every shipped trace by its name."""


def write_all(directory: Path) -> None:
    """Write every shipped trace into a directory."""
    for name, make in TRACES.items():
        directory.joinpath(f"{name}{SUFFIX}").write_bytes(write_trace(*make()))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
