import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from keyrelay.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
HELP = {"--help", "-h"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    if path and command.invoke_without_command:
        yield " ".join(path), command
    for name, each in inner.items():
        yield from leaves(each, (*path, name))


def branches(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, each in getattr(command, "commands", {}).items():
        yield " ".join((*path, name)), each
        yield from branches(each, (*path, name))


ROOT = typer.main.get_command(app)
COMMANDS = dict(leaves(ROOT))


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no heading '## {heading}'"
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_heading_and_names_its_options(name: str) -> None:
    text = section(f"keyrelay {name}")
    options = [option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")]
    assert not [option for option in options if option not in HELP and f"`{option}" not in text]


def test_the_options_of_the_bare_command_are_documented() -> None:
    text = section("keyrelay") + section("Options of the configuration") + section("keyrelay up")
    options = [option for parameter in ROOT.params for option in parameter.opts]
    assert not [option for option in options if option not in HELP and f"`{option}" not in text]


def test_every_command_and_every_group_shows_examples() -> None:
    assert [name for name, each in branches(ROOT) if f"Examples:\n  keyrelay {name}" not in (each.help or "")] == []


def test_whatever_removes_for_good_asks_back() -> None:
    flags = {
        name: {option for parameter in each.params for option in parameter.opts} for name, each in COMMANDS.items()
    }
    removing = [name for name in flags if name.endswith(" remove")]
    assert len(removing) == 6
    assert [name for name in removing if "--yes" not in flags[name]] == []


def test_no_heading_without_its_command() -> None:
    headings = set(re.findall(r"^## keyrelay (.+)$", PAGE, re.MULTILINE))
    assert headings == set(COMMANDS)
