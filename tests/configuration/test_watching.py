import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from keyrelay.configuration import Configuration, load_configuration
from keyrelay.configuration import watching as module
from keyrelay.configuration.first_run import add_client, remove_client
from keyrelay.configuration.watching import AFTER_RESTART, Changes, Watch, changes_between
from keyrelay.core.administered import NOTHING, KeyEntry
from keyrelay.core.secrets import Secret
from keyrelay.settings import SETTINGS
from tests.configuration.helpers import Load
from tests.e2e.harness import until

OF_COMMANDS = {"url", "api_key"}
# fmt: off
AT_ONCE = {
    "config_file", "env_file", "log_level", "log_format", "policy", "fallback", "first_byte_timeout_s",
    "answer_timeout_s", "content_gap_timeout_s", "total_timeout_s", "body_timeout_s", "max_body_bytes",
    "max_answer_bytes", "max_event_bytes", "retry_attempts", "retry_budget_percent", "retry_budget_floor", "max_wait_s",
    "max_waiting", "max_waiting_bytes", "reset_jitter_s", "waiting_comment_s", "max_concurrent_requests",
    "answer_headers", "kept_requests", "operator_secret", "max_upload_bytes", "max_spool_bytes", "apprise_urls",
    "trusted_proxies", "health_probe_every_s", "health_recovery_probe_s", "health_probes_per_day",
}
# fmt: on
KEY = "GROQ_API_KEYS=a=gsk_0123456789abcdef\n"


class Followed:
    """A watch, and what it has said."""

    def __init__(self, read: Callable[[], Configuration]) -> None:
        self.reads = 0
        self.taken: list[Changes] = []
        self.refused: list[str] = []
        self._read = read
        self.watch = Watch(
            read(),
            lambda _: self._load(),
            take=lambda _, changes: self.taken.append(changes),
            refuse=self.refuse,
        )

    def refuse(self, text: str) -> None:
        self.refused.append(text)

    def _load(self) -> Configuration:
        self.reads += 1
        return self._read()


@contextlib.asynccontextmanager
async def following(read: Callable[[], Configuration]) -> AsyncIterator[Followed]:
    followed = Followed(read)
    task = asyncio.create_task(followed.watch.run())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setattr(module, "SETTLE_S", 0.05)


async def test_a_valid_change_is_taken_once(tmp_path: Path, load: Load) -> None:
    env = tmp_path / ".env"
    env.write_text(KEY)
    async with following(load) as followed:
        env.write_text(KEY.replace("a=", "a=1") + "KEYRELAY_POLICY=priority\nPORT=9000\n")
        await until(lambda: followed.taken, "it is taken")
        (changes,) = followed.taken
        assert changes.taken == ("providers.groq.keys.a", "routes.auto.policy", "settings.policy")
        assert changes.after_restart == ("settings.port",)
        assert str(changes) == (
            "configuration changed: providers.groq.keys.a, routes.auto.policy, settings.policy; "
            "in force after a restart: settings.port"
        )
        assert followed.watch.configuration.snapshot.keys[0].secret is not None
        await asyncio.sleep(0.1)
        assert (followed.reads, len(followed.taken)) == (1, 1)


async def test_an_invalid_change_is_refused_and_the_old_configuration_stays(tmp_path: Path, load: Load) -> None:
    (tmp_path / ".env").write_text(KEY)
    async with following(load) as followed:
        before = followed.watch.configuration
        (tmp_path / "keyrelay.toml").write_text("[settings]\npolicy = 'best'\n")
        await until(lambda: followed.refused, "it is refused")
        assert "keyrelay.toml [settings] policy" in followed.refused[0]
        assert repr(followed.watch) == "<Watch of 3 files, the last change refused>"
        (tmp_path / "keyrelay.toml").write_text("[settings]\npolicy = 'worst'\n")
        await until(lambda: len(followed.refused) == 2, "so is the next one")
        assert followed.watch.configuration is before
        (tmp_path / "keyrelay.toml").unlink()
        await until(lambda: repr(followed.watch) == "<Watch of 3 files>", "it is read again")
        assert (followed.reads, followed.taken) == (3, [])


async def test_what_a_refused_configuration_misses_may_come_later(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    async with following(load) as followed:
        (tmp_path / ".env").write_text("GROQ_API_KEY_FILE=secret\n")
        await until(lambda: followed.reads >= 3, "it is tried again")
        assert len(followed.refused) == 1, "but said once"
        (tmp_path / "secret").write_text("gsk_0123456789abcdef")
        await until(lambda: followed.taken, "the file is there")
        (tmp_path / "secret").write_text("gsk_0123456789abcdee")
        await until(lambda: len(followed.taken) == 2, "and is watched from then on")


async def test_a_file_is_read_when_it_is_whole(tmp_path: Path, load: Load) -> None:
    (tmp_path / ".env").write_text(KEY)
    async with following(load) as followed:
        with (tmp_path / ".env").open("w") as file:
            for piece in ("GROQ_API", "_KEYS=", "a=gsk_0123456789", "abcdef,b=gsk_fedcba", "9876543210\n"):
                file.write(piece)
                file.flush()
                await asyncio.sleep(0.03)
        await until(lambda: followed.taken, "it is taken")
        (changes,) = followed.taken
        assert changes.taken == ("providers.groq.keys.b",)


async def test_clients_made_and_removed_elsewhere_are_noticed(tmp_path: Path, load: Load) -> None:
    data_dir = load().settings.data_dir
    async with following(load) as followed:
        add_client(data_dir, "my-app")
        await until(lambda: followed.taken, "it is let in")
        remove_client(data_dir, "my-app")
        await until(lambda: len(followed.taken) == 2, "it is shut out")
        assert [changes.taken for changes in followed.taken] == [("clients.my-app",), ("clients.my-app",)]
        assert followed.watch.configuration.snapshot.clients == {}


async def test_a_file_behind_an_exchanged_link_is_noticed(tmp_path: Path, load: Load) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "env").write_text(KEY.replace("a=", f"{name}="))
        os.utime(tmp_path / name / "env", (0, 0))
    (tmp_path / "now").symlink_to("old")
    (tmp_path / ".env").symlink_to("now/env")
    async with following(load) as followed:
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").replace(tmp_path / "now")
        await until(lambda: followed.taken, "it is taken")
        assert followed.taken[0].taken == ("providers.groq.keys.new", "providers.groq.keys.old")


def test_nothing_is_said_of_a_secret_but_its_name(load: Load) -> None:
    old = load(GROQ_API_KEYS="a=gsk_0123456789abcdef", KEYRELAY_OPERATOR_SECRET="7d865e959b2466918c9863afca942d0f")
    new = load(GROQ_API_KEYS="a=gsk_9876543210abcdef", KEYRELAY_OPERATOR_SECRET="e4da3b7fbbce2345d7772b0674ca2d0f")
    assert changes_between(old, new) == Changes(("providers.groq.keys.a", "settings.operator_secret"), ())
    assert not changes_between(old, old)


def test_another_secret_of_a_key_that_does_not_serve_is_a_change_too(tmp_path: Path) -> None:
    """What takes secrets out of logs has to know it: the key can be tested."""

    def with_key(secret: str) -> Configuration:
        state = NOTHING.put(KeyEntry(provider="groq", label="work", enabled=False), Secret(secret))
        environ = {"HOME": str(tmp_path)}
        return load_configuration(environ, directory=tmp_path, overrides={}, administered=state)

    old, new = with_key("gsk_0123456789abcdef"), with_key("gsk_9876543210abcdef")
    assert changes_between(old, new) == Changes(("providers.groq.keys.work",), ())


def test_a_long_list_of_changes_is_cut_short() -> None:
    assert str(Changes(tuple(f"n{number}" for number in range(25)), ())).endswith("n19 and 5 more")


def test_of_every_setting_it_is_known_when_its_change_counts() -> None:
    assert {setting.name for setting in SETTINGS} == AT_ONCE | AFTER_RESTART | OF_COMMANDS
    assert not AT_ONCE & AFTER_RESTART
