"""`keyrelay …` in processes of their own, asked of a gateway that runs meanwhile."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec


class Ended(msgspec.Struct):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Commands of a user with this home directory; `environ` is all that they find in their environment besides."""

    def __init__(self, port: int, home: Path, **environ: str) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._home = home
        self._environ = {"HOME": str(home), "PATH": os.environ["PATH"], **environ}

    async def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "keyrelay",
            *arguments,
            "--url",
            self._url,
            cwd=self._home,
            env=self._environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await started.communicate(stdin.encode())
        return Ended(started.returncode or 0, out.decode(), err.decode())
