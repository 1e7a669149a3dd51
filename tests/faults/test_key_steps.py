"""The short form of `scripts/key-kills steps`: kills before and behind what counts in a few of the changes."""

from pathlib import Path

from tests.faults.key_operations import OPERATIONS
from tests.faults.key_steps import Plan, key_steps

COMMITTED = "sql: COMMIT #1, after"
SAID = "sql: INSERT INTO audit #1, after"
CUT = {
    "import by the API": {COMMITTED: "after"},
    "import offline, the first keys": {COMMITTED: "before", SAID: "before"},
    "secrets rotate-master-key": {COMMITTED: "between", SAID: "between"},
}
"""What there is after a kill at some steps of some operations. The first commit of the first keys is their ring's."""


async def test_a_change_that_is_cut_off_at_a_step_is_whole_or_was_never_made(tmp_path: Path) -> None:
    operations = tuple(each for each in OPERATIONS if each.name in CUT)
    plan = Plan(operations=operations, chosen=lambda name, step: step in CUT[name], served=False)
    rows = await key_steps(tmp_path, plan)
    assert not any(row.problems for row in rows), "\n".join(problem for row in rows for problem in row.problems)
    assert {row.operation: sorted(row.found.elements()) for row in rows} == {
        name: sorted(steps.values()) for name, steps in CUT.items()
    }
