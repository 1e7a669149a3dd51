"""A secret that somebody puts into the place of a name is repeated by no answer."""

from pathlib import Path

import pytest

from keyrelay.api.answering import without_secrets
from keyrelay.core.errors import CallerError
from keyrelay.core.redaction import MASK, Redactor
from tests.api.served import CLIENTS, OPERATOR_SECRET
from tests.e2e.harness import CLIENT_SECRET, Caller, chat, embedded, environment, simulated

SECRET = "no&key/that+looks=like~one"
ENCODED = "no%26key%2Fthat%2Blooks%3Dlike~one"
SETTINGS = {"CLIENT_API_KEYS_MAP": CLIENTS, "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", f"/api/v1/people/{ENCODED}", None),
        ("GET", f"/api/v1/{ENCODED}", None),
        ("POST", "/api/v1/tokens", {"name": "ci", "role": SECRET}),
        ("POST", "/api/v1/tokens", {SECRET: 1}),
        ("GET", f"/v1/models/{ENCODED}", None),
        ("GET", f"/v1/{ENCODED}", None),
        ("POST", "/v1/chat/completions", chat(SECRET)),
        ("POST", "/v1/messages", {**chat(SECRET), "max_tokens": 5}),
    ],
)
async def test_a_key_in_the_place_of_a_name_is_not_repeated(
    method: str, path: str, body: object, tmp_path: Path
) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, {"groq": [f"work={SECRET}"]}, **SETTINGS)
        secret = OPERATOR_SECRET if path.startswith("/api/") else CLIENT_SECRET
        async with embedded(environ, tmp_path) as gateway, Caller(gateway.port, secret) as caller:
            reply = await (caller.get(path, method) if body is None else caller.post(path, body, method=method))
            assert reply.status in {400, 404}
            assert SECRET not in reply.body.decode() + str(reply.headers)
            assert MASK in reply.body.decode()


def test_an_error_without_a_secret_stays_what_it_is() -> None:
    error = CallerError(404, "There is no such thing.", param="name", code="not_found", headers=(("a", "b"),))
    assert without_secrets(error, Redactor([SECRET]).redact) is error


def test_all_the_rest_of_an_error_is_kept() -> None:
    error = CallerError(
        409, f"{SECRET} is there.", kind="k", code="c", param=SECRET, headers=(("a", "b"),), detail={"d": 1}
    )
    said = without_secrets(error, Redactor([SECRET]).redact)
    assert (said.status, said.message, said.param) == (409, f"{MASK} is there.", MASK)
    assert (said.kind, said.code, said.headers, said.detail) == ("k", "c", (("a", "b"),), {"d": 1})
