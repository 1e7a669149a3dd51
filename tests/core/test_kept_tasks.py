"""Of a task that was not kept for some seconds the process has ended."""

import pytest

from keyrelay.administration.kept_tasks import HEARD_EVERY_S
from keyrelay.core.kept_tasks import LOST_AFTER_S, StoredTask


@pytest.mark.parametrize(("age_s", "lost"), [(0.0, False), (LOST_AFTER_S, False), (LOST_AFTER_S + 0.1, True)])
def test_a_task_is_lost_when_it_was_not_kept_for_long(age_s: float, *, lost: bool) -> None:
    assert StoredTask(b"", b"", age_s).lost is lost


def test_some_that_were_not_kept_in_time_lose_no_task() -> None:
    assert LOST_AFTER_S > 3 * HEARD_EVERY_S
