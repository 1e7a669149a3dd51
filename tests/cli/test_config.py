from tests.cli.helpers import Keyrelay

SECRET = "gsk_0123456789abcdef"
CLIENT = "9f86d081884c7d659a2feaa0c55ad015"


def test_show_prints_every_value_with_its_source(keyrelay: Keyrelay) -> None:
    (keyrelay.directory / ".env").write_text(f"GROQ_API_KEYS=org:alice={SECRET}\nGROQ_RPM=5\n")
    (keyrelay.directory / "keyrelay.toml").write_text('[routes.fast]\ntargets = ["groq"]\n')
    ended = keyrelay("--port", "9000", "config", "show", CLIENT_API_KEYS_MAP=f"{CLIENT}:App1")
    assert ended.code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in ended.out.splitlines()}
    assert lines["settings.port"] == "9000 command line"
    assert lines["settings.host"] == "127.0.0.1 default"
    assert lines["providers.groq.tier"] == "unknown default"
    assert lines["providers.groq.priority"] == "3 catalogue"
    assert lines["providers.groq.keys.alice"] == "…cdef (account org) .env GROQ_API_KEYS"
    assert lines["providers.groq.limits.1"] == "5 requests per 60s for (account, model) .env GROQ_RPM"
    assert lines["routes.fast.targets"] == "groq keyrelay.toml"
    assert lines["clients.App1"].endswith("… environment CLIENT_API_KEYS_MAP")
    assert SECRET not in ended.out
    assert CLIENT not in ended.out


def test_show_as_json(keyrelay: Keyrelay) -> None:
    ended = keyrelay("config", "show", "--json", GROQ_API_KEY=SECRET, GEMINI_API_KEY="")
    document = ended.document
    assert document["schema_version"] == 1
    assert {"name": "settings.port", "value": "8787", "source": "default"} in document["values"]
    assert document["warnings"] == ["GEMINI_API_KEY: is empty and therefore ignored."]
    assert ended.err == ""
    assert SECRET not in ended.out


def test_warnings_go_to_stderr(keyrelay: Keyrelay) -> None:
    ended = keyrelay("config", "show", GEMINI_API_KEY="")
    assert ended.err == "warning: GEMINI_API_KEY: is empty and therefore ignored.\n"


class TestCheck:
    def test_in_order(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("config", "check")
        assert (ended.code, ended.out, ended.err) == (0, "", "The configuration is in order.\n")

    def test_problems_are_the_data_and_code_3(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("config", "check", KEYRELAY_PORT="x", GROQ_TIER="x", GROQ_API_KEY=SECRET)
        assert ended.code == 3
        assert ended.out.splitlines() == [
            "environment KEYRELAY_PORT: 'x' is not a whole number from 0 to 65535.",
            "environment GROQ_TIER: is not one of free, paid, unknown.",
        ]
        assert ended.err == "problems: 2, warnings: 0\n"

    def test_as_json(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("config", "check", "--json", KEYRELAY_PROT="x")
        assert ended.code == 3
        assert ended.document["ok"] is False
        assert ended.document["problems"] == [
            {
                "where": "KEYRELAY_PROT",
                "problem": "Keyrelay has no such setting.",
                "fix": "Did you mean KEYRELAY_PORT?",
            }
        ]


class TestPath:
    def test_table(self, keyrelay: Keyrelay) -> None:
        (keyrelay.directory / ".env").write_text("")
        rows = [line.split(maxsplit=2) for line in keyrelay("config", "path").out.splitlines()[1:]]
        assert rows == [
            ["config_file", str(keyrelay.directory / "keyrelay.toml"), "not there"],
            ["env_file", str(keyrelay.directory / ".env")],
            ["data_dir", str(keyrelay.directory / "home/.local/share/keyrelay"), "not there"],
        ]

    def test_as_json(self, keyrelay: Keyrelay) -> None:
        paths = keyrelay("config", "path", "--json", "--data-dir", "/data/x").document["paths"]
        assert paths["data_dir"] == {"path": "/data/x", "exists": False}

    def test_works_with_providers_in_disorder(self, keyrelay: Keyrelay) -> None:
        assert keyrelay("config", "path", GROQ_TIER="x", KEYRELAY_HOST="0.0.0.0").code == 0
