import asyncio
import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError, StoreError
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.limits import Limit, LimitSource, Unit, parse_window
from keyrelay.core.records import Used
from keyrelay.engine import snapshots as module
from keyrelay.engine.housekeeping import Chore, Housekeeping
from keyrelay.engine.rebuilding import Rebuilding
from keyrelay.engine.snapshots import NAME, Findings, RestingCell, Snapshots, pack, unpack
from keyrelay.ports import UpstreamCall
from keyrelay.quota.accuracy import CalibrationState, Deviation
from keyrelay.quota.learning import Fact, FactSource, Merge
from keyrelay.quota.values import LimitKey
from tests.engine.rig import START_S, FakeAnswer, Rig, Script, error, providers

WORDS = "Rate limit reached for m in organization org-acme on requests per min (RPM): Limit 3, Used 3, Requested 1."


class Drawer:
    """A state store in memory that can be broken."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.writes = 0
        self.broken = False

    async def read_state(self, name: str) -> bytes | None:
        if self.broken:
            raise StoreError("the store is away")
        return self.values.get(name)

    async def write_state(self, name: str, value: bytes) -> None:
        if self.broken:
            raise StoreError("the store is away")
        self.writes += 1
        self.values[name] = value


class Process:
    """One run of the engine over a drawer that outlives it."""

    def __init__(self, drawer: Drawer, script: Script, *, later_s: float = 0.0, **environ: str) -> None:
        self.rig = Rig(script, providers("acme", keys=3, **environ))
        self.rig.clock.epoch_s = lambda: START_S + later_s  # type: ignore[method-assign]
        self.health = self.rig.pool.health
        self.said: list[str] = []
        self.snapshots = Snapshots(
            drawer,
            health=self.health,
            learner=self.rig.learner,
            pool=self.rig.pool,
            clock=self.rig.clock,
            report=self.said.append,
        )

    @property
    def now_s(self) -> float:
        return self.rig.clock.epoch_s()


def refuse_two(key: str, _: UpstreamCall) -> FakeAnswer:
    return FakeAnswer() if key == "acme-02" else error(429, WORDS, retry_after="30")


async def after_a_refusal(drawer: Drawer) -> Process:
    process = Process(drawer, refuse_two)
    for _ in range(4):
        await process.rig.ask()
    await process.snapshots.save()
    return process


async def test_a_restart_forgets_nothing_that_was_found_out() -> None:
    drawer = Drawer()
    before = await after_a_refusal(drawer)
    after = Process(drawer, refuse_two, later_s=10)
    await after.snapshots.restore()
    after.snapshots.follow()
    assert after.said == []
    assert after.rig.learner.book.noted(START_S) == before.rig.learner.book.noted(START_S) != ()
    assert {key.account for key in after.rig.pool.snapshot.keys} == {"k00", "k02"}
    assert after.rig.pool.calibrations.states() == before.rig.pool.calibrations.states()
    await after.rig.ask()
    assert after.rig.upstream.calls == ["acme-02"], "the others rest"
    (fact,) = after.rig.learner.book.noted(START_S)
    assert after.rig.ledger.peek((fact.key,), after.now_s)[0].amount == fact.amount == 3
    assert repr(after.snapshots).startswith("<Snapshots of <Learner ")


async def test_a_rest_that_is_over_and_one_that_only_a_person_ends_are_not_kept() -> None:
    drawer = Drawer()
    before = Process(drawer, refuse_two)
    for label, until_s in (("k00", START_S + 5), ("k01", math.inf), ("k02", START_S + 60)):
        failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="no", until_s=until_s)
        before.health.cell(f"key:acme/{label}").rest(until_s, failure)
    await before.snapshots.save()
    after = Process(drawer, refuse_two, later_s=10)
    await after.snapshots.restore()
    assert [cell.name for cell in after.health.cells() if cell.failure] == ["key:acme/k02"]


async def test_a_key_whose_secret_has_changed_does_not_rest() -> None:
    drawer = Drawer()
    before = Process(drawer, refuse_two)
    failure = Failure(kind=FailureKind.QUOTA, scope=FailureScope.KEY, message="no", until_s=START_S + 60)
    for label in ("k00", "k01"):
        before.health.cell(f"key:acme/{label}").rest(START_S + 60, failure)
    await before.snapshots.save()
    after = Process(drawer, refuse_two, ACME_API_KEYS="k00=acme-another,k01=acme-01")
    await after.snapshots.restore()
    assert [cell.name for cell in after.health.cells() if cell.failure] == ["key:acme/k01"]


async def test_what_has_faded_by_then_is_left_out() -> None:
    drawer = Drawer()
    await after_a_refusal(drawer)
    after = Process(drawer, refuse_two, later_s=90 * 86_400)
    await after.snapshots.restore()
    after.snapshots.follow()
    assert after.rig.learner.book.noted(after.now_s) == ()


async def test_usage_before_the_restart_counts_for_limits_learned_before_it() -> None:
    drawer = Drawer()
    await after_a_refusal(drawer)
    after = Process(drawer, refuse_two, later_s=40)
    await after.snapshots.restore()
    rebuilding = Rebuilding(after.rig.pool, after.rig.ledger, after.rig.learner.book, after.now_s)
    rebuilding.count([Used("acme", "k00", "m", START_S + second, 1, 0, 0, 0, 0) for second in (20, 21)])
    after.snapshots.follow()
    (fact,) = after.rig.learner.book.noted(START_S)
    (standing,) = after.rig.ledger.peek((fact.key,), after.now_s)
    assert (standing.used, standing.amount) == (2, 3)
    (later,) = after.rig.ledger.peek((fact.key,), START_S + 21 + 60 + 5)
    assert later.used == 0, "it counted when it was used, not at the restart"


def signed(packed: bytes) -> bytes:
    return b"\x00\x01" + hashlib.blake2b(packed, digest_size=16).digest() + packed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "it is of version 0, not 1"),
        (b"\x00", "it is of version 0, not 1"),
        (b"\x00\x07" + pack(Findings())[2:], "it is of version 7, not 1"),
        (pack(Findings())[:-1], "it is damaged"),
        (b"\x00\x01\x93", "it is damaged"),
        (signed(b"\x93"), "it says what this version does not know"),
        (signed(b"\x81\xa5facts\xa3abc"), "it says what this version does not know"),
        (signed(b"\x81\xa5facts\x91\x81\xabprovider_id\xa1\xff"), "it says what this version does not know"),
    ],
)
async def test_what_cannot_be_read_is_passed_over_with_a_message(value: bytes, said: str) -> None:
    drawer = Drawer()
    drawer.values[NAME] = value
    process = Process(drawer, refuse_two)
    await process.snapshots.restore()
    assert process.said == [f"what was found out before this start is not known: {said}"]
    await process.rig.ask()


async def test_a_store_that_is_away_fails_no_start_and_is_reported_once() -> None:
    drawer = Drawer()
    drawer.broken = True
    process = Process(drawer, refuse_two)
    await process.snapshots.restore()
    await process.rig.ask()
    await process.snapshots.save()
    await process.snapshots.save()
    assert process.said == [
        "what was found out before this start is not known: the store is away",
        "what is found out would not survive a restart: the store is away",
    ]
    drawer.broken = False
    await process.snapshots.save()
    assert drawer.writes == 1


async def test_it_is_written_from_time_to_time_when_it_has_changed() -> None:
    assert module.SAVE_EVERY_S == 30.0
    drawer = Drawer()
    process = Process(drawer, refuse_two)
    keeping = Housekeeping(
        (Chore("saving what was found out", 0.01, process.snapshots.save),), process.rig.reports.append
    )
    keeping.start()
    try:
        await asyncio.sleep(0.1)
        assert drawer.writes == 1
        with pytest.raises(CallerError):
            await process.rig.ask("unknown")
        await asyncio.sleep(0.05)
        assert drawer.writes == 1
        await process.rig.ask()
        await asyncio.sleep(0.05)
        assert drawer.writes == 2
    finally:
        await keeping.stop()


FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    scope=st.sampled_from(FailureScope),
    message=st.text(max_size=20),
    until_s=st.none() | st.floats(allow_nan=False),
)
KEYS = st.builds(
    LimitKey,
    st.builds(
        Limit,
        unit=st.sampled_from(Unit),
        amount=st.integers(0, 2**62),
        window=st.sampled_from(["1s", "1h", "day@America/Los_Angeles", "month:31@UTC", "once:2027-03-01@UTC"]).map(
            parse_window
        ),
        source=st.sampled_from(LimitSource),
        models=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    ),
    st.lists(st.text(max_size=10), min_size=1, max_size=3).map(tuple),
)
NUMBERS = st.floats(allow_nan=False)
FINDINGS = st.builds(
    Findings,
    at_s=NUMBERS,
    facts=st.lists(
        st.builds(
            Fact,
            provider_id=st.text(max_size=9),
            key=KEYS,
            amount=st.integers(0, 2**62),
            source=st.sampled_from(FactSource),
            evidence=st.text(max_size=20),
            first_s=NUMBERS,
            seen_s=NUMBERS,
            confidence=st.floats(0, 1),
            times=st.integers(1, 99),
            reset_s=st.none() | NUMBERS,
            followed=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    merges=st.lists(st.builds(Merge, *[st.text(max_size=9)] * 4), max_size=3).map(tuple),
    cells=st.lists(
        st.builds(RestingCell, st.text(max_size=9), NUMBERS, FAILURES, st.integers(0, 99), st.text(max_size=8)),
        max_size=3,
    ).map(tuple),
    calibrations=st.lists(
        st.builds(
            CalibrationState,
            provider=st.text(max_size=9),
            model=st.text(max_size=9),
            answers=st.integers(0, 2**62),
            prompt_factor=NUMBERS,
            prompt_weight=NUMBERS,
            spread=NUMBERS,
            counts=st.dictionaries(st.integers(0, 200), NUMBERS, max_size=4),
            prompt=st.builds(Deviation, NUMBERS, NUMBERS),
            completion=st.builds(Deviation, NUMBERS, NUMBERS),
            exceeded=NUMBERS,
        ),
        max_size=2,
    ).map(tuple),
)


@given(FINDINGS)
def test_what_is_packed_is_unpacked_again(findings: Findings) -> None:
    assert unpack(pack(findings)) == findings


@given(FINDINGS, st.data())
def test_bytes_that_have_changed_are_refused(findings: Findings, data: st.DataObject) -> None:
    value = pack(findings)
    at, flipped = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"^it is "):
        unpack(value[:at] + bytes([value[at] ^ flipped]) + value[at + 1 :])
    with pytest.raises(ValueError, match=r"^it is "):
        unpack(value[:at])


@settings(max_examples=20)
@given(FINDINGS)
def test_whatever_is_read_can_be_put_back_and_served_with(findings: Findings) -> None:
    process = Process(Drawer(), refuse_two)
    process.snapshots.put_back(findings)
    process.snapshots.follow()
    process.snapshots.capture()
