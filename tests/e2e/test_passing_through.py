"""What goes through as it is, over real sockets: pictures, speech, transcripts, moderation, ranking."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from keyrelay.simulator import Change, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import CLIENT, CLIENT_SECRET, Caller, Embedded, embedded, environment, process, simulated
from tests.upstream.hostile import Peer, Script, Server, answering, chunked, http, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROVIDERS = ("openai", "groq", "cohere", "together")
JSON: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "images": ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a lighthouse"}, "openai", "b64_json"),
    "speech": ("/v1/audio/speech", {"model": "tts-1", "input": "Morning.", "voice": "a"}, "openai", ""),
    "moderations": ("/v1/moderations", {"input": "Morning."}, "openai", "category_scores"),
    "rerank": ("/v2/rerank", {"model": "rerank-v4", "query": "a", "documents": ["a"]}, "cohere", "relevance_score"),
    "rerank elsewhere": ("/rerank", {"model": "together/r", "query": "a", "documents": ["a"]}, "together", "results"),
}
SOUND = b"RIFF\x00\xff\r\n--not the boundary\r\n" * 50
MIB = 1024 * 1024


def form(*parts: tuple[str, str | None, bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """A form and its header; a part has a name, a file's name or None, and content."""
    body = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"\r\ncontent-type: audio/wav' if filename is not None else ""
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    content_type = f"multipart/form-data; boundary={boundary}"
    return body + f"--{boundary}--\r\n".encode(), {"content-type": content_type}


FORM, FORM_TYPE = form(("file", "a.wav", SOUND), ("model", None, b"openai/whisper-1"), ("language", None, b"en"))
SENT = FORM.replace(b"openai/whisper-1", b"whisper-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    plans = {name: ProviderPlan(limits=()) for name in PROVIDERS}
    async with simulated(Scenario(providers=plans)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    keys = {name: [f"first=sim-{name}-a"] for name in PROVIDERS}
    paid = {f"{name.upper()}_TIER": "paid" for name in PROVIDERS}
    async with embedded(environment(simulator, keys, **paid), tmp_path_factory.mktemp("data")) as running:
        yield running


def pointed_at(server: Server, **more: str) -> dict[str, str]:
    """The environment of a gateway whose one provider is a server that does as it likes."""
    return {
        "CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:{CLIENT}",
        "KEYRELAY_LOG_FORMAT": "json",
        "KEYRELAY_PORT": "0",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{server.port}/v1",
        "OPENAI_API_KEYS": "first=sk-test-1,second=sk-test-2",
        **more,
    }


@pytest.mark.parametrize("operation", JSON)
async def test_a_request_goes_through_and_is_accounted_for(gateway: Embedded, operation: str) -> None:
    path, body, provider, words = JSON[operation]
    reply = await gateway.ask(body, path)
    assert (reply.status, reply.headers["x-keyrelay-provider"]) == (200, provider)
    assert words.encode() in reply.body
    line = await gateway.line_of(reply.headers["x-request-id"])
    assert (line["operation"], line["provider"], line["status"]) == (operation.split(maxsplit=1)[0], provider, 200)
    assert line["usage"].get("output_tokens", 0) == 0
    assert line["usage"]["input_tokens"] > 0


async def test_what_a_provider_does_not_have_is_said(gateway: Embedded) -> None:
    reply = await gateway.ask({"model": "cohere/x", "prompt": "a"}, "/v1/images/generations")
    assert reply.status == 400
    assert "no images endpoint" in reply.body.decode()


@pytest.mark.parametrize("operation", ["transcriptions", "translations"])
async def test_a_form_goes_through(gateway: Embedded, operation: str) -> None:
    body, headers = form(("file", "a.wav", SOUND), ("model", None, b"groq/whisper-large-v3"), ("language", None, b"en"))
    reply = await gateway.ask(body, f"/v1/audio/{operation}", headers=headers)
    said = f"a.wav of {len(SOUND)} bytes; language=en; model=whisper-large-v3"
    assert (reply.status, reply.json["text"]) == (200, said)


PICTURE_FILE = b"\x89PNG\r\n\x1a\n\x00" + bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("operation", "names", "texts"),
    [
        ("edits", ("image",), {"prompt": "a boat", "n": "2"}),
        ("edits", ("image[]", "image[]", "mask"), {"prompt": "a boat", "size": "1024x1024"}),
        ("variations", ("image",), {"n": "2"}),
    ],
)
async def test_pictures_are_made_of_others(
    gateway: Embedded, operation: str, names: tuple[str, ...], texts: dict[str, str]
) -> None:
    files = [(name, f"{at}.png", PICTURE_FILE) for at, name in enumerate(names)]
    fields = [(name, None, text.encode()) for name, text in texts.items()]
    body, headers = form(*fields, ("model", None, b"openai/gpt-image-1"), *files)
    reply = await gateway.ask(body, f"/v1/images/{operation}", headers=headers)
    assert (reply.status, reply.headers["x-keyrelay-provider"], reply.headers["x-keyrelay-model"]) == (
        200, "openai", "gpt-image-1",
    )  # fmt: skip
    assert len(reply.json["data"]) == int(texts.get("n", "1"))
    assert all(base64.b64decode(each["b64_json"]).startswith(b"\x89PNG") for each in reply.json["data"])
    line = await gateway.line_of(reply.headers["x-request-id"])
    assert (line["operation"], line["status"]) == (f"image_{operation}", 200)
    assert line["usage"]["input_tokens"] >= 1


@pytest.mark.parametrize("operation", ["edits", "variations"])
async def test_a_picture_is_missing(gateway: Embedded, operation: str) -> None:
    body, headers = form(("model", None, b"gpt-image-1"), ("prompt", None, b"a boat"))
    reply = await gateway.ask(body, f"/v1/images/{operation}", headers=headers)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "image", "missing_field")


@pytest.mark.parametrize("operation", ["edits", "variations"])
async def test_another_key_makes_a_picture_of_the_same_one(
    simulator: Simulator, tmp_path: Path, operation: str
) -> None:
    simulator.change(Change(provider="openai", keys={"sim-openai-spent": "exhausted_day"}))
    keys = {"openai": ["spent=sim-openai-spent", "second=sim-openai-second"]}
    body, headers = form(("image", "a.png", bytes(2 * MIB)), ("prompt", None, b"a"), ("model", None, b"gpt-image-1"))
    async with embedded(environment(simulator, keys, OPENAI_TIER="paid"), tmp_path) as gateway:
        reply = await gateway.ask(body, f"/v1/images/{operation}", headers=headers)
    assert (reply.status, reply.headers["x-keyrelay-key"], reply.headers["x-keyrelay-attempts"]) == (200, "second", "2")


class TestSdk:
    """OpenAI's own SDK."""

    @pytest.fixture
    def client(self, gateway: Embedded) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=gateway.base_url, api_key=CLIENT_SECRET, max_retries=0, timeout=20)

    async def test_images(self, client: openai.AsyncOpenAI) -> None:
        async with client:
            images = await client.images.generate(model="gpt-image-1", prompt="a lighthouse", n=2)
        assert images.data is not None
        assert [bool(image.b64_json) for image in images.data] == [True, True]

    async def test_edited_pictures(self, client: openai.AsyncOpenAI) -> None:
        async with client:
            edited = await client.images.edit(
                model="gpt-image-1", prompt="a boat", image=[("a.png", PICTURE_FILE), ("b.png", PICTURE_FILE)], n=2
            )
            with pytest.warns(DeprecationWarning, match="deprecated"):  # OpenAI would rather have it edited
                varied = await client.images.create_variation(model="dall-e-2", image=("a.png", PICTURE_FILE), n=3)
        assert [len(images.data or ()) for images in (edited, varied)] == [2, 3]

    async def test_speech(self, client: openai.AsyncOpenAI) -> None:
        async with client:
            speech = await client.audio.speech.create(
                model="tts-1", voice="alloy", input="Good morning.", response_format="wav"
            )
        assert speech.response.headers["content-type"] == "audio/wav"
        assert speech.content.startswith(b"ID3\xff")

    async def test_transcription_of_a_file(self, client: openai.AsyncOpenAI, tmp_path: Path) -> None:
        path = tmp_path / "Grüße (1).wav"
        path.write_bytes(SOUND)
        async with client:
            with path.open("rb") as file:
                heard = await client.audio.transcriptions.create(
                    model="whisper-1", file=file, timestamp_granularities=["word", "segment"]
                )
                file.seek(0)
                text = await client.audio.transcriptions.create(model="whisper-1", file=file, response_format="text")
        assert f"{len(SOUND)} bytes" in heard.text
        assert "response_format=text" in str(text)

    async def test_moderation(self, client: openai.AsyncOpenAI) -> None:
        async with client:
            verdict = await client.moderations.create(input=["one", "two"])
        assert (verdict.model, len(verdict.results)) == ("omni-moderation-latest", 2)


# What exactly is sent, and what comes back.


async def asked(script: Script, directory: Path, body: bytes, path: str, **headers: str) -> tuple[Any, Server]:
    async with serving(script) as server, embedded(pointed_at(server), directory) as gateway:
        return await gateway.ask(body, path, headers=headers), server


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/audio/translations", "/v1/images/edits"])
async def test_of_a_form_only_the_name_of_the_model_changes(tmp_path: Path, path: str) -> None:
    form, sent = (each.replace(b'"file"', b'"image"') if "edits" in path else each for each in (FORM, SENT))
    answer = http(b'{"text": "Hello.", "data": [{}]}', "content-type: application/json")
    reply, server = await asked(answering(answer), tmp_path, form, path, **FORM_TYPE)
    assert reply.status == 200
    assert server.bodies == [sent]
    head = server.heads[0].decode()
    assert head.startswith(f"POST /v1{path.removeprefix('/v1')} HTTP/1.1\r\n")
    assert f"\r\n{next(iter(FORM_TYPE))}: {FORM_TYPE['content-type']}\r\ncontent-length: {len(sent)}\r\n" in head
    assert head.count("content-type") == 1


@pytest.mark.parametrize("size", [len(SOUND), 3 * MIB])
async def test_another_key_takes_the_same_form_when_one_refuses(tmp_path: Path, size: int) -> None:
    refusal = http(b'{"error": {"code": "rate_limit_exceeded"}}', status="429 Too Many Requests")
    form_sent, headers = form(("model", None, b"whisper-1"), ("file", "a.wav", bytes(size)))
    answer = http(b"Hello.", "content-type: text/plain; charset=utf-8")
    reply, server = await asked(answering(refusal, answer), tmp_path, form_sent, "/v1/audio/transcriptions", **headers)
    assert (reply.status, reply.body, reply.headers["x-keyrelay-attempts"]) == (200, b"Hello.", "2")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert [hashlib.sha256(each).digest() for each in server.bodies] == [hashlib.sha256(form_sent).digest()] * 2
    assert b"sk-test-1" in server.heads[0]
    assert b"sk-test-2" in server.heads[1]


@pytest.mark.parametrize(
    "bad",
    [
        http(b'{"error": {"message": "overloaded"}}', "content-type: application/json"),
        http(b"", "content-type: audio/mpeg"),
        http(b"<html>", "content-type: text/html"),
        http(b"data: {}\n\n", "content-type: text/event-stream"),
    ],
)
async def test_a_200_that_is_no_answer_is_a_failure(tmp_path: Path, bad: bytes) -> None:
    body = b'{"model": "tts-1", "input": "Morning.", "voice": "a"}'
    good = http(b"\xff\xfb", "content-type: audio/mpeg")
    reply, server = await asked(answering(bad, good), tmp_path, body, "/audio/speech")
    assert (reply.status, reply.body, len(server.bodies)) == (200, b"\xff\xfb", 2)


async def test_sound_that_comes_in_chunks_is_whole(tmp_path: Path) -> None:
    pieces = [bytes([number]) * 50_000 for number in range(20)]
    body = b'{"model": "tts-1", "input": "Morning.", "voice": "a"}'
    reply, _ = await asked(answering(chunked(*pieces, kind="audio/mpeg")), tmp_path, body, "/v1/audio/speech")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"".join(pieces), "audio/mpeg")


EVENTS = (
    b'event: image_generation.partial_image\ndata: {"type": "image_generation.partial_image", "b64_json": "AA=="}\n\n',
    b'data: {"type": "image_generation.completed", "usage": {"input_tokens": 7, "output_tokens": 9}}\n\n',
)
PICTURE = b'{"model": "gpt-image-1", "prompt": "a", "stream": true}'


async def test_a_stream_goes_through_and_ends_with_its_body(tmp_path: Path) -> None:
    script = answering(chunked(*EVENTS, kind="text/event-stream"))
    async with serving(script) as server, embedded(pointed_at(server), tmp_path) as gateway:
        reply = await gateway.ask(PICTURE, "/v1/images/generations")
        line = await gateway.line_of(reply.headers["x-request-id"])
    assert (reply.status, reply.whole, reply.body) == (200, True, b"".join(EVENTS))
    assert line["usage"] == {"input_tokens": 7, "output_tokens": 9}


async def test_a_stream_that_breaks_off_says_so(tmp_path: Path) -> None:
    answer = chunked(EVENTS[0], kind="text/event-stream", end=False)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    reply, _ = await asked(script, tmp_path, PICTURE, "/v1/images/generations")
    assert reply.body.startswith(EVENTS[0])
    assert reply.streamed_error is not None
    assert reply.streamed_error["code"] == "upstream_incomplete"


async def test_who_asks_for_a_stream_may_get_a_whole_answer(tmp_path: Path) -> None:
    body, headers = form(("file", "a.wav", SOUND), ("model", None, b"whisper-1"), ("stream", None, b"true"))
    answer = http(b'{"text": "Hello."}', "content-type: application/json")
    reply, _ = await asked(answering(answer), tmp_path, body, "/v1/audio/transcriptions", **headers)
    assert (reply.status, reply.json) == (200, {"text": "Hello."})


async def test_an_endpoint_that_is_not_there_says_nothing_against_the_model(tmp_path: Path) -> None:
    missing = http(b'{"error": {"message": "Invalid URL"}}', status="404 Not Found")
    hello = http(b'{"choices": [{"message": {"content": "Hello."}}]}', "content-type: application/json")
    chat = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hi."}]}
    async with (
        serving(answering(missing, hello)) as server,
        embedded(pointed_at(server, OPENAI_API_KEYS="sk-test-1"), tmp_path) as gateway,
    ):
        reply = await gateway.ask({"model": "gpt-6-luna", "prompt": "a"}, "/v1/images/generations")
        assert reply.status in {404, 503}
        assert (await gateway.ask(chat)).text == "Hello."


# What is refused.


NO_FORM = {"content-type": "application/json"}
WRONG: dict[str, tuple[bytes, dict[str, str], int, str | None, str]] = {
    "no form": (b"{}", NO_FORM, 400, None, "invalid_form"),
    "no boundary": (FORM, {"content-type": "multipart/form-data"}, 400, None, "invalid_form"),
    "broken off": (FORM[:-4], FORM_TYPE, 400, None, "invalid_form"),
    "another boundary": (FORM, {"content-type": "multipart/form-data; boundary=x"}, 400, None, "invalid_form"),
    "two models": (FORM.replace(b'"language"', b'"model"'), FORM_TYPE, 400, "model", "invalid_form"),
    "no model": (FORM.replace(b'"model"', b'"modal"'), FORM_TYPE, 400, "model", "missing_field"),
    "no file": (FORM.replace(b'"file"', b'"sound"'), FORM_TYPE, 400, "file", "missing_field"),
    "nested quotes": (FORM.replace(b"a.wav", b'a\\"; name=\\"model'), FORM_TYPE, 400, None, "invalid_form"),
    "line end in a name": (FORM.replace(b"a.wav", b'a"\r\nx'), FORM_TYPE, 400, None, "invalid_form"),
    "nothing": (b"", FORM_TYPE, 400, None, "invalid_form"),
    "compressed": (FORM, {**FORM_TYPE, "content-encoding": "gzip"}, 415, None, "encoding"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_form_never_leaves(gateway: Embedded, simulator: Simulator, wrong: str) -> None:
    body, headers, status, param, code = WRONG[wrong]
    before = len(simulator.judge.calls)
    reply = await gateway.ask(body, "/v1/audio/transcriptions", headers=headers)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (status, param, code)
    assert len(simulator.judge.calls) == before


@pytest.mark.parametrize("said", [True, False])
async def test_a_form_that_is_too_large_is_refused(simulator: Simulator, tmp_path: Path, said: bool) -> None:
    environ = environment(simulator, {"openai": ["sim-openai-a"]}, KEYRELAY_MAX_UPLOAD_BYTES="1024")
    lengths = [f"content-length: {len(FORM)}"] if said else ["transfer-encoding: chunked"]
    lines = ["POST /v1/audio/transcriptions HTTP/1.1", "host: a", f"authorization: Bearer {CLIENT_SECRET}"]
    lines += [f"content-type: {FORM_TYPE['content-type']}", *lengths]
    body = FORM if said else b"%x\r\n%b\r\n0\r\n\r\n" % (len(FORM), FORM)
    async with embedded(environ, tmp_path) as gateway, Caller(gateway.port) as caller:
        reply = await caller.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")
    assert "KEYRELAY_MAX_UPLOAD_BYTES" in reply.error["message"]


def unlinked_files_of(directory: Path) -> list[str]:
    """Files of this process that lay in a directory and have no name any more."""
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in held if name.startswith(str(directory)) and name.endswith("(deleted)")]


async def test_forms_take_no_more_of_the_disk_than_they_may_and_give_it_back(
    simulator: Simulator, tmp_path: Path
) -> None:
    large, headers = form(("file", "a.wav", bytes(3 * MIB)), ("model", None, b"whisper-1"))
    environ = environment(simulator, {"openai": ["sim-openai-a"]}, KEYRELAY_MAX_SPOOL_BYTES=str(4 * MIB))
    path = "/v1/audio/transcriptions"
    async with embedded(environ, tmp_path) as gateway:
        uploads = gateway.application.data._uploads
        uploads.spooled_bytes = 2 * MIB
        reply = await gateway.ask(large, path, headers=headers)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "too_busy", "1")
        uploads.spooled_bytes = 0
        for _ in range(3):
            assert (await gateway.ask(large, path, headers=headers)).status == 200
        assert repr(uploads) == "<Uploads 0 bytes on disk>"
        assert not unlinked_files_of(tmp_path)


async def test_a_disk_that_fails_is_said(simulator: Simulator, tmp_path: Path) -> None:
    large, headers = form(("file", "a.wav", bytes(3 * MIB)), ("model", None, b"whisper-1"))
    environ = environment(simulator, {"openai": ["sim-openai-a"]})
    async with embedded(environ, tmp_path) as gateway:
        uploads = gateway.application.data._uploads
        uploads._settings = type(uploads._settings)(directory=tmp_path / "gone")
        reply = await gateway.ask(large, "/v1/audio/transcriptions", headers=headers)
    assert (reply.status, reply.error["code"]) == (503, "upload_not_kept")


async def test_a_slow_line_may_take_longer_than_a_body_may(simulator: Simulator, tmp_path: Path) -> None:
    environ = environment(simulator, {"openai": ["sim-openai-a"]}, KEYRELAY_BODY_TIMEOUT_S="0.6")
    lines = ["POST /v1/audio/transcriptions HTTP/1.1", "host: a", f"authorization: Bearer {CLIENT_SECRET}"]
    lines += [f"content-type: {FORM_TYPE['content-type']}", f"content-length: {len(FORM)}", "", ""]
    async with embedded(environ, tmp_path) as gateway:
        async with Caller(gateway.port) as caller:
            _, writer = await caller.streams()
            writer.write("\r\n".join(lines).encode())
            for start in range(0, len(FORM) - 300, 300):
                writer.write(FORM[start : start + 300])
                await asyncio.sleep(0.3)
            reply = await caller.raw(FORM[start + 300 :])
            assert (reply.status, reply.seconds < 1) == (200, True)
        async with Caller(gateway.port) as caller:
            reply = await caller.raw("\r\n".join(lines).encode() + FORM[:100])
            assert (reply.status, reply.error["code"]) == (408, "body_timeout")


# Memory.


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


async def test_a_large_upload_takes_no_memory_even_to_a_slow_provider(tmp_path: Path) -> None:
    received = asyncio.Event()
    size = 100 * MIB

    async def script(peer: Peer) -> None:
        head = await peer.head()
        left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await asyncio.wait_for(received.wait(), 30)
        while left:
            left -= len(await peer.reader.read(left))
        await peer.send(http(b'{"text": "Hello."}', "content-type: application/json"))

    head, tail = form(("file", "a.wav", b"@@"), ("model", None, b"openai/whisper-1"))[0].split(b"@@")
    lines = ["POST /v1/audio/transcriptions HTTP/1.1", "host: a", f"authorization: Bearer {CLIENT_SECRET}"]
    length = len(head) + size + len(tail)
    lines += [f"content-type: {FORM_TYPE['content-type']}", f"content-length: {length}", "", ""]
    async with serving(script) as server, process(pointed_at(server), tmp_path) as gateway:
        before = anonymous_bytes(gateway.process.pid)
        most = before
        async with Caller(gateway.port) as caller:
            _, writer = await caller.streams()
            writer.write("\r\n".join(lines).encode() + head)
            for _ in range(size // MIB):
                writer.write(bytes(MIB))
                await writer.drain()
                most = max(most, anonymous_bytes(gateway.process.pid))
            answer = asyncio.ensure_future(caller.raw(tail))
            for _ in range(20):
                await asyncio.sleep(0.02)
                most = max(most, anonymous_bytes(gateway.process.pid))
            received.set()
            while not answer.done():
                await asyncio.sleep(0.02)
                most = max(most, anonymous_bytes(gateway.process.pid))
            assert (await answer).json == {"text": "Hello."}
    assert most - before < 16 * MIB, f"{(most - before) / MIB:.1f} MiB more"
