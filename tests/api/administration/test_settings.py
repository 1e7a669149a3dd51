from pathlib import Path

from keyrelay.core.administered import SettingEntry
from keyrelay.settings import SETTINGS
from tests.api.administration.providing import At, administered
from tests.api.served import OPERATOR_SECRET


async def setting(at: At, name: str) -> dict[str, object]:
    items = (await at.get("/settings"))["items"]
    return next(each for each in items if each["name"] == name)


async def test_every_setting_is_shown_with_its_source_and_no_secret(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYRELAY_MAX_WAIT_S="3") as at:
        items = (await at.get("/settings"))["items"]
        assert [each["name"] for each in items] == [each.name for each in SETTINGS]
        wait = await setting(at, "max_wait_s")
        assert (wait["value"], wait["source"], wait["editable"]) == ("3", "environment KEYRELAY_MAX_WAIT_S", False)
        assert wait["fixed_by"] == "KEYRELAY_MAX_WAIT_S in the environment says it, and wins"
        assert (wait["default"], wait["variable"], wait["stored"]) == ("30", "KEYRELAY_MAX_WAIT_S", None)
        operator = await setting(at, "operator_secret")
        assert (operator["secret"], operator["value"], operator["editable"]) == (True, "…2d0f", False)
        assert OPERATOR_SECRET not in str(items)
        assert (await setting(at, "data_dir"))["editable"] is False
        assert (await setting(at, "cache_ttl_s"))["needs_restart"] is True


async def test_several_are_changed_at_once_and_taken_back(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        before = at.state.revision
        body = {"settings": {"max_wait_s": 2.5, "answer_headers": False, "fallback": ["groq"], "policy": "priority"}}
        await at.send("PATCH", "/settings", body)
        assert at.state.revision == before + 1
        settings = at.gateway.application.watch.configuration.settings
        assert (settings.max_wait_s, settings.answer_headers, settings.fallback) == (2.5, False, ("groq",))
        assert settings.policy == "priority"
        shown = await setting(at, "max_wait_s")
        assert (shown["value"], shown["source"], shown["stored"]) == ("2.5", "store KEYRELAY_MAX_WAIT_S", "2.5")
        await at.send("PATCH", "/settings", {"settings": dict.fromkeys(body["settings"])})
        assert at.state.all(SettingEntry) == ()
        assert (await setting(at, "max_wait_s"))["source"] == "default"


async def test_the_store_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "keyrelay.toml").write_text("[settings]\nmax_wait_s = 4\n")
    async with administered(tmp_path) as at:
        assert (await setting(at, "max_wait_s"))["source"].startswith("keyrelay.toml")  # type: ignore[attr-defined]
        await at.send("PATCH", "/settings", {"settings": {"max_wait_s": 5}})
        assert (await setting(at, "max_wait_s"))["value"] == "5"


WRONG: list[tuple[object, int, str, str | None]] = [
    ({"max_wait": 1}, 400, "setting_not_found", "settings.max_wait"),
    ({"max_wait_s": "soon"}, 422, "invalid_configuration", None),
    ({"max_wait_s": -1}, 422, "invalid_configuration", None),
    ({"max_wait_s": 1, "policy": "best"}, 422, "invalid_configuration", None),
    ({"max_wait_s": ""}, 400, "invalid_parameter", "settings.max_wait_s"),
    ({"port": 1}, 409, "not_editable", "settings.port"),
    ({"operator_secret": "x" * 20}, 409, "not_editable", "settings.operator_secret"),
    ({"allow_private_addresses": True}, 409, "not_editable", "settings.allow_private_addresses"),
    ({"log_format": "text"}, 409, "not_editable", "settings.log_format"),
    ({"max_wait_s": {"a": 1}}, 400, "invalid_parameter", "settings[...]"),
]


async def test_a_wrong_change_changes_nothing(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        for settings, status, code, param in WRONG:
            assert await at.refused("PATCH", "/settings", {"settings": settings}, status) == (code, param), settings


async def test_what_is_administered_can_be_taken_back_while_the_environment_wins(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        await at.send("PATCH", "/settings", {"settings": {"max_wait_s": 5}})
    async with administered(tmp_path, KEYRELAY_MAX_WAIT_S="3") as at:
        assert (await setting(at, "max_wait_s"))["stored"] == "5"
        await at.send("PATCH", "/settings", {"settings": {"max_wait_s": None}})
        assert (await setting(at, "max_wait_s"))["stored"] is None
