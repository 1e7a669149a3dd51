from typing import Any

import pytest

from keyrelay.core.conversation import (
    Format,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
)
from keyrelay.core.errors import CallerError
from tests.wire.gemini.shared import HELLO, read, turns

USER = {"role": "user", "parts": [{"text": "Hello"}]}


def refused(body: Any) -> CallerError:
    with pytest.raises(CallerError) as error:
        read(body)
    assert error.value.status == 400
    return error.value


@pytest.mark.parametrize(
    "contents",
    [
        [USER],
        USER,
        "Hello",
        [{"parts": [{"text": "Hello"}]}],
        {"parts": {"text": "Hello"}},
        [USER, {"role": "model", "parts": []}, {"role": "model"}, {"role": "model", "parts": [{"text": ""}]}],
    ],
)
def test_turns_come_as_a_list_an_object_or_words(contents: Any) -> None:
    assert read({"contents": contents}) == HELLO


@pytest.mark.parametrize("contents", [None, [], "", {}])
def test_no_turn_at_all_is_refused(contents: Any) -> None:
    error = refused({"contents": contents})
    assert (error.param, error.code) == ("contents", "missing_field")
    assert refused(b'{"contents":[ ]}').param == "contents"


def test_tools() -> None:
    declarations = [
        {"name": "look", "description": "Looks.", "parametersJsonSchema": {"type": "object"}},
        {"name": "walk", "parameters": {"type": "OBJECT", "properties": {"far": {"type": "BOOLEAN"}}}},
        {"name": "rest"},
    ]
    tools = [{"functionDeclarations": declarations[:2], "googleSearch": {}}, {"codeExecution": {}}]
    conversation = turns(USER, tools=[*tools, {"function_declarations": declarations[2:]}, {"googleMaps": None}])
    assert conversation.tools == (
        Tool(name="look", description="Looks.", schema='{"type": "object"}'),
        Tool(name="walk", schema='{"type":"object","properties":{"far":{"type":"boolean"}}}'),
        Tool(name="rest"),
    )
    assert conversation.left_out == ("tools[0]: googleSearch", "tools[1]: codeExecution")


@pytest.mark.parametrize(
    ("config", "choice", "left_out"),
    [
        ({}, ToolChoice(), ()),
        ({"mode": "AUTO"}, ToolChoice(), ()),
        ({"mode": "MODE_UNSPECIFIED"}, ToolChoice(), ()),
        ({"mode": "any"}, ToolChoice(mode="required"), ()),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, ToolChoice(mode="required", names=("a",)), ()),
        ({"mode": "NONE", "allowed_function_names": ["a"]}, ToolChoice(mode="none"), ()),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["a"]}, ToolChoice(names=("a",)), ()),
        ({"mode": "VALIDATED"}, ToolChoice(), ("toolConfig.functionCallingConfig.mode: VALIDATED",)),
    ],
)
def test_whether_tools_are_called(config: Any, choice: ToolChoice, left_out: tuple[str, ...]) -> None:
    conversation = turns(USER, toolConfig={"functionCallingConfig": config})
    assert (conversation.tool_choice, conversation.left_out) == (choice, left_out)


def test_a_tool_configuration_of_something_else() -> None:
    conversation = turns(USER, toolConfig={"retrievalConfig": {"languageCode": "de"}})
    assert (conversation.tool_choice, conversation.left_out) == (None, ("toolConfig.retrievalConfig",))


@pytest.mark.parametrize(
    ("config", "expected", "left_out"),
    [
        ({"responseMimeType": "text/plain"}, None, ()),
        ({"responseMimeType": "application/json"}, Format(), ()),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
            Format(schema='{"type": "object"}'),
            (),
        ),
        ({"responseSchema": {"type": "STRING"}}, Format(schema='{"type":"string"}'), ()),
        (
            {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}},
            None,
            ("generationConfig.responseMimeType: text/x.enum",),
        ),
    ],
)
def test_the_form_of_the_answer(config: Any, expected: Format | None, left_out: tuple[str, ...]) -> None:
    conversation = turns(USER, generationConfig=config)
    assert (conversation.format, conversation.left_out) == (expected, left_out)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingLevel": "low"}, Reasoning(effort="low")),
        ({"thinkingLevel": "XHIGH", "includeThoughts": True}, Reasoning(effort="xhigh", shown=True)),
        ({"thinking_budget": -1, "include_thoughts": False}, Reasoning(budget_tokens=-1, shown=False)),
    ],
)
def test_how_much_to_think(config: Any, expected: Reasoning | None) -> None:
    assert turns(USER, generationConfig={"thinkingConfig": config}).reasoning == expected


def test_all_the_settings() -> None:
    conversation = turns(
        USER,
        generationConfig={
            "temperature": 1,
            "topP": 0.5,
            "topK": 40.0,
            "candidateCount": 2,
            "maxOutputTokens": 100,
            "stopSequences": ["END"],
            "seed": 7,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseLogprobs": True,
            "logprobs": 3,
            "responseModalities": ["TEXT"],
        },
        serviceTier="FLEX",
    )
    assert conversation.sampling == Sampling(
        temperature=1.0,
        top_p=0.5,
        top_k=40,
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
    )
    assert (conversation.max_output_tokens, conversation.stop, conversation.answers) == (100, ("END",), 2)
    assert (conversation.tier, conversation.left_out) == ("flex", ())
    assert turns(USER, serviceTier="unspecified", generationConfig={"candidateCount": 0}) == HELLO


def test_what_cannot_be_held_is_named() -> None:
    model = {
        "role": "model",
        "parts": [
            {"executableCode": {"code": "1"}},
            {"code_execution_result": {"output": "1"}},
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"fps": 1}},
        ],
    }
    conversation = turns(
        USER,
        model,
        safety_settings=[{}],
        labels={"a": "b"},
        cachedContent="cachedContents/1",
        generationConfig={"speechConfig": {}, "responseModalities": ["TEXT", "IMAGE"], "mediaResolution": "LOW"},
    )
    assert set(conversation.left_out) == {
        "safetySettings",
        "labels",
        "cachedContent",
        "contents[1].parts[0]: executableCode",
        "contents[1].parts[1]: codeExecutionResult",
        "contents[1].parts[2].videoMetadata",
        "generationConfig.speechConfig",
        "generationConfig.mediaResolution",
        "generationConfig.responseModalities",
    }


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text", "invalid_type"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]", "invalid_value"),
        ({"contents": [{"parts": {"unknown": 1}}]}, "contents[0].parts", "invalid_value"),
        ({"contents": [{"role": "system", "parts": [{"text": "a"}]}]}, "contents[0].role", "invalid_value"),
        (
            {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png"}}]}]},
            "contents[0].parts[0].inline_data.data",
            "missing_field",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]},
            "contents[0].parts[0].inlineData.mimeType",
            "missing_field",
        ),
        (
            {"contents": [{"parts": [{"fileData": {"mimeType": "image/png"}}]}]},
            "contents[0].parts[0].fileData.fileUri",
            "missing_field",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {"args": {}}}]}]},
            "contents[0].parts[0].functionCall.name",
            "missing_field",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "a", "args": "{}"}}]}]},
            "contents[0].parts[0].functionCall.args",
            "invalid_type",
        ),
        (
            {"contents": [{"role": "user", "parts": [{"functionCall": {"name": "a"}}]}]},
            "contents[0].role",
            "invalid_value",
        ),
        (
            {"contents": [{"role": "model", "parts": [{"functionResponse": {"name": "a"}}]}]},
            "contents[0].role",
            "invalid_value",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"response": {}}}]}]},
            "contents[0].parts[0].functionResponse.name",
            "missing_field",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "a", "response": [1]}}]}]},
            "contents[0].parts[0].functionResponse.response",
            "invalid_type",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "a", "parts": [{}]}}]}]},
            "contents[0].parts[0].functionResponse.parts[0]",
            "invalid_value",
        ),
        (
            {"contents": "a", "tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
            "missing_field",
        ),
        (
            {"contents": "a", "tools": [{"functionDeclarations": [{"name": "a", "parameters": 1}]}]},
            "tools[0].functionDeclarations[0].parameters",
            "invalid_type",
        ),
        ({"contents": "a", "tools": [{"function_declarations": 1}]}, "tools[0].function_declarations", "invalid_type"),
        ({"contents": "a", "tools": {"googleSearch": {}}}, "tools", "invalid_type"),
        (
            {"contents": "a", "toolConfig": {"functionCallingConfig": {"mode": "ALWAYS"}}},
            "toolConfig.functionCallingConfig.mode",
            "invalid_value",
        ),
        (
            {"contents": "a", "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOTS"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
            "invalid_value",
        ),
        ({"contents": "a", "generationConfig": {"topP": "x"}}, "generationConfig.topP", "invalid_type"),
        ({"contents": "a", "generation_config": {"top_p": "x"}}, "generation_config.top_p", "invalid_type"),
        (
            {"contents": "a", "generationConfig": {"maxOutputTokens": -1}},
            "generationConfig.maxOutputTokens",
            "invalid_value",
        ),
        ({"contents": 5}, "contents", "invalid_type"),
        (b"[]", None, "invalid_json"),
    ],
)
def test_bad_input_is_pointed_to_in_the_callers_words(body: Any, param: str | None, code: str) -> None:
    error = refused(body)
    assert (error.param, error.code) == (param, code)
    assert param is None or f"'{param}'" in error.message
