"""A script over the keys of one hash slot, of which the first names the others; see `lua/`."""

import hashlib
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from keyrelay.storage.redis.client import Client


class OneKeyScript:
    """A script by the name of its file."""

    __slots__ = ("_client", "_digest", "_text")

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()  # its name in Redis

    async def run(self, key: str, *words: str | bytes | int) -> Any:
        """What it answers; its text is sent only where it is not known. Raises what the client raises."""
        try:
            return await self._client.evalsha(self._digest, 1, key, *words)
        except NoScriptError:
            return await self._client.eval(self._text, 1, key, *words)

    def __repr__(self) -> str:
        return f"<OneKeyScript {self._digest}>"
