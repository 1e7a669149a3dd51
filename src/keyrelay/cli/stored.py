"""Where no gateway answers: what its store says, read in the process of the command, and nothing changed by that."""

import asyncio
from typing import TYPE_CHECKING

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note
from keyrelay.cli.words import message_of

if TYPE_CHECKING:
    from keyrelay.bootstrap.stored import StoredAnswer
    from keyrelay.configuration import Configuration
    from keyrelay.core.administered import Administered
    from keyrelay.settings import Settings

_FINE = range(200, 300)


class Store:
    """The store of the gateway that these options and settings mean, for when that does not answer.

    Who names an address means a gateway of anywhere, and has no store. `as_of` is when the store was last written to,
    once it has been asked: None before.
    """

    def __init__(self, overrides: options.Overrides, settings: "Settings") -> None:
        self._overrides = overrides
        self._settings = settings
        self.as_of: str | None = None
        self.absence = ""

    def is_there(self) -> bool:
        """Whether there is one; if not, `absence` is a sentence that says where there is none."""
        if self._settings.url:
            return False
        from keyrelay.bootstrap.stored import has_store

        if has_store(self._settings):
            return True
        self.absence = f"There is no store in {self._settings.data_dir}. "
        return False

    def get(self, target: str, accept: str, *, missing: str) -> bytes:
        """The body of what the gateway would answer to GET; `missing` says in words which one did not.

        The first time, a line on stderr says where it comes from. Raise typer.Exit, after a line that says why, when
        there is no answer, and KeyrelayError when the configuration is not valid.
        """
        from keyrelay.core.errors import StoreError

        try:
            answer = self._ask(target, accept)
        except StoreError as error:
            note(f"keyrelay: {missing}, and its store cannot be read: {error}.")
            raise typer.Exit(Exit.FAILED) from None
        if self.as_of is None:
            self._say(answer, missing)
        if answer.status in _FINE:
            return answer.body
        note(f"keyrelay: {message_of(answer.body)}")
        raise typer.Exit(Exit.FAILED)

    def _ask(self, target: str, accept: str) -> "StoredAnswer":
        from keyrelay.bootstrap.stored import ask_store

        def load(administered: "Administered") -> "Configuration":
            return options.configuration_of(self._overrides, administered)

        return asyncio.run(ask_store(options.configuration_of(self._overrides), load, target, accept))

    def _say(self, answer: "StoredAnswer", missing: str) -> None:
        from keyrelay.core.moments import rfc3339

        self.as_of = rfc3339(answer.as_of_s) if answer.as_of_s else "never"
        waiting = ""
        if answer.rows_waiting:
            rows = "1 row" if answer.rows_waiting == 1 else f"{answer.rows_waiting:,} rows"
            waiting = f"; its journal holds {rows} that the store does not have yet"
        if answer.bytes_waiting:
            waiting += f"; {answer.bytes_waiting:,} bytes of journal were not looked at"
        note(f"keyrelay: {missing}: what follows is what its store says, as of {self.as_of}{waiting}.")

    def __repr__(self) -> str:
        return f"<Store as of {self.as_of or 'not known yet'}>"
