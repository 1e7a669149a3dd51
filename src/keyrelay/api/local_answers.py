"""Requests that Keyrelay answers by itself: how many tokens a prompt has, what a model is, that it is loaded."""

from collections.abc import Iterable

from keyrelay.api.models import Listed, one_listed
from keyrelay.core.requests import CallRequest
from keyrelay.engine.gateway import Gateway, unknown_model
from keyrelay.wire.anthropic.caller import count_answer
from keyrelay.wire.body import read_members
from keyrelay.wire.ollama.caller import model_name
from keyrelay.wire.ollama.models import ListedModel, show_body
from keyrelay.wire.registry import GEMINI_EVENTS, OLLAMA_CHAT, OLLAMA_GENERATE


def anthropic_count(gateway: Gateway, request: CallRequest, now_s: float) -> bytes:
    """`POST /v1/messages/count_tokens`."""
    del now_s
    return count_answer(_tokens(gateway, request))


def gemini_count(gateway: Gateway, request: CallRequest, now_s: float) -> bytes:
    """`POST /v1beta/models/{model}:countTokens`."""
    del now_s
    return GEMINI_EVENTS.counted(_tokens(gateway, request))


def chat_loaded(gateway: Gateway, request: CallRequest, now_s: float) -> bytes | None:
    """`POST /api/chat` without messages: Ollama's way to have a model loaded."""
    del gateway
    return OLLAMA_CHAT.loaded(request, now_s) if OLLAMA_CHAT.loads(request) else None


def generate_loaded(gateway: Gateway, request: CallRequest, now_s: float) -> bytes | None:
    """`POST /api/generate` without a prompt."""
    del gateway
    return OLLAMA_GENERATE.loaded(request, now_s) if OLLAMA_GENERATE.loads(request) else None


def read_name(body: bytes, *, max_depth: int) -> CallRequest:
    """The body of `POST /api/show`."""
    fields = read_members(body, max_depth=max_depth)
    name = model_name(fields)
    return CallRequest(operation="chat", model=name, stream=False, body=body, fields=fields, dialect="ollama")


def shown(gateway: Gateway, request: CallRequest, now_s: float) -> bytes:
    """`POST /api/show`. Raise CallerError (404)."""
    listed = one_listed(gateway.pool, request.model, now_s)
    if listed is None:
        raise unknown_model(gateway.pool, request.model)
    return show_body(as_ollama(listed, now_s))


def as_ollama(listed: Listed, now_s: float) -> ListedModel:
    """A model as Ollama's clients are told of it."""
    return ListedModel(
        name=listed.name,
        family=listed.providers[0] if listed.providers else "keyrelay",
        modified_s=now_s,
        capabilities=(listed.row and listed.row.capabilities) or ("chat", "tools"),
        context_tokens=listed.context_tokens,
    )


def all_as_ollama(listed: Iterable[Listed], now_s: float) -> tuple[ListedModel, ...]:
    """The same for each of them."""
    return tuple(as_ollama(each, now_s) for each in listed)


def _tokens(gateway: Gateway, request: CallRequest) -> int:
    """Tokens of a prompt, by what the first model that the name stands for has made of others. Raise CallerError."""
    plan = gateway.pool.plan(request.model)
    if plan is None:
        raise unknown_model(gateway.pool, request.model)
    raw = plan.estimate(request.body)
    for candidate in plan.candidates():
        exact = raw.exact_input_tokens(candidate.tokeniser)
        return candidate.calibration.estimate(raw, 0)[0] if exact is None else exact
    return raw.input_tokens
