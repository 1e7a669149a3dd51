"""What the response cache has done since this process started."""

import msgspec

from keyrelay.core.usage import Usage
from keyrelay.engine.kept import Wrong
from keyrelay.wire.cache_answers import NotKept


class Saved(msgspec.Struct, kw_only=True):
    """What answers would have taken that no provider was asked for; `unpriced` of them have no known price."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0


class CacheCounts(msgspec.Struct, kw_only=True):
    """Requests that the cache had a say in, by what became of them, and answers by what was done with them.

    `hits` got an answer given before, `shared` one that was made for another request at the same time, `misses` their
    own. `not_kept` and `wrong` say by reason how many answers were not put away, and how many did not come back as
    they were.
    """

    hits: int = 0
    shared: int = 0
    misses: int = 0
    stored: int = 0
    not_kept: dict[NotKept, int] = {}
    wrong: dict[Wrong, int] = {}
    saved: Saved = msgspec.field(default_factory=Saved)

    def save(self, usage: Usage | None, cost_usd: float | None) -> None:
        """An answer was given without a call that would have used this."""
        saved = self.saved
        if usage is not None:
            saved.input_tokens += usage.input_tokens
            saved.output_tokens += usage.output_tokens
        if cost_usd is None:
            saved.unpriced += 1
        else:
            saved.cost_usd += cost_usd

    def leave_out(self, reason: NotKept) -> None:
        """An answer is not kept."""
        self.not_kept[reason] = self.not_kept.get(reason, 0) + 1

    def find_wrong(self, wrong: Wrong) -> int:
        """A kept answer was not what it should be; how often that has happened."""
        self.wrong[wrong] = self.wrong.get(wrong, 0) + 1
        return sum(self.wrong.values())
