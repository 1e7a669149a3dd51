"""A gateway that is killed while it imports has imported all of it, or nothing."""

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from keyrelay.storage.database import open_database
from keyrelay.storage.entry_store import SqlEntryStore
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import Caller, environment, process, simulated
from tests.faults.traffic import PAID

KEYS = 400
DATA = Path(".local/share/keyrelay")
LISTED = ",".join(f"sim-groq-{number:04d}-import" for number in range(KEYS))
BODY = {"files": [{"kind": "env", "name": "old.env", "text": f"GROQ_API_KEYS={LISTED}\nGROQ_RPM=30\n"}]}


async def imported(directory: Path) -> int:
    database = open_database("", directory / DATA)
    try:
        _, entries = await SqlEntryStore(database).read()
    finally:
        await database.close()
    return sum(entry.kind in {"key", "provider"} for entry in entries)


@pytest.mark.parametrize("after_s", [0.02, 0.06, 0.12])
async def test_it_is_all_there_or_nothing(tmp_path: Path, after_s: float) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, {"groq": ()}, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET, **PAID)
        environ["GROQ_API_KEY"] = "sim-groq-there"
        async with process(environ, tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as caller:
            asking = asyncio.create_task(caller.post("/api/v1/import", BODY))
            await asyncio.sleep(after_s)
            await gateway.stop(signal.SIGKILL)
            answered = False
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                answered = (await asking).status == 200
        found = await imported(tmp_path)
        assert found in ({KEYS + 1} if answered else {0, KEYS + 1})
