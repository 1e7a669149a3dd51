"""The Lua scripts, as they are sent to Redis: `lua/common.lua` before each of them."""

import hashlib
from importlib.resources import files

import msgspec

NAMES = ("admit", "settle", "count", "attach", "beat", "open", "leave")


class Script(msgspec.Struct, frozen=True):
    """A script's text, and the head of an EVALSHA with one key and `words` further arguments."""

    text: bytes
    digest: bytes

    def head(self, words: int) -> bytes:
        """EVALSHA up to the number of keys; key and arguments follow, each a bulk string."""
        return b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n" % (words + 4, self.digest)

    def __repr__(self) -> str:
        return f"<Script {self.digest.decode()}>"


def read_scripts() -> dict[str, Script]:
    """All scripts by name."""
    folder = files(__package__).joinpath("lua")
    common = folder.joinpath("common.lua").read_bytes()
    texts = {name: common + folder.joinpath(f"{name}.lua").read_bytes() for name in NAMES}
    return {name: Script(text, _digest(text)) for name, text in texts.items()}


def bulk(*words: bytes) -> bytes:
    """Arguments of a command, packed one after another."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _digest(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()  # Redis names scripts by their SHA-1
