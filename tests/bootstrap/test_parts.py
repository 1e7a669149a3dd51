"""What the log is told to take out."""

from pathlib import Path

import pytest

from keyrelay.bootstrap.parts import secrets_of
from keyrelay.configuration import Configuration, load_configuration
from tests.shipped import shipped_rows


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("KEYRELAY_UPSTREAM_PROXY", "http://user:pass%2Fword-of-20@proxy.test:3128"),
        ("KEYRELAY_DATABASE_URL", "postgresql://user:pass%2Fword-of-20@db.test/keyrelay"),
        ("KEYRELAY_REDIS_URL", "redis://user:pass%2Fword-of-20@cache.test:6379/0"),
    ],
)
def test_the_password_in_an_address_is_known_in_every_form_in_which_it_is_sent(
    name: str, url: str, tmp_path: Path
) -> None:
    known = secrets_of(loaded({name: url}, tmp_path))
    assert {url, "pass%2Fword-of-20", "pass/word-of-20", "user:pass/word-of-20"} <= set(known)


def test_a_password_that_is_a_word_is_not_taken_out_of_every_text(tmp_path: Path) -> None:
    known = secrets_of(loaded({"KEYRELAY_REDIS_URL": "redis://:keyrelay@cache.test:6379/0"}, tmp_path))
    assert "keyrelay" not in known


def loaded(environ: dict[str, str], directory: Path) -> Configuration:
    return load_configuration(
        {"HOME": str(directory), **environ}, directory=directory, overrides={}, catalogue=shipped_rows()
    )
