"""The word for how everything stands, and its reasons."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.routing.status import (
    Choice,
    Level,
    Part,
    Reason,
    Service,
    Shortage,
    Status,
    standing_of,
    status_of,
)

WHY = "The provider does not accept this key."


def up(key: str, model: str = "") -> Choice:
    return Choice(provider=key.partition("/")[0], key=key, model=model)


def out(key: str, until_s: float | None = None, model: str = "") -> Choice:
    return Choice(
        provider=key.partition("/")[0], key=key, model=model, serves=False, why=f"{key}: {WHY}", until_s=until_s
    )


def short(*keys: str, model: str = "") -> Shortage:
    return Shortage(keys=frozenset(keys), model=model, text="At 20 requests an hour it runs out in 2 h.")


def status(
    *choices: Choice, services: tuple[Service, ...] = (), parts: tuple[Part, ...] = (), **more: object
) -> Status:
    shortages: tuple[Shortage, ...] = more.get("shortages", ())  # type: ignore[assignment]
    return status_of(choices, services, shortages, parts)


A, B, C, D = "groq/a", "groq/b", "gemini/c", "mistral/d"


@pytest.mark.parametrize(
    ("choices", "level", "told"),
    [
        ((), Level.DOWN, "No key is configured that takes requests."),
        ((up(A),), Level.OPERATIONAL, ""),
        ((up(A), up(B), up(C)), Level.OPERATIONAL, ""),
        ((out(A),), Level.DOWN, f"Nothing can serve a request: groq/a is out. groq/a: {WHY}"),
        ((out(A), out(C)), Level.DOWN, f"Nothing can serve a request: groq/a, gemini/c are out. groq/a: {WHY}"),
        ((up(A), out(B)), Level.AT_RISK, "Only the key groq/a still serves; groq/b is out."),
        ((up(A), out(C), out(D)), Level.AT_RISK, "Only the key groq/a still serves; gemini/c, mistral/d are out."),
        ((up(A), up(B), out(C)), Level.AT_RISK, "Only the provider groq still serves; gemini is out."),
        ((up(A), out(B), up(C)), Level.DEGRADED, f"1 of 2 keys of groq is out (groq/b): groq/b: {WHY}"),
        ((up(A), up(C), out(D)), Level.DEGRADED, f"1 of 1 keys of mistral is out (mistral/d): mistral/d: {WHY}"),
    ],
)
def test_a_level_has_its_reason_in_a_sentence(choices: tuple[Choice, ...], level: Level, told: str) -> None:
    found = status(*choices)
    assert found.level is level
    assert (found.reasons[0].text if found.reasons else "") == told


def test_many_keys_are_not_all_named() -> None:
    found = status(up(C), up(D), *(out(f"groq/{number}") for number in range(5)))
    assert found.reasons[0].text.startswith("5 of 5 keys of groq are out (groq/0, groq/1, groq/2 and 2 more): ")


def test_the_first_that_comes_back_says_until_when() -> None:
    assert status(out(A, 500.0), out(B, 300.0), out(C)).reasons[0].until_s == 300.0
    assert status(out(A), out(B)).reasons[0].until_s is None


@pytest.mark.parametrize(
    ("shortages", "level"),
    [
        ((short(A, C),), Level.AT_RISK),
        ((short(A), short(C)), Level.AT_RISK),
        ((short(A),), Level.DEGRADED),
        ((short(A, model="large"), short(C)), Level.DEGRADED),
        ((short(A, C, model="small"),), Level.AT_RISK),
        ((short(D),), Level.OPERATIONAL),
    ],
)
def test_a_quota_that_runs_out_is_a_loss_to_come(shortages: tuple[Shortage, ...], level: Level) -> None:
    found = status(up(A, "small"), up(C, "small"), shortages=shortages)
    assert found.level is level
    if level is Level.AT_RISK:
        assert found.reasons[0].text.endswith("At 20 requests an hour it runs out in 2 h.")


def test_what_everything_hangs_on_counts() -> None:
    full = Part(name="journal", ok=False, detail="full: 10 bytes wait for the store")
    away = Part(name="store", degraded=True, detail="the database does not answer.")
    good = Part(name="redis", detail="2 workers share their limits")
    assert status(up(A), up(C), parts=(good,)).level is Level.OPERATIONAL
    found = status(up(A), up(C), parts=(away, full, good))
    assert found.reasons == (
        Reason(level=Level.DOWN, subject="journal", text="Journal: Full: 10 bytes wait for the store."),
        Reason(level=Level.DEGRADED, subject="store", text="Store: The database does not answer."),
    )
    assert found.level is Level.DOWN


def test_a_route_that_stands_badly_degrades_the_whole_and_a_model_does_not() -> None:
    broken = (out(A, 700.0, "small"),)
    route, model = (Service(name="fast", kind=kind, choices=broken) for kind in ("route", "model"))
    found = status(up(A), up(C), services=(route, model))
    assert [(each.level, each.serving, each.choices) for each in found.services] == [(Level.DOWN, 0, 1)] * 2
    assert found.level is Level.DEGRADED
    assert [(each.subject, each.until_s) for each in found.reasons] == [("fast", 700.0)]
    assert found.reasons[0].text.startswith("The route fast is down: Nothing can serve fast: groq/a is out.")


@pytest.mark.parametrize(
    ("choices", "level", "reasons"),
    [
        ((), Level.DOWN, 1),
        ((up(A),), Level.OPERATIONAL, 0),
        ((up(A, "m"), out(A, model="n"), up(C)), Level.DEGRADED, 1),
        ((up(A), out(B), up(C)), Level.DEGRADED, 1),
        ((up(A), out(B)), Level.AT_RISK, 2),
    ],
)
def test_a_service_stands_by_its_own_keys(choices: tuple[Choice, ...], level: Level, reasons: int) -> None:
    found = standing_of(Service(name="fast", kind="route", choices=choices), ())
    assert (found.level, len(found.reasons)) == (level, reasons)


def test_hints_say_what_could_not_be_lost() -> None:
    assert status(up(A)).hints == ("groq/a is the only key: without it nothing serves. Add another one.",)
    (hint,) = status(up(A), up(B)).hints
    assert hint.startswith("All keys are those of groq: ")
    assert status(up(A), up(C)).hints == ()


CHOICES = st.lists(
    st.builds(
        lambda key, serves: up(key) if serves else out(key),
        st.sampled_from([A, B, C, D]),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: each.key,
)


@given(CHOICES, st.data())
def test_losing_a_key_never_makes_it_better(choices: list[Choice], data: st.DataObject) -> None:
    before = status(*choices)
    serving = [each for each in choices if each.serves]
    if serving:
        lost = data.draw(st.sampled_from(serving))
        after = status(*(out(each.key) if each is lost else each for each in choices))
        assert after.level.rank > 0
        assert after.level.rank >= before.level.rank
    assert (before.level is Level.DOWN) is not bool(serving)
    assert all(first.level.rank >= second.level.rank for first, second in pairwise(before.reasons))
