"""Messages of the canonical form for providers of OpenAI's dialect.

A turn of the user's becomes a message for each result of a tool, and one for whatever else it says; pictures and
documents in a result or in the assistant's turn, which OpenAI has no place for, stand in the latter. What a person or
a program wrote in several texts is joined by an empty line, what a model wrote by nothing, since not every provider
takes a list of texts.
"""

import re
from collections.abc import Sequence

from keyrelay.core.conversation import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.core.providers import HabitsRow
from keyrelay.wire.chat.thoughts import joined_thoughts, takes_signature, write_details
from keyrelay.wire.dialects import UntranslatableError
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE, rules_for
from keyrelay.wire.media import shown_by_user
from keyrelay.wire.parts import data_url, fitting_id, lowered_arguments

_NINE = re.compile(r"[A-Za-z0-9]{9}")
_AT_MOST_FORTY = re.compile(r".{1,40}", re.DOTALL)
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}

Shaped = dict[str, object]


class History:
    """The writing of the messages of one request; `left_out` grows by what is lost."""

    def __init__(self, habits: HabitsRow, model: str, left_out: dict[str, None]) -> None:
        self._habits = habits
        self._model = model
        self._left_out = left_out

    def messages(self, messages: tuple[Message, ...]) -> list[Shaped]:
        """The messages. Raise UntranslatableError for content that they cannot hold."""
        written: list[Shaped] = []
        for message in shown_by_user(messages):
            if message.role == "assistant":
                written.append(self._assistant(message))
            elif message.role == "user":
                written += self._user(message)
            else:
                late = self._habits.system_first and any(shaped["role"] != "system" for shaped in written)
                written.append({"role": "user" if late else "system", "content": self._content(message.parts)})
        return written

    def _user(self, message: Message) -> list[Shaped]:
        written: list[Shaped] = []
        rest: list[Part] = []
        results = 0
        for part in message.parts:
            if isinstance(part, ToolResult):
                written.append(self._result(part))
                rest += [held for held in part.parts if not isinstance(held, Text)]
                results += 1
            else:
                rest.append(part)
        if rest or not results:
            written.append({"role": "user", "content": self._content(rest)})
        return written

    def _result(self, result: ToolResult) -> Shaped:
        if result.failed:
            self._left_out["result.failed"] = None
        self._mark(result.cache)
        texts = [part for part in result.parts if isinstance(part, Text)]
        return {"role": "tool", "tool_call_id": self._id(result.call_id), "content": self._content(texts)}

    def _assistant(self, message: Message) -> Shaped:
        parts = message.parts
        texts = [part.text for part in parts if isinstance(part, Text | Refusal) and not self._refuses(part)]
        calls = [part for part in parts if isinstance(part, ToolCall)]
        content = "".join(texts)
        written: Shaped = {"role": "assistant", "content": content if content or not calls else None}
        refusals = [part.text for part in parts if isinstance(part, Refusal)]
        if refusals and self._habits.own:
            written["refusal"] = "".join(refusals)
        self._think(written, [part for part in parts if isinstance(part, Thinking)], content)
        if calls:
            written["tool_calls"] = self._calls(calls)
        return written

    def _calls(self, calls: Sequence[ToolCall]) -> list[Shaped]:
        """The calls of one message; at Gemini the first one is signed, if need be by what stands for a signature."""
        written = [self._call(call) for call in calls]
        if self._habits.signs_calls and rules_for(self._model).signs and "extra_content" not in written[0]:
            written[0]["extra_content"] = {"google": {"thought_signature": PLACEHOLDER_SIGNATURE}}
        return written

    def _refuses(self, part: Text | Refusal) -> bool:
        """Whether it stands in `refusal`; other providers get a refusal as words."""
        return isinstance(part, Refusal) and self._habits.own

    def _think(self, written: Shaped, thoughts: Sequence[Thinking], content: str) -> None:
        """Give thoughts back where the provider takes them."""
        member = self._habits.thoughts
        if member == "reasoning_details":
            kept = [_signed_for(self._model, thought) for thought in thoughts]
            details = write_details(thought for thought in kept if thought.text or thought.redacted)
            if details:
                written[member] = details
            return
        text = joined_thoughts(thoughts) if member else ""
        if member == "content" and text:
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            written["content"] = [thinking, {"type": "text", "text": content}] if content else [thinking]
        elif text or self._habits.needs_thoughts:
            written[member] = text or " "

    def _call(self, call: ToolCall) -> Shaped:
        habits = self._habits
        call_id = self._id(call.id)
        if call.custom and habits.own:
            return {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
        arguments = lowered_arguments(call)
        shaped: Shaped = {
            "id": call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": arguments or "{}"},
        }
        if habits.signs_calls and call.signature and call.signed_by == "gemini":
            shaped["extra_content"] = {"google": {"thought_signature": call.signature}}
        return shaped

    def _id(self, call_id: str) -> str:
        return fitting(call_id, self._habits)

    def _content(self, parts: Sequence[Part]) -> str | list[Shaped]:
        """Words alone as a string, anything else as a list of parts."""
        marked = False
        for part in parts:
            if isinstance(part, Text | Image | Document):
                marked = self._mark(part.cache) or marked
        if not marked and all(isinstance(part, Text) for part in parts):
            return "\n\n".join(part.text for part in parts if isinstance(part, Text))
        return [self._part(part) for part in parts]

    def _mark(self, cache: str) -> bool:
        """Whether a cache mark is to be written."""
        if cache and not self._habits.takes_cache_marks:
            self._left_out["cache"] = None
        return bool(cache) and self._habits.takes_cache_marks

    def _part(self, part: Part) -> Shaped:
        shaped = _part(part)
        cache = part.cache if isinstance(part, Text | Image | Document) else ""
        if cache and self._habits.takes_cache_marks:
            shaped["cache_control"] = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
        return shaped

    def __repr__(self) -> str:
        return f"<History for {self._model}>"


def fitting(call_id: str, habits: HabitsRow) -> str:
    """An id of a call as a provider takes it: at most 40 characters, at Mistral nine letters or digits."""
    if habits.short_ids:
        return fitting_id(call_id, _NINE, 9)
    return fitting_id(call_id, _AT_MOST_FORTY, 24, "call_")


def _part(part: Part) -> Shaped:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(data=data, url=url, detail=detail):
            image: Shaped = {"url": data_url(part.media_type, data) if data else url}
            if detail:
                image["detail"] = detail
            return {"type": "image_url", "image_url": image}
        case Audio(media_type=media_type, data=data):
            form = media_type.partition("/")[2]
            return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO_FORMATS.get(form, form)}}
        case Document():
            return {"type": "file", "file": _file(part)}
        case _:
            raise UntranslatableError(f"message.{type(part).__name__}", "a user's message cannot hold it")


def _file(document: Document) -> Shaped:
    file: Shaped = {"filename": document.name} if document.name else {}
    if document.data:
        file["file_data"] = data_url(document.media_type, document.data)
    elif document.file_id:
        file["file_id"] = document.file_id
    else:
        raise UntranslatableError("document.url", "OpenAI's dialect takes a document's data, not its address")
    return file


def _signed_for(model: str, thought: Thinking) -> Thinking:
    """A thought without what proves it, where that is not for this model."""
    if not thought.signed_by or takes_signature(thought, model):
        return thought
    return Thinking(text=thought.text)
