"""What a caller of Ollama's dialect asks for, in the canonical form.

Clients drop the ids of calls, and older ones never had them, so calls get ids made of where they stand, and results
find their calls by the tool's name or by their order.
"""

import msgspec

from keyrelay.core.conversation import (
    Conversation,
    Effort,
    EmbeddingsAsked,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.media import picture_type
from keyrelay.wire.ollama.shapes import (
    Asked,
    AskedOptions,
    ChatAsked,
    EmbedAsked,
    GenerateAsked,
    arguments_text,
)
from keyrelay.wire.ollama.shapes import Call as AskedCall
from keyrelay.wire.ollama.shapes import Message as AskedMessage
from keyrelay.wire.ollama.shapes import Tool as AskedTool
from keyrelay.wire.parts import decode_caller, json_object, raw_text, split_data_url, tool_id

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_LEVELS: dict[str, Effort] = {
    "none": "none",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_WHOLE_NUMBER_LIMIT = 2**53

_chat = msgspec.json.Decoder(ChatAsked)
_generate = msgspec.json.Decoder(GenerateAsked)
_embed = msgspec.json.Decoder(EmbedAsked)


def chat_conversation(request: CallRequest) -> Conversation:
    """A request for `/api/chat`; raise CallerError."""
    asked = decode_caller(_chat, request.body)
    if not asked.messages:
        message = "Missing required field 'messages': a list of messages."
        raise CallerError(400, message, param="messages", code="missing_field")
    messages = _History().read(asked.messages)
    tools, left_out = _tools(asked.tools or [])
    return _conversation(request, asked, messages, tools, left_out)


def generate_conversation(request: CallRequest) -> Conversation:
    """A request for `/api/generate`; raise CallerError, also for what cannot be carried and must not be dropped."""
    asked = decode_caller(_generate, request.body)
    for name, said, instead in (
        ("suffix", asked.suffix, "send the whole text in 'prompt'"),
        ("context", asked.context, "send what was said before to /api/chat"),
    ):
        if said:
            message = f"Unsupported value for '{name}': it cannot be carried over to another provider; {instead}."
            raise CallerError(400, message, param=name, code="unsupported_value")
    pictures = _pictures(asked.images, "images")
    if not asked.prompt and not pictures:
        raise CallerError(400, "Missing required field 'prompt': a string.", param="prompt", code="missing_field")
    messages = [Message(role="system", parts=(Text(text=asked.system),))] if asked.system else []
    words = (Text(text=asked.prompt),) if asked.prompt else ()
    messages.append(Message(role="user", parts=(*pictures, *words)))
    left_out = [name for name, said in (("template", asked.template), ("raw", asked.raw)) if said]
    return _conversation(request, asked, messages, [], left_out)


def embeddings_asked(request: CallRequest) -> EmbeddingsAsked:
    """A request for embeddings; `single` says that it came in the older form."""
    asked = decode_caller(_embed, request.body)
    if asked.input is None and asked.prompt is not None:
        return EmbeddingsAsked(inputs=(asked.prompt,), single=True)
    inputs = (asked.input,) if isinstance(asked.input, str) else tuple(asked.input or ())
    if not inputs:
        message = "Missing required field 'input': a string or a list of strings."
        raise CallerError(400, message, param="input", code="missing_field")
    return EmbeddingsAsked(inputs=inputs, dimensions=asked.dimensions, truncate=asked.truncate)


def _conversation(
    request: CallRequest, asked: Asked, messages: list[Message], tools: list[Tool], left_out: list[str]
) -> Conversation:
    options = asked.options or AskedOptions()
    most = _whole(options.num_predict, "num_predict")
    stop = (options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ())
    return Conversation(
        messages=tuple(messages),
        tools=tuple(tools),
        format=_format(asked.format),
        reasoning=_reasoning(asked.think),
        sampling=Sampling(
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=_whole(options.top_k, "top_k"),
            seed=_whole(options.seed, "seed"),
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            logprobs=asked.logprobs,
            top_logprobs=asked.top_logprobs,
        ),
        max_output_tokens=most if most is not None and most > 0 else None,
        stop=stop,
        stream=request.stream,
        left_out=(*left_out, *(f"options.{name}" for name in options.homeless)),
    )


def _whole(number: float | None, name: str) -> int | None:
    """An option as a whole number; what follows the point is cut off, as Ollama does."""
    if number is None or isinstance(number, int):
        return number
    if abs(number) >= _WHOLE_NUMBER_LIMIT:
        message = f"Invalid value for 'options.{name}': expected a whole number."
        raise CallerError(400, message, param=f"options.{name}", code="invalid_value")
    return int(number)


def _format(raw: msgspec.Raw) -> Format | None:
    text = raw_text(raw)
    if text in {"", '""'}:
        return None
    if text == '"json"':
        return Format()
    if not text.startswith("{"):
        message = "Invalid value for 'format': expected \"json\" or a JSON schema."
        raise CallerError(400, message, param="format", code="invalid_value")
    return Format(schema=text)


def _reasoning(think: bool | str | None) -> Reasoning | None:  # noqa: FBT001 - the member's own type
    if think is None:
        return None
    if think is True:
        return Reasoning(budget_tokens=-1, shown=True)
    effort = _LEVELS.get(think) if think else "none"
    if effort is None:
        message = 'Invalid value for \'think\': expected true, false, "low", "medium", "high" or "max".'
        raise CallerError(400, message, param="think", code="invalid_value")
    return Reasoning(effort=effort, shown=effort != "none")


def _tools(asked: list[AskedTool]) -> tuple[list[Tool], list[str]]:
    tools, left_out = [], []
    for index, tool in enumerate(asked):
        if tool.type not in {None, "", "function"}:
            left_out.append(f"tools[{index}]: {tool.type}")
        elif tool.function is None:
            param = f"tools[{index}].function"
            raise CallerError(400, f"Missing required field '{param}'.", param=param, code="missing_field")
        else:
            function = tool.function
            schema = raw_text(function.parameters)
            tools.append(Tool(name=function.name, description=function.description or "", schema=schema))
    return tools, left_out


def _pictures(images: list[str] | None, where: str) -> tuple[Image, ...]:
    return tuple(_picture(data, f"{where}[{index}]") for index, data in enumerate(images or ()))


def _picture(data: str, where: str) -> Image:
    """A picture as Ollama sends it: bare base64, whose first bytes say what it is. A data URL is understood too."""
    if not data:
        raise CallerError(400, f"Invalid value for '{where}': expected base64.", param=where, code="invalid_value")
    split = split_data_url(data)
    if split is not None:
        return Image(media_type=split[0], data=split[1])
    return Image(media_type=picture_type(data), data=data)


class _History:
    """The messages so far: which calls wait for their results."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}

    def read(self, asked: list[AskedMessage]) -> list[Message]:
        return [self._message(index, message) for index, message in enumerate(asked)]

    def _message(self, index: int, asked: AskedMessage) -> Message:
        where = f"messages[{index}]"
        kind = asked.role.lower()
        if kind == "tool":
            return Message(role="user", parts=(self._result(asked, where),))
        role = _ROLES.get(kind)
        if role is None:
            message = f"Invalid value for '{where}.role': expected system, user, assistant or tool."
            raise CallerError(400, message, param=f"{where}.role", code="invalid_value")
        parts: list[Part] = [Thinking(text=asked.thinking)] if asked.thinking else []
        parts += _pictures(asked.images, f"{where}.images")
        if asked.content or (role != "assistant" and not parts):
            parts.append(Text(text=asked.content or ""))
        if asked.tool_calls and role != "assistant":
            param = f"{where}.tool_calls"
            raise CallerError(
                400, f"Invalid value for '{param}': only the assistant calls.", param=param, code="invalid_value"
            )
        parts += [self._call(call, index, place) for place, call in enumerate(asked.tool_calls or ())]
        return Message(role=role, parts=tuple(parts))

    def _call(self, asked: AskedCall, index: int, place: int) -> ToolCall:
        name = asked.function.name
        arguments = arguments_text(asked.function.arguments)
        if json_object(arguments) is None:
            param = f"messages[{index}].tool_calls[{place}].function.arguments"
            message = f"Invalid type for '{param}': expected an object."
            raise CallerError(400, message, param=param, code="invalid_type")
        call = ToolCall(id=asked.id or tool_id(index, place, name), name=name, arguments=arguments)
        self._open[call.id] = name
        return call

    def _result(self, asked: AskedMessage, where: str) -> ToolResult:
        call_id = asked.tool_call_id or self._oldest(asked.tool_name)
        if call_id is None:
            message = f"Invalid value for '{where}': no call before it waits for this result."
            raise CallerError(400, message, param=where, code="invalid_value")
        name = self._open.pop(call_id, "")
        pictures = _pictures(asked.images, f"{where}.images")
        words = Text(text=asked.content or "")
        return ToolResult(call_id=call_id, parts=(words, *pictures), name=asked.tool_name or name)

    def _oldest(self, name: str | None) -> str | None:
        """The first call that waits for a result of that tool, or of any tool when its name is not known."""
        waiting = (call_id for call_id, called in self._open.items() if not name or called == name)
        return next(waiting, None)
