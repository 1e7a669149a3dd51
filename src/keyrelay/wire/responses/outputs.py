"""What the dialect answers with, as structs: the `response` object, its items and their parts.

Members stand in the order in which OpenAI writes them. What is typed `Raw` is the caller's own JSON, given back.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["in_progress", "completed", "incomplete", "failed"]


class _Out(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all."""


class OutputText(_Out, frozen=True, kw_only=True, tag="output_text"):
    """Words."""

    annotations: tuple[()] = ()
    logprobs: tuple[()] = ()
    text: str


class OutputRefusal(_Out, frozen=True, kw_only=True, tag="refusal"):
    """Words in which the model declines."""

    refusal: str


class SummaryText(_Out, frozen=True, kw_only=True, tag="summary_text"):
    """Thoughts."""

    text: str


class MessageItem(_Out, frozen=True, kw_only=True, tag="message"):
    """What the model says."""

    id: str
    status: ItemStatus
    role: str = "assistant"
    content: tuple[OutputText | OutputRefusal, ...] = ()


class ReasoningItem(_Out, frozen=True, kw_only=True, tag="reasoning"):
    """What the model thought."""

    id: str
    summary: tuple[SummaryText, ...] = ()
    encrypted_content: str | UnsetType = UNSET


class FunctionCallItem(_Out, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function."""

    id: str
    status: ItemStatus
    arguments: str
    call_id: str
    name: str
    namespace: str | UnsetType = UNSET


class CustomCallItem(_Out, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool."""

    id: str
    status: ItemStatus
    call_id: str
    input: str
    name: str
    namespace: str | UnsetType = UNSET


class SearchCallItem(_Out, frozen=True, kw_only=True, tag="tool_search_call"):
    """A search for tools that the client is to make."""

    id: str
    status: ItemStatus
    arguments: msgspec.Raw
    call_id: str
    execution: str = "client"


class PictureItem(_Out, frozen=True, kw_only=True, tag="image_generation_call"):
    """A picture that the model made: base64, and what kind of picture it is."""

    id: str
    status: ItemStatus
    result: str | None = None
    output_format: str | UnsetType = UNSET


OutputItem = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem | SearchCallItem | PictureItem


class InputDetails(_Out, frozen=True, kw_only=True):
    """Of the tokens read, those from and into the provider's cache."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(_Out, frozen=True, kw_only=True):
    """Of the tokens written, those thought."""

    reasoning_tokens: int


class UsageOut(_Out, frozen=True, kw_only=True):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ErrorOut(_Out, frozen=True, kw_only=True):
    """Why there is no answer."""

    code: str
    message: str


class Incomplete(_Out, frozen=True, kw_only=True):
    """Why an answer is not complete."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseOut(_Out, frozen=True, kw_only=True):
    """The `response` object."""

    id: str
    object: str = "response"
    created_at: int
    status: Status
    background: bool = False
    error: ErrorOut | None = None
    incomplete_details: Incomplete | None = None
    instructions: msgspec.Raw
    max_output_tokens: msgspec.Raw
    max_tool_calls: msgspec.Raw
    metadata: msgspec.Raw
    model: str
    output: tuple[OutputItem, ...] = ()
    parallel_tool_calls: msgspec.Raw
    previous_response_id: msgspec.Raw
    prompt_cache_key: msgspec.Raw
    reasoning: msgspec.Raw
    safety_identifier: msgspec.Raw
    service_tier: msgspec.Raw
    store: msgspec.Raw
    temperature: msgspec.Raw
    text: msgspec.Raw
    tool_choice: msgspec.Raw
    tools: msgspec.Raw
    top_logprobs: int = 0
    top_p: msgspec.Raw
    truncation: msgspec.Raw
    usage: UsageOut | None = None
    user: msgspec.Raw
