"""The JSON of the dialect, as structs for both directions.

Members have camel case on the wire and this language's names here, so that `names` can read snake case by the same
structs. What nobody here looks into is `Raw`; `ABSENT` is the `Raw` of a member that is not there.
"""

import msgspec

ABSENT = msgspec.Raw()


class Shape(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of all: unknown members are ignored, what has its default value is not written."""


class Blob(Shape):
    """Data in the message: base64 of either alphabet."""

    mime_type: str | None = None
    data: str | None = None
    display_name: str | None = None


class FileData(Shape):
    """Data elsewhere."""

    mime_type: str | None = None
    file_uri: str | None = None
    display_name: str | None = None


class FunctionCall(Shape):
    """A call; `args` is an object."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = ABSENT


class ResponsePart(Shape):
    """A picture or file that a function gave."""

    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Shape):
    """What a function gave: `response` is an object, often of one member `output`, `result` or `error`."""

    id: str | None = None
    name: str | None = None
    response: msgspec.Raw = ABSENT
    parts: list[ResponsePart] | None = None


class Part(Shape):
    """One piece of a turn; exactly one of the data members is there."""

    text: str | None = None
    thought: bool | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT
    media_resolution: msgspec.Raw = ABSENT
    video_metadata: msgspec.Raw = ABSENT
    thought_signature: str | None = None


class Content(Shape):
    """One turn."""

    role: str | None = None
    parts: list[Part] | Part | None = None


class FunctionDeclaration(Shape):
    """A function: `parameters` in Google's subset of OpenAPI, or `parameters_json_schema`."""

    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    parameters_json_schema: msgspec.Raw = ABSENT


class Tool(Shape):
    """Functions of the caller's, or one of Google's own tools."""

    function_declarations: list[FunctionDeclaration] | None = None
    google_search: msgspec.Raw = ABSENT
    google_search_retrieval: msgspec.Raw = ABSENT
    google_maps: msgspec.Raw = ABSENT
    code_execution: msgspec.Raw = ABSENT
    url_context: msgspec.Raw = ABSENT
    file_search: msgspec.Raw = ABSENT
    computer_use: msgspec.Raw = ABSENT
    mcp_servers: msgspec.Raw = ABSENT
    retrieval: msgspec.Raw = ABSENT
    enterprise_web_search: msgspec.Raw = ABSENT


class FunctionCallingConfig(Shape):
    """Whether functions are called."""

    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(Shape):
    """How tools are used."""

    function_calling_config: FunctionCallingConfig | None = None
    retrieval_config: msgspec.Raw = ABSENT
    include_server_side_tool_invocations: msgspec.Raw = ABSENT


class ThinkingConfig(Shape):
    """How much to think."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(Shape):
    """How to answer. The official client sends `top_k` with a decimal point."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    thinking_config: ThinkingConfig | None = None
    response_modalities: list[str] | None = None
    media_resolution: msgspec.Raw = ABSENT
    speech_config: msgspec.Raw = ABSENT
    image_config: msgspec.Raw = ABSENT
    audio_timestamp: msgspec.Raw = ABSENT
    audio_transcription_config: msgspec.Raw = ABSENT
    enable_enhanced_civic_answers: msgspec.Raw = ABSENT
    routing_config: msgspec.Raw = ABSENT
    model_selection_config: msgspec.Raw = ABSENT


class Body(Shape):
    """A request to `generateContent` and `streamGenerateContent`."""

    contents: list[Content] | Content | str | None = None
    system_instruction: Content | str | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    service_tier: str | None = None
    safety_settings: msgspec.Raw = ABSENT
    labels: msgspec.Raw = ABSENT
    cached_content: msgspec.Raw = ABSENT
    continuation_token: msgspec.Raw = ABSENT


class EmbedRequest(Shape):
    """A request to `embedContent`, and one of those in a batch."""

    model: str | None = None
    content: Content | str | None = None
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None


class EmbedBody(EmbedRequest):
    """A request to `embedContent` or, with `requests`, to `batchEmbedContents`."""

    requests: list[EmbedRequest] | None = None


class Usage(Shape):
    """Tokens; members that would be 0 are often missing. `candidates_token_count` is without the thoughts."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None


class ExecutableCode(Shape):
    """Code that the model wrote for Google to run."""

    language: str | None = None
    code: str | None = None


class CodeExecutionResult(Shape):
    """What came of it."""

    outcome: str | None = None
    output: str | None = None


class AnswerPart(Shape):
    """A piece of an answer. What is `Raw` is read or named where it is there."""

    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None
    function_response: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT


class AnswerContent(Shape):
    """What a candidate says."""

    parts: list[AnswerPart] | None = None
    role: str | None = None


class Candidate(Shape):
    """One answer of those that were asked for."""

    content: AnswerContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    citation_metadata: msgspec.Raw = ABSENT
    grounding_metadata: msgspec.Raw = ABSENT
    url_context_metadata: msgspec.Raw = ABSENT


class PromptFeedback(Shape):
    """Why there is no answer at all."""

    block_reason: str | None = None


class Chunk(Shape):
    """A whole answer, or what each event of a stream holds."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: msgspec.Raw = ABSENT
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT


class Vector(Shape):
    """The numbers of one input."""

    values: tuple[float, ...] | None = None


class Vectors(Shape):
    """An answer of `embedContent` (`embedding`) or `batchEmbedContents` (`embeddings`)."""

    embedding: Vector | None = None
    embeddings: list[Vector] | None = None
    usage_metadata: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
