"""What Cohere's requests and answers look like, as far as somebody here has to understand them."""

import msgspec

NO_JSON = msgspec.Raw()
"""A member that is not there."""


class Function(msgspec.Struct, omit_defaults=True):
    """What a tool does."""

    name: str
    parameters: msgspec.Raw
    description: str | None = None


class Tool(msgspec.Struct):
    """A tool."""

    function: Function
    type: str = "function"


class Called(msgspec.Struct):
    """What a call calls; `arguments` is text, which holds an object."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call of a tool, or a piece of one."""

    id: str | None = None
    type: str = "function"
    function: Called | None = None


class ImageUrl(msgspec.Struct, omit_defaults=True):
    """Where a picture is: an address, or a data URL."""

    url: str
    detail: str | None = None


class Item(msgspec.Struct, omit_defaults=True):
    """A piece of a message: `text`, or `image_url`."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """One turn of a conversation; a result of a tool has the role `tool`."""

    role: str
    content: list[Item] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


class ResponseFormat(msgspec.Struct, omit_defaults=True):
    """What the answer's text has to be; a schema stands inside of `json_object`."""

    type: str = ""
    json_schema: msgspec.Raw = NO_JSON


class ThinkingWanted(msgspec.Struct, omit_defaults=True):
    """Whether the model thinks, and how many tokens at most."""

    type: str = ""
    token_budget: int | None = None


class ChatBody(msgspec.Struct, omit_defaults=True):
    """A request for `/v2/chat`."""

    model: str
    messages: list[Message]
    stream: bool
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    strict_tools: bool | None = None
    response_format: ResponseFormat | None = None
    thinking: ThinkingWanted | None = None
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    temperature: float | None = None
    p: float | None = None
    k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class EmbedBody(msgspec.Struct, omit_defaults=True):
    """A request for `/v2/embed`."""

    model: str
    texts: tuple[str, ...]
    input_type: str
    embedding_types: tuple[str, ...]
    output_dimension: int | None = None
    truncate: str | None = None


class Counts(msgspec.Struct, gc=False):
    """Tokens; Cohere writes them as floats."""

    input_tokens: float | None = None
    output_tokens: float | None = None


class Used(msgspec.Struct, gc=False):
    """What an answer used: `tokens` as they count against limits, `billed_units` as they are paid for."""

    tokens: Counts | None = None
    billed_units: Counts | None = None
    cached_tokens: float | None = None


class Content(msgspec.Struct, gc=False):
    """Words or thoughts."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class Said(msgspec.Struct, gc=False):
    """The message of an answer."""

    content: list[Content] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[Call] | None = None
    citations: msgspec.Raw = NO_JSON


class Given(msgspec.Struct, gc=False):
    """A whole answer; an error has text where the message is."""

    id: str | None = None
    finish_reason: str | None = None
    message: Said | str | None = None
    usage: Used | None = None
    error: msgspec.Raw = NO_JSON


class Delta(msgspec.Struct, gc=False):
    """What an event of a stream adds to the message. What begins a message has empty lists in it."""

    content: Content | list[msgspec.Raw] | str | None = None
    tool_plan: str | None = None
    tool_calls: Call | list[Call] | None = None


class EventDelta(msgspec.Struct, gc=False):
    """What an event of a stream adds to the answer."""

    message: Delta | None = None
    finish_reason: str | None = None
    usage: Used | None = None
    error: str | None = None


class StreamedEvent(msgspec.Struct, gc=False):
    """An event of a stream; an error outside of any has text as its `message` and no `type`."""

    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: EventDelta | None = None
    message: msgspec.Raw = NO_JSON
    error: msgspec.Raw = NO_JSON


class Vectors(msgspec.Struct):
    """Vectors by the type of their numbers."""

    floats: tuple[tuple[float, ...], ...] | None = msgspec.field(default=None, name="float")


class EmbedMeta(msgspec.Struct):
    """What the vectors used."""

    billed_units: Counts | None = None
    tokens: Counts | None = None


class EmbedGiven(msgspec.Struct):
    """An answer of `/v2/embed`."""

    embeddings: Vectors | None = None
    meta: EmbedMeta | None = None
    message: str | None = None
