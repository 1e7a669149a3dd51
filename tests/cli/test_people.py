"""`keyrelay people`."""

from pathlib import Path

import pytest

from tests.api.served import OPERATOR_SECRET, served
from tests.cli.helpers import Keyrelay
from tests.e2e.test_views import command


@pytest.mark.parametrize("arguments", [("add", "bob"), ("edit", "bob", "--password")])
def test_where_nobody_can_be_asked_for_a_password_a_file_has_to_be_given(
    keyrelay: Keyrelay, arguments: tuple[str, ...]
) -> None:
    ended = keyrelay("people", *arguments)
    assert (ended.code, ended.err) == (
        2,
        "keyrelay: nobody can be asked for a password here: give --password-file.\n",
    )


async def test_a_role_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("violet-harbour-sings-42")
    async with served(tmp_path) as gateway:
        where = {"KEYRELAY_URL": f"http://127.0.0.1:{gateway.port}", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}
        code, _, err = await command(
            tmp_path, "people", "add", "bob", "--role", "boss", "--password-file", "password", **where
        )
        assert (code, "--role: 'boss' is not one of administrator, operator, viewer." in err) == (2, True), err
