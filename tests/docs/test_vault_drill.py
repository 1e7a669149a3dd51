"""The vault's part of the drill in docs/operations.md: its very commands, on a store that holds a key."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
DATA_LINE = "data=~/.local/share/keyrelay                          # keyrelay config path\n"


def blocks() -> list[str]:
    section = PAGE.split("## Backup of the vault\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def shell(script: str, home: Path) -> str:
    script = script.replace("/safe", str(home / "safe")).replace("keyrelay ", f"{sys.executable} -m keyrelay ")
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "KEYRELAY_DATA_DIR": str(home / "data"), "KEYRELAY_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_was_sealed_opens_after_the_restore(tmp_path: Path) -> None:
    saving, restoring = blocks()
    assert DATA_LINE in saving
    data, here = tmp_path / "data", f"data={tmp_path / 'data'}\n"
    (tmp_path / "safe").mkdir()
    (tmp_path / "old").write_text("OLLAMA_ENABLED=false\nCLIENT_API_KEYS_MAP=0f1e2d3c4b5a69788796a5b4c3d2e1f0:App\n")
    shell("keyrelay import old --yes", tmp_path)
    before = shell(saving.replace(DATA_LINE, here), tmp_path)
    (mark,) = re.findall(r"wrapped by (\w+)", before)
    shutil.copytree(data, tmp_path / "backup", ignore=shutil.ignore_patterns("master.key*"))
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)
    data.chmod(0o700)
    after = shell(here + restoring, tmp_path)
    assert f"wrapped by {mark}" in after
    assert "opens the key ring" in after
    assert "duplicate" in shell("keyrelay import old --dry-run", tmp_path)
