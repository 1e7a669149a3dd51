import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keyrelay.configuration import Configuration, InvalidConfiguration, load_configuration, load_settings
from keyrelay.configuration.operator_limits import SUFFIXES
from keyrelay.core.errors import ConfigurationError
from tests.configuration.helpers import ROWS, Load

KEY = "gsk_0123456789abcdef"


def source_of(configuration: Configuration, name: str) -> str:
    return {value.name: value.source for value in configuration.values}[name]


class TestPrecedence:
    def test_each_layer_wins_over_the_one_before(self, load: Load, tmp_path: Path) -> None:
        assert (load().settings.port, source_of(load(), "settings.port")) == (8787, "default")
        (tmp_path / "keyrelay.toml").write_text("[settings]\nport = 1001")
        assert (load().settings.port, source_of(load(), "settings.port")) == (1001, "keyrelay.toml")
        (tmp_path / ".env").write_text("KEYRELAY_PORT=1002")
        assert (load().settings.port, source_of(load(), "settings.port")) == (1002, ".env KEYRELAY_PORT")
        real = load(PORT="1003")
        assert (real.settings.port, source_of(real, "settings.port")) == (1003, "environment PORT")
        option = load({"port": "1004"}, KEYRELAY_PORT="1005")
        assert (option.settings.port, source_of(option, "settings.port")) == (1004, "command line")

    def test_the_own_name_wins_over_the_customary_one(self, load: Load) -> None:
        assert load(PORT="1", KEYRELAY_PORT="2").settings.port == 2

    def test_keys_come_from_the_env_file_unless_the_environment_has_them(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"GROQ_API_KEY=a={KEY}\nGEMINI_API_KEY=b={KEY}")
        configuration = load(GROQ_API_KEY="c=gsk_fedcba9876543210")
        assert [key.id for key in configuration.snapshot.keys] == ["groq/c", "gemini/b"]
        assert source_of(configuration, "providers.groq.keys.c") == "environment GROQ_API_KEY"
        assert source_of(configuration, "providers.gemini.keys.b") == ".env GEMINI_API_KEY"
        assert "GEMINI_API_KEY" not in os.environ

    def test_source_of_a_secret_in_a_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(f"a={KEY}\n")
        configuration = load(GEMINI_API_KEY_FILE="key")
        assert source_of(configuration, "providers.gemini.keys.a") == "environment GEMINI_API_KEY_FILE"


class TestFiles:
    def test_default_files_may_be_missing(self, load: Load, tmp_path: Path) -> None:
        configuration = load()
        assert configuration.settings.config_file == tmp_path / "keyrelay.toml"
        assert configuration.files == (
            tmp_path / "keyrelay.toml",
            tmp_path / ".env",
            tmp_path / "home/.local/share/keyrelay/clients.json",
        )

    @pytest.mark.parametrize("name", ["KEYRELAY_CONFIG", "KEYRELAY_CONFIG_FILE", "KEYRELAY_ENV_FILE"])
    def test_named_files_may_not(self, name: str, load: Load) -> None:
        with pytest.raises(InvalidConfiguration, match=r"other\.file: cannot read"):
            load(**{name: "other.file"})

    def test_named_files_are_read(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "my.toml").write_text("[settings]\nport = 5")
        (tmp_path / "my.env").write_text("KEYRELAY_CONFIG=my.toml")
        configuration = load({"env_file": "my.env"})
        assert configuration.settings.port == 5
        assert source_of(configuration, "settings.port") == "my.toml"
        assert source_of(configuration, "settings.config_file") == "my.env KEYRELAY_CONFIG"

    def test_the_env_file_cannot_say_where_it_is(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("KEYRELAY_ENV_FILE=other.env")
        with pytest.raises(InvalidConfiguration, match="cannot say where the file itself is"):
            load()

    def test_a_directory_called_env_is_no_file_and_said_to_be_ignored(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").mkdir()
        assert load().warnings == (f".env: {tmp_path}/.env is a directory, not a file; it is ignored.",)

    def test_data_directory(self, load: Load, tmp_path: Path) -> None:
        assert load().settings.data_dir == tmp_path / "home/.local/share/keyrelay"
        xdg = load(XDG_DATA_HOME="/xdg")
        assert xdg.settings.data_dir == Path("/xdg/keyrelay")
        assert source_of(xdg, "settings.data_dir") == "environment XDG_DATA_HOME"
        assert load(XDG_DATA_HOME="relative").settings.data_dir == tmp_path / "home/.local/share/keyrelay"
        assert load(KEYRELAY_DATA_DIR="here").settings.data_dir == tmp_path / "here"


class TestProblems:
    def test_all_of_them_are_reported_together(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "keyrelay.toml").write_text("[settings]\nprt = 1\n[route.x]\ntargets = []")
        (tmp_path / ".env").write_text(f"KEYRELAY_HOSTT=x\nGROQ_API_KEYS=a={KEY},a={KEY}x")
        with pytest.raises(ConfigurationError) as caught:
            load({"prot": "1"}, KEYRELAY_PROT="1", GROQ_TIER="fre", KEYRELAY_POLICY="random")
        text = str(caught.value)
        assert text.startswith("configuration: 8 problems\n")
        for part in (
            "command line prot: Keyrelay has no such setting. Did you mean port?",
            "  KEYRELAY_PROT: Keyrelay has no such setting. Did you mean KEYRELAY_PORT?",
            "  KEYRELAY_HOSTT: Keyrelay has no such setting. Did you mean KEYRELAY_HOST?",
            "  keyrelay.toml [settings] prt: Keyrelay has no such setting. Did you mean port?",
            "  keyrelay.toml [route]: there is no such table. Did you mean routes?",
            "  environment KEYRELAY_POLICY: 'random' is not one of",
            "  environment GROQ_TIER: is not one of free, paid, unknown. Did you mean free?",
            "  .env GROQ_API_KEYS entry 2: the label a is used already",
        ):
            assert part in text
        assert KEY not in text

    def test_keyrelay_does_not_call_itself(self, load: Load) -> None:
        with pytest.raises(InvalidConfiguration, match="environment GROQ_BASE_URL: points at Keyrelay itself"):
            load(GROQ_API_KEY=KEY, GROQ_BASE_URL="http://localhost:8787/v1")
        load({"port": "8788"}, GROQ_API_KEY=KEY, GROQ_BASE_URL="http://localhost:8787/v1")

    @given(
        st.dictionaries(
            st.sampled_from(
                [f"GROQ_{suffix}" for suffix in (*SUFFIXES, "API_KEYS", "API_KEY", "BASE_URL", "TIER", "MODELS")]
                + ["CLIENT_API_KEYS_MAP", "KEYRELAY_UPSTREAM_PROXY", "OLLAMA_HOST", "NEW_BASE_URL", "NEW_API_KEY"]
            ),
            st.text(st.characters(exclude_characters="\0"), max_size=12).map(lambda text: f"hunter2{text}hunter2"),
        )
    )
    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_no_secret_is_ever_shown(self, tmp_path: Path, environ: dict[str, str]) -> None:
        hidden = {"GROQ_MODELS", "OLLAMA_HOST", "NEW_BASE_URL", "GROQ_BASE_URL"}  # in force, these are shown
        catalogue = {row.id: row for row in ROWS}
        environ = {"HOME": str(tmp_path), **environ}
        try:
            configuration = load_configuration(environ, directory=tmp_path, overrides={}, catalogue=catalogue)
        except InvalidConfiguration as error:
            texts = [str(error)]
        else:
            shown = [value for value in configuration.values if not any(name in value.source for name in hidden)]
            shown = [value for value in shown if not value.name.startswith(("routes.", "clients."))]
            texts = [str([value for value in shown if ".keys." not in value.name]), str(configuration.warnings)]
        assert "hunter2" not in str(texts)


class TestOrchestrators:
    def test_a_service_called_keyrelay_does_no_harm(self, load: Load) -> None:
        assert load(KEYRELAY_PORT="tcp://10.0.0.1:80", KEYRELAY_SERVICE_HOST="10.0.0.1").settings.port == 8787


class TestSettingsAlone:
    def test_clients_and_providers_do_not_matter(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "KEYRELAY_HOST": "0.0.0.0", "GROQ_TIER": "fre"}
        assert load_settings(environ, directory=tmp_path, overrides={}).host == "0.0.0.0"

    def test_settings_do(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidConfiguration, match="KEYRELAY_PORT"):
            load_settings({"KEYRELAY_PORT": "x"}, directory=tmp_path, overrides={})


def test_environ_is_only_read(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")
    before = dict(os.environ)
    load()
    assert dict(os.environ) == before


def test_a_home_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InvalidConfiguration, match=r"data_dir: '~/.local/share/keyrelay' begins with ~"):
        load_configuration({}, directory=tmp_path, overrides={}, catalogue={})


def test_the_shipped_catalogue_takes_every_provider(tmp_path: Path) -> None:
    variables = ("GEMINI", "DEEPSEEK", "COHERE", "AI21", "GROQ", "HUGGINGFACE", "OPENAI", "ANTHROPIC")
    environ = {f"{name}_API_KEY": f"key-of-{name.lower()}-0123456789" for name in variables}
    environ |= {"HOME": str(tmp_path), "OLLAMA_HOST": "localhost"}
    configuration = load_configuration(environ, directory=tmp_path, overrides={})
    assert set(configuration.snapshot.providers) == {name.lower() for name in variables} | {"ollama"}
    assert configuration.warnings == ()
    auto = [target.provider_id for target in configuration.snapshot.routes["auto"].targets]
    assert auto[:6] == ["cohere", "ai21", "groq", "huggingface", "openai", "gemini"]


@pytest.mark.parametrize(
    ("variable", "setting", "url"),
    [
        ("DATABASE_URL", "database_url", "postgresql://keyrelay:sk-test@127.0.0.1/kr"),
        ("REDIS_URL", "redis_url", "rediss://keyrelay:sk-test@127.0.0.1/0"),
    ],
)
def test_the_usual_names_of_secrets_may_name_files_too(tmp_path: Path, variable: str, setting: str, url: str) -> None:
    (tmp_path / "secret").write_text(f"{url}\n")
    environ = {f"{variable}_FILE": "secret", "HOME": str(tmp_path)}
    settings = load_configuration(environ, directory=tmp_path, overrides={}).settings
    assert getattr(settings, setting).reveal() == url


@pytest.mark.parametrize(
    ("variable", "url", "wanted"),
    [
        ("DATABASE_URL", "mysql://root:sk-test@x/y", "postgresql://"),
        ("REDIS_URL", "http://:sk-test@x:6379", "redis://"),
    ],
)
def test_an_address_of_another_kind_of_store_is_a_problem_of_the_configuration(
    load: Load, variable: str, url: str, wanted: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load({}, **{variable: url})
    assert f"environment {variable}: is of a kind that Keyrelay cannot use" in str(caught.value)
    assert f"Begin it with {wanted}, or leave it out (KEYRELAY_{variable})." in str(caught.value)
    assert "sk-test" not in str(caught.value)


def test_the_file_of_the_master_key_is_named_and_not_read(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    settings = load(KEYRELAY_MASTER_KEY_FILE=str(file)).settings
    assert (settings.master_key_file, settings.master_key.reveal()) == (str(file), "")
