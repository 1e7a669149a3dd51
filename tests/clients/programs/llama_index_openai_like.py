"""LlamaIndex's OpenAILike: chat completions, and legacy completions, which it takes by default."""

import contextlib
from typing import Any

import openai
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect


class Report(BaseModel):
    """A report."""

    harbour: str
    metres: float
    open: bool


def get_weather(city: str, unit: str = "celsius") -> str:
    """Tells the weather of a city."""
    return common.RESULTS["get_weather"]


def get_tide(harbour: str, hours: list[int] | None = None) -> str:
    """Tells the tides."""
    return common.RESULTS["get_tide"]


TOOLS: Any = [FunctionTool.from_defaults(get_weather), FunctionTool.from_defaults(get_tide)]


def make(target: Target, kind: str = "chat", *, key: str = "", is_chat_model: bool = True, **options: Any) -> Any:
    return OpenAILike(
        model=target.model(kind),
        api_base=f"{target.origin}/v1",
        api_key=key or target.key,
        is_chat_model=is_chat_model,
        is_function_calling_model=True,
        max_retries=0,
        timeout=common.TIMEOUT_S,
        **options,
    )


def ask(content: Any) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=content)]


def chat(target: Target) -> None:
    common.said(make(target).chat(ask(common.SAY)).message.content)
    common.said(make(target, is_chat_model=False).complete(common.SAY).text)


def stream(target: Target) -> None:
    common.streamed(chunk.delta for chunk in make(target).stream_chat(ask(common.SAY)))
    common.streamed(chunk.delta for chunk in make(target, is_chat_model=False).stream_complete(common.SAY))


def _calls(model: Any, response: Any) -> list[Call]:
    found = model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return [(call.tool_id, call.tool_name, call.tool_kwargs) for call in found]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    model = make(target)
    options: Any = {"user_msg": prompt, "allow_parallel_tool_calls": both}
    common.called(_calls(model, model.chat_with_tools(TOOLS, **options)), both=both)
    *_, last = model.stream_chat_with_tools(TOOLS, **options)
    common.called(_calls(model, last), both=both)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    model = make(target)
    response = model.chat_with_tools(TOOLS, user_msg=common.CALL_TWO, allow_parallel_tool_calls=True)
    results = [
        ChatMessage(role=MessageRole.TOOL, content=common.RESULTS[name], additional_kwargs={"tool_call_id": call_id})
        for call_id, name, _ in _calls(model, response)
    ]
    turns = [*ask(common.CALL_TWO), response.message, *results]
    common.quoted(model.chat_with_tools(TOOLS, chat_history=turns).message.content)


def images(target: Target) -> None:
    content = [TextBlock(text="What is this?"), ImageBlock(image=common.picture(), image_mimetype=common.PICTURE_TYPE)]
    answer = make(target, "vision").chat([ChatMessage(role=MessageRole.USER, blocks=content)])
    common.said(answer.message.content, common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    model = make(target, should_use_structured_outputs=True).as_structured_llm(Report)
    report = model.chat(ask("Report.")).raw
    expect(isinstance(report, Report), "a report", report)


def reasoning(target: Target) -> None:
    model = make(target, "reasoning", additional_kwargs={"reasoning_effort": "high"})
    message = model.chat(ask(common.THINK)).message
    *_, last = model.stream_chat(ask(common.THINK))
    for found in (message, last.message):
        thought = [block for block in found.blocks if isinstance(block, ThinkingBlock)]
        expect(any(block.content for block in thought), "a block of thinking", found.blocks)
        common.said(found.content)
    common.said(model.chat([*ask(common.THINK), message, *ask(common.SAY)]).message.content)


def usage(target: Target) -> None:
    model = make(target, additional_kwargs={"stream_options": {"include_usage": True}})
    found = make(target).chat(ask(common.SAY)).raw.usage
    common.counted(found.prompt_tokens, found.completion_tokens, found.total_tokens)
    *_, last = model.stream_chat(ask(common.SAY))
    common.counted(last.raw.usage.prompt_tokens, last.raw.usage.completion_tokens)


def error(target: Target) -> None:
    with common.raises(openai.AuthenticationError, status=401):
        make(target, key=common.WRONG_KEY).chat(ask(common.SAY))
    with common.raises(openai.NotFoundError, status=404, words="model"):
        make(target._replace(models={"chat": common.UNKNOWN_MODEL})).chat(ask(common.SAY))


def cancel(target: Target) -> None:
    with contextlib.closing(make(target.slow).stream_chat(ask(common.SAY))) as answer:
        pieces = [next(answer).delta for _ in range(3)]
    expect(any(pieces), "the first pieces", pieces)


FEATURES = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "parallel tools": parallel_tools,
    "tool results": tool_results,
    "images": images,
    "JSON schema": json_schema,
    "reasoning": reasoning,
    "usage": usage,
    "error": error,
    "cancel": cancel,
}

if __name__ == "__main__":
    common.run(FEATURES)
