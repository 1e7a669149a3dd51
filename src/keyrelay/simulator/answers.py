"""What a simulated model answers: decided from the prompt alone, so that the same request gets the same answer.

It does as the prompt says, whatever the dialect:

    call NAME {"a": 1}     calls that tool with these arguments, one call for each such line
    a tool's name          calls the tool with arguments that fit its schema
    think                  thinks before it answers
    anything else          an answer that begins with the user's words, or with what tools said, or with what was sent
"""

import hashlib
import math
import random
import re
from array import array
from base64 import b64encode
from typing import Any

import msgspec

from keyrelay.simulator.asking import Prompt, Tool
from keyrelay.simulator.schemas import instance_of
from keyrelay.simulator.texts import Corpus, count_text, cut_characters, cut_words

_DEFAULT_DIMENSIONS = 768
_MAX_DIMENSIONS = 8192
_REASONING_TOKENS = 16
_QUOTED_CHARACTERS = 80
_QUOTED_RESULT_CHARACTERS = 400
_CALL = re.compile(r"^[ \t]*call[ \t]+([\w.:-]+)[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_THINK = re.compile(r"\bthink\b", re.IGNORECASE)


class ToolCall(msgspec.Struct, frozen=True):
    """A call of one of the caller's tools; `arguments` is JSON text, or free text of a `custom` one.

    `id` is bare hexadecimal: each dialect gives its ids a form of its own.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False


class Answer(msgspec.Struct, kw_only=True):
    """What the model says: tokens of text, of reasoning, calls of tools, and why it ended."""

    tokens: list[str] = []
    reasoning: list[str] = []
    tool_calls: list[ToolCall] = []
    finish: str = "stop"
    stop_sequence: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(self.tokens)

    @property
    def thoughts(self) -> str:
        """All of the reasoning."""
        return "".join(self.reasoning)

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
    """Answer a chat or completion prompt; `number` chooses among all answers that would do.

    `reasons` is whether the model thinks when neither the caller nor the prompt says so.
    """
    result = Answer(
        input_tokens=prompt.input_tokens, cached_tokens=prompt.cached_tokens, written_tokens=prompt.written_tokens
    )
    if prompt.blocked:
        result.finish = "content_filter"
        return result
    if size.exact_tokens:
        result.tokens = corpus.exactly(number, size.exact_tokens)
        return result
    if prompt.thinks or (prompt.thinks is None and (reasons or _THINK.search(prompt.text))):
        result.reasoning = corpus.exactly(number + 1, _REASONING_TOKENS)
    result.tool_calls = _tool_calls(prompt, number)
    if result.tool_calls:
        result.finish = "tool_calls"
        return result
    result.tokens = _content(prompt, corpus, number, size)
    _stop_early(result, prompt.stop)
    _bound(result, prompt.max_tokens)
    return result


def _content(prompt: Prompt, corpus: Corpus, number: int, size: Size) -> list[str]:
    if prompt.schema is not None:
        source = random.Random(number)  # noqa: S311 - a pretended answer
        return cut_characters(msgspec.json.encode(instance_of(prompt.schema, source)).decode())
    span = max(size.most_tokens - size.least_tokens, 0) + 1
    opening = cut_words(_opening(prompt))
    tokens = corpus.sentences(number, max(size.least_tokens + number % span - len(opening), 1))
    if opening:
        opening[0] = opening[0].lstrip()
        tokens[0] = f" {tokens[0]}"
    return opening + tokens


def _opening(prompt: Prompt) -> str:
    """What shows that the request was understood."""
    said = [f"The tool said {_quoted(result, _QUOTED_RESULT_CHARACTERS)}." for result in prompt.results]
    if prompt.text and not said:
        said.append(f"You said {_quoted(prompt.text, _QUOTED_CHARACTERS)}.")
    said += [f"I got {media}." for media in prompt.media]
    return " ".join(said)


def _quoted(text: str, characters: int) -> str:
    return f'"{" ".join(text.split())[:characters].rstrip()}"'


def _stop_early(result: Answer, stops: tuple[str, ...]) -> None:
    text = result.text
    ends = [(at, stop) for at, stop in ((text.find(stop), stop) for stop in stops if stop) if at >= 0]
    if not ends:
        return
    room, result.stop_sequence = min(ends)
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
    result.finish, result.stop_sequence = "length", ""


def _tool_calls(prompt: Prompt, number: int) -> list[ToolCall]:
    """The calls that the prompt spells out, else of the tools named in it, of one if one is required."""
    tools = {tool.name: tool for tool in prompt.tools}
    if prompt.callable_names:
        tools = {name: tool for name, tool in tools.items() if name in prompt.callable_names}
    if prompt.calling == "none" or not tools:
        return []
    wanted = [(tools[name], given) for name, given in _CALL.findall(prompt.text) if name in tools]
    if not wanted and prompt.text and not prompt.results:
        wanted = [(tool, "") for name, tool in tools.items() if name in prompt.text]
    if not wanted and prompt.calling == "required":
        wanted = [(next(iter(tools.values())), "")]
    if not prompt.parallel:
        wanted = wanted[:1]
    source = random.Random(number)  # noqa: S311 - arguments of a pretended call
    return [_call(tool, given, number + at, source) for at, (tool, given) in enumerate(wanted)]


def _call(tool: Tool, given: str, number: int, source: random.Random) -> ToolCall:
    arguments = given if tool.custom or _is_object(given) else _arguments(tool, source)
    digest = hashlib.blake2b(f"{tool.name}{number}".encode(), digest_size=12).hexdigest()
    return ToolCall(digest, tool.name, arguments, tool.custom)


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def _arguments(tool: Tool, source: random.Random) -> str:
    return msgspec.json.encode(instance_of(tool.schema or {"type": "object"}, source)).decode()


def embeddings(prompt: Prompt) -> list[Any]:
    """One unit vector for each input, the same for the same text, as the caller wants it: floats or base64."""
    vectors = unit_vectors(prompt)
    if prompt.encoding == "base64":
        return [b64encode(vector.tobytes()).decode() for vector in vectors]
    return [vector.tolist() for vector in vectors]


def unit_vectors(prompt: Prompt) -> "list[array[float]]":
    """The vectors as 32-bit floats."""
    wanted = prompt.dimensions or _DEFAULT_DIMENSIONS
    return [_vector(item, min(wanted, _MAX_DIMENSIONS)) for item in prompt.inputs]


def _vector(item: str | list[int], dimensions: int) -> "array[float]":
    digest = hashlib.shake_256(str(item).encode("utf-8", "replace")).digest(dimensions * 2)
    numbers = array("h", digest)
    length = math.sqrt(sum(n * n for n in numbers)) or 1.0
    return array("f", [n / length for n in numbers])
