"""OpenAI's dialect, with each provider's habits: chat, completions, embeddings, and what is passed through."""

from typing import Any

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.answers import Answer, embeddings
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import DONE, Envelope, Events, events, whole
from keyrelay.simulator.dialects import passing_through
from keyrelay.simulator.dialects.model import Dialect
from keyrelay.simulator.dialects.openai_rules import check_rules
from keyrelay.simulator.http import Request
from keyrelay.simulator.prompts import read_prompt
from keyrelay.simulator.styles import style_of


class OpenAIDialect(Dialect):
    """Chat completions and what belongs to them."""

    name = "openai"
    done = DONE

    def read(self, operation: str, request: Request) -> Prompt:
        """Read a body by its operation."""
        if operation in passing_through.OPERATIONS:
            return passing_through.read(operation, request)
        return read_prompt(operation, request.body)

    def refusal_of(self, prompt: Prompt, provider: str, model: ModelRow) -> None:
        """Apply the provider's own rules."""
        check_rules(prompt, provider, model)

    def thinks_unasked(self, provider: str) -> bool:
        """Where a provider shows thoughts, its models that can think do."""
        return bool(style_of(provider).reasoning_field)

    def answer_id(self, operation: str, digits: str) -> str:
        """`chatcmpl-…`, or `cmpl-…` for the older completions."""
        return f"{'cmpl' if operation == 'completions' else 'chatcmpl'}-{digits}"

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """A completion."""
        return whole(answer, envelope)

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """The chunks of a completion."""
        return events(answer, envelope)

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any] | bytes:
        """Embeddings, and what is passed through."""
        if operation in passing_through.OPERATIONS:
            return passing_through.answer(operation, prompt, number)
        tokens = prompt.input_tokens
        vectors = embeddings(prompt)
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
            "model": prompt.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def ready_type(self, operation: str, prompt: Prompt) -> str:
        """JSON, or sound."""
        return passing_through.content_type(operation, prompt)

    def text_event(self, text: str, envelope: Envelope) -> bytes:  # noqa: ARG002 - as small as can be
        """A chunk with nothing but text."""
        return b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text.encode()

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """No choices."""
        return {**whole, "choices": []}
