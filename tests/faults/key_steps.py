"""Kill what changes keys before and behind each single step, and see that each change is whole or nothing.

`scripts/key-kills steps` runs it at length, the suite for a few steps. A change is done once undisturbed, which gives
its steps and what there is before and after it. Then it is done anew for each step, in a process that dies there by
SIGKILL; a gateway is started on what is left of it, serves with the keys that there are, and the change is done again.
Some changes go through several states that are whole by themselves (the phases of a rotation): those count as between.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.simulator import ProviderPlan, Scenario
from keyrelay.simulator.keys import label_of
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import CLIENT_SECRET, Caller, calls_of, chat, simulated, until
from tests.faults.key_ground import Ground
from tests.faults.key_operations import DUE, KEYS, MIGRATE, OPERATIONS, Ask, Change, Command, Edit, Operation, Standing
from tests.faults.stepwise import ARMED, Forks, order_of
from tests.servers.postgres_server import PostgresServer

UP = ("up", "--no-demo")
MODEL = "groq/openai/gpt-oss-20b"

_GREETING = re.compile(r"^keyrelay \S+ at http://\S+:(\d+)/v1", re.MULTILINE)
_PATIENCE_S = 20.0
_DUE_S = 20.0
"""Within this time a gateway does what is due by the clock."""

_LOOK_S = 0.05
_GENEROUS = Scenario(providers=dict.fromkeys(("groq", "openai"), ProviderPlan(limits=())))
"""Providers without limits: what a gateway had used is forgotten with each step, and they would remember it."""

_TESTED = 3


class Row(msgspec.Struct, kw_only=True):
    """A row of the table: how often a kill left what was there before, between and after; `missed` came to no kill."""

    operation: str
    steps: int
    found: Counter[str]
    problems: list[str]
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = " ".join(f"{self.found[name]:>8}" for name in OUTCOMES)
        return f"{self.operation:<34} {self.steps:>6} {counts} {self.seconds:>6.0f}"


DATABASES = ("sqlite", "postgresql")
OUTCOMES = ("before", "between", "after", "other", "missed")
HEADING = f"{'operation':<34} {'steps':>6} {' '.join(f'{name:>8}' for name in OUTCOMES)} {'s':>6}"


# How it is done


class Gateway(msgspec.Struct):
    """A gateway that was forked: its process and its port."""

    process: int
    port: int


class Trial:
    """One operation on its ground; where it is `served`, a gateway goes on after each kill."""

    def __init__(self, operation: Operation, ground: Ground, forks: Forks, *, served: bool = True) -> None:
        self.operation = operation
        self.ground = ground
        self.forks = forks
        self.served = served
        self.states: list[Standing] = []
        self._trace = ground.scratch / "trace"
        self._output = ground.scratch / "output"

    async def prepare(self) -> tuple[str, ...]:
        """Do the change undisturbed; its steps."""
        self.ground.clear()
        await self._do_all((MIGRATE, *self.operation.prepared))
        self.ground.keep()
        self.states = [await self.ground.standing()]
        for phase in self.operation.between:
            await self._do_all((phase,))
            self.states.append(await self.ground.standing())
        self.ground.restore()
        assert await self.cut_off("") is None
        self.states.append(await self.ground.standing())
        assert self._judged(self.states[0]) == "before"
        assert self._judged(self.states[-1]) == "after"
        return _apart(self._steps())

    async def kill_at(self, step: str) -> tuple[str, list[str]]:
        """Kill there; what there is then (`OUTCOMES`), and what is wrong with it."""
        self.ground.restore()
        answered = await self.cut_off(step)
        missed = step not in self._steps()
        found = await self.ground.standing()
        outcome, problems = self._judged(found), list[str]()
        if outcome == "other":
            problems.append(f"is neither before nor after: {_difference(self.states[-1], found)}")
        if answered and outcome != "after":
            problems.append("was answered, and is not there")
        problems += await self._gone_on(found)
        return ("missed" if missed and not problems else outcome), [f"{step}: {each}" for each in problems]

    def _judged(self, found: Standing) -> str:
        before, *between, after = self.states
        if found.problem:
            return "other"
        if self.operation.sound is not None:
            return self._judged_sealed(before, after, found)
        if found.like(after):
            return "after"
        if found.like(before):
            return "before"
        return "between" if any(found.like(each) for each in between) else "other"

    def _judged_sealed(self, before: Standing, after: Standing, found: Standing) -> str:
        assert self.operation.sound is not None
        if found.entries != before.entries or not self.operation.sound(before, found):
            return "other"
        shape = _shape(before, found)
        if shape == _shape(before, after):
            return "after"
        return "before" if shape == _shape(before, before) else "between"

    async def _gone_on(self, found: Standing) -> list[str]:
        """What is wrong when all goes on after the kill: serve, and do the change to its end."""
        problems, after = list[str](), self.states[-1]
        again = self.operation.again(self.states[0], found) if self.operation.again else self.operation.change
        if self.served or isinstance(again, Ask):
            async with self.gateway() as gateway:
                problems += await self._served(gateway, found)
                if isinstance(again, Ask):
                    await self._asked(gateway, again)
                    await self._due(gateway, again)
        if isinstance(again, Command):
            await self._command(again)
        ended = await self.ground.standing()
        if self._judged(ended) != "after":
            problems.append(f"is not there when it is done again: {_difference(after, ended)}")
        strays = set(ended.files) - {"master.key", f"master.key.{self.states[0].master}"}
        if strays:
            problems.append(f"leaves {', '.join(sorted(strays))}")
        return problems

    async def _served(self, gateway: Gateway, found: Standing) -> list[str]:
        """A gateway on it lists these keys, their secrets are accepted, and one of them serves."""
        problems, ids = list[str](), {name.removeprefix("key/") for name in found.entries if name.startswith("key/")}
        async with Caller(gateway.port, OPERATOR_SECRET) as caller:
            listed = {key["id"]: key for key in (await caller.get(f"{KEYS}?limit=500")).json["items"]}
            if self.operation.change != DUE and set(listed) != ids:
                problems.append(f"the gateway lists {sorted(listed)}, and there are {sorted(ids)}")
            for name in list(found.secrets)[:_TESTED]:
                tested = (await caller.post(f"{KEYS}/{name}/test", {})).json
                if tested.get("validation", {}).get("outcome") != "valid":
                    problems.append(f"{name} does not open: {tested}")
        serving = {label_of(each) for name, each in found.secrets.items() if name.startswith("groq/")}
        if serving:
            async with Caller(gateway.port, CLIENT_SECRET) as caller:
                reply = await caller.post("/v1/chat/completions", chat(MODEL))
            used = calls_of(self.ground.simulator)[-1].key if reply.is_good() else ""
            if used not in serving:
                problems.append(f"traffic gets {reply.status} by {used!r}, and there are {sorted(serving)}")
        return problems

    async def cut_off(self, step: str) -> int | None:
        """Do the change in a process that is killed there, if it comes there; the status that was answered, if good."""
        self._trace.unlink(missing_ok=True)
        change = self.operation.change
        listening = {"trace": str(self._trace), "die_at": step}
        if isinstance(change, Command):
            order = order_of(
                change.arguments,
                self.ground.environ,
                self.ground.home,
                self._output,
                **listening,
                at_once=True,
                whole=True,
            )
            code = await self.forks.ended(await self.forks.start(order))
            assert code in ({0, -signal.SIGKILL} if step else {0}), self._output.read_text()
            return None
        status = None
        async with self.gateway(**listening, at_once=change == DUE) as gateway:
            if change == DUE:
                with contextlib.suppress(AssertionError):
                    await until(lambda: self._is_at(step), "it is done", _DUE_S)
            else:
                os.kill(gateway.process, signal.SIGUSR1)
                await until(lambda: ARMED in self._lines(), "steps count")
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    status = await self._asked(gateway, change)
        return status if step and status is not None and status < 300 else None

    def _is_at(self, step: str) -> bool:
        return (
            self._lines()[-1:] == [step]
            if step
            else any("COMMIT" in line and "after" in line for line in self._lines())
        )

    @contextlib.asynccontextmanager
    async def gateway(self, **more: Any) -> AsyncIterator[Gateway]:
        """With a gateway on the ground, which is killed at the end."""
        self._output.write_text("")
        process = await self.forks.start(order_of(UP, self.ground.environ, self.ground.home, self._output, **more))
        try:
            port = 0
            if not more.get("at_once"):
                await until(lambda: _GREETING.search(self._output.read_text()), self._said, _PATIENCE_S)
                found = _GREETING.search(self._output.read_text())
                port = int(found[1]) if found else 0
            yield Gateway(process, port)
        finally:
            os.kill(process, signal.SIGKILL)
            await self.forks.ended(process)

    @property
    def _said(self) -> str:
        return f"the gateway greets: {self._output.read_text()}"

    async def _do_all(self, changes: Sequence[Change | Edit]) -> None:
        """Do this, with a gateway as long as one is asked."""
        async with contextlib.AsyncExitStack() as stack:
            gateway: Gateway | None = None
            for change in changes:
                if isinstance(change, Ask):
                    if gateway is None:
                        gateway = await stack.enter_async_context(self.gateway())
                    status = await self._asked(gateway, change)
                    assert status < 300, (change, status)
                    continue
                await stack.aclose()
                gateway = None
                if isinstance(change, Command):
                    await self._command(change)
                else:
                    async with self.ground.database() as database:
                        await change(database)

    async def _asked(self, gateway: Gateway, change: Ask) -> int:
        if not change.method:
            return 0
        async with Caller(gateway.port, OPERATOR_SECRET) as caller:
            if change.body is None:
                return (await caller.get(change.path, change.method)).status
            return (await caller.post(change.path, change.body, method=change.method)).status

    async def _due(self, gateway: Gateway, change: Ask) -> None:
        """Wait until a gateway has done what is due, which its list of keys says."""
        if change != DUE:
            return
        wanted = sum(name.startswith("key/") for name in self.states[-1].entries)
        async with Caller(gateway.port, OPERATOR_SECRET) as caller:
            for _ in range(round(_DUE_S / _LOOK_S)):
                if len((await caller.get(KEYS)).json["items"]) == wanted:
                    return
                await asyncio.sleep(_LOOK_S)

    async def _command(self, command: Command) -> int:
        order = order_of(command.arguments, self.ground.environ, self.ground.home, self._output)
        return await self.forks.ended(await self.forks.start(order))

    def _lines(self) -> list[str]:
        return self._trace.read_text().splitlines() if self._trace.exists() else []

    def _steps(self) -> list[str]:
        return [line for line in self._lines() if line != ARMED]


def _shape(before: Standing, found: Standing) -> tuple[object, ...]:
    """What is sealed how, by which master key, and what the log says of it."""
    return found.known, found.master == before.master, found.terms, found.audit


def _difference(expected: Standing, found: Standing) -> str:
    names = {name for name, _ in expected.entries.items() ^ found.entries.items()}
    return (
        f"{sorted(names)} differ, {found.problem or 'the vault opens'}, {found.known} master keys, "
        f"terms {found.terms}, the log ends with {found.audit[-3:]}"
    )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Which operations, at which of their steps, how many at a time, and on PostgreSQL where there is a server.

    `served`: a gateway is started after each kill, also where the change needs none.
    """

    operations: tuple[Operation, ...] = OPERATIONS
    chosen: Callable[[str, str], bool] = lambda operation, step: True
    server: PostgresServer | None = None
    jobs: int = 1
    served: bool = True


async def key_steps(directory: Path, plan: Plan, told: Callable[[Row], object] = lambda row: None) -> list[Row]:
    """Kill at each step that is chosen, of each operation; `told` gets each row when it is done."""
    rows, waiting = list[Row](), iter(plan.operations)

    async def work(number: int) -> None:
        place = directory / f"{number}"
        place.mkdir()
        async with simulated(_GENEROUS) as simulator, Forks.up() as forks:
            ground = Ground(place, simulator, plan.server)
            for operation in waiting:
                row = await _row_of(Trial(operation, ground, forks, served=plan.served), plan.chosen)
                rows.append(row)
                told(row)

    async with asyncio.TaskGroup() as group:
        for number in range(plan.jobs):
            group.create_task(work(number))
    return rows


async def _row_of(trial: Trial, chosen: Callable[[str, str], bool]) -> Row:
    began_at = time.monotonic()
    steps = [step for step in await trial.prepare() if chosen(trial.operation.name, step)]
    row = Row(operation=trial.operation.name, steps=len(steps), found=Counter(), problems=[])
    for step in steps:
        outcome, problems = await trial.kill_at(step)
        row.found[outcome] += 1
        row.problems += problems
    row.seconds = time.monotonic() - began_at
    return row


def _apart(lines: Sequence[str]) -> tuple[str, ...]:
    """Steps without those that nothing parts from the one before: behind a statement is before the next one."""
    pairs = zip(["", *lines], lines, strict=False)
    return tuple(
        line
        for last, line in pairs
        if not (last.endswith("after") and line.endswith("before") and last.split(":")[0] == line.split(":")[0])
    )


async def every_step(directory: Path, databases: Sequence[str], wanted: Sequence[str], jobs: int) -> bool:
    """The long form: a table for each database; whether there was no problem."""
    chosen = tuple(each for each in OPERATIONS if not wanted or any(name in each.name for name in wanted))
    good = True
    for database in databases:
        sys.stdout.write(f"\n{database}\n{HEADING}\n")
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(PostgresServer()) if database == "postgresql" else None
            place = directory / database
            place.mkdir()
            rows = await key_steps(place, Plan(operations=chosen, server=server, jobs=jobs), _tell)
        good = good and not any(row.problems for row in rows)
    return good


def _tell(row: Row) -> None:
    sys.stdout.write(f"{row}\n" + "".join(f"    {each}\n" for each in row.problems))
    sys.stdout.flush()
