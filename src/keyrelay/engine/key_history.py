"""What became of each key's calls lately: the last answer, the last error, the last test. In memory, of one process.

It is told in batches, away from the requests; the kept rows have all of it for good.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from keyrelay.core.probes import Probed
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.pasts import Past

MAX_KEYS: Final = 10_000
_MEAN_OVER: Final = 10


_decoder: Final = msgspec.msgpack.Decoder(dict[str, Past])


class KeyHistory:
    """The pasts of keys by their ids. `refresh` brings in what has happened since it was told last."""

    __slots__ = ("_pasts", "refresh")

    def __init__(self) -> None:
        self._pasts: dict[str, Past] = {}
        self.refresh: Callable[[], None] = _nothing

    def all(self) -> dict[str, Past]:
        """What is known of all keys, by their ids."""
        self.refresh()
        return self._pasts

    def answered(self, record: RequestRecord, now_s: float) -> None:
        """A request has ended; a key may have answered it."""
        if not record.provider or record.cached:
            return
        past = self._past(f"{record.provider}/{record.key}")
        past.used_s = now_s
        if record.category:
            past.failed += 1
        else:
            past.success_s = now_s
            past.answered += 1
            ms = record.upstream_ms if record.first_token_ms is None else record.first_token_ms
            past.ms += (ms - past.ms) / min(past.answered, _MEAN_OVER)

    def failed(self, attempt: Attempt, now_s: float) -> None:
        """A call with a key has failed."""
        past = self._past(f"{attempt.provider}/{attempt.key}")
        past.used_s = past.error_s = now_s
        past.error = attempt.failure
        past.failed += 1

    def tested(self, key_id: str, probed: Probed, now_s: float) -> None:
        """A key has been tested."""
        past = self._past(key_id)
        past.tested_s, past.test = now_s, probed

    def packed(self) -> bytes:
        """All of it, for another process."""
        return msgspec.msgpack.encode(self.all())

    def _past(self, key_id: str) -> Past:
        past = self._pasts.get(key_id)
        if past is None:
            if len(self._pasts) >= MAX_KEYS:
                del self._pasts[next(iter(self._pasts))]
            past = self._pasts[key_id] = Past()
        return past

    def __repr__(self) -> str:
        return f"<KeyHistory of {len(self._pasts)} keys>"


def _nothing() -> None:
    """All that has happened is known."""


def together(own: dict[str, Past], others: Iterable[bytes]) -> dict[str, Past]:
    """What several processes know (`KeyHistory.packed`): the newest of each, and all that was counted."""
    merged = dict(own)
    for packed in others:
        for key_id, past in _decoder.decode(packed).items():
            known = merged.get(key_id)
            merged[key_id] = past if known is None else _joined(known, past)
    return merged


def _joined(one: Past, other: Past) -> Past:
    error, test = max(one, other, key=lambda past: past.error_s), max(one, other, key=lambda past: past.tested_s)
    return Past(
        used_s=max(one.used_s, other.used_s),
        success_s=max(one.success_s, other.success_s),
        error_s=error.error_s,
        error=error.error,
        tested_s=test.tested_s,
        test=test.test,
        answered=one.answered + other.answered,
        failed=one.failed + other.failed,
        ms=(one.ms * one.answered + other.ms * other.answered) / max(1, one.answered + other.answered),
    )
