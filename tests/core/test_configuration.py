import datetime as dt

import pytest

from keyrelay.core.configuration import Key, Provider, Target, Tier
from keyrelay.core.origins import Origin
from keyrelay.core.providers import Operation, PathsRow, ProviderRow

ROW = ProviderRow(
    id="groq",
    name="Groq",
    base_url="https://api.groq.com/openai/v1",
    verified_at=dt.date(2026, 11, 21),
    priority=2,
    paths=PathsRow(embeddings="/embeddings"),
)
GROQ = Provider(
    row=ROW,
    origin=Origin("https", "api.groq.com", 443),
    base_path="/openai/v1",
    priority=2,
    tier=Tier.FREE,
    limits=(),
    models={},
)


def test_a_key_is_named_by_provider_and_label() -> None:
    key = Key(provider_id="groq", label="home", account="home", secret=None)
    assert key.id == "groq/home"
    assert key.weight == 1.0


@pytest.mark.parametrize(
    ("operation", "path"),
    [("chat", "/openai/v1/chat/completions"), ("embeddings", "/openai/v1/embeddings"), ("completions", "")],
)
def test_a_provider_has_a_path_for_each_operation_that_it_offers(operation: Operation, path: str) -> None:
    assert GROQ.path_of(operation) == path


def test_a_provider_is_known_by_its_row() -> None:
    assert GROQ.id == "groq"


def test_a_target_is_written_as_in_the_configuration() -> None:
    assert str(Target("groq", "openai/gpt-oss-120b")) == "groq/openai/gpt-oss-120b"
    assert str(Target("groq", "")) == "groq"
