import os
import threading
import time
from pathlib import Path

import pytest

from keyrelay.storage.journal.locks import exclusive, take


def test_a_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    first = take(tmp_path / "lock")
    assert first is not None
    assert take(tmp_path / "lock") is None
    os.close(first)
    second = take(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_what_is_exclusive_waits_for_its_turn(tmp_path: Path) -> None:
    events = list[str]()

    def other() -> None:
        with exclusive(tmp_path / "lock"):
            events.append("second")

    with exclusive(tmp_path / "lock"):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        events.append("first")
    thread.join()
    assert events == ["first", "second"]


@pytest.mark.parametrize("lock", [take, lambda path: exclusive(path).__enter__()])
def test_a_lock_that_cannot_be_opened_is_an_error(tmp_path: Path, lock: object) -> None:
    assert callable(lock)
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "none" / "lock")
