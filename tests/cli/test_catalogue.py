from pathlib import Path

from tests.api.served import OPERATOR_SECRET, served
from tests.cli.helpers import Keyrelay
from tests.e2e.test_views import command

KEYS = {"GROQ_API_KEYS": "a=gsk_0123456789abcdef,b=gsk_fedcba9876543210"}


def test_providers(keyrelay: Keyrelay) -> None:
    lines = keyrelay("providers", "list", **KEYS).out.splitlines()
    assert lines[0].split() == ["PROVIDER", "PRIORITY", "KEYS", "MODELS", "DEFAULT_MODEL", "STATE"]
    assert lines[1].split()[:3] == ["groq", "3", "2"]
    assert lines[1].endswith("in use")
    assert any(line.startswith("cohere ") and line.endswith("set COHERE_API_KEY") for line in lines)
    assert any(line.startswith("ollama ") and line.endswith("set OLLAMA_ENABLED") for line in lines)


def test_providers_as_json(keyrelay: Keyrelay) -> None:
    document = keyrelay("providers", "list", "--json", **KEYS).document
    groq, *rest = document["providers"]
    assert (groq["provider"], groq["in_use"], groq["keys"]) == ("groq", True, 2)
    assert not any(row["in_use"] for row in rest)
    assert "openai_compatible" not in {row["provider"] for row in rest}


def test_models_are_those_of_the_providers_in_use(keyrelay: Keyrelay) -> None:
    ended = keyrelay("models", "list", GROQ_MODELS="my/model", **KEYS)
    assert ended.out.splitlines()[1].split() == ["groq/my/model", "-", "-", "-", "-"]
    assert all(line.startswith(("MODEL", "groq/")) for line in ended.out.splitlines())


async def test_models_of_the_running_gateway_are_those_that_it_knows(tmp_path: Path) -> None:
    async with served(tmp_path, MINE_BASE_URL="http://127.0.0.1:9/v1", MINE_API_KEY="k-1", MINE_MODELS="a") as at:
        where = {"KEYRELAY_URL": f"http://127.0.0.1:{at.port}", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}
        code, out, err = await command(tmp_path, "models", "list", "--running", **where)
        assert code == 0, err
        lines = [line.split() for line in out.splitlines()]
        assert ["mine/a", "-", "-", "-", "-"] in lines
        assert any(line[0].startswith("groq/") for line in lines)


def test_no_models(keyrelay: Keyrelay) -> None:
    assert keyrelay("models", "list").out.split() == [
        "MODEL",
        "CONTEXT_TOKENS",
        "INPUT_USD_PER_MTOK",
        "OUTPUT_USD_PER_MTOK",
        "CAPABILITIES",
    ]


def test_all_models_as_json(keyrelay: Keyrelay) -> None:
    models = keyrelay("models", "list", "--all", "--json", **KEYS).document["models"]
    assert {"groq", "gemini"} <= {model["provider"] for model in models}
    assert models[0]["model"].startswith("groq/")
