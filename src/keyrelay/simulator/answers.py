"""What a simulated model answers: decided from the prompt alone, so that the same request gets the same answer."""

import hashlib
import math
import random
from array import array
from base64 import b64encode
from typing import Any

import msgspec

from keyrelay.simulator.prompts import Prompt, embedding_inputs
from keyrelay.simulator.schemas import instance_of
from keyrelay.simulator.texts import Corpus, count_text, cut_characters

_DEFAULT_DIMENSIONS = 768
_MAX_DIMENSIONS = 8192
_REASONING_TOKENS = 16
_JSON_OBJECT = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["answer", "confidence"],
}


class ToolCall(msgspec.Struct, frozen=True):
    """A call of one of the caller's tools; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Answer(msgspec.Struct, kw_only=True):
    """What the model says: tokens of text, of reasoning, calls of tools, and why it ended."""

    tokens: list[str] = []
    reasoning: list[str] = []
    tool_calls: list[ToolCall] = []
    finish: str = "stop"
    input_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        """Everything that was generated, reasoning and tool calls included."""
        calls = sum(count_text(call.name) + count_text(call.arguments) for call in self.tool_calls)
        return len(self.tokens) + len(self.reasoning) + calls


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds an answer besides the caller's `max_tokens`: a range of tokens, or exactly so many (0: free)."""

    least_tokens: int = 24
    most_tokens: int = 96
    exact_tokens: int = 0


def answer(prompt: Prompt, corpus: Corpus, number: int, *, size: Size, reasons: bool = False) -> Answer:
    """Answer a chat or completion prompt; `number` chooses among all answers that would do."""
    result = Answer(input_tokens=prompt.input_tokens)
    if prompt.blocked:
        result.finish = "content_filter"
        return result
    if size.exact_tokens:
        result.tokens = corpus.exactly(number, size.exact_tokens)
        return result
    tools = chosen_tools(prompt)
    if tools:
        source = random.Random(number)  # noqa: S311 - arguments of a pretended call
        result.tool_calls = [_call(tool, number + at, source) for at, tool in enumerate(tools)]
        result.finish = "tool_calls"
        return result
    if reasons and prompt.body.get("reasoning_effort") != "none":
        result.reasoning = corpus.exactly(number + 1, _REASONING_TOKENS)
    result.tokens = _content(prompt, corpus, number, size)
    _stop_early(result, prompt.stop)
    _bound(result, prompt.max_tokens)
    return result


def _content(prompt: Prompt, corpus: Corpus, number: int, size: Size) -> list[str]:
    schema = wanted_schema(prompt.body.get("response_format"))
    if schema is not None:
        source = random.Random(number)  # noqa: S311 - a pretended answer
        return cut_characters(msgspec.json.encode(instance_of(schema, source)).decode())
    span = max(size.most_tokens - size.least_tokens, 0) + 1
    return corpus.sentences(number, size.least_tokens + number % span)


def _stop_early(result: Answer, stops: tuple[str, ...]) -> None:
    text = "".join(result.tokens)
    ends = [at for at in (text.find(stop) for stop in stops if stop) if at >= 0]
    if not ends:
        return
    room = min(ends)
    kept: list[str] = []
    for token in result.tokens:
        if room <= 0:
            break
        kept.append(token[:room])
        room -= len(token)
    result.tokens = kept


def _bound(result: Answer, most: int | None) -> None:
    """Cut to the caller's bound; reasoning eats from the same bound first."""
    if most is None or result.output_tokens <= most:
        return
    result.reasoning = result.reasoning[:most]
    result.tokens = result.tokens[: max(most - len(result.reasoning), 0)]
    result.finish = "length"


def chosen_tools(prompt: Prompt) -> list[dict[str, Any]]:
    """The functions that the model calls: the one named, the first if one is required, those the prompt names."""
    choice = prompt.body.get("tool_choice")
    listed = prompt.body.get("tools")
    if not isinstance(listed, list) or choice == "none":
        return []
    tools = [t["function"] for t in listed if isinstance(t, dict) and isinstance(t.get("function"), dict)]
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        return [tool for tool in tools if tool.get("name") == name]
    mentioned = []
    if prompt.last_role == "user":
        mentioned = [tool for tool in tools if str(tool.get("name", "")) in prompt.text]
    if not mentioned and choice in ("required", "any"):
        return tools[:1]
    return mentioned[:1] if prompt.body.get("parallel_tool_calls") is False else mentioned


def _call(tool: dict[str, Any], number: int, source: random.Random) -> ToolCall:
    arguments = instance_of(tool.get("parameters") or {"type": "object"}, source)
    digest = hashlib.blake2b(f"{tool.get('name')}{number}".encode(), digest_size=12).hexdigest()
    return ToolCall(f"call_{digest}", str(tool.get("name")), msgspec.json.encode(arguments).decode())


def wanted_schema(response_format: Any) -> Any:
    """The JSON schema that the answer has to satisfy, None for free text."""
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return response_format.get("schema", _JSON_OBJECT)
    if response_format.get("type") == "json_schema":
        return response_format.get("json_schema", {}).get("schema", _JSON_OBJECT)
    return None


def embeddings(prompt: Prompt) -> list[Any]:
    """One unit vector for each input, the same for the same text, as the caller wants it: floats or base64."""
    wanted = prompt.body.get("dimensions")
    dimensions = min(wanted, _MAX_DIMENSIONS) if isinstance(wanted, int) and wanted > 0 else _DEFAULT_DIMENSIONS
    vectors = [_vector(item, dimensions) for item in embedding_inputs(prompt.body)]
    if prompt.body.get("encoding_format") == "base64":
        return [b64encode(vector.tobytes()).decode() for vector in vectors]
    return [vector.tolist() for vector in vectors]


def _vector(item: str | list[int], dimensions: int) -> "array[float]":
    digest = hashlib.shake_256(str(item).encode("utf-8", "replace")).digest(dimensions * 2)
    numbers = array("h", digest)
    length = math.sqrt(sum(n * n for n in numbers)) or 1.0
    return array("f", [n / length for n in numbers])
