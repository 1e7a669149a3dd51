"""Plant a secret in every place where one may be, let everything go wrong, and look for them in all that comes out.

The gateway is the real command at log level debug, with simulated providers that play the whole fault matrix and one
that repeats every credential it is sent. Keys, clients, people, tokens and channels are administered meanwhile, wrongly
too; the gateway is killed, started again and backed up. `scripts/secrets` runs it at length on both kinds of store.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import uvloop

from keyrelay.simulator import Change, ProviderPlan, Scenario
from tests.e2e.commands import Commands
from tests.e2e.harness import CLIENT_SECRET, Caller, Process, chat, process, simulated
from tests.faults.backing import Backing
from tests.faults.crash import DATA
from tests.faults.misplacing import ENDLESS, HEADERS, filled, in_control, in_data
from tests.faults.planting import Plan, Planted, good
from tests.faults.spelling import Outcome, coined
from tests.faults.stores import backed_up, keys_of_ring, postgres_texts, redis_texts
from tests.faults.tattlers import tattler
from tests.servers.watcher import descendants

MODELS = ("groq/openai/gpt-oss-20b", "openai/gpt-6-luna", "gemini/gemini-3.1-flash-lite")
OFFLINE = ("config show", "config check", "secrets status", "db status", "doctor")
"""These read the environment and the store themselves, wherever the gateway is."""


class Run(Planted):
    """One plan at work."""

    # Traffic

    async def load(self) -> None:
        """Requests of every kind through every fault."""
        texts = frozenset({"prompt", "answer"})
        prompt = self.plant("prompt", marks=True)
        sources = ("client of the environment", "rotated client")
        for fault in self.plan.faults:
            for provider in ("groq", "openai", "gemini", "mistral"):
                self.simulator.change(Change(provider=provider, faults={fault: 1.0}))
            await self._wake()
            secret = str(self.canaries[sources[len(fault) % 2]].text)
            models = [*MODELS, "mistral/mistral-small-2603", "echo/m", "far/m", "auto"]
            await asyncio.gather(*(self._chat(model, prompt, secret, texts) for model in models))
        for provider in ("groq", "openai", "gemini", "mistral"):
            self.simulator.change(Change(provider=provider, faults={}))
        await self._wake()
        for number in range(-(-self.tattler.ways // 2)):
            for stream in (False, True):
                await self._wake("echo/told", "far/far-1")
                body = chat("echo/m", text=prompt, stream=stream)
                await self.ask("POST", "/v1/chat/completions", body, secret=CLIENT_SECRET, shows=texts)
            if number % 5 == 0:
                await self.ask("POST", "/api/v1/keys/echo/told/test")
                await self.ask("POST", "/api/v1/providers/echo/discover")
                await self.ask("POST", "/api/v1/providers/echo/test")
                preview = {
                    "base_url": f"http://127.0.0.1:{self.tattler.port}/v1",
                    "secret": self.plant(f"preview {number}"),
                }
                await self.ask("POST", "/api/v1/providers/preview", preview)
                await self.ask("POST", "/api/v1/alerts/channels/hook/test")
        for body in (chat(MODELS[0], text=prompt), chat(MODELS[0], text=prompt, temperature=0)):
            reply = await self.ask("POST", "/v1/chat/completions", body, secret=CLIENT_SECRET, shows=texts)
            good(reply)

    async def _chat(self, model: str, prompt: str, secret: str, texts: frozenset[str]) -> None:
        for path, stream in (("/v1/chat/completions", False), ("/v1/chat/completions", True), ("/v1/messages", True)):
            body = chat(model, text=prompt, stream=stream, max_tokens=50)
            await self.ask("POST", path, body, secret=secret, shows=texts)

    async def _wake(self, *keys: str) -> None:
        await self.ask("DELETE", "/api/v1/quota/learned")
        if not keys:
            page = (await self.ask("GET", "/api/v1/keys")).json
            keys = tuple(key["id"] for key in page["items"])
        await asyncio.gather(*(self.ask("POST", f"/api/v1/keys/{key}/wake") for key in keys))

    async def misplace(self) -> None:
        """Secrets in every wrong place of every operation; not even an answer to who has sent them repeats them."""
        document = (await self.ask("GET", "/openapi.json")).json
        secret = str(self.canaries["rotated key"].text)
        for method, path, body in in_control(document, secret):
            await self.ask(method, path, body)
        for method, path, body in in_data(secret):
            await self.ask(method, path, body, secret=CLIENT_SECRET)
        for name in HEADERS:
            await self.ask("PATCH", "/api/v1/settings", {}, **{name: secret})
            await self.ask("POST", "/v1/chat/completions", chat(), secret=CLIENT_SECRET, **{name: secret})

    async def look_around(self) -> None:
        """Every page that there is to read, and everything that the commands print."""
        document = (await self.ask("GET", "/openapi.json")).json
        # A client that puts a key into its prompt has it kept there, for administrators alone, where texts are kept.
        texts = frozenset({"prompt", "answer", "rotated key"} if self.plan.texts else ())
        rows = (await self.ask("GET", "/api/v1/requests?limit=200")).json["requests"]
        for path, operations in document["paths"].items():
            if "get" in operations and path not in ENDLESS:
                shows = ("csrf 2",) if path == "/api/v1/session" else ()
                await self.ask("GET", filled(path), shows=shows)
        for row in rows:
            await self.ask("GET", f"/api/v1/requests/{row['request_id']}")
        for row in rows[:20]:
            await self.ask("GET", f"/api/v1/requests/{row['request_id']}/text", shows=texts)
        for path in ("/metrics", "/readyz?verbose=true", "/docs", "/redoc", "/setup", "/", "/api/v1/audit?limit=1000"):
            await self.ask("GET", path)
        for path in ("/api/v1/usage/export?format=csv", "/api/v1/requests/export?format=jsonl"):
            await self.ask("GET", path)

    async def command(self, environ: Mapping[str, str]) -> None:
        """What commands print, with the gateway's environment and with a user's."""
        token = str(self.canaries["token"].text)
        run = Commands(self.port, self.directory, KEYRELAY_OPERATOR_SECRET=token)
        for line in self.plan.commands:
            ended = await run(*line.split())
            self.seen.add(f"keyrelay {line}", f"{ended.out}\n{ended.err}")
        added = await run(
            "keys", "add", "groq", "--label", "typed", stdin=self.plant("key from standard input", marks=True)
        )
        assert added.code == 0, added.err
        self.seen.add("keyrelay keys add", added.out + added.err)
        wrong = Commands(self.port, self.directory, KEYRELAY_OPERATOR_SECRET=self.plant("wrong operator"))
        ended = await wrong("keys", "list")
        self.seen.add("keyrelay keys list, refused", ended.out + ended.err)
        for line in set(OFFLINE) & set(self.plan.commands):
            await self._offline(line, environ)
        if self.plan.misconfigured:
            await self._misconfigure(environ)

    async def _misconfigure(self, environ: Mapping[str, str]) -> None:
        """Secrets in variables that do not do."""
        broken = {"KEYRELAY_DATABASE_URL": f"postgresql://u:{self.plant('password of no database')}@127.0.0.1:1/x"}
        for line in ("db status", "secrets status"):
            await self._offline(line, {**environ, **broken})
        bad = {
            name: self.plant(f"secret in {name}", marks=True)
            for name in ("KEYRELAY_DATABASE_URL", "KEYRELAY_REDIS_URL")
        }
        bad |= {
            name: self.plant(f"secret in {name}", marks=True)
            for name in ("KEYRELAY_MASTER_KEY", "KEYRELAY_UPSTREAM_PROXY")
        }
        bad |= {name: self.plant(f"secret in {name}", marks=True) for name in ("GROQ_BASE_URL", "GROQ_LIMIT")}
        bad |= {"KEYRELAY_WORKERS": "1"}
        for line in ("config check", "config show"):
            await self._offline(line, {**environ, **bad})

    async def _offline(self, line: str, environ: Mapping[str, str]) -> None:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "keyrelay", *line.split(),
            cwd=self.directory,
            env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin", **environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await started.communicate()
        self.seen.add(f"keyrelay {line}, by the environment", out)

    # Looking

    @contextlib.asynccontextmanager
    async def started(self, environ: Mapping[str, str]) -> AsyncIterator[Process]:
        """The gateway, whose output is looked at when it has ended; the code for setting up stands there once."""
        async with process(environ, self.directory) as gateway:
            self.port = gateway.port
            yield gateway
        code = gateway.log().partition("/setup#")[2].split()[:1]
        log = gateway.log().replace(f"/setup#{code[0]}", "/setup#", 1) if code else gateway.log()
        self.seen.add("log", log)
        gateway.output.unlink()

    async def listen(self, who: str) -> None:
        """The stream of events; canaries in it count like in any answer."""
        secret = str(self.canaries[who].text)
        async with Caller(self.port, secret) as caller:
            reader, writer = await caller.streams()
            writer.write(f"GET /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n".encode())
            while data := await reader.read(65_536):
                self.seen.add("events", data)

    async def watch_titles(self) -> None:
        """What `ps` shows of every process, for as long as this is let run."""
        while True:
            for title in titles():
                self.seen.add("ps", title)
            await asyncio.sleep(0.03)

    async def look_at_stores(self) -> None:
        """Files, tables and keys as they are after the kill, and a backup."""
        data = self.directory / DATA
        allowed = {"master.key": "master key", "local.secret": "local secret", "key.txt": "key in a file"}
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and not path.name.startswith("stderr-"):
                names = frozenset({allowed[path.name]}) if path.name in allowed else frozenset()
                self.seen.add(f"file {path.name}", path.read_bytes(), names)
        if (data / "keyrelay.db").exists() and not self.plan.shared:
            self.seen.add("backup", backed_up(data / "keyrelay.db", self.directory / "backup.db"))
        if self.plan.shared:
            self.seen.add("PostgreSQL", postgres_texts(self.backing.postgres, self.backing.database_url))
            self.seen.add("Redis", redis_texts(self.backing.redis))

    async def learn_own(self, environ: Mapping[str, str]) -> None:
        """The secrets that the gateway made for itself, which are looked for as well."""
        data = self.directory / DATA
        self.learn("local secret", (data / "local.secret").read_text().strip())
        if not self.plan.shared:
            self.learn("master key", (data / "master.key").read_text().strip())
        for name, key in (await keys_of_ring(environ, self.directory)).items():
            self.learn(name, key)

    async def run(self) -> Outcome:
        """The plan from beginning to end."""
        environ = self.environ()
        watching = asyncio.create_task(self.watch_titles())
        async with self.started(environ) as gateway:
            code = self.learn("set-up code", gateway.log().partition("/setup#")[2].split()[0])
            await self.set_up(code)
            await self.administer()
            listening = asyncio.create_task(self.listen("token"))
            await self.load()
            if self.plan.misplaced:
                await self.misplace()
            await self.look_around()
            await self.command(environ)
            self.look_at_heard()
            await asyncio.sleep(1.2)
            await self.look_at_stores()
            gateway.process.kill()
            await gateway.process.wait()
            await asyncio.gather(listening, return_exceptions=True)
        await self.look_at_stores()
        async with self.started({**environ, "KEYRELAY_OPERATOR_SECRET": self.plant("operator")}) as gateway:
            listening = asyncio.create_task(self.listen("operator"))
            await self.look_around()
            await gateway.stop()
            await asyncio.gather(listening, return_exceptions=True)
        await self.look_at_stores()
        watching.cancel()
        await self.learn_own(environ)
        return self.seen.search(list(self.canaries.values()))

    def look_at_heard(self) -> None:
        """What the repeating provider was sent: its own keys, the proxy's password, the hooks' addresses."""
        own = {"key that is repeated", "refused key", "password of the proxy", "key behind the proxy", "prompt"}
        own |= {"path of a webhook", "query of a webhook", "slack", "apprise"}
        own |= {name for name in self.canaries if name.startswith("preview")}
        for heard in self.tattler.heard:
            self.seen.add("requests to a provider", heard, frozenset(own))


def titles() -> Iterator[bytes]:
    """Command line and name of every process below this one."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            yield Path(f"/proc/{pid}/cmdline").read_bytes()
            yield Path(f"/proc/{pid}/comm").read_bytes()


async def secrets(plan: Plan, directory: Path) -> tuple[Outcome, Run]:
    """Carry out a plan."""
    with Backing.up(redis=plan.shared, postgres=plan.shared) as backing:
        await backing.make_tables()
        source = random.Random(plan.seed + 1)
        answer = coined(source, "answer", marks=True)
        plans = {name: ProviderPlan(limits=()) for name in ("groq", "openai", "gemini", "mistral")}
        async with simulated(Scenario(providers=plans)) as simulator, tattler(str(answer.text)) as told:
            run = Run(plan, directory, simulator, told, backing)
            run.learn("answer", answer.text)
            return await run.run(), run


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(prog="scripts/secrets", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the secrets")
    parser.add_argument("--only", choices=("embedded", "shared"), help="one kind of store alone")
    given = parser.parse_args()
    failed = False
    for name, shared in (("embedded", False), ("shared", True)):
        if given.only in {None, name}:
            began_at = time.monotonic()
            with tempfile.TemporaryDirectory() as directory:
                outcome, run = uvloop.run(secrets(Plan(shared=shared, texts=shared, seed=given.seed), Path(directory)))
            sys.stdout.write(f"{name}: {outcome} in {time.monotonic() - began_at:.0f} s\n")
            sys.stdout.write(f"  answers by status: {dict(sorted(run.statuses.items()))}\n")
            sys.stdout.writelines(f"  allowed: {where}\n" for where in outcome.allowed)
            sys.stdout.writelines(f"  HIT {hit}\n" for hit in outcome.hits)
            failed = failed or bool(outcome.hits)
    sys.exit(failed)


if __name__ == "__main__":
    main()
