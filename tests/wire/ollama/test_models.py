import json

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability
from keyrelay.wire.ollama.models import (
    GREETING,
    ListedModel,
    capability_words,
    running_body,
    show_body,
    shown_name,
    tags_body,
    version_body,
)
from tests.wire.ollama.samples import CREATED, CREATED_S

MODEL = ListedModel(
    name="gemini/gemini-2.5-flash",
    family="gemini",
    modified_s=CREATED_S,
    capabilities=("chat", "tools", "json_schema", "vision", "reasoning"),
    context_tokens=1_048_576,
)
VECTORS = ListedModel(name="embed", family="cohere", modified_s=0, capabilities=("embeddings",), embedding_length=1024)
DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "gemini",
    "families": ["gemini"],
    "parameter_size": "",
    "quantization_level": "",
}
ENTRY = {
    "name": "gemini/gemini-2.5-flash",
    "model": "gemini/gemini-2.5-flash",
    "modified_at": CREATED,
    "size": 0,
    "digest": "a9aa86d6ca9e5ae9b6ea32a9ba8ca5da1cbd82ca6ebe0fe6d1bd9c3fa6e4ffbe",
    "details": DETAILS,
    "capabilities": ["completion", "tools", "vision", "thinking"],
}


def test_all_models_are_listed() -> None:
    listed = json.loads(tags_body((MODEL, VECTORS)))["models"]
    assert {**listed[0], "digest": ENTRY["digest"]} == ENTRY
    assert [len(model["digest"]) for model in listed] == [64, 64]
    assert listed[0]["digest"] != listed[1]["digest"]
    assert listed[1]["modified_at"] == "1970-01-01T00:00:00.000000Z"
    assert tags_body((MODEL,)) == tags_body((MODEL,))


def test_those_that_are_ready_say_until_when() -> None:
    (running,) = json.loads(running_body((MODEL,), CREATED_S))["models"]
    assert {**running, "digest": ENTRY["digest"]} == {
        **ENTRY,
        "expires_at": CREATED,
        "size_vram": 0,
        "context_length": 1_048_576,
    }


def test_one_model_is_shown() -> None:
    assert json.loads(show_body(MODEL)) == {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": DETAILS,
        "model_info": {
            "general.architecture": "gemini",
            "general.basename": "gemini/gemini-2.5-flash",
            "gemini.context_length": 1_048_576,
        },
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": CREATED,
    }


def test_the_architecture_stands_before_what_it_names() -> None:
    assert list(json.loads(show_body(VECTORS))["model_info"].items()) == [
        ("general.architecture", "cohere"),
        ("general.basename", "embed"),
        ("cohere.embedding_length", 1024),
    ]


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [((), []), (("embeddings",), ["embedding"]), (("reasoning", "chat"), ["completion", "thinking"])],
)
def test_capabilities_have_words_of_ollamas_own(capabilities: tuple[Capability, ...], words: list[str]) -> None:
    assert capability_words(capabilities) == words


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"name":"m"}', b'{"model":"m","name":"n","verbose":true}'])
def test_who_asks_for_a_model_names_it(body: bytes) -> None:
    assert shown_name(body, max_depth=8) == "m"


def test_who_names_none_is_told_so() -> None:
    with pytest.raises(CallerError, match="model"):
        shown_name(b"{}", max_depth=8)


def test_the_version_is_one_that_clients_take() -> None:
    version = json.loads(version_body())["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    assert json.loads(version_body("1.2.3")) == {"version": "1.2.3"}
    assert GREETING == b"Ollama is running"
