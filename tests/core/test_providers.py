import datetime as dt
from typing import get_args

import msgspec
import pytest

from keyrelay.core.providers import (
    OPERATIONS,
    AuthRow,
    FailureRow,
    ModelQuirksRow,
    ModelRow,
    Operation,
    PathsRow,
    ProviderRow,
    QuirksRow,
    Row,
    StreamRow,
)

SMALLEST = {
    "id": "x",
    "name": "X",
    "base_url": "https://x/v1",
    "verified_at": "2026-11-21",
    "priority": 1,
}


def test_the_smallest_row_is_an_openai_compatible_provider() -> None:
    row = msgspec.convert(SMALLEST, ProviderRow)
    assert row.verified_at == dt.date(2026, 11, 21)
    assert row.auth == AuthRow(header="authorization", prefix="Bearer ", optional=False)
    assert row.paths == PathsRow(chat="/chat/completions", completions="", embeddings="", models="/models")
    assert row.stream == StreamRow(usage="include_usage", terminator="done")
    assert row.quirks == QuirksRow()
    assert (row.enabled, row.day_zone, row.open_models, row.local) == (True, "UTC", False, False)


def test_the_operations_are_those_of_the_type() -> None:
    assert get_args(Operation) == OPERATIONS
    assert set(OPERATIONS) <= set(PathsRow.__struct_fields__)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priorty": 2},
        {"auth": {"heder": "x"}},
        {"stream": {"terminator": "maybe"}},
        {"failures": [{"kind": "auth"}]},
        {"failures": [{"kind": "sulking", "scope": "key"}]},
        {"limits": [{"unit": "requests", "amount": "many", "window": "60s"}]},
        {"models": [{"id": "m", "capabilities": ["telepathy"]}]},
    ],
)
def test_what_a_row_does_not_know_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**SMALLEST, **wrong}, ProviderRow)


def test_rows_do_not_change_after_they_are_made() -> None:
    row = msgspec.convert(SMALLEST, ProviderRow)
    with pytest.raises(AttributeError, match="immutable"):
        row.priority = 2  # type: ignore[misc]


def test_every_row_refuses_unknown_fields() -> None:
    assert len(Row.__subclasses__()) > 8
    assert all(row.__struct_config__.forbid_unknown_fields for row in Row.__subclasses__())
    assert FailureRow.__struct_config__.frozen


@pytest.mark.parametrize(
    ("figures", "counted"),
    [
        ({}, False),
        ({"units_input_per_mtok": 0.0}, False),
        ({"units_input_per_mtok": 1.0}, True),
        ({"units_output_per_mtok": 1.0}, True),
        ({"units_per_request": 1.0}, True),
    ],
)
def test_a_model_says_what_it_takes_of_its_providers_measure(figures: dict[str, float], counted: bool) -> None:
    assert ModelRow(id="m", **figures).counts_units == counted  # type: ignore[arg-type]


class TestQuirksOfAModel:
    ROW = ProviderRow(
        id="acme",
        name="Acme",
        base_url="https://acme.example/v1",
        verified_at=dt.date(2026, 11, 21),
        priority=1,
        quirks=QuirksRow(rename={"a": "b"}, drop=("user",), model_prefix="acme/"),
        model_quirks=(
            ModelQuirksRow(models=("o3*", "o4-mini"), drop=("temperature",), clamp={"effort": ("low",)}),
            ModelQuirksRow(models=("*-mini",), rename={"a": "c"}, defaults={"n": 1}, strip_tool_schema=("$id",)),
        ),
    )

    def test_others_have_those_of_the_provider_alone(self) -> None:
        assert self.ROW.quirks_of("gpt-4") is self.ROW.quirks

    def test_names_and_patterns_whatever_their_case(self) -> None:
        rules = self.ROW.quirks_of("O3-large")
        assert (rules.drop, rules.clamp, rules.rename) == (("user", "temperature"), {"effort": ("low",)}, {"a": "b"})

    def test_what_comes_later_decides(self) -> None:
        assert self.ROW.quirks_of("o4-mini") == QuirksRow(
            rename={"a": "c"},
            drop=("user", "temperature"),
            clamp={"effort": ("low",)},
            defaults={"n": 1},
            strip_tool_schema=("$id",),
            model_prefix="acme/",
        )
