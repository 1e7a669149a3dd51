"""What a provider's answer to a probe says of a key, and where the probe goes."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
import pytest

from keyrelay.core.configuration import Key, Provider, Tier
from keyrelay.core.origins import parse_base_url
from keyrelay.core.probes import ProbeOutcome
from keyrelay.core.secrets import Secret
from keyrelay.engine.probing import Prober, probe_place
from keyrelay.ports import Fault, UpstreamAnswer, UpstreamCall
from keyrelay.upstream.catalogue import load_catalogue

ROWS = load_catalogue()
SECRET = "sk-test-probe-0123456789"
LIST = b'{"data":[]}'


class Clock:
    monotonic_s = staticmethod(time.monotonic)
    epoch_s = staticmethod(time.time)


class Answer:
    """A whole answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.streaming, self.deadline_at = False, 0.0
        self.fault: Fault | None = None
        self.tap: Callable[[bytes], bool] | None = None
        self.status = status
        self.headers: Mapping[str, str] = MappingProxyType({})
        self.body = body

    async def read(self) -> bytes:
        return b""

    def release(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class Wire:
    """Answers every call with the same, and remembers them."""

    def __init__(self, answer: UpstreamAnswer | Fault) -> None:
        self.answer = answer
        self.calls: list[UpstreamCall] = []

    async def send(self, call: UpstreamCall) -> UpstreamAnswer | Fault:
        self.calls.append(call)
        return self.answer


def provider(name: str, base_url: str = "") -> Provider:
    row = ROWS[name]
    origin, path = parse_base_url((base_url or row.base_url).replace("{account_id}", "me"))
    return Provider(row=row, origin=origin, base_path=path, priority=1, tier=Tier.UNKNOWN, limits=(), models={})


def key(name: str) -> Key:
    return Key(provider_id=name, label="work", account="work", secret=Secret(SECRET))


@pytest.mark.parametrize(
    ("name", "status", "body", "outcome"),
    [
        ("groq", 200, LIST, ProbeOutcome.VALID),
        ("groq", 401, b'{"error":{"message":"Invalid API Key","code":"invalid_api_key"}}', ProbeOutcome.INVALID),
        ("groq", 403, b'{"error":{"message":"Forbidden"}}', ProbeOutcome.UNKNOWN),
        ("groq", 404, b"", ProbeOutcome.UNKNOWN),
        ("groq", 429, b'{"error":{"message":"Rate limit reached"}}', ProbeOutcome.UNKNOWN),
        ("groq", 500, b"<html>", ProbeOutcome.UNKNOWN),
        ("openai", 402, b'{"error":{"message":"x","code":"insufficient_quota"}}', ProbeOutcome.OUT_OF_CREDIT),
        ("cohere", 200, b'{"valid":true,"organization_id":"o"}', ProbeOutcome.VALID),
        ("cohere", 200, b'{"valid":false}', ProbeOutcome.INVALID),
        ("cohere", 200, b"{}", ProbeOutcome.VALID),
        ("cohere", 200, b"no", ProbeOutcome.UNKNOWN),
        ("xai", 200, b'{"api_key_blocked":false,"team_blocked":true}', ProbeOutcome.INVALID),
        ("cloudflare", 200, b'{"result":{"status":"active"}}', ProbeOutcome.VALID),
        ("cloudflare", 200, b'{"result":{"status":"disabled"}}', ProbeOutcome.INVALID),
        ("cloudflare", 200, b'{"result":[]}', ProbeOutcome.VALID),
        ("deepseek", 200, b'{"is_available":true}', ProbeOutcome.VALID),
        ("deepseek", 200, b'{"is_available":false}', ProbeOutcome.OUT_OF_CREDIT),
        ("openrouter", 200, b'{"data":{"limit_remaining":null}}', ProbeOutcome.VALID),
        ("openrouter", 200, b'{"data":{"limit_remaining":0.5}}', ProbeOutcome.VALID),
        ("openrouter", 200, b'{"data":{"limit_remaining":0}}', ProbeOutcome.OUT_OF_CREDIT),
        ("ai21", 200, LIST, ProbeOutcome.NOT_CHECKABLE),
    ],
)
async def test_what_an_answer_says_of_a_key(name: str, status: int, body: bytes, outcome: ProbeOutcome) -> None:
    probed = await Prober(Wire(Answer(status, body)), Clock()).probe(provider(name), key(name))
    assert probed.outcome is outcome
    bad = outcome in {ProbeOutcome.INVALID, ProbeOutcome.OUT_OF_CREDIT}
    assert (probed.failure is not None) is bad


async def test_a_provider_that_is_away_says_nothing_of_the_key() -> None:
    fault = Fault(kind="timeout", message="no answer")
    probed = await Prober(Wire(fault), Clock()).probe(provider("groq"), key("groq"))
    assert (probed.outcome, probed.failure) == (ProbeOutcome.UNKNOWN, None)
    assert "no answer" in probed.message


async def test_a_key_that_the_provider_repeats_is_taken_out() -> None:
    body = msgspec.json.encode(
        {"error": {"message": f"Incorrect API key provided: {SECRET}", "code": "invalid_api_key"}}
    )
    probed = await Prober(Wire(Answer(401, body)), Clock()).probe(provider("openai"), key("openai"))
    assert probed.outcome is ProbeOutcome.INVALID
    assert SECRET not in repr(probed)


@pytest.mark.parametrize(
    ("name", "base_url", "place"),
    [
        ("groq", "", ("https://api.groq.com", "/openai/v1/models")),
        ("anthropic", "", ("https://api.anthropic.com", "/v1/models?limit=1")),
        ("huggingface", "", ("https://huggingface.co", "/api/whoami-v2")),
        ("huggingface", "http://127.0.0.1:9/hf/v1", ("http://127.0.0.1:9", "/hf/v1/api/whoami-v2")),
    ],
)
def test_who_gave_a_provider_another_address_has_it_asked_there_alone(
    name: str, base_url: str, place: tuple[str, str]
) -> None:
    origin, path = probe_place(provider(name, base_url))
    assert (str(origin), path) == place


async def test_the_key_travels_as_the_provider_wants_it_and_to_where_the_probe_goes() -> None:
    wire = Wire(Answer(200, LIST))
    for name in ("anthropic", "huggingface"):
        await Prober(wire, Clock()).probe(provider(name), key(name))
    native, elsewhere = wire.calls
    assert native.credential is not None
    assert (native.credential.header, dict(native.headers)["anthropic-version"]) == ("x-api-key", "2023-06-01")
    assert elsewhere.credential is not None
    assert elsewhere.credential.origin == elsewhere.origin
    keyless = msgspec.structs.replace(key("groq"), secret=None)
    await Prober(wire, Clock()).probe(provider("groq"), keyless)
    assert wire.calls[-1].credential is None
