"""What has no text for an answer, in OpenAI's dialect: pictures, speech, what was said, moderation, ranking.

Each answer tells what arrived: a picture is as large as was asked for, a transcript names the file, its size and the
other fields of the form.
"""

import hashlib
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from keyrelay.simulator.asking import BLOCK_MARKER, Prompt, WrongRequestError, noting
from keyrelay.simulator.http import Request
from keyrelay.simulator.prompts import decoded
from keyrelay.simulator.texts import count_text, text_of

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_NAMED = re.compile(r'\b(name|filename)="([^"]*)"')
_SOUND_BYTES_PER_CHARACTER = 16
_MAX_IMAGES = 10
_CATEGORIES = ("harassment", "hate", "self-harm", "sexual", "violence")
_DEFAULT_MODELS = {
    "moderations": "omni-moderation-latest",
    "images": "gpt-image-1",
    "image_edits": "gpt-image-1",
    "image_variations": "dall-e-2",
    "files": "files",
}
FILES_MODEL = "files"
"""What stands in place of a model where there is none."""

_FORMS = ("transcriptions", "translations", "image_edits", "image_variations", "files")
_SOUNDS = {
    "mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip


class FormFile(str):
    """What stands for an uploaded file in a form's fields: its name and size. `content` is what is in it."""

    __slots__ = ("content", "filename")
    filename: str
    content: bytes


def _file(filename: str, content: bytes) -> FormFile:
    file = FormFile(f"{filename} of {len(content)} bytes")
    file.filename, file.content = filename, content
    return file


def read(operation: str, request: Request) -> Prompt:
    """Read a request; whatever is wrong with it is said in the prompt."""
    prompt = Prompt()
    with noting(prompt):
        content_type = request.headers.get("content-type", "")
        if operation == "files" and request.method != "POST":
            prompt.model = FILES_MODEL
            return prompt
        if content_type.lower().startswith("multipart/form-data"):
            prompt.body = form_fields(content_type, request.body)
        elif operation in _FORMS:
            raise WrongRequestError("body", "expected multipart/form-data")
        else:
            prompt.body = decoded(request.body)
        prompt.model = str(prompt.body.get("model") or _DEFAULT_MODELS.get(operation, ""))
        if not prompt.model:
            raise WrongRequestError("model", "you must provide a model parameter")
        prompt.text = OPERATIONS[operation][0](prompt.body)
        prompt.input_tokens = max(count_text(prompt.text), 1)
        if operation == "moderations":
            prompt.text = ""  # moderation judges what others refuse
    return prompt


def form_fields(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form; a file becomes a `FormFile`. WrongRequestError for what is no form."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise WrongRequestError("body", "multipart/form-data without a boundary")
    delimiter = b"\r\n--" + found[1].encode()
    parts = (b"\r\n" + body).split(delimiter)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):  # noqa: PLR2004 - what comes before the first is no part
        raise WrongRequestError("body", "the form does not end")
    fields: dict[str, Any] = {}
    for part in parts[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        names = dict(_NAMED.findall(head.decode("utf-8", "replace")))
        if "name" not in names:
            raise WrongRequestError("body", "a part of the form has no name")
        text = data.decode("utf-8", "replace")
        fields[names["name"]] = _file(names["filename"], data) if "filename" in names else text
    return fields


def answer(operation: str, prompt: Prompt, number: int) -> dict[str, Any] | bytes:
    """The answer's body."""
    return OPERATIONS[operation][1](prompt, number)


def content_type(operation: str, prompt: Prompt) -> str:
    """Of what type that body is."""
    if operation == "files":
        return "application/json"
    if operation == "speech":
        return _SOUNDS.get(str(prompt.body.get("response_format")), "audio/mpeg")
    plain = operation in ("transcriptions", "translations") and prompt.body.get("response_format") in _PLAIN
    return "text/plain; charset=utf-8" if plain else "application/json"


_PLAIN = ("text", "srt", "vtt")
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals", "ocr")


def _text_member(name: str) -> Callable[[dict[str, Any]], str]:
    def read_text(body: dict[str, Any]) -> str:
        text = body.get(name)
        if not isinstance(text, str) or not text:
            raise WrongRequestError(name, f"'{name}' is a required property")
        return text

    return read_text


def _file_member(*names: str) -> Callable[[dict[str, Any]], str]:
    def read_prompt(body: dict[str, Any]) -> str:
        if not any(isinstance(body.get(name), FormFile) for name in names):
            raise WrongRequestError(names[0], f"'{names[0]}' is a required property")
        return str(body.get("prompt") or "")

    return read_prompt


def _uploaded(body: dict[str, Any]) -> str:
    if body.get("purpose") not in _PURPOSES:
        raise WrongRequestError("purpose", f"'{body.get('purpose', '')}' is not one of {list(_PURPOSES)}")
    return _file_member("file")(body) and ""


def _moderated(body: dict[str, Any]) -> str:
    given = body.get("input")
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, list) or not given:
        raise WrongRequestError("input", "'input' is a required property")
    return "\n".join(item if isinstance(item, str) else text_of([item]) for item in given)


def ranked_texts(body: dict[str, Any]) -> str:
    """The query and the documents of a ranking; WrongRequestError where one is missing."""
    documents = body.get("documents")
    if not isinstance(body.get("query"), str) or not body["query"]:
        raise WrongRequestError("query", "'query' is a required property")
    if not isinstance(documents, list) or not documents:
        raise WrongRequestError("documents", "'documents' must be a non-empty list")
    return "\n".join([body["query"], *map(document_text, documents)])


def document_text(document: Any) -> str:
    """The text of a document, whether it is a string or an object."""
    return str(document.get("text", "")) if isinstance(document, dict) else str(document)


def _pictures(prompt: Prompt, number: int) -> dict[str, Any]:
    wanted = str(prompt.body.get("n") or 1)
    count = min(int(wanted), _MAX_IMAGES) if wanted.isdecimal() else 1
    as_url = prompt.body.get("response_format") == "url"
    data = [
        {"url": f"https://images.example/{number + at:08x}.png"}
        if as_url
        else {"b64_json": b64encode(_png(number + at)).decode()}
        for at in range(count)
    ]
    usage = {"input_tokens": prompt.input_tokens, "output_tokens": 0, "total_tokens": prompt.input_tokens}
    return {"created": 0, "data": data, "usage": usage}


def _png(number: int) -> bytes:
    """A picture of one pixel, whose colour is the number."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixel = zlib.compress(b"\0" + struct.pack(">I", number & 0xFFFFFFFF)[1:])
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixel) + part(b"IEND", b"")


def _sound(prompt: Prompt, _: int) -> bytes:
    """Bytes that are no UTF-8, some for each character."""
    voice = str(prompt.body.get("voice", ""))
    length = len(prompt.text) * _SOUND_BYTES_PER_CHARACTER
    return b"ID3\xff\xfb" + hashlib.shake_256(f"{voice}/{prompt.text}".encode()).digest(length)


def _transcript(prompt: Prompt, _: int) -> dict[str, Any] | bytes:
    fields = [f"{name}={value}" for name, value in sorted(prompt.body.items()) if name != "file"]
    text = f"{prompt.body['file']}; {'; '.join(fields)}"
    if prompt.body.get("response_format") in _PLAIN:
        return text.encode()
    return {"text": text, "usage": {"type": "tokens", "input_tokens": prompt.input_tokens, "output_tokens": 0}}


def _moderation(prompt: Prompt, number: int) -> dict[str, Any]:
    given = prompt.body["input"]
    several = isinstance(given, list) and all(isinstance(item, str) for item in given)
    results = []
    for item in given if several else [given]:
        flagged = BLOCK_MARKER in (item if isinstance(item, str) else _moderated({"input": item}))
        results.append(
            {
                "flagged": flagged,
                "categories": {name: flagged and name == "violence" for name in _CATEGORIES},
                "category_scores": {name: 0.9 if flagged and name == "violence" else 0.01 for name in _CATEGORIES},
            }
        )
    return {"id": f"modr-{number:08x}", "model": prompt.model, "results": results}


def ranking(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents by how many words of the query they hold, best first, no more than `top_n`."""
    words = set(body["query"].lower().split())
    scores = [len(words & set(document_text(d).lower().split())) / len(words) for d in body["documents"]]
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))
    wanted = body.get("top_n")
    return [
        {"index": at, "relevance_score": scores[at]}
        for at in order[: wanted if isinstance(wanted, int) else len(order)]
    ]


def _ranked(prompt: Prompt, number: int) -> dict[str, Any]:
    results = ranking(prompt.body)
    if prompt.body.get("return_documents"):
        results = [{**r, "document": {"text": document_text(prompt.body["documents"][r["index"]])}} for r in results]
    tokens = prompt.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"id": f"rerank-{number:08x}", "model": prompt.model, "results": results, "usage": usage}


_Reader = Callable[[dict[str, Any]], str]
_Writer = Callable[[Prompt, int], dict[str, Any] | bytes]

OPERATIONS: dict[str, tuple[_Reader, _Writer]] = {
    "images": (_text_member("prompt"), _pictures),
    "speech": (_text_member("input"), _sound),
    "image_edits": (_file_member("image", "image[]"), _pictures),
    "image_variations": (_file_member("image"), _pictures),
    "transcriptions": (_file_member("file"), _transcript),
    "translations": (_file_member("file"), _transcript),
    "files": (_uploaded, lambda prompt, _: prompt.body),
    "moderations": (_moderated, _moderation),
    "rerank": (ranked_texts, _ranked),
}
"""How each operation is read and answered."""
