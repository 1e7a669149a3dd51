"""Doors: the endpoints at which callers come in, each with the dialect that is spoken there.

A door says how a body is read and how answers and errors are written; who serves the request is no business of its.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

import msgspec

from keyrelay.api.local_answers import (
    anthropic_count,
    chat_loaded,
    gemini_count,
    generate_loaded,
    read_name,
    shown,
)
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.wishes import NO_WISHES, Wishes
from keyrelay.wire.anthropic.caller import count_tokens_request
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.generate import decode_request_generate
from keyrelay.wire.opaque import decode_form, decode_opaque
from keyrelay.wire.openai import decode_request
from keyrelay.wire.registry import (
    ANTHROPIC,
    GEMINI_ARRAY,
    GEMINI_EVENTS,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OPENAI,
    RESPONSES,
)

Decode = Callable[..., CallRequest]
"""Reads a body (`body`, `max_depth=`; a form: see `opaque.decode_form`) far enough to route it; raises CallerError."""


class Local(Protocol):
    """Answers a request without a provider; None for one that needs one. Raises CallerError."""

    def __call__(self, gateway: Gateway, request: CallRequest, now_s: float) -> bytes | None:
        """The body of the answer."""
        ...


class Door(msgspec.Struct, frozen=True, eq=False):
    """One endpoint.

    `wishes` are those of a caller who asks for nothing in its headers. `forwards` names, in lower case, the headers
    that go on to a provider of the same dialect. `generate`: answers come in the short form of `/v1/generate`. `local`
    answers what needs no provider; `counts`: with tokens, which are estimated. `form`: the body is a form with files.
    """

    decode: Decode
    codec: CallerCodec = OPENAI
    wishes: Wishes = NO_WISHES
    forwards: tuple[bytes, ...] = ()
    generate: bool = False
    local: Local | None = None
    counts: bool = False
    form: bool = False


def _openai(operation: Operation) -> Door:
    return Door(partial(decode_request, operation))


def _opaque(operation: Operation) -> Door:
    return Door(partial(decode_opaque, operation))


def _form(operation: Operation) -> Door:
    return Door(partial(decode_form, operation), form=True)


def _other(
    codec: CallerCodec,
    operation: Operation = "chat",
    *,
    passes: bool = True,
    forwards: tuple[bytes, ...] = (),
    local: Local | None = None,
) -> Door:
    wishes = Wishes(caller=codec, passes=passes)
    return Door(partial(codec.request, operation), codec, wishes, forwards, local=local)


_OPENAI_DOORS: dict[str, Door] = {
    "/chat/completions": Door(partial(OPENAI.request, "chat")),
    "/completions": _openai("completions"),
    "/embeddings": _openai("embeddings"),
    "/images/generations": _opaque("images"),
    "/images/edits": _form("image_edits"),
    "/images/variations": _form("image_variations"),
    "/audio/speech": _opaque("speech"),
    "/audio/transcriptions": _form("transcriptions"),
    "/audio/translations": _form("translations"),
    "/moderations": _opaque("moderations"),
    "/rerank": _opaque("rerank"),
}

DOORS: Mapping[str, Door] = MappingProxyType(
    {
        **{prefix + path: door for prefix in ("/v1", "") for path, door in _OPENAI_DOORS.items()},
        "/v2/rerank": _opaque("rerank"),
        "/v1/generate": Door(decode_request_generate, generate=True),
        **dict.fromkeys(("/v1/responses", "/responses"), _other(RESPONSES)),
        "/v1/messages": _other(ANTHROPIC, forwards=(b"anthropic-version", b"anthropic-beta")),
        "/v1/messages/count_tokens": Door(count_tokens_request, ANTHROPIC, local=anthropic_count, counts=True),
        "/api/chat": _other(OLLAMA_CHAT, local=chat_loaded),
        "/api/generate": _other(OLLAMA_GENERATE, passes=False, local=generate_loaded),
        "/api/show": Door(read_name, OLLAMA_CHAT, local=shown),
        "/api/embed": _other(OLLAMA_CHAT, "embeddings"),
        "/api/embeddings": _other(OLLAMA_CHAT, "embeddings", passes=False),
    }
)
"""Doors by path; all of them take POST."""

_GEMINI = {
    "generateContent": _other(GEMINI_EVENTS),
    "streamGenerateContent": _other(GEMINI_ARRAY, passes=False),
    "streamGenerateContent?alt=sse": _other(GEMINI_EVENTS),
    "embedContent": _other(GEMINI_EVENTS, "embeddings", passes=False),
    "batchEmbedContents": _other(GEMINI_EVENTS, "embeddings"),
}


def gemini_door(model: str, verb: str, *, events: bool) -> Door | None:
    """The door of `models/{model}:{verb}`; `events`: the caller wants server-sent events. None for no verb of ours."""
    if verb == "countTokens":
        return Door(partial(GEMINI_EVENTS.count_request, model=model), GEMINI_EVENTS, local=gemini_count, counts=True)
    door = _GEMINI.get(f"{verb}?alt=sse" if events and verb.startswith("stream") else verb)
    if door is None:
        return None
    decode = partial(door.decode, model=model, stream=verb.startswith("stream"))
    return msgspec.structs.replace(door, decode=decode)


def codec_at(path: str) -> CallerCodec:
    """The codec of those who call a path, whether or not there is anything."""
    door = DOORS.get(path.rstrip("/"))
    if door is not None:
        return door.codec
    if path.startswith("/v1beta/") or ":" in path:
        return GEMINI_EVENTS
    return OLLAMA_CHAT if path.startswith("/api/") else OPENAI
