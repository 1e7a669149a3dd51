import asyncio
from collections.abc import Callable

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import Reservation
from keyrelay.quota.values import Amounts, Refusal
from tests.engine.rig import FakeAnswer, Rig, providers


class Others:
    """Whoever else uses the same limits: says of each reservation, in turn, whether it may stand."""

    def __init__(self, *room: bool) -> None:
        self.room = list(room)
        self.asked = 0
        self.rig: Rig

    async def confirm(self, reservation: Reservation, now_s: float) -> Refusal | None:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.room or self.room.pop(0):
            return None
        self.rig.ledger.settle(reservation, Amounts(requests=0), now_s)
        candidate = self.rig.pool.candidates()[self.asked - 1]
        self.rig.ledger.follow(candidate.own_path[0], now_s, used=5)
        return Refusal(limit=candidate.own_path[0], used=5, amount=5, until_s=now_s + 60, firm=True)


def rig_with(others: Others, script: Callable[..., FakeAnswer] = lambda *_: FakeAnswer()) -> Rig:
    others.rig = Rig(script, providers("acme", keys=2, ACME_RPM="5", ACME_TIER="free"), confirm=others.confirm)
    return others.rig


async def test_what_the_others_have_used_up_is_asked_of_the_next_key() -> None:
    others = Others(False, True)
    rig = rig_with(others)
    assert await rig.ask()
    assert others.asked == 2
    assert len(rig.upstream.calls) == 1
    assert len(rig.records[0].attempts) == 1, "what was not sent is no attempt"


async def test_when_nobody_has_room_the_answer_says_when() -> None:
    rig = rig_with(Others(False, False))
    refused = await rig.refusal()
    assert (refused.status, rig.upstream.calls) == (429, [])
    assert dict(refused.headers)["retry-after"] == "60"


async def test_a_deadline_that_passes_while_others_are_asked_ends_it() -> None:
    others = Others()

    async def slow(reservation: Reservation, now_s: float) -> Refusal | None:
        await asyncio.sleep(0.02)
        return await Others.confirm(others, reservation, now_s)

    others.room = [False, False]
    others.rig = rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_RPM="5"), confirm=slow)
    with pytest.raises(CallerError) as raised:
        await rig.ask(wishes=Wishes(deadline_s=0.01))
    assert raised.value.status == 504
