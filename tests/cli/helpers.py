"""The real command in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec


class Ended(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Keyrelay:
    """`keyrelay …` with nothing in its environment but a home directory and what a test gives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def environment(self, **environ: str) -> dict[str, str]:
        return {"HOME": str(self.directory / "home"), "PATH": "/usr/bin:/bin", **environ}

    def __call__(self, *arguments: str, **environ: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "keyrelay", *arguments],
            cwd=self.directory,
            env=self.environment(**environ),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)
