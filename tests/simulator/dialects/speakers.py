"""One way to speak with every dialect of the simulator: build a request, read an answer, whole or streamed."""

import json
from typing import Any, ClassVar

import msgspec

from keyrelay.core.providers import AuthRow, ModelRow, ProviderRow
from tests.simulator.helpers import row

PNG = "iVBORw0KGgo" + "A" * 85
"""Base64 of 72 bytes that begin as a picture does."""

MODELS = (ModelRow(id="plain"), ModelRow(id="thinker", capabilities=("chat", "reasoning")))


class Said(msgspec.Struct, kw_only=True):
    """What an answer comes to in any dialect."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = []
    finish: str = ""
    input: int = 0
    output: int = 0


class Asked(msgspec.Struct, kw_only=True):
    """What a request asks for in any dialect. `exchanged`: a call of each tool and what it said, in the history."""

    text: str = "hello"
    tools: dict[str, Any] = {}
    required: bool = False
    exchanged: list[tuple[str, str]] = []
    image: str = ""
    schema: Any = None
    thinks: bool = False
    stop: list[str] = []
    max_tokens: int | None = None
    stream: bool = False


class Speaker:
    """A dialect as a client speaks it."""

    name = "openai"
    row: ProviderRow = row("openai", "https://api.openai.com/v1", models=MODELS)
    headers: ClassVar[dict[str, str]] = {}
    finishes: ClassVar = {"stop": "stop", "length": "length", "calls": "tool_calls", "sequence": "stop"}

    def path(self, asked: Asked) -> str:
        return "/v1/chat/completions"

    def body(self, asked: Asked) -> dict[str, Any]:
        content: Any = asked.text
        if asked.image:
            picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{asked.image}"}}
            content = [{"type": "text", "text": asked.text}, picture]
        body: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": content}]}
        if asked.exchanged:
            calls = [
                {"id": f"id{at}", "type": "function", "function": {"name": name, "arguments": "{}"}}
                for at, (name, _) in enumerate(asked.exchanged)
            ]
            results = [
                {"role": "tool", "tool_call_id": f"id{at}", "content": said}
                for at, (_, said) in enumerate(asked.exchanged)
            ]
            body["messages"] += [{"role": "assistant", "content": None, "tool_calls": calls}, *results]
        if asked.tools:
            body["tools"] = [
                {"type": "function", "function": {"name": n, "parameters": s}} for n, s in asked.tools.items()
            ]
        return body | self.more(asked)

    def more(self, asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {"stream": asked.stream, "stream_options": {"include_usage": True}}
        if asked.required:
            more["tool_choice"] = "required"
        if asked.schema:
            wanted = {"name": "thing", "schema": asked.schema}
            more["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if asked.thinks:
            more["reasoning_effort"] = "high"
        if asked.stop:
            more["stop"] = asked.stop
        if asked.max_tokens is not None:
            more["max_tokens"] = asked.max_tokens
        return more

    def read(self, body: Any) -> Said:
        choice, usage = body["choices"][0], body["usage"]
        message = choice["message"]
        return Said(
            text=message["content"] or "",
            thoughts=message.get("reasoning") or message.get("reasoning_content") or "",
            calls=[
                (c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", [])
            ],
            finish=choice["finish_reason"],
            input=usage["prompt_tokens"],
            output=usage["completion_tokens"],
        )

    def events(self, body: bytes) -> list[Any]:
        lines = body.decode().replace("\r\n", "\n").split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]

    def read_stream(self, body: bytes) -> Said:
        said = Said()
        arguments: dict[int, list[str]] = {}
        for event in self.events(body):
            for choice in event["choices"]:
                delta = choice["delta"]
                said.text += delta.get("content") or ""
                said.thoughts += delta.get("reasoning") or delta.get("reasoning_content") or ""
                for call in delta.get("tool_calls", []):
                    pieces = arguments.setdefault(call["index"], [call["function"].get("name", "")])
                    pieces.append(call["function"].get("arguments", ""))
                said.finish = choice["finish_reason"] or said.finish
            if event.get("usage"):
                said.input, said.output = event["usage"]["prompt_tokens"], event["usage"]["completion_tokens"]
        said.calls = [(pieces[0], json.loads("".join(pieces[1:]))) for pieces in arguments.values()]
        return said


class Groq(Speaker):
    name = "groq"
    row = row("groq", "https://api.groq.com/openai/v1", models=MODELS)


class Anthropic(Speaker):
    name = "anthropic"
    row = row("anthropic", "https://api.anthropic.com", native_dialect="anthropic", models=MODELS)
    headers: ClassVar = {"anthropic_version": "2023-06-01"}
    finishes: ClassVar = {"stop": "end_turn", "length": "max_tokens", "calls": "tool_use", "sequence": "stop_sequence"}

    def path(self, asked: Asked) -> str:
        return "/v1/messages"

    def body(self, asked: Asked) -> dict[str, Any]:
        content: Any = asked.text
        if asked.image:
            source = {"type": "base64", "media_type": "image/png", "data": asked.image}
            content = [{"type": "text", "text": asked.text}, {"type": "image", "source": source}]
        messages: list[Any] = [{"role": "user", "content": content}]
        if asked.exchanged:
            calls = [
                {"type": "tool_use", "id": f"id{at}", "name": n, "input": {}}
                for at, (n, _) in enumerate(asked.exchanged)
            ]
            results = [
                {"type": "tool_result", "tool_use_id": f"id{at}", "content": said}
                for at, (_, said) in enumerate(asked.exchanged)
            ]
            messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
        body = {"model": "plain", "messages": messages, "max_tokens": 4000, "stream": asked.stream}
        if asked.tools:
            body["tools"] = [{"name": name, "input_schema": schema} for name, schema in asked.tools.items()]
        return body | self.more(asked)

    def more(self, asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if asked.required:
            more["tool_choice"] = {"type": "any"}
        if asked.schema:
            more["output_config"] = {"format": {"type": "json_schema", "schema": asked.schema}}
        if asked.thinks:
            more["thinking"] = {"type": "adaptive"}
        if asked.stop:
            more["stop_sequences"] = asked.stop
        if asked.max_tokens is not None:
            more["max_tokens"] = asked.max_tokens
        return more

    def read(self, body: Any) -> Said:
        blocks = body["content"]
        return Said(
            text="".join(b["text"] for b in blocks if b["type"] == "text"),
            thoughts="".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
            calls=[(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
            finish=body["stop_reason"],
            input=body["usage"]["input_tokens"],
            output=body["usage"]["output_tokens"],
        )

    def read_stream(self, body: bytes) -> Said:
        message: dict[str, Any] = {}
        texts: dict[int, str] = {}
        for event in self.events(body):
            match event["type"]:
                case "message_start":
                    message = event["message"]
                case "content_block_start":
                    assert event["index"] == len(message["content"])
                    message["content"].append(event["content_block"])
                case "content_block_delta":
                    delta, block = event["delta"], message["content"][event["index"]]
                    kind = delta["type"].removesuffix("_delta")
                    if kind == "input_json":
                        texts[event["index"]] = texts.get(event["index"], "") + delta["partial_json"]
                    else:
                        block[kind] += delta[kind]
                case "message_delta":
                    message |= event["delta"]
                    message["usage"] |= event["usage"]
        for index, text in texts.items():
            message["content"][index]["input"] = json.loads(text)
        return self.read(message)


class Gemini(Speaker):
    name = "gemini"
    row = row("gemini", "https://generativelanguage.googleapis.com", native_dialect="gemini", models=MODELS)
    finishes: ClassVar = {"stop": "STOP", "length": "MAX_TOKENS", "calls": "STOP", "sequence": "STOP"}

    def path(self, asked: Asked) -> str:
        operation = ":streamGenerateContent?alt=sse" if asked.stream else ":generateContent"
        return f"/v1beta/models/plain{operation}"

    def body(self, asked: Asked) -> dict[str, Any]:
        parts: list[Any] = [{"text": asked.text}]
        if asked.image:
            parts.append({"inlineData": {"mimeType": "image/png", "data": asked.image}})
        contents = [{"role": "user", "parts": parts}]
        if asked.exchanged:
            calls = [{"functionCall": {"name": name, "args": {}}} for name, _ in asked.exchanged]
            results = [{"functionResponse": {"name": n, "response": {"output": said}}} for n, said in asked.exchanged]
            contents += [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]
        body: dict[str, Any] = {"contents": contents, "generationConfig": self.more(asked)}
        if asked.tools:
            functions = [{"name": name, "parametersJsonSchema": schema} for name, schema in asked.tools.items()]
            body["tools"] = [{"functionDeclarations": functions}]
        if asked.required:
            body["toolConfig"] = {"functionCallingConfig": {"mode": "ANY"}}
        return body

    def more(self, asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {"thinkingConfig": {"includeThoughts": asked.thinks or "think" in asked.text}}
        if asked.schema:
            more |= {"responseMimeType": "application/json", "responseJsonSchema": asked.schema}
        if asked.stop:
            more["stopSequences"] = asked.stop
        if asked.max_tokens is not None:
            more["maxOutputTokens"] = asked.max_tokens
        return more

    def read(self, body: Any) -> Said:
        return self.read_all([body])

    def read_stream(self, body: bytes) -> Said:
        return self.read_all(self.events(body))

    def read_all(self, bodies: list[Any]) -> Said:
        parts = [part for body in bodies for part in body["candidates"][0]["content"]["parts"]]
        usage = bodies[-1]["usageMetadata"]
        return Said(
            text="".join(p.get("text", "") for p in parts if not p.get("thought")),
            thoughts="".join(p.get("text", "") for p in parts if p.get("thought")),
            calls=[(p["functionCall"]["name"], p["functionCall"]["args"]) for p in parts if "functionCall" in p],
            finish=bodies[-1]["candidates"][0]["finishReason"],
            input=usage["promptTokenCount"],
            output=usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0),
        )


class Cohere(Speaker):
    name = "cohere"
    row = row("cohere", "https://api.cohere.com", native_dialect="cohere", models=MODELS)
    finishes: ClassVar = {"stop": "COMPLETE", "length": "MAX_TOKENS", "calls": "TOOL_CALL", "sequence": "STOP_SEQUENCE"}

    def path(self, asked: Asked) -> str:
        return "/v2/chat"

    def more(self, asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {"stream": asked.stream}
        if asked.required:
            more["tool_choice"] = "REQUIRED"
        if asked.schema:
            more["response_format"] = {"type": "json_object", "json_schema": asked.schema}
        if asked.thinks:
            more["thinking"] = {"type": "enabled"}
        if asked.stop:
            more["stop_sequences"] = asked.stop
        if asked.max_tokens is not None:
            more["max_tokens"] = asked.max_tokens
        return more

    def read(self, body: Any) -> Said:
        message, content = body["message"], body["message"].get("content", [])
        return Said(
            text="".join(c.get("text", "") for c in content),
            thoughts="".join(c.get("thinking", "") for c in content),
            calls=[
                (c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", [])
            ],
            finish=body["finish_reason"],
            input=int(body["usage"]["tokens"]["input_tokens"]),
            output=int(body["usage"]["tokens"]["output_tokens"]),
        )

    def read_stream(self, body: bytes) -> Said:
        message: dict[str, Any] = {"content": [], "tool_calls": []}
        for event in self.events(body):
            delta = event.get("delta", {}).get("message", {})
            match event["type"]:
                case "content-start":
                    message["content"].append(delta["content"])
                case "content-delta":
                    for kind, token in delta["content"].items():
                        message["content"][event["index"]][kind] += token
                case "tool-call-start":
                    message["tool_calls"].append(delta["tool_calls"])
                case "tool-call-delta":
                    function = message["tool_calls"][event["index"]]["function"]
                    function["arguments"] += delta["tool_calls"]["function"]["arguments"]
                case "message-end":
                    return self.read({"message": message, **event["delta"]})
        raise AssertionError("the message has no end")


class Ollama(Speaker):
    name = "ollama"
    row = row(
        "ollama",
        "http://localhost:11434",
        native_dialect="ollama",
        models=MODELS,
        auth=AuthRow(optional=True),
    )
    finishes: ClassVar = {"stop": "stop", "length": "length", "calls": "stop", "sequence": "stop"}

    def path(self, asked: Asked) -> str:
        return "/api/chat"

    def body(self, asked: Asked) -> dict[str, Any]:
        body = super().body(msgspec.structs.replace(asked, image=""))
        for message in body["messages"]:
            message["content"] = message["content"] or ""
            for call in message.get("tool_calls", []):
                call["function"]["arguments"] = {}
        if asked.image:
            body["messages"][0]["images"] = [asked.image]
        return body

    def more(self, asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {"options": {}} if asked.stream else {"options": {}, "stream": False}
        if asked.schema:
            more["format"] = asked.schema
        if asked.thinks:
            more["think"] = True
        if asked.stop:
            more["options"]["stop"] = asked.stop
        if asked.max_tokens is not None:
            more["options"]["num_predict"] = asked.max_tokens
        return more

    def read(self, body: Any) -> Said:
        return self.read_all([body])

    def read_stream(self, body: bytes) -> Said:
        return self.read_all([json.loads(line) for line in body.splitlines()])

    def read_all(self, bodies: list[Any]) -> Said:
        messages, last = [body["message"] for body in bodies], bodies[-1]
        assert [body["done"] for body in bodies] == [False] * (len(bodies) - 1) + [True]
        calls = [call["function"] for m in messages for call in m.get("tool_calls", [])]
        return Said(
            text="".join(m["content"] for m in messages),
            thoughts="".join(m.get("thinking", "") for m in messages),
            calls=[(call["name"], call["arguments"]) for call in calls],
            finish=last["done_reason"],
            input=last["prompt_eval_count"],
            output=last["eval_count"],
        )


NATIVE: tuple[Speaker, ...] = (Anthropic(), Gemini(), Cohere(), Ollama())
SPEAKERS: tuple[Speaker, ...] = (Speaker(), Groq(), *NATIVE)
