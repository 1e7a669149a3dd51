"""The shapes of error bodies: eleven of them, among two dozen providers."""

from typing import Any

from keyrelay.simulator.errors.reasons import Reason

_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def wrapped(reason: Reason) -> Any:
    """OpenAI and most others."""
    return {
        "error": {
            "message": reason.message,
            "type": reason.kind or None,
            "param": reason.param,
            "code": reason.code,
        }
    }


def wrapped_with_id(reason: Reason) -> Any:
    """Together: OpenAI's with an id beside it."""
    return {"id": "{id}", **wrapped(reason)}


def wrapped_with_request_id(reason: Reason) -> Any:
    """SambaNova: OpenAI's with a request id beside it."""
    return {**wrapped(reason), "request_id": "{id}"}


def wrapped_with_status(reason: Reason) -> Any:
    """Local servers such as vLLM: OpenAI's, with the HTTP status as its code."""
    return {"error": {"message": reason.message, "type": reason.kind, "param": reason.param, "code": reason.status}}


def openrouter(reason: Reason) -> Any:
    """OpenRouter: the HTTP status as code, the machine-readable type among the metadata."""
    metadata = {"error_type": reason.code, **(reason.details[0] if reason.details else {})}
    return {
        "error": {"code": reason.status, "message": reason.message, "metadata": metadata},
        "user_id": "user_simulated",
    }


def google(reason: Reason) -> Any:
    """Gemini on its OpenAI route: Google's error inside an array of one."""
    error: dict[str, Any] = {
        "code": reason.status,
        "message": reason.message,
        "status": reason.kind or _GOOGLE_STATUS.get(reason.status, "UNKNOWN"),
    }
    if reason.details:
        error["details"] = list(reason.details)
    return [{"error": error}]


def google_bare(reason: Reason) -> Any:
    """Gemini on its own route: the error alone."""
    return google(reason)[0]


def anthropic(reason: Reason) -> Any:
    """Anthropic."""
    error: dict[str, Any] = {"type": reason.kind, "message": reason.message}
    if reason.code:
        error["details"] = {"error_code": reason.code}
    return {"type": "error", "error": error, "request_id": "req_{id}"}


def flat(reason: Reason) -> Any:
    """Cerebras: no envelope."""
    return {"message": reason.message, "type": reason.kind, "param": reason.param, "code": reason.code}


def mistral(reason: Reason) -> Any:
    """Mistral's usual one of four."""
    return {"object": "error", **flat(reason)}


def cohere(reason: Reason) -> Any:
    """Cohere."""
    return {"id": "{id}", "message": reason.message}


def bare_string(reason: Reason) -> Any:
    """Ollama's native routes, Hugging Face's router."""
    return {"error": reason.message}


def xai(reason: Reason) -> Any:
    """xAI: two strings."""
    return {"code": reason.code or reason.kind, "error": reason.message}


def problem(reason: Reason) -> Any:
    """NVIDIA: problem JSON."""
    return {"status": reason.status, "title": reason.kind, "detail": reason.message}


def detail(reason: Reason) -> Any:
    """AI21."""
    return {"detail": reason.message}


def detail_error(reason: Reason) -> Any:
    """DeepInfra."""
    return {"detail": {"error": reason.message}}


def cloudflare(reason: Reason) -> Any:
    """Cloudflare: the discriminator is the number."""
    return {
        "result": None,
        "success": False,
        "errors": [{"code": reason.code or 1000, "message": reason.message}],
        "messages": [],
    }
