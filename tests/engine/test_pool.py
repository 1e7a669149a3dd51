"""Keys in the order of their ranks."""

import msgspec

from keyrelay.core.configuration import Key, Target
from keyrelay.engine.pool import Pool
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from tests.engine.rig import snapshot_of

MODEL = "openai/gpt-oss-20b"


def stages(*ranks: tuple[str, int, bool], fallback: bool = False) -> list[list[str]]:
    """The keys of each stage of a plan, given the keys of Groq with their priority and whether they are backup."""
    labels = ",".join(f"{label}=gsk_{label}_0123456789" for label, _, _ in ranks)
    snapshot = snapshot_of(GROQ_API_KEYS=labels, MISTRAL_API_KEYS="last=mistral_0123456789")
    of = {label: (priority, backup) for label, priority, backup in ranks}

    def ranked(key: Key) -> Key:
        priority, backup = of.get(key.label, (0, False))
        return msgspec.structs.replace(key, priority=priority, backup=backup)

    snapshot = msgspec.structs.replace(
        snapshot,
        keys=tuple(map(ranked, snapshot.keys)),
        fallback=(Target("mistral", "mistral-small-latest"),) if fallback else (),
    )
    plan = Pool(snapshot, Health(CircuitSettings())).plan(f"groq/{MODEL}")
    assert plan is not None
    return [[candidate.key.label for candidate in stage.candidates] for stage in plan.stages]


def test_keys_of_equal_rank_take_turns() -> None:
    assert stages(("a", 0, False), ("b", 0, False)) == [["a", "b"]]


def test_the_lower_number_is_taken_first() -> None:
    assert stages(("a", 2, False), ("b", -1, False), ("c", 2, False)) == [["b"], ["a", "c"]]


def test_keys_in_reserve_come_after_all_others_and_before_the_last_resort() -> None:
    ranks = ("a", 0, True), ("b", 5, False), ("c", -1, True)
    assert stages(*ranks, fallback=True) == [["b"], ["c"], ["a"], ["last"]]
