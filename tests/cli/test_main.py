import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from keyrelay import __version__
from keyrelay.core.compiled import is_compiled
from tests.cli.helpers import Keyrelay

COMMANDS = (
    (),
    ("up",),
    ("demo",),
    ("simulator",),
    ("config", "show"),
    ("config", "check"),
    ("config", "path"),
    ("providers", "list"),
    ("models", "list"),
    ("clients", "new"),
    ("clients", "list"),
    ("clients", "remove"),
    ("quota",),
    ("quota", "lifespan"),
    ("explain",),
    ("replay",),
)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_examples_come_first(self, command: tuple[str, ...], keyrelay: Keyrelay) -> None:
        ended = keyrelay(*command, "--help")
        assert ended.code == 0
        assert ended.err == ""
        assert ended.out.index("Examples:") < ended.out.index("Options:")

    def test_short_form(self, keyrelay: Keyrelay) -> None:
        assert keyrelay("-h").out == keyrelay("--help").out
        assert keyrelay("config", "show", "-h").out.startswith("Usage: keyrelay config show")

    def test_it_loads_neither_server_nor_store(self, tmp_path: Path) -> None:
        code = (
            "import sys\nsys.argv = ['keyrelay', '--help']\nfrom keyrelay.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "unwanted = {'fastapi', 'uvicorn', 'sqlalchemy', 'starlette', 'rich', 'keyrelay.configuration'}\n"
            "print(sorted(unwanted & sys.modules.keys()))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [("version",), ("--version",)])
def test_version(arguments: tuple[str, ...], keyrelay: Keyrelay) -> None:
    ended = keyrelay(*arguments)
    how = " (compiled)" if is_compiled() else ""
    assert (ended.code, ended.out, ended.err) == (0, f"keyrelay {__version__}{how}\n", "")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--prt", "1"), "--port"),
        (("upp",), "Did you mean 'up'?"),
        (("config", "chek"), "Did you mean 'check'?"),
        (("simulator", "--port", "70000"), "--port"),
        (("simulator", "--scenario", "nowhere"), "does not exist"),
        (("clients", "remove"), "LABEL"),
    ],
)
def test_wrong_usage_is_code_2_with_a_hint_on_stderr(arguments: tuple[str, ...], hint: str, keyrelay: Keyrelay) -> None:
    ended = keyrelay(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert hint in ended.err


class TestUp:
    def test_problems_are_lines_without_a_traceback(self, keyrelay: Keyrelay) -> None:
        secret = "gsk_0123456789abcdef"
        ended = keyrelay("--port", "x", GROQ_API_KEYS=f"a={secret},a={secret}2", KEYRELAY_PROT="1")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.splitlines()[0] == "keyrelay: configuration: 3 problems"
        assert "command line port: 'x' is not a whole number from 0 to 65535." in ended.err
        assert "Traceback" not in ended.err
        assert secret not in ended.err

    def test_options_behind_the_command_win(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("--port", "1", "--log-level", "loud", "up", "--port", "x")
        assert "command line port: 'x'" in ended.err
        assert "command line log_level: 'loud' is not one of debug, info, warning, error." in ended.err


class TestWhatIsStarted:
    """What the commands hand to `cli.serving` and `cli.simulation`, with stand-ins in their place."""

    STAND_IN = (
        "import sys, types\n"
        "def run(configuration, overrides):\n"
        "    print('run', sorted(configuration.snapshot.providers), configuration.settings.port)\n"
        "    return 7\n"
        "def run_demo(configuration):\n"
        "    print('demo', configuration.settings.port)\n"
        "    return 9\n"
        "def run_simulator(**options):\n"
        "    print('simulator', options)\n"
        "    return 8\n"
        "def interrupted(configuration):\n"
        "    raise KeyboardInterrupt\n"
        "serving = sys.modules['keyrelay.cli.serving'] = types.ModuleType('serving')\n"
        "simulation = sys.modules['keyrelay.cli.simulation'] = types.ModuleType('simulation')\n"
        "serving.run, simulation.run_demo, simulation.run_simulator = run, run_demo, run_simulator\n"
        "from keyrelay.cli.main import main\n"
    )

    def start(self, keyrelay: Keyrelay, *arguments: str, before: str = "", **environ: str) -> tuple[int, str]:
        code = f"{self.STAND_IN}{before}\nsys.argv[1:] = {list(arguments)}\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=keyrelay.directory,
            env=keyrelay.environment(**environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout.strip()

    @pytest.mark.parametrize("arguments", [(), ("up",)])
    def test_with_a_provider(self, arguments: tuple[str, ...], keyrelay: Keyrelay) -> None:
        code, out = self.start(keyrelay, *arguments, GROQ_API_KEY="gsk_0123456789abcdef", PORT="9")
        assert (code, out) == (7, "run ['groq'] 9")

    def test_without_a_provider_it_is_the_demonstration(self, keyrelay: Keyrelay) -> None:
        assert self.start(keyrelay) == (9, "demo 8787")

    def test_demo(self, keyrelay: Keyrelay) -> None:
        code, out = self.start(keyrelay, "demo", "--port", "0", GROQ_API_KEY="gsk_0123456789abcdef")
        assert (code, out) == (9, "demo 0")

    def test_simulator(self, keyrelay: Keyrelay) -> None:
        (keyrelay.directory / "faults.toml").write_text("")
        arguments = ("--provider", "groq", "--provider", "gemini", "--seed", "7", "--scenario", "faults.toml")
        code, out = self.start(keyrelay, "simulator", *arguments)
        assert code == 8
        assert "'provider_ids': ('groq', 'gemini')" in out
        assert "'seed': 7" in out
        assert "'scenario_file': PosixPath('faults.toml')" in out

    def test_interruption(self, keyrelay: Keyrelay) -> None:
        assert self.start(keyrelay, before="simulation.run_demo = interrupted")[0] == 130


def test_a_reader_that_goes_away_is_no_traceback(keyrelay: Keyrelay) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "keyrelay", "models", "list", "--all"],
        cwd=keyrelay.directory,
        env=keyrelay.environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def on_a_terminal(keyrelay: Keyrelay, *arguments: str, **environ: str) -> str:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "keyrelay", *arguments],
        cwd=keyrelay.directory,
        env=keyrelay.environment(TERM="xterm", COLUMNS="160", **environ),
        stdout=follower,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(follower)
        chunks = bytearray()
        while True:
            try:
                data = os.read(leader, 65_536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not data:
                break
            chunks += data
    os.close(leader)
    assert process.returncode == 0
    return chunks.decode()


class TestColour:
    def test_a_terminal_gets_a_table_with_colour(self, keyrelay: Keyrelay) -> None:
        out = on_a_terminal(keyrelay, "config", "path")
        assert "\x1b[1m" in out
        assert "─" in out

    def test_no_color_is_honoured(self, keyrelay: Keyrelay) -> None:
        assert "\x1b[3" not in on_a_terminal(keyrelay, "config", "show", NO_COLOR="1")

    def test_a_pipe_gets_plain_text(self, keyrelay: Keyrelay) -> None:
        out = keyrelay("config", "path").out
        assert out.isascii()
        assert "\x1b" not in out
