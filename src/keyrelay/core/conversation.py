"""The one form between all dialects: what a caller asks, what a model answers, and the events of a streamed answer.

A dialect is translated into this form and out of it, never straight into another dialect. Values are immutable; JSON
that nobody here has to understand (schemas, arguments) stays text. What a dialect can say and another cannot is a
field of its own here, so that it is lost at a target that lacks it and nowhere before.

    Conversation   messages of parts, tools, how to answer
    Answer         the parts of one answer, why it ended, tokens
    Event          a piece of an answer on its way

Events come in the order of the parts: a piece belongs to the part that was begun last, and pieces of two parts never
alternate. A text or thinking part begins with its first piece, a call with `CallBegun`; a part ends where another one
begins or the answer ends.
"""

from typing import Literal

import msgspec

from keyrelay.core.usage import Usage

Dialect = Literal["openai", "responses", "anthropic", "gemini", "ollama", "cohere"]
"""A wire format. Callers speak all but `cohere`, providers all but `responses`."""

Role = Literal["system", "user", "assistant"]

Finish = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "error"]
"""Why an answer ended; `error`: the model broke it off by itself, so that it is no whole answer."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model is to think before it answers."""


class _Value(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Base of what holds no other values."""


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what does."""


class Text(_Value, frozen=True, tag="text"):
    """Words. `cache` marks the prompt up to here as worth keeping at the provider: `5m`, `1h`, empty for neither."""

    text: str
    cache: str = ""


class Image(_Value, frozen=True, tag="image"):
    """A picture: `data` (base64, of `media_type`) or `url`. `detail` is OpenAI's `low`, `high` or `auto`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""
    cache: str = ""


class Audio(_Value, frozen=True, tag="audio"):
    """Sound: base64, of `media_type` (`audio/wav`, `audio/mp3`)."""

    media_type: str
    data: str


class Document(_Value, frozen=True, tag="document"):
    """A file: `data` (base64, of `media_type`), `url`, or `file_id` at the provider. `name` is its title."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    name: str = ""
    cache: str = ""


class Thinking(_Value, frozen=True, tag="thinking"):
    """What a model thought.

    `signature` (opaque) proves to the dialect `signed_by` that it was this; `redacted` is what stands in place of the
    text where the provider shows none.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    signed_by: str = ""


class Refusal(_Value, frozen=True, tag="refusal"):
    """Words in which a model declines to answer."""

    text: str


class ToolCall(_Value, frozen=True, tag="call"):
    """A call that a model wants made. `arguments` is the text of a JSON object, or free text if `custom`.

    `signature` (opaque) has to come back with the call to the dialect `signed_by`.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: str = ""
    signed_by: str = ""


class ToolResult(_Holder, frozen=True, tag="result"):
    """What came of a call, in a message of the user's. `name` is the tool's, where the dialect says it."""

    call_id: str
    parts: tuple[Text | Image | Document, ...]
    name: str = ""
    failed: bool = False
    custom: bool = False
    cache: str = ""


Part = Text | Image | Audio | Document | Thinking | Refusal | ToolCall | ToolResult

Media = Image | Audio | Document
"""What is no words."""

AnswerPart = Text | Thinking | Refusal | ToolCall | Image | Audio | Document


class Message(_Holder, frozen=True):
    """One turn.

    Results of tools stand in the user's turn, together with what else it says; neighbours of one role are as good as
    one message.
    """

    role: Role
    parts: tuple[Part, ...]


class Tool(_Holder, frozen=True):
    """A function that the model may have called. `schema` is the JSON schema of its arguments as text, empty for none.

    A `custom` tool takes free text, `grammar` is the JSON of its `format`. `strict` says that arguments must fit the
    schema.
    """

    name: str
    description: str = ""
    schema: str = ""
    strict: bool | None = None
    custom: bool = False
    grammar: str = ""
    cache: str = ""


class ToolChoice(_Holder, frozen=True):
    """Whether tools are called.

    `names` narrows them down: one name with `required` is that tool. `parallel` is whether several may be called at
    once, None for the provider's own way.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    parallel: bool | None = None


class Format(_Holder, frozen=True):
    """What the answer's text has to be: any JSON (`schema` empty), or JSON that fits a schema, given as text."""

    schema: str = ""
    name: str = ""
    description: str = ""
    strict: bool | None = None


class Reasoning(_Holder, frozen=True):
    """How much to think: as `effort`, as `budget_tokens` (0 not at all, -1 as the model sees fit), or both unsaid.

    `shown` is whether the caller wants to see the thoughts, None for the provider's own way.
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    shown: bool | None = None


class Sampling(_Holder, frozen=True):
    """How words are chosen; None where the caller did not say."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Conversation(_Holder, frozen=True):
    """What a caller asks for.

    `answers` is how many answers it wants. `user` names the person behind the client, `tier` is the caller's
    `service_tier`, `cache_key` what OpenAI calls `prompt_cache_key`. `left_out` names what the caller said, in its own
    words (`logit_bias`, `tools[2]: web_search`), and this form cannot hold.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    format: Format | None = None
    reasoning: Reasoning | None = None
    sampling: Sampling = Sampling()
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    answers: int = 1
    stream: bool = False
    user: str = ""
    tier: str = ""
    cache_key: str = ""
    left_out: tuple[str, ...] = ()


class Tokens(_Value, frozen=True):
    """Tokens as a provider counted them.

    `input` includes `cached` (read from its cache) and `cache_written`; `output` includes `reasoning`.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_written: int = 0
    reasoning: int = 0

    @property
    def usage(self) -> Usage:
        """What the ledger counts of them."""
        return Usage(self.input, self.output)


class Answer(_Holder, frozen=True):
    """One answer.

    `id` and `model` are the provider's words; `stop_sequence` the one that was met. `left_out` names what the provider
    said, in its own words (`annotations`, `server_tool_use`), and this form cannot hold.
    """

    parts: tuple[AnswerPart, ...]
    finish: Finish = "stop"
    tokens: Tokens | None = None
    stop_sequence: str = ""
    id: str = ""
    model: str = ""
    left_out: tuple[str, ...] = ()


class Begun(_Holder, frozen=True, tag="begun"):
    """The answer has begun; first of all events. `tokens` is what is known of the prompt by now."""

    id: str = ""
    model: str = ""
    tokens: Tokens | None = None


class TextPiece(_Value, frozen=True, tag="text"):
    """More words."""

    text: str


class ThinkingPiece(_Value, frozen=True, tag="thinking"):
    """More thoughts; with `signature` or `redacted` (see `Thinking`), the thinking part is complete."""

    text: str = ""
    signature: str = ""
    redacted: str = ""
    signed_by: str = ""


class RefusalPiece(_Value, frozen=True, tag="refusal"):
    """More of a refusal."""

    text: str


class CallBegun(_Value, frozen=True, tag="call"):
    """A call of a tool begins; see `ToolCall`."""

    id: str
    name: str
    custom: bool = False
    signature: str = ""
    signed_by: str = ""


class CallPiece(_Value, frozen=True, tag="arguments"):
    """More of the arguments of the call that was begun last."""

    arguments: str


class MediaPiece(_Holder, frozen=True, tag="media"):
    """A picture, a sound or a file; it comes whole and is a part of its own."""

    part: Media


class Unheld(_Value, frozen=True, tag="unheld"):
    """Something was said that this form cannot hold: `name` as in `Answer.left_out`. It belongs to no part."""

    name: str


class Counted(_Holder, frozen=True, tag="counted"):
    """Tokens so far; the last one holds."""

    tokens: Tokens


class Finished(_Value, frozen=True, tag="finished"):
    """The last part is complete. Only `Counted` may follow."""

    finish: Finish
    stop_sequence: str = ""


Event = (
    Begun | TextPiece | ThinkingPiece | RefusalPiece | CallBegun | CallPiece | MediaPiece | Unheld | Counted | Finished
)


class EmbeddingsAsked(_Holder, frozen=True):
    """Texts, or lists of token numbers, of which vectors are wanted.

    `purpose` is Cohere's `input_type` in its words (`search_query`, `search_document` …), empty when unsaid. `titles`
    is not carried. `base64`: the caller wants vectors as base64 of little-endian 32-bit floats. `single`: it sent one
    input outside of a list, for dialects whose answer then has another shape.
    """

    inputs: tuple[str, ...] = ()
    token_inputs: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    purpose: str = ""
    base64: bool = False
    single: bool = False
    truncate: bool | None = None
    left_out: tuple[str, ...] = ()


class Embeddings(_Holder, frozen=True):
    """A vector for each input, in their order."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: Tokens | None = None
    model: str = ""
