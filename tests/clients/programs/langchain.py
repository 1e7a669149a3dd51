"""What LangChain's three integrations share: the same questions to whatever chat model an integration makes."""

import contextlib
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from tests.clients.programs import common
from tests.clients.programs.common import Call, Feature, Target, expect

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
    for name, text, schema in common.TOOLS
]
REPORT: Any = {"title": "report", "description": "A report.", **common.REPORT}

Make = Callable[..., Any]
"""Makes a chat model: `make(target, kind="chat", thinking=False, key="")`."""


class Refusals:
    """What an integration raises: for a wrong key, an unknown model, and a request that is wrong."""

    def __init__(self, key: type[Exception], model: type[Exception], request: type[Exception]) -> None:
        self.key = key
        self.model = model
        self.request = request


def features(make: Make, refusals: Refusals) -> dict[str, Feature]:
    """All features of an integration."""
    integration = Integration(make, refusals)
    return {
        "chat": integration.chat,
        "stream": integration.stream,
        "tools": integration.tools,
        "parallel tools": integration.parallel_tools,
        "tool results": integration.tool_results,
        "images": integration.images,
        "JSON schema": integration.json_schema,
        "reasoning": integration.reasoning,
        "usage": integration.usage,
        "error": integration.error,
        "cancel": integration.cancel,
    }


class Integration:
    """One integration under test."""

    def __init__(self, make: Make, refusals: Refusals) -> None:
        self._make = make
        self._refusals = refusals

    def chat(self, target: Target) -> None:
        answer = self._make(target).invoke([SystemMessage("Be brief."), HumanMessage(common.SAY)])
        common.said(answer.text)

    def stream(self, target: Target) -> None:
        common.streamed(chunk.text for chunk in self._make(target).stream(common.SAY))

    def tools(self, target: Target) -> None:
        self._called(target, common.CALL_ONE, both=False)

    def parallel_tools(self, target: Target) -> None:
        self._called(target, common.CALL_TWO, both=True)

    def _called(self, target: Target, prompt: str, *, both: bool) -> None:
        model = self._make(target).bind_tools(TOOLS)
        common.called(calls_of(model.invoke(prompt)), both=both)
        common.called(calls_of(together(model.stream(prompt))), both=both)

    def tool_results(self, target: Target) -> None:
        model = self._make(target).bind_tools(TOOLS)
        for message in (model.invoke(common.CALL_TWO), together(model.stream(common.CALL_TWO))):
            results = [
                ToolMessage(common.RESULTS[name], tool_call_id=call_id, name=name)
                for call_id, name, _ in calls_of(message)
            ]
            common.quoted(model.invoke([HumanMessage(common.CALL_TWO), message, *results]).text)

    def images(self, target: Target) -> None:
        content: Any = [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "base64": common.PICTURE, "mime_type": common.PICTURE_TYPE},
        ]
        answer = self._make(target, "vision").invoke([HumanMessage(content)])
        common.said(answer.text, common.PICTURE_TYPE)

    def json_schema(self, target: Target) -> None:
        common.fits(self._make(target).with_structured_output(REPORT, method="json_schema").invoke("Report."))

    def reasoning(self, target: Target) -> None:
        model = self._make(target, "reasoning", thinking=True)
        message = model.invoke(common.THINK)
        for found in (message, together(model.stream(common.THINK))):
            thought = [block for block in found.content_blocks if block["type"] == "reasoning"]
            expect(any(block.get("reasoning") for block in thought), "a block of reasoning", found.content_blocks)
            common.said(found.text)
        again = model.invoke([HumanMessage(common.THINK), message, HumanMessage(common.SAY)])
        common.said(again.text)

    def usage(self, target: Target) -> None:
        model = self._make(target)
        for message in (model.invoke(common.SAY), together(model.stream(common.SAY))):
            found = message.usage_metadata
            expect(found, "usage_metadata", message)
            common.counted(found["input_tokens"], found["output_tokens"], found["total_tokens"])

    def error(self, target: Target) -> None:
        with common.raises(self._refusals.key):
            self._make(target, key=common.WRONG_KEY).invoke(common.SAY)
        with common.raises(self._refusals.model, words="model"):
            self._make(target._replace(models={"chat": common.UNKNOWN_MODEL})).invoke(common.SAY)

    def cancel(self, target: Target) -> None:
        with contextlib.closing(self._make(target.slow).stream(common.SAY)) as answer:
            pieces = [next(answer).text for _ in range(4)]
        expect(any(pieces), "the first pieces", pieces)


def calls_of(message: AIMessage) -> list[Call]:
    """The calls of a message."""
    expect(not message.invalid_tool_calls, "calls that can be read", message.invalid_tool_calls)
    return [(call["id"] or "", call["name"], call["args"]) for call in message.tool_calls]


def together(chunks: Any) -> Any:
    """The message that chunks add up to."""
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first
