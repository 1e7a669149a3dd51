"""Commands that ask a running gateway, here one that answers what it is told to."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from keyrelay.api.quota import _EXAMPLE as QUOTA
from keyrelay.api.quota import _LIFESPAN_EXAMPLE as LIFESPAN
from keyrelay.api.requests import _EXAMPLE as EXPLANATION
from keyrelay.engine.explanations import as_text
from tests.cli.helpers import Ended, Keyrelay

SECRET = "9f86d081884c7d659a2feaa0c55ad015"
OTHER = "7d865e959b2466918c9863afca942d0f"


class Listener(ThreadingHTTPServer):
    """Answers every path with `answers`, else 404; remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization")))
        missing = {"error": {"message": "There is no such thing."}}
        status, document = self.server.answers.get(self.path, (404, missing))
        body = document.encode() if isinstance(document, str) else msgspec.json.encode(document)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[Listener]:
    with Listener() as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listener
        listener.shutdown()
        thread.join()


def plain(document: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(document))


PATH = f"/api/v1/requests/{EXPLANATION.request_id}"


def explain(keyrelay: Keyrelay, gateway: Listener, *arguments: str, **environ: str) -> Ended:
    return keyrelay("explain", EXPLANATION.request_id, *arguments, **{"KEYRELAY_URL": gateway.url, **environ})


class TestExplain:
    def test_prints_the_text_for_people(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers[PATH] = 200, as_text(EXPLANATION)
        ended = explain(keyrelay, gateway, KEYRELAY_API_KEY=SECRET)
        assert (ended.code, ended.out, ended.err) == (0, as_text(EXPLANATION), "")
        assert gateway.asked == [(PATH, f"Bearer {SECRET}")]

    def test_prints_the_document(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers[PATH] = 200, EXPLANATION
        document = explain(keyrelay, gateway, "--json").document
        assert document == {"schema_version": 1, **plain(EXPLANATION)}

    def test_an_id_cannot_ask_for_another_path(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        ended = keyrelay("explain", "../quota?key=a b", KEYRELAY_URL=gateway.url)
        assert ended.code == 1
        assert gateway.asked[0][0] == "/api/v1/requests/..%2Fquota%3Fkey%3Da%20b"


class TestWords:
    @pytest.mark.parametrize(
        ("message", "param", "told", "code"),
        [
            ("limits: at most 50.", "limits", "--limit: at most 50.", 2),
            ("role: 'boss' is not one of viewer.", "role", "--role: 'boss' is not one of viewer.", 2),
            ("Send save_unknown to keep it.", "", "Give --save-unknown to keep it.", 1),
            ("Send with_keys=true to delete them.", "", "Give --with-keys to delete them.", 1),
            ("No key; GET /api/v1/keys lists what there is.", "", "No key; `keyrelay keys list` lists", 1),
            ("GET /api/v1/requests/1 has it, /api/v1/keys not.", "", "GET /api/v1/requests/1 has it, /api/v1/keys", 1),
        ],
    )
    def test_a_refusal_speaks_of_commands_and_options(
        self, keyrelay: Keyrelay, gateway: Listener, message: str, param: str, told: str, code: int
    ) -> None:
        error = {"message": message, "param": param, "code": "invalid_parameter" if code == 2 else "other"}
        gateway.answers[PATH] = 400, {"error": error}
        ended = explain(keyrelay, gateway)
        assert (ended.code, f" answered 400: {told}" in ended.err) == (code, True)


class TestWithWhichSecret:
    def asked_with(self, keyrelay: Keyrelay, gateway: Listener, *arguments: str, **environ: str) -> str | None:
        explain(keyrelay, gateway, *arguments, **environ)
        return gateway.asked[-1][1]

    def test_the_operators_comes_before_the_clients(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        both = {"KEYRELAY_OPERATOR_SECRET": OTHER, "KEYRELAY_API_KEY": SECRET}
        assert self.asked_with(keyrelay, gateway, **both) == f"Bearer {OTHER}"

    def test_a_file_comes_before_both(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        (keyrelay.directory / "secret").write_text(f"{SECRET}\n")
        given = self.asked_with(keyrelay, gateway, "--secret-file", "secret", KEYRELAY_OPERATOR_SECRET=OTHER)
        assert given == f"Bearer {SECRET}"

    def test_secrets_may_stand_in_files_and_in_env(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        (keyrelay.directory / "secret").write_text(SECRET)
        assert self.asked_with(keyrelay, gateway, KEYRELAY_API_KEY_FILE="secret") == f"Bearer {SECRET}"
        (keyrelay.directory / ".env").write_text(f"KEYRELAY_API_KEY={OTHER}\n")
        assert self.asked_with(keyrelay, gateway) == f"Bearer {OTHER}"

    def test_without_any_none_is_sent(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        assert self.asked_with(keyrelay, gateway) is None

    @pytest.mark.parametrize("text", ["", "two words\nand lines", "ü" * 20])
    def test_a_file_without_a_secret_is_refused(self, keyrelay: Keyrelay, gateway: Listener, text: str) -> None:
        (keyrelay.directory / "secret").write_text(text)
        ended = explain(keyrelay, gateway, "--secret-file", "secret")
        assert (ended.code, gateway.asked) == (2, [])
        assert ended.err == "keyrelay: secret does not hold a secret on one line.\n"


class TestWhenItDoesNotAnswer:
    def test_nobody_listens(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("quota", "--url", "http://127.0.0.1:1")
        assert (ended.code, ended.out) == (5, "")
        assert ended.err.startswith("keyrelay: no gateway answers at http://127.0.0.1:1: Connection refused.")
        assert ended.err.count("\n") == 1

    def test_the_port_set_is_asked_on_this_machine(self, keyrelay: Keyrelay) -> None:
        assert "at http://127.0.0.1:1:" in keyrelay("--port", "1", "--host", "0.0.0.0", "quota").err
        assert "at http://[::1]:1:" in keyrelay("--port", "1", "--host", "::1", "quota").err

    def test_a_port_that_is_not_known_yet(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("quota", KEYRELAY_PORT="0")
        assert (ended.code, ended.err) == (2, "keyrelay: with port 0 the gateway's port is not known: give --url.\n")

    @pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (400, 1), (404, 1), (503, 1)])
    def test_its_refusal_is_a_line_and_a_code(
        self, keyrelay: Keyrelay, gateway: Listener, status: int, code: int
    ) -> None:
        gateway.answers[PATH] = status, {"error": {"message": "Not like this."}}
        ended = explain(keyrelay, gateway, KEYRELAY_API_KEY=SECRET)
        assert (ended.code, ended.out) == (code, "")
        assert ended.err == f"keyrelay: {gateway.url} answered {status}: Not like this.\n"

    def test_without_a_secret_it_says_where_one_may_stand(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers[PATH] = 401, "<html>who are you?</html>"
        ended = explain(keyrelay, gateway)
        assert ended.err.splitlines() == [
            f"keyrelay: {gateway.url} answered 401: <html>who are you?</html>",
            "Give a secret or a token by --secret-file, KEYRELAY_OPERATOR_SECRET or KEYRELAY_API_KEY.",
        ]

    @pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8787", "http://me:pw@x", "http://x?key=1"])
    def test_a_wrong_address_is_refused(self, keyrelay: Keyrelay, url: str) -> None:
        ended = keyrelay("quota", "--url", url)
        assert ended.code == 2
        assert "is not an address such as http://127.0.0.1:8787." in ended.err


class TestQuota:
    def test_prints_a_table_by_provider(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers["/api/v1/quota?limit=10000"] = 200, QUOTA
        ended = keyrelay("quota", "--url", f"{gateway.url}/v1/")
        assert ended.code == 0
        provider, headers, row, unlimited, estimates = ended.out.splitlines()
        assert provider == "gemini"
        assert headers.split("  ")[0] == "KEY"
        assert re.split(" {2,}", row) == [
            "alice", "gemini-2.5-flash", "250 requests per day@America/Los_Angeles", "190 (2 reserved)", "60", "76%",
            "in 20 h 0 min", "21.5", "runs out 2026-11-21T14:47:26Z", "learned",
        ]  # fmt: skip
        assert unlimited == "ollama: no limit is known for local"
        assert estimates.startswith("estimates of gemini/gemini-2.5-flash after 190 answers: prompts off by 6%")
        assert ended.err == "learned from answers: 1 limit; --json shows their evidence\n"

    def test_filters_go_with_the_question(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        keyrelay("quota", "--provider", "a", "--account", "b c", "--key", "d", "--model", "e/f", "--url", gateway.url)
        assert gateway.asked[0][0] == "/api/v1/quota?provider=a&account=b+c&key=d&model=e%2Ff&limit=10000"

    def test_as_json(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers["/api/v1/quota?limit=10000"] = 200, QUOTA
        document = keyrelay("quota", "--json", "--url", gateway.url).document
        assert document == {"schema_version": 1, **plain(QUOTA)}

    def test_lifespan(self, keyrelay: Keyrelay, gateway: Listener) -> None:
        gateway.answers["/api/v1/quota/lifespan?tokens_per_day=50000.0"] = 200, LIFESPAN
        arguments = ("quota", "lifespan", "--tokens-per-day", "50000", "--url", gateway.url)
        rows = keyrelay(*arguments).out.splitlines()
        assert [row.split()[0] for row in rows] == ["PROVIDER", "gemini", "all"]
        assert "lasts    100%" in rows[1]
        assert keyrelay(*arguments, "--json").document["total"]["verdict"] == "lasts"

    def test_lifespan_wants_a_number(self, keyrelay: Keyrelay) -> None:
        ended = keyrelay("quota", "lifespan")
        assert ended.code == 2
        assert "--tokens-per-day" in ended.err
