"""What each provider refuses, with its own words and the field at fault; and what it takes."""

from typing import Any

import pytest

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.signatures import seal, sign
from tests.simulator.dialects.speakers import PNG, Anthropic, Asked, Cohere, Gemini, Ollama
from tests.simulator.helpers import Answer, Bench, row

USER = {"role": "user", "content": "hello"}
THINKS: Any = ("chat", "reasoning")
MODELS = (
    ModelRow(id="plain"),
    ModelRow(id="thinker", capabilities=THINKS),
    ModelRow(id="gemini-3-flash", capabilities=THINKS),
    ModelRow(id="claude-opus-5-5"),
)
OWN: Any = {"models": MODELS}
ROWS = (
    row("openai", **OWN),
    row("groq", **OWN),
    row("mistral", **OWN),
    row("deepseek", **OWN),
    row("anthropic", native_dialect="anthropic", **OWN),
    row("gemini", native_dialect="gemini", **OWN),
    row("cohere", native_dialect="cohere", **OWN),
    row("ollama", native_dialect="ollama", **OWN),
)


async def refused(provider: str, body: Any, path: str, **headers: str) -> Answer:
    async with Bench(*ROWS) as bench:
        answer = await bench.send(provider, body, path=path, **headers)
        if answer.status >= 400:
            assert bench.judge.calls[0].error == "malformed"
        return answer


def called(call_id: str = "abcdefgh1", arguments: Any = "{}", name: str = "look", **more: Any) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def result(call_id: str = "abcdefgh1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "found"}


def blocks(*content: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(content)}]


PARAMETERS = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": PARAMETERS}}


@pytest.mark.parametrize(
    ("provider", "fields", "status", "said"),
    [
        ("openai", {"messages": []}, 400, "messages"),
        ("openai", {"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages[0]"),
        ("openai", {"messages": [USER, result()]}, 400, "must be a response to a preceding"),
        ("openai", {"messages": [USER, called()]}, 400, "abcdefgh1"),
        ("openai", {"messages": [USER, called(), USER]}, 400, "did not have response messages: abcdefgh1"),
        ("openai", {"messages": [USER, called(), result("other")]}, 400, "messages[2]"),
        ("openai", {"messages": [USER, called(arguments="{oops"), result()]}, 400, "tool_calls[0].function.arguments"),
        ("openai", {"messages": [USER, called(arguments={}), result()]}, 400, "tool_calls[0].function.arguments"),
        ("openai", {"tools": [{"type": "function"}]}, 400, "tools[0]"),
        ("openai", {"tool_choice": "required"}, 400, "tool_choice"),
        ("openai", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, 400, "not found"),
        ("openai", {"tools": [TOOL], "tool_choice": "sometimes"}, 400, "tool_choice"),
        ("openai", {"response_format": {"type": "json_schema", "json_schema": {}}}, 400, "json_schema.name"),
        ("openai", {"messages": blocks({"type": "video"})}, 400, "messages[0].content[0].type"),
        (
            "openai",
            {"messages": blocks({"type": "image_url", "image_url": {"url": "data:image/png,x"}})},
            400,
            "base64",
        ),
        (
            "openai",
            {"messages": blocks({"type": "input_audio", "input_audio": {"data": "x"}})},
            400,
            "input_audio",
        ),
        ("openai", {"model": "thinker", "max_tokens": 5}, 400, "max_completion_tokens"),
        ("groq", {"logprobs": True}, 400, "property 'logprobs' is unsupported"),
        ("groq", {"n": 2}, 400, "'n'"),
        ("mistral", {"stream_options": {}}, 422, "Extra inputs are not permitted"),
        ("mistral", {"messages": [USER, called("call_1"), result("call_1")]}, 400, "length of 9"),
        ("mistral", {"messages": [USER, {"role": "system", "content": "x"}, USER]}, 400, "Unexpected role 'system'"),
        ("mistral", {"messages": [USER, {"role": "assistant", "content": "x"}]}, 400, "Expected last role User"),
        ("deepseek", {"model": "thinker", "messages": [USER, called(), result()]}, 400, "`reasoning_content`"),
        (
            "deepseek",
            {
                "model": "plain",
                "thinking": {"type": "enabled"},
                "messages": [USER, called(), result(), {"role": "assistant", "content": "so"}, USER],
            },
            400,
            "`reasoning_content`",
        ),
    ],
)  # fmt: skip
async def test_openai(provider: str, fields: dict[str, Any], status: int, said: str) -> None:
    answer = await refused(provider, {"model": "plain", "messages": [USER], **fields}, "/v1/chat/completions")
    assert (answer.status, said in answer.body.decode()) == (status, True), answer.body


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("openai", {"messages": [USER, called(), result(), USER]}),
        ("openai", {"messages": [{"role": "developer", "content": "x"}, USER]}),
        ("mistral", {"messages": [USER, called(), result()], "random_seed": 1}),
        ("deepseek", {"model": "thinker", "messages": [USER, called(reasoning_content="so"), result()]}),
        ("deepseek", {"model": "thinker", "messages": [USER, {"role": "assistant", "content": "so"}, USER]}),
        (
            "deepseek",
            {"model": "thinker", "thinking": {"type": "disabled"}, "messages": [USER, called(), result()]},
        ),
        ("groq", {"n": 1}),
    ],
)
async def test_openai_takes(provider: str, fields: dict[str, Any]) -> None:
    answer = await refused(provider, {"model": "plain", "messages": [USER], **fields}, "/v1/chat/completions")
    assert answer.status == 200, answer.body


def signed(signature: str) -> dict[str, Any]:
    message = called()
    message["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": signature}}
    return message


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (called(), 400),
        (signed("c29tZXRoaW5n"), 400),
        (signed(sign("anthropic", "x")), 400),
        (signed(seal("gemini", "x")), 200),
        (signed("skip_thought_signature_validator"), 200),
    ],
)
async def test_gemini_wants_its_signatures_back_on_openais_route_too(call: dict[str, Any], status: int) -> None:
    path = "/v1beta/openai/chat/completions"
    answer = await refused("gemini", {"model": "gemini-3-flash", "messages": [USER, call, result()]}, path)
    assert answer.status == status
    older = [USER, call, result(), {"role": "assistant", "content": "so"}, USER]
    assert (await refused("gemini", {"model": "gemini-3-flash", "messages": older}, path)).status == 200


def use(call_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": call_id, "name": "look", "input": {}, **fields}],
    }


def used(call_id: str = "t1", *before: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*before, {"type": "tool_result", "tool_use_id": call_id, "content": "found"}]}


def thought(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


PICTURE = {"type": "base64", "media_type": "image/png", "data": PNG}
TIFF = {**PICTURE, "media_type": "image/tiff"}
THINKING = {"type": "enabled", "budget_tokens": 1024}
CLAUDE_TOOL = {"name": "look", "input_schema": PARAMETERS}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"presence_penalty": 1}, "presence_penalty: Extra inputs are not permitted"),
        ({"seed": 1}, "seed: Extra inputs are not permitted"),
        ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{**USER, "name": "Ada"}]}, "messages.0.name: Extra inputs"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
        ({"messages": blocks({"type": "text", "text": ""})}, "text content blocks must be non-empty"),
        ({"messages": blocks({"type": "image_url"})}, "messages.0.content.0: Input tag 'image_url'"),
        ({"messages": blocks({"type": "image", "source": TIFF})}, "messages.0.content.0.source"),
        ({"messages": blocks({"type": "image", "source": {**PICTURE, "data": "?"}})}, "base64"),
        ({"messages": [USER, use()]}, "`tool_use` ids were found without"),
        ({"messages": [USER, use(), USER]}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
        ({"messages": [USER, use(), used("t1", {"type": "text", "text": "x"})]}, "immediately after: t1"),
        ({"messages": [USER, used()]}, "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
        ({"messages": [USER, use("a b"), used("a b")]}, "tool_use.id: String should match pattern"),
        ({"messages": [USER, use(input="{}"), used()]}, "tool_use.input: Input should be a valid dictionary"),
        ({"tools": [{**CLAUDE_TOOL, "name": "a.b"}]}, "tools.0.custom.name"),
        ({"tools": [{**CLAUDE_TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs"),
        ({"tools": [{"name": "look", "input_schema": {}}]}, "tools.0.custom.input_schema.type"),
        ({"tools": [CLAUDE_TOOL, CLAUDE_TOOL]}, "tools: Tool names must be unique"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: may only be specified while providing `tools`"),
        ({"tools": [CLAUDE_TOOL], "tool_choice": {"type": "required"}}, "tool_choice: Input tag"),
        ({"tools": [CLAUDE_TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found"),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "`max_tokens` must be greater than"),
        ({"thinking": THINKING, "temperature": 0.5}, "temperature: may only be set to 1 when thinking"),
        ({"thinking": THINKING, "tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
        ({"thinking": THINKING, "messages": [USER, use(), used()]}, "Expected `thinking` or `redacted_thinking`"),
        (
            {"messages": [USER, *blocks(thought("so", sign("anthropic", "so!")), role="assistant"), USER]},
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        ({"model": "claude-opus-5-5", "messages": [USER, {"role": "assistant", "content": "I"}]}, "prefill"),
        ({"output_config": {"format": {"type": "json_object"}}}, "format: Input tag does not match 'json_schema'"),
    ],
)  # fmt: skip
async def test_anthropic(fields: dict[str, Any], said: str) -> None:
    body = {"model": "plain", "max_tokens": 2000, "messages": [USER], **fields}
    answer = await refused("anthropic", body, "/v1/messages", anthropic_version="2023-06-01")
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert said in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {
            "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
            "temperature": 1,
            "top_k": 3,
        },
        {"messages": [USER, USER, use(), used(), {"role": "assistant", "content": "so"}, USER]},
        {"messages": [USER, *blocks(thought("so", sign("anthropic", "so")), role="assistant"), USER]},
        {"messages": [USER, {"role": "assistant", "content": "I"}]},
        {"thinking": {"type": "adaptive"}, "messages": [USER, use(), used()]},
        {"tools": [CLAUDE_TOOL, {"type": "web_search_20250305", "name": "web_search"}]},
    ],
)
async def test_anthropic_takes(fields: dict[str, Any]) -> None:
    body = {"model": "plain", "max_tokens": 2000, "messages": [USER], **fields}
    answer = await refused("anthropic", body, "/v1/messages", anthropic_version="2023-06-01")
    assert answer.status == 200, answer.body


async def test_the_versions_of_anthropic() -> None:
    body = {"model": "plain", "max_tokens": 9, "messages": [USER], "temperature": 1}
    none = await refused("anthropic", body, "/v1/messages")
    assert (none.status, none.json["error"]["message"]) == (400, "anthropic-version: header is required")
    assert (await refused("anthropic", body, "/v1/messages", anthropic_version="2020-01-01")).status == 400
    newest = await refused("anthropic", body, "/v1/messages", anthropic_version="2026-10-21")
    assert newest.json["error"]["message"].startswith("temperature: ")
    beta = {**body, "context_management": {}}
    headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "context-management-2025-06-27"}
    assert (await refused("anthropic", beta, "/v1/messages", **headers)).status == 200


def text(words: str = "hello", role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": words}]}


def calls(*names: str, **more: Any) -> dict[str, Any]:
    return {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}, **more} for name in names]}


def responses(*names: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"functionResponse": {"name": n, "response": {"output": "x"}}} for n in names]}


def declared(**function: Any) -> list[Any]:
    return [{"functionDeclarations": [{"name": "look", **function}]}]


BOTH = {"thinkingBudget": 1, "thinkingLevel": "LOW"}
UPPER = {"type": "OBJECT", "properties": {"a_b": {"type": "STRING"}}}
CLOSED = {**PARAMETERS, "additionalProperties": False}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"messages": []}, 'Unknown name "messages": Cannot find field.'),
        ({"generationConfig": {"maxTokens": 1}}, "Unknown name \"maxTokens\" at 'generation_config'"),
        (
            {"tools": declared(parameters={**PARAMETERS, "additionalProperties": False})},
            "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'",
        ),
        ({"contents": [text(role="assistant")]}, "Please use a valid role: user, model."),
        ({"contents": [{"role": "user", "parts": []}]}, "contents.parts must not be empty"),
        ({"contents": [{"role": "user", "parts": [{}]}]}, "required oneof field 'data'"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]}, "base64"),
        ({"contents": [calls("look"), responses("look")]}, "immediately after a user turn"),
        ({"contents": [text(), calls("look", "find"), responses("look")]}, "number of function response parts"),
        ({"contents": [text(), calls("look"), text()]}, "number of function response parts"),
        ({"contents": [text(), calls("look"), responses("find")]}, "immediately after a function call turn"),
        ({"contents": [text(), responses("look")]}, "immediately after a function call turn"),
        ({"tools": declared(name="9look")}, "Invalid function name"),
        ({"tools": declared(parameters=PARAMETERS, parametersJsonSchema=PARAMETERS)}, "only one of parameters"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "REQUIRED"}}}, "tool_config.function_calling_config.mode"),
        (
            {"tools": declared(), "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["look"]}}},
            "allowed_function_names",
        ),
        ({"generationConfig": {"responseJsonSchema": PARAMETERS}}, "response_mime_type"),
        ({"generationConfig": {"temperature": 3}}, "generation_config.temperature"),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "stop_sequences"),
        ({"generationConfig": {"thinkingConfig": BOTH}}, "only one of thinking"),
        ({"systemInstruction": {"parts": []}}, "system_instruction"),
    ],
)  # fmt: skip
async def test_gemini(fields: dict[str, Any], said: str) -> None:
    body = {"contents": [text()], **fields}
    answer = await refused("gemini", body, "/v1beta/models/plain:generateContent")
    error = answer.json["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    violation = error["details"][0]["fieldViolations"][0]
    assert said in f"{error['message']} {violation['field']}"


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [{"parts": [{"text": "x"}]}], "generation_config": {"max_output_tokens": 5}},
        {"contents": [text(), calls("a", "b"), responses("b", "a"), text("so", "model"), text()]},
        {"contents": [text()], "tools": declared(parametersJsonSchema={**PARAMETERS, "additionalProperties": False})},
        {"contents": [text()], "tools": declared(parameters=UPPER)},
    ],
)  # fmt: skip
async def test_gemini_takes(body: dict[str, Any]) -> None:
    answer = await refused("gemini", body, "/v1beta/models/plain:generateContent")
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 400),
        ({"thoughtSignature": sign("anthropic", "look")}, 400),
        ({"thoughtSignature": seal("gemini", "look")}, 200),
        ({"thoughtSignature": "skip_thought_signature_validator"}, 200),
    ],
)
async def test_newer_gemini_wants_its_signatures_back(more: dict[str, str], status: int) -> None:
    path = "/v1beta/models/gemini-3-flash:generateContent"
    call = calls("look", "find")
    call["parts"][0] |= more
    turn = [text(), call, responses("look", "find")]
    answer = await refused("gemini", {"contents": turn}, path)
    assert answer.status == status
    if status == 400:
        assert "missing a thought_signature" in answer.json["error"]["message"]
    assert (await refused("gemini", {"contents": [*turn, text("so", "model"), text()]}, path)).status == 200
    assert (await refused("gemini", {"contents": turn}, "/v1beta/models/plain:generateContent")).status == 200


async def test_two_credentials_are_one_too_many_for_gemini() -> None:
    path = "/v1beta/models/plain:generateContent"
    answer = await refused("gemini", {"contents": [text()]}, path, x_goog_api_key="sim-a")
    assert "Multiple authentication credentials" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": []}, "messages"),
        ({"stop": ["x"]}, "unknown field: parameter 'stop' is not a valid field"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{**USER, "name": "Ada"}]}, "parameter 'name' is not a valid field"),
        ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "the last message"),
        ({"messages": [USER, called(), {**result(), "tool_call_id": "x"}]}, "messages[2]"),
        ({"messages": [USER, called(arguments="[]"), result()]}, "arguments"),
        ({"messages": [USER, called(arguments={}), result()]}, "arguments"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"tools": [{**TOOL, "function": {"name": "get-it", "parameters": PARAMETERS}}]}, "tools[0].function.name"),
        (
            {"tools": [{**TOOL, "function": {"name": "a", "parameters": CLOSED}}]},
            "unsupported schema keyword 'additionalProperties'",
        ),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": "REQUIRED"}, "tool_choice"),
        ({"p": 1.0}, "p: must be between 0.01 and 0.99"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"stop_sequences": list("abcdef")}, "stop_sequences"),
        ({"response_format": {"type": "json_object", "json_schema": PARAMETERS}}, "at least one required field"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "not supported with tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format.type"),
    ],
)  # fmt: skip
async def test_cohere(fields: dict[str, Any], said: str) -> None:
    answer = await refused("cohere", {"model": "plain", "messages": [USER], **fields}, "/v2/chat")
    assert answer.status == 400
    assert said in answer.json["message"]


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "cannot unmarshal"),
        ("/api/chat", {"messages": [{"role": "developer", "content": "x"}]}, "invalid role"),
        ("/api/chat", {"messages": [called(arguments="{}") | {"content": ""}]}, "arguments"),
        ("/api/chat", {"messages": [{**USER, "images": [f"data:image/png;base64,{PNG}"]}]}, "illegal base64 data"),
        ("/api/chat", {"think": "much"}, "invalid think value"),
        ("/api/chat", {"format": "xml"}, "invalid format"),
        ("/api/chat", {"options": {"stop": "x"}}, "options.stop"),
        ("/api/generate", {"prompt": ["x"]}, "cannot unmarshal"),
        ("/api/embed", {}, "input is required"),
    ],
)
async def test_ollama(path: str, fields: dict[str, Any], said: str) -> None:
    answer = await refused("ollama", {"model": "plain", **fields}, path)
    assert answer.status == 400
    assert said in answer.json["error"]


async def test_ollama_passes_over_what_it_does_not_know() -> None:
    body = {"model": "plain", "messages": [{**USER, "name": "Ada"}], "tool_choice": "any", "stream": False}
    assert (await refused("ollama", body, "/api/chat")).status == 200


@pytest.mark.parametrize("speaker", [Anthropic(), Gemini(), Cohere(), Ollama()], ids=lambda speaker: speaker.name)
async def test_what_is_no_json(speaker: Any) -> None:
    answer = await refused(speaker.name, b"{oops", speaker.path(Asked()), **speaker.headers)
    assert answer.status == 400
