"""The JSON of OpenAI's chat dialect as structs, as lenient as callers and providers are different.

What nobody here has to understand stays `Raw`; unknown members are skipped. Messages of requests and of answers are
one shape: what a model said comes back as history.
"""

from typing import Any

import msgspec

NOTHING = msgspec.Raw()
"""The value of a `Raw` member that is not there."""


class Shape(msgspec.Struct, gc=False):
    """Base of what holds no other structs."""


class CacheMark(Shape):
    """OpenRouter's `cache_control`: the prompt up to here is worth keeping."""

    ttl: str | None = None

    @property
    def word(self) -> str:
        """`5m` or `1h`."""
        return self.ttl or "5m"


class ImageUrl(Shape):
    """Address of a picture, or the picture itself as a `data:` URL."""

    url: str
    detail: str | None = None


class InputAudio(Shape):
    """Sound: base64 and its format (`wav`, `mp3`)."""

    data: str
    format: str


class File(Shape):
    """A file: a `data:` URL or the id that it has at the provider."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ThoughtText(Shape):
    """Words inside Mistral's thinking part."""

    text: str = ""


class ContentPart(msgspec.Struct):
    """One part of a message's content; which members it has depends on its type."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    thinking: list[ThoughtText] | str | None = None
    cache_control: CacheMark | None = None


Content = str | list[ContentPart] | None


class FunctionCall(Shape):
    """A function that is called. `arguments` is a string; some write the object itself."""

    name: str | None = None
    arguments: msgspec.Raw = NOTHING


class CustomCall(Shape):
    """A custom tool that is called, with free text."""

    name: str | None = None
    input: str | None = None


class GoogleExtra(Shape):
    """Gemini's signature of a call, in its OpenAI dialect."""

    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    """What belongs to a call beyond OpenAI's dialect."""

    google: GoogleExtra | None = None


class CallShape(msgspec.Struct):
    """A call of a tool: whole, or (with `index`) a piece of one in a stream."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    extra_content: ExtraContent | None = None

    @property
    def signature(self) -> str:
        """Gemini's signature, empty for none."""
        extra = self.extra_content
        return (extra.google.thought_signature or "") if extra and extra.google else ""


class ThoughtDetail(Shape):
    """OpenRouter's `reasoning_details`: one thought, with what proves it."""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None


class ChatMessage(msgspec.Struct):
    """A message of a request, the message of an answer, or a delta of a stream."""

    role: str | None = None
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[CallShape] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ThoughtDetail] | None = None
    audio: msgspec.Raw = NOTHING
    images: msgspec.Raw = NOTHING
    annotations: msgspec.Raw = NOTHING
    executed_tools: msgspec.Raw = NOTHING


class AudioShape(Shape):
    """Sound in an answer, or a piece of it: base64, and the words in it."""

    data: str | None = None
    transcript: str | None = None


class FunctionShape(Shape):
    """A function that a model may have called."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = NOTHING
    strict: bool | None = None


class CustomShape(Shape):
    """A custom tool."""

    name: str
    description: str | None = None
    format: msgspec.Raw = NOTHING


class ToolShape(msgspec.Struct):
    """A tool; some clients write the function's members beside its type."""

    type: str = "function"
    function: FunctionShape | None = None
    custom: CustomShape | None = None
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = NOTHING
    format: msgspec.Raw = NOTHING
    strict: bool | None = None
    cache_control: CacheMark | None = None


class Named(Shape):
    """What a choice of tools names."""

    name: str


class AllowedTool(msgspec.Struct):
    """One tool that may be called."""

    function: Named | None = None
    custom: Named | None = None


class AllowedTools(msgspec.Struct):
    """The tools that may be called."""

    mode: str = "auto"
    tools: list[AllowedTool] = []


class ChoiceShape(msgspec.Struct):
    """A choice of tools that is more than a word."""

    type: str = "function"
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: AllowedTools | None = None


class SchemaShape(Shape):
    """The schema that an answer has to fit."""

    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = NOTHING
    strict: bool | None = None


class FormatShape(msgspec.Struct):
    """What an answer's text has to be."""

    type: str
    json_schema: SchemaShape | None = None


class ReasoningShape(Shape):
    """OpenRouter's `reasoning`."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class ThinkingShape(Shape):
    """DeepSeek's `thinking`, as Anthropic has it."""

    type: str = ""
    budget_tokens: int | None = None


class SamplingBody(msgspec.Struct):
    """What chat and the legacy completions have in common."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    user: str | None = None


class ChatBody(SamplingBody, kw_only=True):
    """A request for a chat completion."""

    messages: list[ChatMessage]
    tools: list[ToolShape] | None = None
    functions: list[FunctionShape] | None = None
    tool_choice: str | ChoiceShape | None = None
    function_call: str | Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: FormatShape | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningShape | None = None
    thinking: ThinkingShape | None = None
    max_completion_tokens: int | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class CompletionsBody(SamplingBody, kw_only=True):
    """A request for a legacy completion."""

    prompt: str | list[Any]
    suffix: str | None = None
    logprobs: int | None = None


class EmbeddingsBody(msgspec.Struct):
    """A request for embeddings."""

    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None


class PromptDetails(Shape):
    """What the tokens of the prompt were."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Shape):
    """What the tokens of the answer were."""

    reasoning_tokens: int | None = None


class UsageDetails(msgspec.Struct):
    """The details of usage; DeepSeek counts what its cache held at the top."""

    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None


class AnswerChoice(msgspec.Struct):
    """One answer of a whole response."""

    message: ChatMessage | None = None
    index: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: msgspec.Raw = NOTHING


class Findings(msgspec.Struct):
    """What those who search the web for their answers say beside them (Perplexity, xAI)."""

    citations: msgspec.Raw = NOTHING
    search_results: msgspec.Raw = NOTHING
    related_questions: msgspec.Raw = NOTHING
    images: msgspec.Raw = NOTHING


class AnswerBody(Findings):
    """A whole response."""

    id: str | int | None = None
    model: str | None = None
    choices: list[AnswerChoice] | None = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class ChunkChoice(msgspec.Struct):
    """One answer's piece in a chunk of a stream."""

    delta: ChatMessage | None = None
    index: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: msgspec.Raw = NOTHING


class GroqExtra(Shape):
    """Where Groq puts usage that nobody asked for."""

    usage: msgspec.Raw = NOTHING


class Chunk(Findings):
    """One event of a stream."""

    id: str | int | None = None
    model: str | None = None
    choices: list[ChunkChoice] | None = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    x_groq: GroqExtra | None = None


class VectorShape(Shape):
    """One vector, as numbers or as base64 of 32-bit floats."""

    embedding: tuple[float, ...] | str
    index: int | None = None


class EmbeddingsAnswer(msgspec.Struct):
    """A response with vectors."""

    data: list[VectorShape] | None = None
    model: str | None = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
