"""What a dialect can do, and what most of them do alike."""

from typing import Any

import msgspec

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.answers import Answer
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events
from keyrelay.simulator.http import Request

SSE = "text/event-stream; charset=utf-8"
encode = msgspec.json.encode


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens to be told. A fault may put anything there."""

    input: Any
    output: Any
    total: Any
    reasoning: int = 0
    cached: int = 0
    written: int = 0


def figures_of(answer: Answer, envelope: Envelope) -> Figures | None:
    """The answer's tokens as they are, or as a fault has them; None for nothing to tell."""
    forced = envelope.forced_usage
    if forced is msgspec.UNSET:
        return Figures(
            input=answer.input_tokens,
            output=answer.output_tokens,
            total=answer.input_tokens + answer.output_tokens,
            reasoning=len(answer.reasoning),
            cached=answer.cached_tokens,
            written=answer.written_tokens,
        )
    if forced is None:
        return None
    return Figures(input=forced["prompt_tokens"], output=forced["completion_tokens"], total=forced["total_tokens"])


class Dialect:
    """A wire format.

    `voice` names the table of refusals; empty for that of the provider itself. `sse`: streams are server-sent events.
    `text_member` is the beginning of a member that holds text, in an event's bytes; `ping` what keeps a stream awake.
    """

    name = ""
    voice = ""
    sse = True
    stream_type = SSE
    text_member = b'"content":"'
    ping = b": ping\n\n"
    done = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def read(self, operation: str, request: Request) -> Prompt:
        """What a request asks for; whatever is wrong with it is said in the prompt, nothing is raised."""
        raise NotImplementedError

    def refusal_of(self, prompt: Prompt, provider: str, model: ModelRow) -> None:
        """Raise WrongRequestError for what this provider's model in particular refuses."""

    def thinks_unasked(self, provider: str) -> bool:  # noqa: ARG002 - some ask who it is
        """Whether a model that can think does so when nobody says anything."""
        return False

    def answer_id(self, operation: str, digits: str) -> str:  # noqa: ARG002 - some say what it is
        """The id of an answer, from hexadecimal digits."""
        return digits

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """The body of a whole answer."""
        raise NotImplementedError

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """The same as the events of a stream."""
        raise NotImplementedError

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any] | bytes:
        """The answer to an operation that generates no text: a body, or bytes of `ready_type`."""
        raise NotImplementedError

    def ready_type(self, operation: str, prompt: Prompt) -> str:  # noqa: ARG002 - some operations have a type of their own
        """The content type of what `ready` gives."""
        return "application/json"

    def framed(self, data: bytes) -> bytes:
        """One event with these bytes as its data."""
        return b"data: %b\n\n" % data

    def text_event(self, text: str, envelope: Envelope) -> bytes:
        """An event that brings this text."""
        return self.events(Answer(tokens=[text]), envelope).content[0]

    def error_event(self, error: Any) -> bytes:
        """A refusal's body as an event of a stream that has begun."""
        return self.framed(encode(error))

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """A whole answer with nothing in it."""
        raise NotImplementedError
