"""What a running gateway does with another configuration."""

import asyncio
from pathlib import Path

from keyrelay.configuration import Configuration, load_configuration
from keyrelay.configuration.watching import Reading
from keyrelay.core.administered import NOTHING
from tests.api.served import CLIENTS, MODEL, OPERATOR_SECRET, OTHER_SECRET, look
from tests.e2e.harness import CLIENT_SECRET, Embedded, chat, embedded, environment, simulated, until

REQUESTS = "/api/v1/requests"


def take(gateway: Embedded, configuration: Configuration) -> None:
    """Have a gateway go on with another configuration."""
    gateway.application.watch.take(NOTHING, Reading(configuration=configuration, administered=NOTHING))


async def test_settings_keys_and_secrets_are_those_of_the_new_one(tmp_path: Path) -> None:
    async with simulated() as simulator:
        one = environment(simulator, {"groq": ["work=sim-groq-a"]}, CLIENT_API_KEYS_MAP=CLIENTS)
        other = environment(simulator, {"groq": ["home=sim-groq-b"]}, CLIENT_API_KEYS_MAP=f"{CLIENT_SECRET}:tests")

        def apply(gateway: Embedded, environ: dict[str, str]) -> None:
            environ = {"HOME": str(tmp_path), **environ}
            take(gateway, load_configuration(environ, directory=tmp_path, overrides={}))

        async with embedded(one, tmp_path) as gateway:
            assert (await gateway.ask(chat(MODEL))).headers["x-keyrelay-key"] == "work"
            assert (await look(gateway, REQUESTS, OPERATOR_SECRET)).status == 401
            gateway.application.log.redactor.know(["one-more-secret"])
            more = {
                "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
                "KEYRELAY_LOG_FORMAT": "text",
                "KEYRELAY_LOG_LEVEL": "warning",
                "KEYRELAY_MAX_BODY_BYTES": "1024",
                "KEYRELAY_KEPT_REQUESTS": "7",
            }
            apply(gateway, other | more)
            assert (await gateway.ask(chat(MODEL))).headers["x-keyrelay-key"] == "home"
            assert (await gateway.ask(chat(MODEL, text="x" * 2000))).status == 413
            assert (await look(gateway, REQUESTS, OPERATOR_SECRET)).status == 200
            assert (await look(gateway, REQUESTS, OTHER_SECRET)).status == 401
            log = gateway.application.log
            log.write_message(0.0, "warning", f"keys: sim-groq-b {OPERATOR_SECRET} one-more-secret", "test")
            assert gateway.log().endswith("keys: [redacted] [redacted] [redacted]\n")
            log.write_message(0.0, "info", "not severe enough", "test")
            assert "not severe enough" not in gateway.log()
            apply(gateway, other | {"KEYRELAY_ANSWER_HEADERS": "false"})
            reply = await gateway.ask(chat(MODEL, text="x" * 2000))
            assert reply.is_good()
            assert not [name for name in reply.headers if name.startswith("x-keyrelay")]
            assert (await look(gateway, REQUESTS, OPERATOR_SECRET)).status == 401


async def test_a_stream_under_way_ends_as_it_began(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, {"groq": ["work=sim-groq-a"]}, CLIENT_API_KEYS_MAP=CLIENTS)
        none = environment(simulator, {}, CLIENT_API_KEYS_MAP=CLIENTS)
        configuration = load_configuration({"HOME": str(tmp_path), **none}, directory=tmp_path, overrides={})
        async with embedded(environ, tmp_path) as gateway:
            streaming = asyncio.ensure_future(gateway.ask(chat(MODEL, stream=True)))
            await until(lambda: simulator.judge.total == 1, "it has been sent")
            take(gateway, configuration)
            assert (await streaming).is_good()
            assert (await gateway.ask(chat(MODEL))).status == 404
