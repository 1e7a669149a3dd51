from pathlib import Path

from keyrelay.core.administered import RouteEntry
from tests.api.administration.providing import administered
from tests.api.served import MODEL
from tests.e2e.harness import chat

TARGET = f"groq/{MODEL}"


async def test_a_route_serves_as_soon_as_it_is_there_and_goes_again(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        body = {"targets": [TARGET], "policy": "priority", "fallback": ["groq"], "cache": "off", "notes": "mine"}
        made = await at.send("PUT", "/routes/fast", body)
        assert (made["targets"], made["policy"], made["cache"], made["source"]) == (
            [TARGET],
            "priority",
            "off",
            "store",
        )
        assert made["entry"]["notes"] == "mine"
        assert (await at.gateway.ask(chat("fast"))).is_good()
        assert await at.get("/routes/fast") == made
        assert await at.send("DELETE", "/routes/fast") == {"removed_route": "fast"}
        assert (await at.gateway.ask(chat("fast"))).status == 404
        assert (await at.get("/routes/fast", 404))["error"]["code"] == "route_not_found"


async def test_routes_of_the_file_are_shown_and_stay_there(tmp_path: Path) -> None:
    (tmp_path / "keyrelay.toml").write_text(f'[routes.slow]\ntargets = ["{TARGET}"]\n')
    async with administered(tmp_path) as at:
        sources = {each["name"]: each["source"] for each in (await at.get("/routes"))["items"]}
        assert sources == {"auto": "default", "slow": "keyrelay.toml"}
        assert await at.refused("DELETE", "/routes/slow", b"", 409) == ("not_here", "name")
        assert await at.refused("DELETE", "/routes/auto", b"", 409) == ("not_here", "name")
        await at.send("PUT", "/routes/slow", {"targets": ["groq"]})
        assert (await at.get("/routes/slow"))["source"] == "store"
        await at.send("DELETE", "/routes/slow")
        assert (await at.get("/routes/slow"))["targets"] == [TARGET]


async def test_what_is_put_up_with_is_said(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        made = await at.send("PUT", "/routes/fast", {"targets": [TARGET, "gemini"]})
        (warning,) = made["warnings"]
        assert "gemini is not in use" in warning


async def test_a_provider_of_ones_own_may_be_a_target_before_it_has_a_key(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await at.send("PUT", "/providers/mine", {"base_url": "https://models.example/v1"})
        made = await at.send("PUT", "/routes/fast", {"targets": [TARGET, "mine/a"]})
        (warning,) = made["warnings"]
        assert "it has no key yet: `keyrelay keys add mine`" in warning


WRONG: list[tuple[str, object, int, str, str | None]] = [
    ("fast", {}, 400, "invalid_parameter", "targets"),
    ("fast", {"targets": []}, 400, "invalid_parameter", "targets"),
    ("fast", {"targets": [""]}, 400, "invalid_parameter", "targets"),
    ("fast", {"targets": ["groq"], "fallback": ["x" * 400]}, 400, "invalid_parameter", "fallback"),
    ("fast", {"targets": ["groq"], "policy": "best"}, 400, "invalid_parameter", "policy"),
    ("fast", {"targets": ["groq"], "cache": "some"}, 400, "invalid_parameter", "cache"),
    ("fast", {"targets": ["groq"], "notes": "x" * 2001}, 400, "invalid_parameter", "notes"),
    ("fast", {"targets": ["nowhere/m"]}, 422, "invalid_configuration", None),
    ("-fast", {"targets": ["groq"]}, 400, "invalid_parameter", "name"),
]


async def test_a_wrong_route_changes_nothing(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        for name, body, status, code, param in WRONG:
            assert await at.refused("PUT", f"/routes/{name}", body, status) == (code, param), body
        assert at.state.all(RouteEntry) == ()
