"""Every endpoint whose answers may be kept, and how one asks there for an answer that is."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.e2e.harness import Reply

MODELS = {
    "groq": "groq/openai/gpt-oss-20b",
    "anthropic": "anthropic/claude-haiku-5-5",
    "gemini": "gemini/gemini-2.5-flash-lite",
    "ollama": "ollama/llama3.2",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = 'call weather {"city": "Oslo"}'
"""A line on which simulated models call the tool `weather`."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint: `body` holds a text `WORDS` wherever words belong; `tools` is what offers the tool `weather`."""

    path: str
    body: Mapping[str, Any]
    stream_path: str = ""
    tools: Mapping[str, Any] | None = None
    whole: bool = True

    def request(self, words: str, model: str, *, stream: bool, tools: bool = False) -> tuple[str, bytes]:
        """Path and body of a request."""
        path = (self.stream_path if stream else "") or self.path
        body = {**self.body, **(self.tools or {} if tools else {})}
        if "{model}" not in path:
            body |= {"model": model, "stream": stream}
        text = msgspec.json.encode(body).replace(b'"WORDS"', msgspec.json.encode(words))
        return path.replace("{model}", model), text


_TURN = {"messages": [{"role": "user", "content": "WORDS"}]}
_FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
_GEMINI = {
    "contents": [{"parts": [{"text": "WORDS"}]}],
    "generationConfig": {"seed": 7, "thinkingConfig": {"thinkingBudget": 0}},
}
_GEMINI_TOOLS = {"tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}]}
_GENERATE, _STREAM = "/v1beta/models/{model}:generateContent", "/v1beta/models/{model}:streamGenerateContent"

CHATS: dict[str, Asking] = {
    "chat": Asking(path="/v1/chat/completions", body={**_TURN, "temperature": 0}, tools={"tools": [_FUNCTION]}),
    "responses": Asking(
        path="/v1/responses",
        body={"input": "WORDS", "temperature": 0},
        tools={"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]},
    ),
    "anthropic": Asking(
        path="/v1/messages",
        body={**_TURN, "max_tokens": 500, "temperature": 0},
        tools={"tools": [{"name": "weather", "input_schema": SCHEMA}]},
    ),
    "gemini": Asking(path=_GENERATE, stream_path=f"{_STREAM}?alt=sse", body=_GEMINI, tools=_GEMINI_TOOLS),
    "gemini array": Asking(path="", stream_path=_STREAM, body=_GEMINI, tools=_GEMINI_TOOLS, whole=False),
    "ollama": Asking(path="/api/chat", body={**_TURN, "options": {"temperature": 0}}, tools={"tools": [_FUNCTION]}),
    "ollama generate": Asking(path="/api/generate", body={"prompt": "WORDS", "options": {"seed": 1}}),
}

EMBEDDINGS: dict[str, tuple[Asking, str]] = {
    "openai": (Asking(path="/v1/embeddings", body={"input": "WORDS"}), "openai/text-embedding-3-small"),
    "ollama": (Asking(path="/api/embed", body={"input": ["WORDS"]}), "ollama/nomic-embed-text"),
    "ollama, older": (Asking(path="/api/embeddings", body={"prompt": "WORDS"}), "ollama/nomic-embed-text"),
    "gemini": (
        Asking(path="/v1beta/models/{model}:embedContent", body={"content": {"parts": [{"text": "WORDS"}]}}),
        "gemini/gemini-embedding-001",
    ),
    "gemini, several": (
        Asking(
            path="/v1beta/models/{model}:batchEmbedContents",
            body={"requests": [{"content": {"parts": [{"text": "WORDS"}]}}]},
        ),
        "gemini/gemini-embedding-001",
    ),
}

PAIRS: tuple[tuple[str, str], ...] = (
    ("chat", "groq"),
    ("chat", "anthropic"),
    ("responses", "groq"),
    ("responses", "ollama"),
    ("anthropic", "anthropic"),
    ("anthropic", "groq"),
    ("gemini", "gemini"),
    ("gemini", "groq"),
    ("gemini array", "gemini"),
    ("ollama", "ollama"),
    ("ollama", "groq"),
    ("ollama generate", "ollama"),
)
"""Callers and providers: the same dialect on both sides, which passes, and another one, which is translated."""

WAYS = [
    (caller, provider, stream)
    for caller, provider in PAIRS
    for stream in (False, True)
    if stream or CHATS[caller].whole
]


def cache_of(reply: Reply) -> str:
    """What an answer says of the cache."""
    return reply.headers.get("x-keyrelay-cache", "")


def same_but_for_id(one: Reply, other: Reply) -> bool:
    """Whether two answers agree in all but what an answer of the Responses dialect is called by."""
    if b'"object":"response"' not in one.body:
        return one.body == other.body
    digits = [reply.headers["x-request-id"].removeprefix("req_").encode() for reply in (one, other)]
    return one.body.replace(digits[0], b"") == other.body.replace(digits[1], b"")
