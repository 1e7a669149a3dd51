import pytest

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.conversation import Dialect
from keyrelay.core.providers import OPAQUE_OPERATIONS, AuthRow, PathsRow, ProviderDialect
from keyrelay.core.secrets import Secret
from keyrelay.routing.ways import KeyWays, Way, ways_of
from tests.routing.helpers import provider

SECRET = Secret("sk-test-0")
PLACES: dict[ProviderDialect, tuple[str, str, str]] = {
    "anthropic": ("/v1/v1/messages", "x-api-key", ""),
    "gemini": ("/v1/v1beta/models/{model}:generateContent", "x-goog-api-key", ""),
    "cohere": ("/v1/v2/chat", "authorization", "Bearer "),
    "ollama": ("/v1/api/chat", "authorization", "Bearer "),
}


def ways(of: Provider, *, secret: Secret | None = SECRET) -> KeyWays:
    return ways_of(of, Key(provider_id=of.id, label="home", account="org", secret=secret))


def chat(of: Provider, dialect: Dialect) -> Way:
    return ways(of).of(dialect)["chat"]


@pytest.mark.parametrize("dialect", PLACES)
def test_where_a_native_dialect_is_spoken_and_how_the_key_travels(dialect: ProviderDialect) -> None:
    way = chat(provider(dialect=dialect, native_dialect=dialect), "openai")
    assert way.credential is not None
    assert (way.path, way.credential.header, way.credential.prefix) == PLACES[dialect]
    assert (way.dialect, way.translated, way.credential.secret) == (dialect, True, SECRET)


CALLERS: list[Dialect] = ["responses", "anthropic", "gemini", "ollama"]


@pytest.mark.parametrize("caller", CALLERS)
def test_only_openais_callers_go_to_a_compatible_endpoint(caller: Dialect) -> None:
    both = provider(native_dialect="gemini")
    assert chat(both, "openai").dialect == "openai"
    assert chat(both, caller).dialect == "gemini"


@pytest.mark.parametrize("caller", CALLERS)
def test_a_provider_of_one_dialect_speaks_that_to_everybody(caller: Dialect) -> None:
    one = ways(provider())
    assert one.of(caller) is one.openai


def test_headers_are_those_of_every_call_of_the_dialect_and_of_the_provider() -> None:
    headers = dict(chat(provider(dialect="anthropic", extra_headers={"x-team": "a"}), "openai").headers)
    assert headers == {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "anthropic-version": "2023-06-01",
        "x-team": "a",
    }


def test_a_header_of_the_providers_own_for_its_key_holds_in_any_dialect() -> None:
    way = chat(provider(dialect="anthropic", auth=AuthRow(header="api-key", prefix="")), "openai")
    assert way.credential is not None
    assert way.credential.header == "api-key"


def test_no_credential_without_a_secret() -> None:
    assert ways(provider(), secret=None).openai["chat"].credential is None


def test_legacy_completions_are_answered_as_a_chat_where_there_are_none() -> None:
    way = ways(provider()).openai["completions"]
    assert (way.path, way.translated) == ("/v1/chat/completions", True)
    way = ways(provider(paths=PathsRow(completions="/completions"))).openai["completions"]
    assert (way.path, way.translated) == ("/v1/completions", False)


def test_a_provider_without_a_chat_has_no_completions_either() -> None:
    assert set(ways(provider(paths=PathsRow(chat="", embeddings="/embeddings"))).openai) == {"embeddings"}


OPAQUE = PathsRow(images="/images", transcriptions="/audio", rerank="/v2/rerank", files="/files")


@pytest.mark.parametrize("dialect", ["openai", "cohere"])
def test_what_only_goes_through_is_offered_to_openais_callers_alone(dialect: ProviderDialect) -> None:
    found = ways(provider(dialect=dialect, native_dialect="cohere", paths=OPAQUE, extra_headers={"x-team": "a"}))
    opaque = {operation: found.openai[operation] for operation in OPAQUE_OPERATIONS if operation in found.openai}
    assert {operation: way.path for operation, way in opaque.items()} == {
        "images": "/v1/images",
        "transcriptions": "/v1/audio",
        "rerank": "/v1/v2/rerank",
        "files": "/v1/files",
    }
    assert {(way.dialect, way.translated) for way in opaque.values()} == {("openai", False)}
    assert found.others.keys().isdisjoint(OPAQUE_OPERATIONS)
    assert dict(opaque["images"].headers) == {"content-type": "application/json", "accept": "*/*", "x-team": "a"}
    for operation in ("transcriptions", "files"):
        assert dict(opaque[operation].headers) == {"accept": "*/*", "x-team": "a"}
    assert opaque["rerank"].credential == found.openai["chat"].credential


def test_embeddings_only_where_the_dialect_has_them() -> None:
    assert "embeddings" not in ways(provider(dialect="anthropic", native_dialect="anthropic")).openai
    assert ways(provider(dialect="cohere")).openai["embeddings"].path == "/v1/v2/embed"


def test_the_model_stands_in_the_path_where_the_dialect_wants_that() -> None:
    way = chat(provider(dialect="gemini"), "openai")
    assert way.path_for("models/gemini-3", stream=False) == "/v1/v1beta/models/gemini-3:generateContent"
    assert way.path_for("gemini-3", stream=True) == "/v1/v1beta/models/gemini-3:streamGenerateContent?alt=sse"
    assert chat(provider(), "openai").path_for("m", stream=True) == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("gemini-3:generateContent?x=", "gemini-3%3AgenerateContent%3Fx%3D"),
        ("../cachedContents?x=", "..%2FcachedContents%3Fx%3D"),
        ("gemini-é 2", "gemini-%C3%A9%202"),
    ],
)
def test_a_name_that_a_caller_made_up_leads_to_no_other_path(model: str, place: str) -> None:
    way = chat(provider(dialect="gemini"), "openai")
    assert way.path_for(model, stream=False) == f"/v1/v1beta/models/{place}:generateContent"
