"""The prompt of a legacy completion as one turn of the user's."""

from keyrelay.core.conversation import Message, Text
from keyrelay.core.errors import CallerError
from keyrelay.wire.chat.shapes import CompletionsBody

_GAP = "<gap/>"
_FILL = f"Write what belongs in place of {_GAP} in the text below. Answer with that alone.\n\n"


def prompt_messages(body: CompletionsBody) -> tuple[Message, ...]:
    """The prompt, and what comes after it, as a question. Raise CallerError (400) for what is no single text."""
    prompt = body.prompt
    if isinstance(prompt, list):
        prompt = _single(prompt)
    text = f"{_FILL}{prompt}{_GAP}{body.suffix}" if body.suffix else prompt
    return (Message(role="user", parts=(Text(text=text),)),)


def _single(prompts: list[object]) -> str:
    if len(prompts) != 1:
        reason = "the models that can answer now take one prompt at a time, and it has to be a text"
        raise CallerError(400, f"Invalid value for 'prompt': {reason}.", param="prompt", code="unsupported_value")
    if not isinstance(prompts[0], str):
        reason = "the models that can answer now take a text, not tokens"
        raise CallerError(400, f"Invalid value for 'prompt[0]': {reason}.", param="prompt[0]", code="unsupported_value")
    return prompts[0]
