"""The members that Gemini's requests may have, and the values of its parameters."""

import re
from typing import Any

from keyrelay.simulator.asking import WrongRequestError
from keyrelay.simulator.members import Either, Members

_HIGHEST_TEMPERATURE = 2
_MOST_STOPS = 5
_SNAKE = re.compile(r"_([a-z0-9])")
_FREE = ("args", "response", "parametersJsonSchema", "responseJsonSchema", "default", "example", "enum", "labels")
"""Members whose own members are the caller's, so that their names stay as they are."""

_BLOB = {"mimeType": str, "data": str, "displayName": str}
_TABLE: dict[str, Any] = {
    "schema": {
        "type": Either(str, list), "format": str, "title": str, "description": str, "nullable": bool, "enum": [str],
        "maxItems": Either(int, str), "minItems": Either(int, str), "properties": {"*": "schema"}, "required": [str],
        "minProperties": Either(int, str), "maxProperties": Either(int, str), "minLength": Either(int, str),
        "maxLength": Either(int, str), "pattern": str, "example": object, "anyOf": ["schema"],
        "propertyOrdering": [str], "default": object, "items": "schema", "minimum": float, "maximum": float,
    },
    "part": {
        "text": str, "thought": bool, "thoughtSignature": str, "inlineData": _BLOB,
        "fileData": {"mimeType": str, "fileUri": str, "displayName": str},
        "functionCall": {"id": str, "name": str, "args": dict},
        "functionResponse": {
            "id": str, "name": str, "response": dict, "parts": list, "willContinue": bool, "scheduling": str,
        },
        "executableCode": dict, "codeExecutionResult": dict, "toolCall": dict, "toolResponse": dict,
        "videoMetadata": dict, "mediaResolution": object, "partMetadata": dict,
    },
    "content": {"role": str, "parts": ["part"]},
    "function": {
        "name": str, "description": str, "parameters": "schema", "parametersJsonSchema": object, "response": "schema",
        "responseJsonSchema": object, "behavior": str,
    },
    "config": {
        "temperature": float, "topP": float, "topK": float, "candidateCount": int, "maxOutputTokens": int,
        "stopSequences": [str], "seed": int, "presencePenalty": float, "frequencyPenalty": float,
        "responseLogprobs": bool, "logprobs": int, "responseMimeType": str, "responseSchema": "schema",
        "responseJsonSchema": object, "responseModalities": [str], "mediaResolution": str, "speechConfig": dict,
        "imageConfig": dict, "enableEnhancedCivicAnswers": bool, "audioTranscriptionConfig": dict,
        "thinkingConfig": {"includeThoughts": bool, "thinkingBudget": int, "thinkingLevel": str},
    },
    "generate": {
        "model": str, "contents": ["content"], "systemInstruction": "content", "generationConfig": "config",
        "tools": [{
            "functionDeclarations": ["function"], "googleSearch": dict, "googleSearchRetrieval": dict,
            "codeExecution": dict, "urlContext": dict, "googleMaps": dict, "computerUse": dict, "fileSearch": dict,
        }],
        "toolConfig": {
            "functionCallingConfig": {"mode": str, "allowedFunctionNames": [str]}, "retrievalConfig": dict,
            "includeServerSideToolInvocations": bool,
        },
        "safetySettings": [{"category": str, "threshold": str}], "cachedContent": str, "serviceTier": str,
        "labels": dict, "store": bool, "continuationToken": str,
    },
    "count": {"contents": ["content"], "generateContentRequest": "generate"},
    "embed": {
        "model": str, "content": "content", "taskType": str, "title": str, "outputDimensionality": int,
        "embedContentConfig": dict,
    },
    "batch": {"requests": ["embed"]},
}  # fmt: skip


def _unknown(path: str, name: str) -> WrongRequestError:
    place = f" at '{_snaked(path)}'" if path else ""
    problem = f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'
    return WrongRequestError(_snaked(path), problem)


def _snaked(path: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", path)


_MEMBERS = Members(_TABLE, _unknown)


def check_members(operation: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with its names in camelCase; WrongRequestError for a member that the API does not know."""
    camel = _camel(body)
    kind = "generate"
    if operation == "count_tokens":
        kind = "count"
    elif operation == "embeddings":
        kind = "batch" if path.endswith(":batchEmbedContents") else "embed"
    _MEMBERS.check(camel, kind)
    return dict(camel)


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = ((_SNAKE.sub(lambda found: found[1].upper(), name), member) for name, member in value.items())
    return {name: _camel_member(name, member) for name, member in named}


def _camel_member(name: str, member: Any) -> Any:
    if name in _FREE:
        return member
    if name == "properties" and isinstance(member, dict):
        return {own: _camel(schema) for own, schema in member.items()}
    return _camel(member)


def check_parameters(body: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise WrongRequestError for a value that the API does not take."""
    if body.get("systemInstruction") and not body["systemInstruction"].get("parts"):
        raise WrongRequestError("system_instruction.parts", "must not be empty")
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if config.get(name)]
    if len(schemas) > 1:
        raise WrongRequestError("generation_config", "only one of response_schema and response_json_schema may be set")
    if schemas and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        raise WrongRequestError(
            "generation_config.response_mime_type",
            "a schema is only supported with response_mime_type application/json",
        )
    temperature = config.get("temperature")
    if temperature is not None and not 0 <= temperature <= _HIGHEST_TEMPERATURE:
        raise WrongRequestError("generation_config.temperature", "the value must be in the range [0.0, 2.0]")
    if (config.get("maxOutputTokens") or 1) < 1:
        raise WrongRequestError("generation_config.max_output_tokens", "max_output_tokens must be positive.")
    if len(config.get("stopSequences") or ()) > _MOST_STOPS:
        raise WrongRequestError("generation_config.stop_sequences", "the number of stop sequences must be at most 5")
