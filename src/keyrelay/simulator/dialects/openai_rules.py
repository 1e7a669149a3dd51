"""What single providers of OpenAI's dialect refuse that the others take, as tables."""

import re
from collections.abc import Mapping
from typing import Any

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.asking import Prompt, WrongRequestError
from keyrelay.simulator.errors.reasons import INVALID, Reason
from keyrelay.simulator.prompts import calls_of
from keyrelay.simulator.signatures import is_sealed

DUMMY_SIGNATURE = "skip_thought_signature_validator"
"""What Gemini takes in place of a signature for a call that it never made."""

_GEMINI_3_OR_LATER = re.compile(r"gemini-([3-9]|\d\d)")
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")

_UNSUPPORTED: Mapping[str, tuple[str, ...]] = {
    "groq": ("logprobs", "logit_bias", "top_logprobs", "store", "metadata"),
    "gemini": ("frequency_penalty", "seed", "store"),
    "cohere": (
        "n", "logit_bias", "top_logprobs", "parallel_tool_calls", "store", "metadata", "modalities", "audio",
        "prediction", "service_tier", "user",
    ),
}  # fmt: skip
"""Members that a provider refuses, whatever their value."""

_KNOWN: Mapping[str, frozenset[str]] = {
    "mistral": frozenset((
        "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata",
        "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction",
        "parallel_tool_calls", "prompt_mode", "reasoning_effort", "safe_prompt", "prompt_cache_key", "guardrails",
    )),
}  # fmt: skip
"""The members of providers that refuse all others."""

_NO_REASONING = "The `reasoning_content` in the thinking mode must be passed back to the API."


def check_rules(prompt: Prompt, provider: str, model: ModelRow) -> None:
    """Raise WrongRequestError for what the provider refuses of a chat request."""
    messages = prompt.body.get("messages")
    if not isinstance(messages, list):
        return
    provider = "mistral" if provider == "codestral" else provider
    _check_members(prompt.body, provider)
    if provider == "mistral":
        _check_mistral(messages)
    elif provider == "groq" and prompt.body.get("n") not in (None, 1):
        raise WrongRequestError("n", "'n' : number must be at most 1")
    elif provider == "deepseek":
        _check_thoughts(messages, prompt, model)
    elif provider == "gemini" and needs_signatures(model.id):
        _check_signatures(messages)
    elif provider == "openai" and "reasoning" in model.capabilities:
        _check_reasoning_model(prompt.body)


def needs_signatures(model: str) -> bool:
    """Whether a model of Gemini's insists on the signatures of its calls."""
    return bool(_GEMINI_3_OR_LATER.match(model.removeprefix("models/")))


def is_signed(signature: Any) -> bool:
    """Whether Gemini takes this for the signature of a call."""
    return isinstance(signature, str) and (signature == DUMMY_SIGNATURE or is_sealed("gemini", signature))


def _check_members(body: dict[str, Any], provider: str) -> None:
    refused = [name for name in _UNSUPPORTED.get(provider, ()) if body.get(name) is not None]
    if refused and provider == "gemini":
        raise WrongRequestError(
            refused[0], f'Invalid JSON payload received. Unknown name "{refused[0]}": Cannot find field.'
        )
    if refused:
        raise WrongRequestError(refused[0], f"property '{refused[0]}' is unsupported")
    known = _KNOWN.get(provider)
    unknown = [name for name in body if known and name not in known]
    if unknown:
        raise WrongRequestError(unknown[0], "Extra inputs are not permitted")


def _check_mistral(messages: list[dict[str, Any]]) -> None:
    for at, message in enumerate(messages):
        ids = [call["id"] for call in calls_of(message)]
        ids += [message["tool_call_id"]] if message["role"] == "tool" else []
        wrong = [one for one in ids if not _MISTRAL_ID.fullmatch(str(one))]
        if wrong:
            problem = f"Tool call id was {wrong[0]} but must be a-z, A-Z, 0-9, with a length of 9."
            raise WrongRequestError(f"messages[{at}]", problem, _mistral(problem, "invalid_function_call", "3280"))
        if at and message["role"] == "system" and messages[at - 1]["role"] != "system":
            problem = f"Unexpected role 'system' after role '{messages[at - 1]['role']}'"
            raise WrongRequestError(
                f"messages[{at}]", problem, _mistral(problem, "invalid_request_message_order", "3230")
            )
    last = messages[-1]
    if last["role"] not in ("user", "tool") and not last.get("prefix"):
        problem = f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {last['role']}"
        raise WrongRequestError("messages", problem, _mistral(problem, "invalid_request_message_order", "3230"))


def _mistral(message: str, kind: str, code: str) -> Reason:
    return Reason(400, message, kind, code)


def _check_thoughts(messages: list[dict[str, Any]], prompt: Prompt, model: ModelRow) -> None:
    """DeepSeek, thinking, wants its thoughts back of each turn in which it called a tool; of others it ignores them.

    Source: its guide to the thinking mode, read 2026-11-21.
    """
    thinking = prompt.thinks if prompt.thinks is not None else "reasoning" in model.capabilities
    turn: list[dict[str, Any]] = []
    for message in [*messages, {"role": "user"}] if thinking else []:
        if message["role"] == "assistant":
            turn.append(message)
        elif message["role"] == "user":
            called = any(calls_of(one) for one in turn)
            if called and not all(one.get("reasoning_content") for one in turn):
                raise WrongRequestError("messages", _NO_REASONING, Reason(400, _NO_REASONING, INVALID, INVALID))
            turn = []


def _check_signatures(messages: list[dict[str, Any]]) -> None:
    """The first call of each of the model's messages since the user last spoke."""
    start = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=0)
    for at, message in enumerate(messages[start:], start):
        call = next(iter(calls_of(message)), None)
        if call is None:
            continue
        google = call.get("extra_content")
        google = google.get("google") if isinstance(google, dict) else None
        if not is_signed(google.get("thought_signature") if isinstance(google, dict) else None):
            raise unsigned(str(call["function"]["name"]), at)


def unsigned(name: str, position: int) -> WrongRequestError:
    """What Gemini says to a call without its signature, or with a wrong one."""
    return WrongRequestError(
        "contents",
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
        "correctly, and missing thought_signature may lead to degraded model performance. Additional data, function "
        f"call `default_api:{name}` , position {position + 1}.",
    )


def _check_reasoning_model(body: dict[str, Any]) -> None:
    if body.get("max_tokens") is not None:
        problem = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        raise WrongRequestError(
            "max_tokens", problem, Reason(400, problem, INVALID, "unsupported_parameter", "max_tokens")
        )
