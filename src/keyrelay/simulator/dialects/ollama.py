"""Ollama's own routes: chat and generate in lines of JSON, streaming unless told not to; embeddings; one model."""

import datetime as dt
from typing import Any

import msgspec

from keyrelay.simulator.answers import Answer, unit_vectors
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events
from keyrelay.simulator.dialects.model import Dialect, encode, figures_of
from keyrelay.simulator.dialects.ollama_prompt import read_request
from keyrelay.simulator.http import Request

_NS_PER_TOKEN = 1_000_000
_LOADING_NS = 5_000_000
_DONE_REASONS = {"length": "length"}
_CONTEXT_TOKENS = 32_768


class OllamaDialect(Dialect):
    """`/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings` and `/api/show`."""

    name = "ollama"
    voice = "ollama_native"
    sse = False
    stream_type = "application/x-ndjson"
    ping = b"\n"

    def read(self, operation: str, request: Request) -> Prompt:
        """Read and check a request."""
        return read_request(operation, request)

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """One object that is done."""
        return {**_around(envelope), **_said(answer, envelope), **_end(answer, envelope)}

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """A line for each token and one for all calls; the last line is done."""
        thoughts = answer.reasoning if envelope.shows_thoughts else []
        pieces = [Answer(reasoning=[token]) for token in thoughts]
        pieces += [Answer(tokens=[token]) for token in answer.tokens]
        if answer.tool_calls:
            pieces.append(Answer(tool_calls=answer.tool_calls))
        content = [self.framed(encode({**_around(envelope), **_said(p, envelope), "done": False})) for p in pieces]
        last = {**_around(envelope), **_said(Answer(), envelope), **_end(answer, envelope)}
        return Events(opening=[], content=content, closing=[], done=self.framed(encode(last)))

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any]:  # noqa: ARG002 - as all of them
        """Embeddings, or what there is to know of a model."""
        if operation == "show":
            return _shown(prompt.model)
        vectors = [vector.tolist() for vector in unit_vectors(prompt)]
        if "prompt" in prompt.body:
            return {"embedding": vectors[0]}
        return {
            "model": prompt.model,
            "embeddings": vectors,
            "total_duration": _LOADING_NS + prompt.input_tokens * _NS_PER_TOKEN,
            "load_duration": _LOADING_NS,
            "prompt_eval_count": prompt.input_tokens,
        }

    def framed(self, data: bytes) -> bytes:
        """One line."""
        return data + b"\n"

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """Nothing said."""
        said = {"response": ""} if "response" in whole else {"message": {"role": "assistant", "content": ""}}
        return {**whole, **said}


def _around(envelope: Envelope) -> dict[str, Any]:
    created = dt.datetime.fromtimestamp(envelope.created, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    return {"model": envelope.model, "created_at": created}


def _said(answer: Answer, envelope: Envelope) -> dict[str, Any]:
    thoughts = {"thinking": answer.thoughts} if answer.reasoning and envelope.shows_thoughts else {}
    if envelope.operation == "completions":
        return {"response": answer.text, **thoughts}
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, **thoughts}
    if answer.tool_calls:
        message["tool_calls"] = [
            {"function": {"index": at, "name": call.name, "arguments": msgspec.Raw(call.arguments.encode())}}
            for at, call in enumerate(answer.tool_calls)
        ]
    return {"message": message}


def _end(answer: Answer, envelope: Envelope) -> dict[str, Any]:
    end: dict[str, Any] = {"done": True, "done_reason": _DONE_REASONS.get(answer.finish, "stop")}
    if envelope.operation == "completions":
        end["context"] = [1, 2, 3]
    durations = {
        "total_duration": _LOADING_NS + (answer.input_tokens + answer.output_tokens) * _NS_PER_TOKEN,
        "load_duration": _LOADING_NS,
        "prompt_eval_duration": answer.input_tokens * _NS_PER_TOKEN,
        "eval_duration": answer.output_tokens * _NS_PER_TOKEN,
    }
    told = figures_of(answer, envelope)
    counts = {"prompt_eval_count": told.input, "eval_count": told.output} if told else {}
    return {**end, **durations, **counts}


def _shown(model: str) -> dict[str, Any]:
    return {
        "modelfile": f"FROM {model}",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": {"parent_model": "", "format": "gguf", "family": "simulated", "families": ["simulated"],
                    "parameter_size": "8B", "quantization_level": "Q4_K_M"},
        "model_info": {"general.architecture": "simulated", "simulated.context_length": _CONTEXT_TOKENS},
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
