"""What Ollama's requests and answers look like, as far as somebody here has to understand them."""

import msgspec

from keyrelay.wire.parts import raw_text

NO_JSON = msgspec.Raw()
"""A member that is not there."""

_text = msgspec.json.Decoder(str)


class CalledFunction(msgspec.Struct, omit_defaults=True):
    """What a call calls; `arguments` is an object, and `index` the place of the call among those of its message."""

    name: str
    arguments: msgspec.Raw = NO_JSON
    index: int | None = None


class Call(msgspec.Struct, omit_defaults=True):
    """A call of a tool. Ollama has had ids for some time only, and clients drop them."""

    function: CalledFunction
    id: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """One turn of a conversation; a result of a tool has the role `tool`."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, omit_defaults=True):
    """What a tool does."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = NO_JSON


class Tool(msgspec.Struct, omit_defaults=True):
    """A tool; there is no other type than `function`."""

    function: Function | None = None
    type: str | None = None


class Options(msgspec.Struct, omit_defaults=True):
    """The options that have a place in the canonical form. Whole numbers may come as `40.0`."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    seed: int | float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    num_predict: int | float | None = None
    stop: list[str] | str | None = None


class AskedOptions(Options):
    """The same with those that have no place there although they change the answer."""

    num_ctx: msgspec.Raw = NO_JSON
    num_keep: msgspec.Raw = NO_JSON
    min_p: msgspec.Raw = NO_JSON
    typical_p: msgspec.Raw = NO_JSON
    tfs_z: msgspec.Raw = NO_JSON
    repeat_last_n: msgspec.Raw = NO_JSON
    repeat_penalty: msgspec.Raw = NO_JSON
    mirostat: msgspec.Raw = NO_JSON
    mirostat_tau: msgspec.Raw = NO_JSON
    mirostat_eta: msgspec.Raw = NO_JSON
    penalize_newline: msgspec.Raw = NO_JSON

    @property
    def homeless(self) -> tuple[str, ...]:
        """The names of those that were said."""
        names = self.__struct_fields__[len(Options.__struct_fields__) :]
        return tuple(name for name in names if raw_text(getattr(self, name)))


class Asked(msgspec.Struct):
    """What requests for chat and for generate have in common."""

    format: msgspec.Raw = NO_JSON
    options: AskedOptions | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ChatAsked(Asked):
    """A request for `/api/chat`."""

    messages: list[Message] | None = None
    tools: list[Tool] | None = None


class GenerateAsked(Asked):
    """A request for `/api/generate`."""

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    context: list[int] | None = None
    template: str | None = None
    raw: bool | None = None


class EmbedAsked(msgspec.Struct):
    """A request for `/api/embed`, or with `prompt` for the older `/api/embeddings`."""

    input: list[str] | str | None = None
    prompt: str | None = None
    dimensions: int | None = None
    truncate: bool | None = None


class ChatBody(msgspec.Struct, omit_defaults=True):
    """A request as it is written for `/api/chat`."""

    model: str
    messages: list[Message]
    stream: bool
    tools: list[Tool] | None = None
    format: msgspec.Raw = NO_JSON
    options: Options | None = None
    think: bool | str | None = None


class EmbedBody(msgspec.Struct, omit_defaults=True):
    """A request as it is written for `/api/embed`."""

    model: str
    input: tuple[str, ...]
    dimensions: int | None = None
    truncate: bool | None = None


class Said(msgspec.Struct, gc=False):
    """The message in an answer, or a piece of it."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None
    images: list[str] | None = None


class Given(msgspec.Struct, gc=False):
    """A whole answer, or a line of a streamed one; in those of `/api/generate` the message is spread out.

    Counts are read as floats, since that is how some servers in Ollama's place write them.
    """

    model: str | None = None
    created_at: str | None = None
    message: Said | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: float | None = None
    eval_count: float | None = None
    error: msgspec.Raw = NO_JSON

    @property
    def said(self) -> Said | None:
        """The message, None where there is none."""
        if self.message is not None or self.response is None:
            return self.message
        return Said(self.response, self.thinking, self.tool_calls)


class EmbedGiven(msgspec.Struct):
    """An answer of `/api/embed`, or with `embedding` of `/api/embeddings`."""

    model: str | None = None
    embeddings: tuple[tuple[float, ...], ...] | None = None
    embedding: tuple[float, ...] | None = None
    prompt_eval_count: float | None = None
    error: msgspec.Raw = NO_JSON


def arguments_text(raw: msgspec.Raw) -> str:
    """The arguments of a call as text, `{}` where there are none; those that came as a string are what it holds."""
    text = raw_text(raw)
    return _text.decode(text) if text.startswith('"') else text or "{}"


def on_one_line(raw: msgspec.Raw) -> msgspec.Raw:
    """JSON without the line ends that a line of a stream must not have."""
    data = bytes(raw)
    return msgspec.Raw(msgspec.json.format(data, indent=-1)) if b"\n" in data or b"\r" in data else raw
