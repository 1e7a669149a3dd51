import msgspec
import pytest

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.probes import Listing
from keyrelay.core.secrets import Secret
from keyrelay.engine.listing import MAX_MODELS, Lister
from keyrelay.ports import Fault, UpstreamCall
from tests.engine.rig import FakeAnswer, FakeClock, FakeUpstream, Outcome, error, snapshot_of

SECRET = "sk-test-0123456789"
KEY = Key(provider_id="acme", label="a", account="a", secret=Secret(SECRET))


def provider(dialect: str = "openai") -> Provider:
    more = {"ACME_DIALECT": dialect} if dialect != "openai" else {}
    base = "https://acme.example/v1" if dialect == "openai" else "https://acme.example"
    return snapshot_of(ACME_BASE_URL=base, ACME_API_KEY=SECRET, **more).providers["acme"]


async def asked(outcome: Outcome, of: Provider | None = None) -> tuple[Listing, UpstreamCall]:
    calls: list[UpstreamCall] = []

    def script(_: str, call: UpstreamCall) -> Outcome:
        calls.append(call)
        return outcome

    listing = await Lister(FakeUpstream(script), FakeClock()).models(of or provider(), KEY)
    return listing, calls[0]


@pytest.mark.parametrize(
    ("dialect", "target", "header", "document"),
    [
        ("openai", "/v1/models", "authorization", {"object": "list", "data": [{"id": "large"}, {"id": "small"}]}),
        ("openai", "/v1/models", "authorization", [{"id": "large"}, "small", {"other": 1}, {"id": "with space"}]),
        (
            "anthropic",
            "/v1/models?limit=1000",
            "x-api-key",
            {"data": [{"type": "model", "id": "large"}, {"id": "small"}]},
        ),
        (
            "gemini",
            "/v1beta/models?pageSize=1000",
            "x-goog-api-key",
            {"models": [{"name": "models/large"}, {"name": "models/small"}]},
        ),
        ("cohere", "/v1/models?page_size=1000", "authorization", {"models": [{"name": "large"}, {"name": "small"}]}),
        (
            "ollama",
            "/api/tags",
            "authorization",
            {"models": [{"name": "large"}, {"model": "small"}, {"name": "large"}]},
        ),
    ],
)
async def test_each_dialect_has_its_list(dialect: str, target: str, header: str, document: object) -> None:
    listing, call = await asked(FakeAnswer(200, document), provider(dialect))
    assert (call.method, call.target) == ("GET", target)
    assert call.credential is not None
    assert (call.credential.header, str(call.credential.origin)) == (header, "https://acme.example")
    assert listing.models == ("large", "small")


@pytest.mark.parametrize(
    ("outcome", "problem", "status"),
    [
        (FakeAnswer(200, b"<html>"), "acme answered something else than JSON.", 200),
        (FakeAnswer(200, {"models": "many"}), "acme answered JSON that is no list of models.", 200),
        (error(401, f"wrong key {SECRET}"), "acme answered 401: wrong key [redacted]", 401),
        (Fault(kind="network", message="connection refused", reached=False), "connection refused", 0),
    ],
)
async def test_what_is_no_list_is_a_problem_in_words(outcome: Outcome, problem: str, status: int) -> None:
    listing, _ = await asked(outcome)
    assert problem in listing.problem
    assert (listing.models, listing.status) == ((), status)
    assert SECRET not in listing.problem


async def test_a_list_has_an_end() -> None:
    listing, _ = await asked(FakeAnswer(200, [{"id": f"m{number}"} for number in range(MAX_MODELS + 7)]))
    assert len(listing.models) == MAX_MODELS


async def test_some_have_none() -> None:
    row = msgspec.structs.replace(provider().row, paths=msgspec.structs.replace(provider().row.paths, models=""))
    upstream = FakeUpstream(lambda *_: FakeAnswer())
    silent = msgspec.structs.replace(provider(), row=row)
    listing = await Lister(upstream, FakeClock()).models(silent, KEY)
    assert (listing.problem, upstream.calls) == ("acme has no list of models.", [])
