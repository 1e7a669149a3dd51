"""What is not chat, through the official SDKs: embeddings, legacy completions, pictures, speech, moderation, models.

A provider that has none of a thing says so by the error of its client; what is expected stands in the table.
"""

import io
import math
import wave
from typing import Any

import ollama
from google import genai
from google.genai import types

from tests.clients.programs import common, google_genai, ollama_chat, openai_chat
from tests.clients.programs.common import Target, expect

TEXTS = ["the tide", "the ferry"]


def sound() -> bytes:
    """A tenth of a second of silence, as WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return buffer.getvalue()


def _client(target: Target) -> Any:
    return openai_chat.client(target)


def _vectors(found: list[Any]) -> None:
    expect(len(found) == len(TEXTS), "a vector for each text", len(found))
    expect(found[0] != found[1], "vectors that differ")
    for vector in found:
        expect(math.isclose(sum(x * x for x in vector), 1.0, rel_tol=1e-2), "vectors of length 1", vector[:4])


def openai_embeddings(target: Target) -> None:
    with _client(target) as sdk:
        model = target.model("embeddings")
        found = sdk.embeddings.create(model=model, input=TEXTS)
        _vectors([item.embedding for item in found.data])
        expect(found.usage.prompt_tokens > 0, "usage", found.usage)
        floats = sdk.embeddings.create(model=model, input=TEXTS[0], encoding_format="float")
        expect(len(floats.data) == 1 and isinstance(floats.data[0].embedding[0], float), "floats", floats)


def gemini_embeddings(target: Target) -> None:
    sdk: genai.Client = google_genai.client(target)
    given: Any = TEXTS
    found = sdk.models.embed_content(model=target.model("embeddings"), contents=given)
    _vectors([item.values for item in found.embeddings or ()])
    single = sdk.models.embed_content(
        model=target.model("embeddings"),
        contents=TEXTS[0],
        config=types.EmbedContentConfig(task_type="RETRIEVAL_QUERY"),
    )
    expect(len(single.embeddings or ()) == 1, "one vector", single)


def ollama_embeddings(target: Target) -> None:
    sdk: ollama.Client = ollama_chat.client(target)
    found = sdk.embed(model=target.model("embeddings"), input=TEXTS)
    _vectors(list(found.embeddings))
    expect(sdk.embeddings(model=target.model("embeddings"), prompt=TEXTS[0]).embedding, "one vector")


def completions(target: Target) -> None:
    with _client(target) as sdk:
        answer = sdk.completions.create(model=target.model(), prompt=common.SAY, max_tokens=200)
        common.said(answer.choices[0].text)
        chunks = sdk.completions.create(model=target.model(), prompt=common.SAY, max_tokens=200, stream=True)
        common.streamed(chunk.choices[0].text for chunk in chunks if chunk.choices)


def image_generation(target: Target) -> None:
    with _client(target) as sdk:
        found = sdk.images.generate(model=target.model("images"), prompt="a lighthouse", size="1024x1024")
    expect(found.data and (found.data[0].b64_json or found.data[0].url), "a picture", found)


def image_edit(target: Target) -> None:
    with _client(target) as sdk:
        file = ("picture.png", common.picture(), common.PICTURE_TYPE)
        found = sdk.images.edit(model=target.model("images"), image=file, prompt="at night")
    expect(found.data and (found.data[0].b64_json or found.data[0].url), "a picture", found)


def speech(target: Target) -> None:
    with _client(target) as sdk:
        found = sdk.audio.speech.create(model=target.model("speech"), voice="alloy", input=common.SENTENCE)
        expect(len(found.content) > 0, "sound")


def transcription(target: Target) -> None:
    with _client(target) as sdk:
        file = ("silence.wav", sound(), "audio/wav")
        found = sdk.audio.transcriptions.create(model=target.model("transcription"), file=file)
        expect(found.text, "a text", found)
        other = sdk.audio.translations.create(model=target.model("translation"), file=file)
        expect(other.text, "a text", other)


def moderation(target: Target) -> None:
    with _client(target) as sdk:
        found = sdk.moderations.create(model=target.model("moderation"), input=common.SENTENCE)
    expect(found.results and found.results[0].flagged is False, "a verdict", found)


def models(target: Target) -> None:
    with _client(target) as sdk:
        names = {model.id for model in sdk.models.list()}
        expect(target.model() in names, "the model is listed", sorted(names)[:20])
        expect(sdk.models.retrieve(target.model()).id == target.model(), "one model")


FEATURES = {
    "openai: embeddings": openai_embeddings,
    "google-genai: embeddings": gemini_embeddings,
    "ollama: embeddings": ollama_embeddings,
    "openai: completions": completions,
    "openai: images": image_generation,
    "openai: image edits": image_edit,
    "openai: speech": speech,
    "openai: transcription": transcription,
    "openai: moderation": moderation,
    "openai: models": models,
}

if __name__ == "__main__":
    common.run(FEATURES)
