import os
import subprocess
import sys
import tempfile

from keyrelay.cli.loads import LOADS_BYTES, NOBODY, SLOTS, Loads
from keyrelay.settings import SETTINGS


def test_every_worker_that_there_may_be_has_a_slot() -> None:
    (most,) = (setting.maximum for setting in SETTINGS if setting.name == "workers")
    assert most is not None
    assert most < SLOTS, "one more takes another's place"


def test_what_one_process_says_another_one_reads() -> None:
    with tempfile.TemporaryFile() as shared:
        shared.truncate(LOADS_BYTES)
        loads = Loads(shared.fileno())
        loads.clear()
        assert loads.least() == NOBODY
        loads.set(0, 7)
        code = f"from keyrelay.cli.loads import Loads; Loads({shared.fileno()}).set({SLOTS - 1}, 3)"
        subprocess.run([sys.executable, "-c", code], check=True, pass_fds=(shared.fileno(),), env=dict(os.environ))
        assert loads.least() == 3
        assert repr(loads) == f"<Loads {{0: 7, {SLOTS - 1}: 3}}>"
        loads.set(SLOTS - 1, NOBODY)
        assert loads.least() == 7
        loads.close()
