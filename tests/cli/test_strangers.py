"""Somebody else listens where commands expect the gateway: they find out, and send nothing that is worth anything."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from keyrelay.configuration.local_secret import ensure_local_secret, read_local_secret
from tests.cli.helpers import Ended
from tests.e2e.harness import Embedded, embedded, environment, process, simulated

DATA = {"KEYRELAY_DATA_DIR": "data"}
KEY = "sk-test-not-for-strangers"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def gateway_on(directory: Path) -> AsyncIterator[Embedded]:
    """A gateway whose data directory the commands below take."""
    async with simulated() as simulator:
        environ = environment(simulator, {"groq": ["work=sim-groq-a"]}, **DATA)
        async with embedded(environ, directory) as gateway:
            yield gateway


async def run(directory: Path, *arguments: str, stdin: str = "", **environ: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyrelay",
        *arguments,
        cwd=directory,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin", **DATA, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 30.0)
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def test_commands_find_the_demonstration_by_themselves_and_nothing_of_it_stays(tmp_path: Path) -> None:
    ensure_local_secret(tmp_path / "data")  # of a gateway that ran here before
    with socket.create_server(("127.0.0.1", 0)) as probe:
        environ = DATA | {"KEYRELAY_PORT": str(probe.getsockname()[1])}
    async with process(environ, tmp_path, ("-m", "keyrelay", "demo")) as demo:
        assert "look at it:  keyrelay status" in demo.log()
        ended = await run(tmp_path, "quota", "--json", **environ)
        assert (ended.code, "groq" in ended.out) == (0, True), ended.err
        assert await demo.stop() == 0
    assert not list((tmp_path / "data").glob("demo-*"))


class Stranger:
    """Listens, and notes what it is sent. `answer` is what it says to everything; `relay` is a port that it asks."""

    def __init__(self, *, answer: bytes = b"", relay: int = 0) -> None:
        self.answer = answer
        self.relay = relay
        self.heard = bytearray()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Stranger"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: asyncio.Task[None] | None = None
        onward: asyncio.StreamWriter | None = None
        if self.relay:
            answers, onward = await asyncio.open_connection("127.0.0.1", self.relay)
            back = asyncio.create_task(_pump(answers, writer))
        while data := await reader.read(65536):
            self.heard += data
            (onward or writer).write(data if onward else self.answer)
        for each in filter(None, (onward, writer)):
            each.close()
        if back is not None:
            await back


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


def nothing_usable(stranger: Stranger, ended: Ended, directory: Path, *secrets: str) -> None:
    heard = stranger.heard.decode()
    assert heard.startswith("GET /api/v1/local-proof?nonce=")
    assert heard.count("HTTP/1.1\r\n") == 1, heard
    for text in (read_local_secret(directory / "data").reveal(), "authorization", "krl-", *secrets):
        assert text not in heard.lower()
    assert (ended.code, ended.out) == (5, ""), ended
    assert "does not prove to be the gateway of" in ended.err
    assert "nothing was sent there" in ended.err
    assert "ss -ltnp" in ended.err


OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\r\n{"proof": "0", "x": "y"}'


async def test_a_stranger_gets_no_secret_no_signature_and_no_key(tmp_path: Path) -> None:
    ensure_local_secret(tmp_path / "data")
    async with Stranger(answer=OK).listening() as stranger:
        ended = await run(tmp_path, "keys", "add", "groq", stdin=KEY, KEYRELAY_PORT=str(stranger.port))
    nothing_usable(stranger, ended, tmp_path, KEY)


async def test_who_asks_the_gateway_elsewhere_and_passes_its_answers_on_gets_no_further(tmp_path: Path) -> None:
    operator = "7d865e959b2466918c9863afca942d0f"
    async with gateway_on(tmp_path) as gateway, Stranger(relay=gateway.port).listening() as stranger:
        given = {"KEYRELAY_PORT": str(stranger.port), "KEYRELAY_OPERATOR_SECRET": operator}
        ended = await run(tmp_path, "keys", "enable", "groq/mine", **given)
        nothing_usable(stranger, ended, tmp_path, operator)
        stranger.heard.clear()
        here = {"KEYRELAY_URL": f"http://127.0.0.1:{stranger.port}"}
        nothing_usable(stranger, await run(tmp_path, "status", **here), tmp_path)


async def test_the_gateway_of_the_data_directory_is_asked_without_its_secret(tmp_path: Path) -> None:
    async with gateway_on(tmp_path) as gateway:
        port = {"KEYRELAY_PORT": str(gateway.port)}
        added = await run(tmp_path, "keys", "add", "groq", "--label", "mine", "--no-validate", stdin=KEY, **port)
        assert (added.code, added.out) == (0, "groq/mine\n"), added
        assert (await run(tmp_path, "keys", "remove", "groq/mine", "--yes", **port)).code == 0
        found = levels((await run(tmp_path, "doctor", "--json", **port)).document)
        assert (found["gateway"], found["port"]) == ("ok", "ok")
        other = await run(tmp_path, "status", **{**port, "KEYRELAY_DATA_DIR": "other"})
        assert (other.code, "answered 401" in other.err) == (4, True)  # where no gateway has ever run, nothing is known
        ensure_local_secret(tmp_path / "other")
        looked = await run(tmp_path, "doctor", "--json", **{**port, "KEYRELAY_DATA_DIR": "other"})
        assert (looked.code, levels(looked.document)["gateway"]) == (3, "fail")


async def test_a_secret_that_is_given_goes_to_the_address_that_is_given(tmp_path: Path) -> None:
    ensure_local_secret(tmp_path / "data")
    (tmp_path / "token").write_text("krt-test-0123456789\n")
    async with Stranger(answer=b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").listening() as stranger:
        url = f"http://127.0.0.1:{stranger.port}"
        ended = await run(tmp_path, "status", "--url", url, "--secret-file", "token")
    assert ended.code == 4
    assert b"authorization: Bearer krt-test-0123456789\r\n" in stranger.heard
    assert b"local-proof" not in stranger.heard


def levels(document: Any) -> dict[str, str]:
    return {each["name"]: each["level"] for each in document["findings"]}
