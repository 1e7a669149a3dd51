"""Kill the gateway with SIGKILL while its keys are changed, and see that each change is whole or nothing.

`scripts/key-kills` runs it at length, the suite a few times. The gateway is the real command, its store SQLite. After
each kill it is started anew: the keys have to be those of before or those of after, every one has to open, and none may
have another one's secret. `scripts/key-kills steps` leaves nothing to chance: see `key_steps`.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from keyrelay.core.secrets import Secret
from keyrelay.simulator import Scenario
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import Caller, Process, environment, process, simulated
from tests.faults.key_steps import DATABASES, every_step

PATH = "/api/v1/keys"
MANY = 40
LONGEST_S = 0.12
"""Longer than any of the changes takes, so that some kills come after it."""

Known = dict[str, str]
"""Fingerprints by the ids of the keys."""


class Outcome(msgspec.Struct, kw_only=True):
    """What was found: how many changes were there after the kill, and how many were not."""

    made: int = 0
    unmade: int = 0
    problems: list[str] = []

    def __str__(self) -> str:
        return f"{self.made} changes whole, {self.unmade} not begun, problems: {self.problems or 'none'}"


class Step(msgspec.Struct, frozen=True):
    """A change: what to ask for, and which keys there may be after it, by those before it."""

    name: str
    method: str
    path: str
    body: Any
    after: Callable[[Known], list[Known]]


def secret(number: int, name: str) -> str:
    return f"gsk_test_{name}_{number:06}_0123456789"


def fingerprint(text: str) -> str:
    return Secret(text).fingerprint


def steps(number: int) -> list[Step]:
    """Each kind of change once; together they leave nothing behind."""
    first, second = secret(number, "first"), secret(number, "second")
    many = [secret(number, f"many{place}") for place in range(MANY)]
    one, old, following = "groq/one", "groq/one.old", "groq/one.next"
    gone = [fingerprint(each) for each in many]

    def rotated(before: Known) -> list[Known]:
        if one not in before:
            return []
        beside = {**before, following: fingerprint(second)}
        switched = {**before, one: fingerprint(second), old: before[one]}
        return [beside, switched]

    def pasted(before: Known) -> list[Known]:
        return [{**before, **{f"groq/{each}": each for each in gone}}]

    def removed(before: Known) -> list[Known]:
        return [{name: value for name, value in before.items() if name not in {one, old, following}}]

    body = {"provider": "groq", "secret": first, "label": "one"}
    return [
        Step("add", "POST", PATH, body, lambda before: [{**before, one: fingerprint(first)}]),
        Step("bulk", "POST", f"{PATH}/bulk", {"text": "\n".join(many)}, pasted),
        Step("rotate", "POST", f"{PATH}/groq/one/rotate", {"secret": second, "drain_s": 3600}, rotated),
        Step("remove", "DELETE", f"{PATH}/groq/one", None, removed),
    ]


async def key_kills(directory: Path, rounds: int, seed: int, longest_s: float = LONGEST_S) -> Outcome:
    """Kill in each kind of change, `rounds` times."""
    outcome, chance = Outcome(), random.Random(seed)
    async with simulated(Scenario()) as simulator:
        environ = environment(simulator, {"groq": ["env=sim-groq-a"]}, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET)
        changes = [step for number in range(rounds) for step in steps(number)]
        async with contextlib.AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(process(environ, directory))
            for step in changes:
                before = await looked(gateway, outcome)
                await cut_off(gateway, step, chance.uniform(0.0, longest_s))
                gateway = await stack.enter_async_context(process(environ, directory))
                after = await looked(gateway, outcome)
                judge(step, before, after, outcome)
                await finish(gateway, step, before, after)
    return outcome


async def cut_off(gateway: Process, step: Step, after_s: float) -> None:
    """Ask for a change, and kill the gateway meanwhile."""
    asking = asyncio.create_task(asked(gateway, step))
    await asyncio.sleep(after_s)
    gateway.process.kill()
    await gateway.process.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def asked(gateway: Process, step: Step) -> int:
    async with Caller(gateway.port, OPERATOR_SECRET) as caller:
        if step.body is None:
            return (await caller.get(step.path, step.method)).status
        return (await caller.post(step.path, step.body, method=step.method)).status


async def looked(gateway: Process, outcome: Outcome) -> Known:
    """The keys of the store; each is tested, which opens its secret and sends it."""
    async with Caller(gateway.port, OPERATOR_SECRET) as caller:
        page = (await caller.get(PATH)).json
        stored = [key for key in page["items"] if key["source"] == "store"]
        for key in stored[:3]:
            tested = (await caller.post(f"{PATH}/{key['id']}/test", {})).json
            if tested["validation"]["outcome"] != "valid":
                outcome.problems.append(f"{key['id']}: {tested['validation']['message']}")
        if {entry["id"] for entry in stored} - {key["id"] for key in stored if key["fingerprint"]}:
            outcome.problems.append("a key without its secret")
        return {key["id"]: key["fingerprint"] for key in stored}


def judge(step: Step, before: Known, after: Known, outcome: Outcome) -> None:
    """Whether the change is there as a whole, or not at all."""
    if after == before:
        outcome.unmade += 1
    elif after in step.after(before):
        outcome.made += 1
    else:
        outcome.problems.append(f"{step.name}: {sorted(before)} became {sorted(after)}")


async def finish(gateway: Process, step: Step, before: Known, after: Known) -> None:
    """Make the change if it was not made, and end a rotation that was cut off: it goes on where it was."""
    if step.name == "rotate" and "groq/one.next" in after:
        resumed = msgspec.structs.replace(step, body={"drain_s": 3600})
        assert await asked(gateway, resumed) == 200
    elif after == before:
        assert await asked(gateway, step) in {200, 201}


def main() -> None:
    """The long forms."""
    parser = argparse.ArgumentParser(prog="scripts/key-kills", description=__doc__)
    parser.add_argument(
        "form",
        nargs="?",
        choices=("moments", "steps"),
        default="moments",
        help="at random, or at each step of each change",
    )
    parser.add_argument("--rounds", type=int, default=25, help="moments: how often each kind of change is cut off")
    parser.add_argument("--seed", type=int, default=1, help="moments: of when that is")
    parser.add_argument("--database", choices=DATABASES, action="append", help="steps: on this one alone")
    parser.add_argument("--operation", action="append", default=[], help="steps: those with this in their names alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="steps: how many operations at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if given.form == "steps":
            sys.exit(not uvloop.run(every_step(place, given.database or DATABASES, given.operation, given.jobs)))
        outcome = uvloop.run(key_kills(place, given.rounds, given.seed))
    sys.stdout.write(f"{outcome}\n")
    sys.exit(bool(outcome.problems))


if __name__ == "__main__":
    main()
