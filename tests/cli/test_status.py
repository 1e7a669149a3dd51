"""`keyrelay status` and `keyrelay errors`, against a listener that answers what it is told to."""

from typing import Any

import msgspec
import pytest

from keyrelay.api.errors import _EXAMPLE as ERRORS
from keyrelay.api.status import _EXAMPLE as STATUS
from tests.cli.helpers import Keyrelay
from tests.cli.test_remote import SECRET, Listener, gateway, plain  # noqa: F401 - a fixture is found by its name

DOCUMENT: dict[str, Any] = plain(STATUS)
FAILURES: dict[str, Any] = plain(ERRORS)


def ask(keyrelay: Keyrelay, listener: Listener, *arguments: str) -> Any:
    return keyrelay(*arguments, KEYRELAY_URL=listener.url, KEYRELAY_API_KEY=SECRET)


def test_reasons_are_printed_and_the_shell_is_told(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    gateway.answers["/api/v1/status"] = 200, {**DOCUMENT, "hints": ["Add another one."]}
    ended = ask(keyrelay, gateway, "status")
    assert ended.code == 3
    assert ended.out.splitlines()[:2] == [
        "at risk",
        "  at risk: Only the key gemini/alice still serves; groq/work is out. Until 2026-11-22T00:00:00Z.",
    ]
    assert ended.out.splitlines()[-1].split() == ["auto", "route", "at", "risk", "1", "of", "2"]
    assert "hint: Add another one." in ended.err


@pytest.mark.parametrize(("word", "code"), [("operational", 0), ("degraded", 3), ("at_risk", 3), ("down", 3)])
def test_a_client_is_told_the_word(keyrelay: Keyrelay, gateway: Listener, word: str, code: int) -> None:  # noqa: F811
    gateway.answers["/api/v1/status"] = 200, {"status": word}
    ended = ask(keyrelay, gateway, "status")
    assert (ended.code, ended.out.strip()) == (code, word.replace("_", " "))
    assert "why is told to operators" in ended.err
    as_json = ask(keyrelay, gateway, "status", "--json")
    assert (as_json.code, msgspec.json.decode(as_json.out)) == (code, {"schema_version": 1, "status": word})


def test_failures_are_a_table_with_advice_below(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    gateway.answers["/api/v1/errors"] = 200, {**FAILURES, "groups_total": 3, "complete_since": "2026-11-21T00:00:00Z"}
    ended = ask(keyrelay, gateway, "errors")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[1].split() == [
        "38", "100%", "auth", "Invalid", "API", "key:", "<key>", "groq/work", "2026-11-21T11:58:12Z"
    ]  # fmt: skip
    assert lines[-1].startswith("auth: The provider does not accept this key")
    assert lines[-1].endswith("(POST /api/v1/keys/groq/work/rotate)")
    assert "2 more groups" in ended.err
    assert "whole since 2026-11-21T00:00:00Z alone" in ended.err


def test_failures_can_be_chosen(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    path = "/api/v1/errors?from=7d&to=1d&provider=groq&category=auth"
    gateway.answers[path] = 200, {**FAILURES, "groups": [], "groups_total": 0}
    chosen = ("errors", "--from", "7d", "--to", "1d", "--provider", "groq", "--kind", "auth")
    assert ask(keyrelay, gateway, *chosen).out == "Nothing failed.\n"
    document = msgspec.json.decode(ask(keyrelay, gateway, *chosen, "--json").out)
    assert (document["schema_version"], document["groups"]) == (1, [])


def test_a_filter_by_what_nobody_knows_is_warned_of(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    gateway.answers["/api/v1/errors?provider=grok&category=oauth"] = 200, {**FAILURES, "groups": [], "groups_total": 0}
    gateway.answers["/api/v1/providers?all=true"] = 200, {"items": [{"id": "groq"}]}
    ended = ask(keyrelay, gateway, "errors", "--provider", "grok", "--kind", "oauth")
    assert (ended.code, ended.out) == (0, "Nothing failed.\n")
    warnings = ended.err.splitlines()
    assert warnings[0] == "warning: there is no provider 'grok'. Did you mean groq?"
    assert warnings[1].startswith("warning: 'oauth' is not one of auth, ")
