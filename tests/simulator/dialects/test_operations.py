"""What dialects offer besides chat: counting, embeddings, ranking, models, and what is passed through."""

import base64
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from keyrelay.core.providers import AuthRow, ModelRow
from keyrelay.simulator import ProviderPlan
from tests.simulator.helpers import Bench, per, row

MODELS = (
    ModelRow(id="plain", context_tokens=1000, max_output_tokens=500),
    ModelRow(id="embedder", capabilities=("embeddings",)),
)
ROWS = (
    row("openai", "https://api.openai.com/v1", models=MODELS),
    row("anthropic", "https://api.anthropic.com", native_dialect="anthropic", models=MODELS),
    row("gemini", "https://generativelanguage.googleapis.com", native_dialect="gemini", models=MODELS),
    row("cohere", "https://api.cohere.com", native_dialect="cohere", models=MODELS),
    row("ollama", "http://localhost:11434", native_dialect="ollama", models=MODELS, auth=AuthRow(optional=True)),
)
USER = {"role": "user", "content": "hello"}
CLAUDE = {"anthropic_version": "2023-06-01"}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench(*ROWS) as bench:
        yield bench


async def test_tokens_are_counted_for_nothing(bench: Bench) -> None:
    body = {"model": "plain", "messages": [USER]}
    counted = await bench.send("anthropic", body, path="/v1/messages/count_tokens", **CLAUDE)
    assert counted.json == {"input_tokens": 6}
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    for sent in (body, {"generateContentRequest": {"model": "models/plain", **body}}):
        counted = await bench.send("gemini", sent, path="/v1beta/models/plain:countTokens")
        assert counted.json["totalTokens"] == 6
    assert bench.judge.calls_per_key() == {}
    unknown = await bench.send("gemini", body, path="/v1beta/models/other:countTokens")
    assert unknown.json["error"]["status"] == "NOT_FOUND"
    no_key = await bench.send("gemini", body, path="/v1beta/models/plain:countTokens", key="")
    assert no_key.status == 400


async def test_embeddings_are_the_same_in_every_dialect(bench: Bench) -> None:
    ours = {"model": "embedder", "input": ["one", "two"], "dimensions": 8}
    theirs = {"model": "embedder", "texts": ["one", "two"], "output_dimension": 8, "input_type": "search_query"}
    parts = [{"content": {"parts": [{"text": word}]}, "outputDimensionality": 8} for word in ("one", "two")]
    batch = {"requests": [{"model": "models/embedder", **part} for part in parts]}
    found = [
        [item["embedding"] for item in (await bench.send("openai", ours, path="/v1/embeddings")).json["data"]],
        (await bench.send("ollama", ours, path="/api/embed")).json["embeddings"],
        (await bench.send("cohere", theirs, path="/v2/embed")).json["embeddings"]["float"],
        [
            item["values"]
            for item in (await bench.send("gemini", batch, path="/v1beta/models/embedder:batchEmbedContents")).json[
                "embeddings"
            ]
        ],
    ]
    assert all(vectors == found[0] for vectors in found)
    assert math.isclose(sum(number**2 for number in found[0][0]), 1, rel_tol=1e-5)
    single = await bench.send("gemini", parts[0], path="/v1beta/models/embedder:embedContent")
    assert single.json["embedding"]["values"] == found[0][0]
    older = await bench.send("ollama", {"model": "embedder", "prompt": "one"}, path="/api/embeddings")
    assert len(older.json["embedding"]) == 768
    assert bench.judge.calls_per_key() == {"sim-a": 6}


async def test_embeddings_of_cohere_have_types(bench: Bench) -> None:
    kinds = ["float", "int8", "uint8", "base64"]
    body = {"model": "embedder", "texts": ["one"], "input_type": "search_query", "embedding_types": kinds}
    found = (await bench.send("cohere", {**body, "output_dimension": 4}, path="/v2/embed")).json
    vectors = found["embeddings"]
    assert struct.unpack("<4f", base64.b64decode(vectors["base64"][0])) == pytest.approx(vectors["float"][0])
    assert vectors["int8"][0] == [round(number * 127) for number in vectors["float"][0]]
    assert all(0 <= number <= 127 for number in vectors["uint8"][0])
    assert found["meta"]["billed_units"]["input_tokens"] == 1
    missing = await bench.send("cohere", {"model": "embedder", "texts": ["one"]}, path="/v2/embed")
    assert "input_type" in missing.json["message"]
    many = await bench.send("cohere", {**body, "texts": ["x"] * 97}, path="/v2/embed")
    assert many.status == 400


@pytest.mark.parametrize(("provider", "path"), [("openai", "/v1/rerank"), ("cohere", "/v2/rerank")])
async def test_ranking(bench: Bench, provider: str, path: str) -> None:
    body = {"model": "ranker", "query": "blue sky", "documents": ["grass", "the sky", "blue sky"], "top_n": 2}
    answer = await bench.send(provider, body, path=path)
    assert answer.json["results"] == [{"index": 2, "relevance_score": 1.0}, {"index": 1, "relevance_score": 0.5}]
    assert bench.judge.calls[0].operation == "rerank"
    assert (await bench.send(provider, {**body, "documents": []}, path=path)).status == 400


async def test_lists_of_models(bench: Bench) -> None:
    claude = (await bench.send("anthropic", path="/v1/models", method="GET")).json
    assert (claude["first_id"], claude["last_id"], claude["data"][0]["type"]) == ("plain", "embedder", "model")
    assert (await bench.send("anthropic", path="/v1/models/plain", method="GET")).json["max_input_tokens"] == 1000
    gemini = (await bench.send("gemini", path="/v1beta/models?pageSize=50", method="GET")).json["models"]
    assert gemini[0]["inputTokenLimit"] == 1000
    assert gemini[1]["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]
    assert (await bench.send("gemini", path="/v1beta/models/plain", method="GET")).json["name"] == "models/plain"
    cohere = (await bench.send("cohere", path="/v1/models", method="GET")).json["models"]
    assert [model["endpoints"] for model in cohere] == [["chat"], ["embed"]]
    tags = (await bench.send("ollama", path="/api/tags", method="GET")).json["models"]
    assert [model["name"] for model in tags] == ["plain", "embedder"]
    shown = (await bench.send("ollama", {"model": "plain"}, path="/api/show")).json
    assert shown["model_info"]["simulated.context_length"] == 32768
    assert "version" in (await bench.send("ollama", path="/api/version", method="GET")).json
    assert (await bench.send("cohere", {}, path="/v1/check-api-key")).json["valid"] is True


async def test_ollama_generates_in_lines_unless_told_not_to(bench: Bench) -> None:
    body = {"model": "plain", "prompt": "hello", "options": {"num_predict": 4}}
    streamed = await bench.send("ollama", body, path="/api/generate", key="")
    assert streamed.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in streamed.body.splitlines()]
    assert "".join(line["response"] for line in lines) == 'You said "hello". ' + lines[3]["response"].lstrip()
    assert (lines[-1]["done"], lines[-1]["done_reason"], lines[-1]["eval_count"]) == (True, "length", 4)
    assert (await bench.send("ollama", {**body, "stream": False}, path="/api/generate")).json["context"]


async def test_what_was_cached_is_told(bench: Bench) -> None:
    marked = {"type": "text", "text": "long " * 40, "cache_control": {"type": "ephemeral"}}
    messages: list[Any] = [{"role": "user", "content": [marked, {"type": "text", "text": "hello"}]}]
    body = {"model": "plain", "max_tokens": 50, "messages": messages}
    usage = (await bench.send("anthropic", body, path="/v1/messages", **CLAUDE)).json["usage"]
    assert [usage[name] for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")] == [
        2, 54, 0,
    ]  # fmt: skip
    messages += [{"role": "assistant", "content": "so"}, USER]
    usage = (await bench.send("anthropic", body, path="/v1/messages", **CLAUDE)).json["usage"]
    assert (usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (0, 54)
    said = {"model": "plain", "messages": [USER, {"role": "assistant", "content": "so"}, USER]}
    usage = (await bench.send("openai", said)).json["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]) == (17, {"cached_tokens": 6})


async def test_pictures_and_speech(bench: Bench) -> None:
    async with openai.AsyncOpenAI(
        api_key="sim-a", base_url=bench.simulator.base_url("openai"), max_retries=0
    ) as client:
        pictures = await client.images.generate(model="gpt-image-1", prompt="a red kite", n=2)
        data = [base64.b64decode(picture.b64_json or "") for picture in pictures.data or []]
        assert [one[:4] for one in data] == [b"\x89PNG"] * 2
        changed = await client.images.edit(image=("kite.png", data[0], "image/png"), prompt="bluer", n=2)
        assert len(changed.data or []) == 2
        speech = await client.audio.speech.create(model="tts-1", voice="alloy", input="hello", response_format="wav")
        assert speech.response.headers["content-type"] == "audio/wav"
        assert len(speech.content) == 5 + 16 * 5
        assert speech.content.startswith(b"ID3\xff")
    assert [call.operation for call in bench.judge.calls] == ["images", "image_edits", "speech"]
    assert bench.judge.calls_per_key() == {"sim-a": 3}


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's own name for translations
@pytest.mark.parametrize("translates", [False, True])
async def test_what_was_said(bench: Bench, translates: bool) -> None:
    async with openai.AsyncOpenAI(
        api_key="sim-a", base_url=bench.simulator.base_url("openai"), max_retries=0
    ) as client:
        audio = client.audio.translations if translates else client.audio.transcriptions
        sound = ("clip.wav", bytes(range(256)) * 3 + b"\r\n--", "audio/wav")
        heard: Any = await audio.create(model="whisper-1", file=sound, prompt="names", temperature=0.5)
        assert heard.text == "clip.wav of 772 bytes; model=whisper-1; prompt=names; temperature=0.5"
        plain: Any = await audio.create(model="whisper-1", file=sound, response_format="text")
        assert plain.startswith("clip.wav of 772 bytes")
    assert bench.judge.calls[0].model == "whisper-1"
    no_form = await bench.send("openai", {"model": "whisper-1"}, path="/v1/audio/transcriptions")
    assert no_form.status == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nX: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'),
    ],
)
async def test_what_is_no_form_or_has_no_file(bench: Bench, content_type: str, body: bytes) -> None:
    answer = await bench.send("openai", body, path="/v1/audio/transcriptions", content_type=content_type)
    assert (answer.status, bench.judge.calls[0].error) == (400, "malformed")


async def test_moderation(bench: Bench) -> None:
    body = {"input": ["hello", "[[blocked]] words"]}
    answer = await bench.send("openai", body, path="/v1/moderations")
    assert [result["flagged"] for result in answer.json["results"]] == [False, True]
    assert answer.json["model"] == "omni-moderation-latest"
    assert (await bench.send("openai", {}, path="/v1/moderations")).status == 400


async def test_what_is_passed_through_uses_up_quota() -> None:
    async with Bench(ROWS[0], openai=ProviderPlan(limits=(per(1, "60s"),))) as bench:
        body = {"model": "tts-1", "voice": "alloy", "input": "hello"}
        assert [(await bench.send("openai", body, path="/v1/audio/speech")).status for _ in range(2)] == [200, 429]
        assert len(bench.judge.violations()) == 1


async def test_a_scenario_that_names_models_serves_no_others() -> None:
    async with Bench(ROWS[0], openai=ProviderPlan(models=("tts-1",))) as bench:
        body = {"voice": "alloy", "input": "hello"}
        for model, status in (("tts-1", 200), ("tts-2", 404)):
            answer = await bench.send("openai", {**body, "model": model}, path="/v1/audio/speech")
            assert answer.status == status


async def test_a_blocked_prompt(bench: Bench) -> None:
    body = {"contents": [{"parts": [{"text": "[[blocked]]"}]}]}
    answer = await bench.send("gemini", body, path="/v1beta/models/plain:generateContent")
    assert (answer.status, answer.json["promptFeedback"]["blockReason"]) == (200, "PROHIBITED_CONTENT")
    assert "candidates" not in answer.json
    streamed = await bench.send("gemini", body, path="/v1beta/models/plain:streamGenerateContent?alt=sse")
    assert "promptFeedback" in streamed.events[0]
    claude = {"model": "plain", "max_tokens": 9, "messages": [{"role": "user", "content": "[[blocked]]"}]}
    assert (await bench.send("anthropic", claude, path="/v1/messages", **CLAUDE)).status == 400
    cohere = {"model": "plain", "messages": [{"role": "user", "content": "[[blocked]]"}]}
    assert (await bench.send("cohere", cohere, path="/v2/chat")).status == 498
