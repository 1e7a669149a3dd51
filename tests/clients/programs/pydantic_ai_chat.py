"""pydantic-ai on chat completions of OpenAI's dialect; it calls the tools by itself."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput, ThinkingPart, ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.programs import common
from tests.clients.programs.common import Call, Feature, Target, expect


class Report(BaseModel):
    """A report."""

    model_config = ConfigDict(extra="forbid")

    harbour: str
    metres: float
    open: bool


def agent(target: Target, kind: str = "chat", *, key: str = "", **options: Any) -> Agent[None, Any]:
    provider = OpenAIProvider(base_url=f"{target.origin}/v1", api_key=key or target.key)
    settings: Any = {"timeout": common.TIMEOUT_S, **options.pop("settings", {})}
    return Agent(OpenAIChatModel(target.model(kind), provider=provider), model_settings=settings, retries=0, **options)


def with_tools(target: Target) -> Agent[None, Any]:
    made = agent(target)

    @made.tool_plain
    def get_weather(city: str, unit: str = "celsius") -> str:
        """Tells the weather of a city."""
        return common.RESULTS["get_weather"]

    @made.tool_plain
    def get_tide(harbour: str, hours: list[int] | None = None) -> str:
        """Tells the tides."""
        return common.RESULTS["get_tide"]

    return made


def _calls(messages: list[Any]) -> list[Call]:
    parts = [part for message in messages for part in message.parts]
    return [(part.tool_call_id, part.tool_name, part.args) for part in parts if isinstance(part, ToolCallPart)]


async def chat(target: Target) -> None:
    common.said((await agent(target, instructions="Be brief.").run(common.SAY)).output)


async def stream(target: Target) -> None:
    async with agent(target).run_stream(common.SAY) as result:
        common.streamed([piece async for piece in result.stream_text(delta=True, debounce_by=None)])


async def _called(target: Target, prompt: str, *, both: bool) -> None:
    result = await with_tools(target).run(prompt)
    common.called(_calls(result.all_messages()), both=both)
    async with with_tools(target).run_stream(prompt) as streamed:
        await streamed.get_output()
        common.called(_calls(streamed.all_messages()), both=both)


async def tools(target: Target) -> None:
    await _called(target, common.CALL_ONE, both=False)


async def parallel_tools(target: Target) -> None:
    await _called(target, common.CALL_TWO, both=True)


async def tool_results(target: Target) -> None:
    common.quoted((await with_tools(target).run(common.CALL_TWO)).output)


async def images(target: Target) -> None:
    image = BinaryContent(common.picture(), media_type=common.PICTURE_TYPE)
    common.said((await agent(target, "vision").run(["What is this?", image])).output, common.PICTURE_TYPE)


async def json_schema(target: Target) -> None:
    found = await agent(target, output_type=NativeOutput(Report)).run("Report.")
    expect(isinstance(found.output, Report), "a report", found.output)


async def reasoning(target: Target) -> None:
    made = agent(target, "reasoning", settings={"thinking": "high"})
    result = await made.run(common.THINK)
    thought = [part for part in result.new_messages()[-1].parts if isinstance(part, ThinkingPart)]
    expect(any(part.content for part in thought), "a thinking part", result.new_messages()[-1])
    common.said(result.output)
    common.said((await made.run(common.SAY, message_history=result.all_messages())).output)


async def usage(target: Target) -> None:
    found = (await agent(target).run(common.SAY)).usage
    common.counted(found.input_tokens, found.output_tokens)
    async with agent(target).run_stream(common.SAY) as result:
        await result.get_output()
        common.counted(result.usage.input_tokens, result.usage.output_tokens)


async def error(target: Target) -> None:
    with common.raises(ModelHTTPError, status=401):
        await agent(target, key=common.WRONG_KEY).run(common.SAY)
    with common.raises(ModelHTTPError, status=404, words="model"):
        await agent(target._replace(models={"chat": common.UNKNOWN_MODEL})).run(common.SAY)


async def cancel(target: Target) -> None:
    # What an application does: its task is cancelled while the answer comes.
    async with agent(target.slow).run_stream(common.SAY) as result:
        pieces = []
        async for piece in result.stream_text(delta=True, debounce_by=None):
            pieces.append(piece)
            if len(pieces) == 3:
                break
        await result.cancel()
    expect(any(pieces), "the first pieces", pieces)


def synchronous(feature: Any) -> Feature:
    """The feature in an event loop of its own."""

    def run(target: Target) -> None:
        work: Coroutine[Any, Any, None] = feature(target)
        asyncio.run(work)

    return run


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
    common.run({name: synchronous(feature) for name, feature in FEATURES.items()})
