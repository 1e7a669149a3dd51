"""Cohere's dialect as it speaks it: `/v2/chat` and `/v2/embed`."""

from collections.abc import Iterator

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    Dialect,
    Embeddings,
    EmbeddingsAsked,
    Format,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.cohere import shapes
from keyrelay.wire.cohere.messages import written_messages
from keyrelay.wire.cohere.names import fitting_name
from keyrelay.wire.cohere.reading import read_answer, read_embeddings
from keyrelay.wire.cohere.schemas import requires_something, stripped
from keyrelay.wire.cohere.streaming import CohereReader
from keyrelay.wire.dialects import Target, Unreadable, UntranslatableError, Written
from keyrelay.wire.openai import prefixed
from keyrelay.wire.parts import budget_of, lowered_tool
from keyrelay.wire.sse import EventSplitter

MOST_STOP_SEQUENCES = 5
MOST_TEXTS = 96
"""How many texts Cohere embeds in one request."""

_LEAST_P, _MOST_P = 0.01, 0.99
_MOST_K = 500
_NO_SCHEMA = '{"type":"object","properties":{}}'
_BOUND_EFFORTS = frozenset({"minimal", "low", "medium"})
_PURPOSES = frozenset({"search_document", "search_query", "classification", "clustering"})
_encode = msgspec.json.Encoder().encode


class CohereProvider:
    """Implements `ProviderCodec`; what it cannot say stands in the package's docstring."""

    dialect: Dialect = "cohere"

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body for `/v2/chat`."""
        if conversation.answers > 1:
            raise UntranslatableError("answers", "Cohere gives one answer at a time")
        choice = conversation.tool_choice or ToolChoice()
        tools = _offered(conversation.tools, choice)
        wanted = conversation.format
        if wanted is not None and tools:
            if wanted.schema:
                raise UntranslatableError("format", "Cohere takes a schema for the answer or tools, not both")
            wanted = None
        sampling = conversation.sampling
        frequency, presence = _penalties(sampling)
        keywords = target.quirks.strip_tool_schema
        body = shapes.ChatBody(
            model=prefixed(target.model, target.quirks.model_prefix),
            messages=written_messages(conversation.messages),
            stream=conversation.stream,
            tools=[_tool(tool, keywords) for tool in tools] or None,
            tool_choice=_choice(choice) if tools else None,
            strict_tools=True if _all_strict(tools) else None,
            response_format=_format(wanted),
            thinking=_thinking(conversation.reasoning),
            max_tokens=conversation.max_output_tokens,
            stop_sequences=conversation.stop[:MOST_STOP_SEQUENCES],
            temperature=sampling.temperature,
            p=None if sampling.top_p is None else min(max(sampling.top_p, _LEAST_P), _MOST_P),
            k=_within(sampling.top_k, _MOST_K),
            seed=_within(sampling.seed),
            frequency_penalty=frequency,
            presence_penalty=presence,
        )
        return Written(body=_encode(body), left_out=tuple(_unsaid(conversation, tools, body)))

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The caller's own bytes, or its members with another model; nobody calls Keyrelay in this dialect so far."""
        model = prefixed(target.model, target.quirks.model_prefix)
        if model == request.model:
            return Written(body=request.body)
        return Written(body=_encode({**request.fields, "model": msgspec.Raw(_encode(model))}))

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200."""
        return read_answer(body)

    def splitter(self, max_event_bytes: int) -> EventSplitter:
        """Its streams are server-sent events."""
        return EventSplitter(max_event_bytes)

    def reader(self) -> CohereReader:
        """The reader of one stream."""
        return CohereReader()

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """The body for `/v2/embed`."""
        if asked.token_inputs:
            raise UntranslatableError("input", "Cohere takes texts, no lists of token numbers")
        if len(asked.inputs) > MOST_TEXTS:
            raise UntranslatableError("input", f"Cohere takes at most {MOST_TEXTS} texts in one request")
        known = asked.purpose in _PURPOSES
        body = shapes.EmbedBody(
            model=prefixed(target.model, target.quirks.model_prefix),
            texts=asked.inputs,
            input_type=asked.purpose if known else "search_document",
            embedding_types=("float",),
            output_dimension=asked.dimensions,
            truncate=None if asked.truncate is None else "END" if asked.truncate else "NONE",
        )
        return Written(body=_encode(body), left_out=("purpose",) if asked.purpose and not known else ())

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """Read the body of a 200."""
        return read_embeddings(body)

    def __repr__(self) -> str:
        return "<CohereProvider>"


def _offered(tools: tuple[Tool, ...], choice: ToolChoice) -> tuple[Tool, ...]:
    return tuple(tool for tool in tools if tool.name in choice.names) if choice.names else tools


def _tool(tool: Tool, keywords: tuple[str, ...]) -> shapes.Tool:
    lowered = lowered_tool(tool)
    parameters = stripped(lowered.schema or _NO_SCHEMA, keywords)
    description = lowered.description or None
    return shapes.Tool(shapes.Function(fitting_name(lowered.name), parameters, description))


def _choice(choice: ToolChoice) -> str | None:
    return {"required": "REQUIRED", "none": "NONE"}.get(choice.mode)


def _all_strict(tools: tuple[Tool, ...]) -> bool:
    return bool(tools) and all(tool.strict and requires_something(tool.schema) for tool in tools)


def _format(wanted: Format | None) -> shapes.ResponseFormat | None:
    if wanted is None:
        return None
    schema = msgspec.Raw(wanted.schema.encode()) if wanted.schema else shapes.NO_JSON
    return shapes.ResponseFormat(type="json_object", json_schema=schema)


def _thinking(reasoning: Reasoning | None) -> shapes.ThinkingWanted | None:
    if reasoning is None or (reasoning.effort is None and reasoning.budget_tokens is None):
        return None
    if reasoning.effort == "none" or reasoning.budget_tokens == 0:
        return shapes.ThinkingWanted(type="disabled")
    budget = reasoning.budget_tokens if reasoning.effort not in _BOUND_EFFORTS else budget_of(reasoning)
    return shapes.ThinkingWanted(type="enabled", token_budget=budget if budget is not None and budget > 0 else None)


def _within(number: int | None, most: int | None = None) -> int | None:
    if number is None or number < 0 or (most is not None and number > most):
        return None
    return number


def _penalties(sampling: Sampling) -> tuple[float | None, float | None]:
    """The penalties of frequency and of presence, of which Cohere takes one, between 0 (its default) and 1."""
    asked = (sampling.frequency_penalty or 0.0, sampling.presence_penalty or 0.0)
    frequency, presence = (penalty if 0 < penalty <= 1 else None for penalty in asked)
    return frequency, presence if frequency is None else None


def _unsaid(conversation: Conversation, tools: tuple[Tool, ...], body: shapes.ChatBody) -> Iterator[str]:
    """What is left out, in the words of the canonical form."""
    choice, wanted = conversation.tool_choice or ToolChoice(), conversation.format or Format()
    sampling = conversation.sampling
    parts = [part for message in conversation.messages for part in message.parts]
    said: tuple[tuple[str, object], ...] = (
        ("tool_choice", choice.mode == "required" and not tools),
        ("tool_choice.parallel", choice.parallel is False),
        ("tools.strict", body.strict_tools is None and any(tool.strict for tool in tools)),
        ("tools.grammar", any(tool.grammar for tool in tools)),
        ("format", conversation.format is not None and body.response_format is None),
        ("format.description", wanted.description),
        ("top_k", sampling.top_k is not None and body.k is None),
        ("seed", sampling.seed is not None and body.seed is None),
        ("frequency_penalty", sampling.frequency_penalty and body.frequency_penalty is None),
        ("presence_penalty", sampling.presence_penalty and body.presence_penalty is None),
        ("logprobs", sampling.logprobs or sampling.top_logprobs),
        ("stop", len(conversation.stop) > MOST_STOP_SEQUENCES),
        ("failed", any(isinstance(part, ToolResult) and part.failed for part in parts)),
        ("cache", any(getattr(holder, "cache", "") for holder in (*parts, *tools))),
        ("user", conversation.user),
        ("tier", conversation.tier),
        ("cache_key", conversation.cache_key),
    )
    return (name for name, value in said if value)
