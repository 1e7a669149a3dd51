"""Composing the answer to an admitted call: what its key, its body, the seed and the size headers make of it."""

import zlib
from typing import Literal

from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.simulator.answers import Size, answer
from keyrelay.simulator.bodies import Envelope
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.routes import GENERATED
from keyrelay.simulator.styles import style_of
from keyrelay.simulator.texts import Corpus

EVENTS_HEADER = "x-sim-events"
BODY_BYTES_HEADER = "x-sim-body-bytes"
MAX_EVENTS = 100_000
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class Composer:
    """Gives each admitted exchange of one provider its answer and envelope."""

    def __init__(self, row: ProviderRow, corpus: Corpus, *, seed: int, answer_tokens: tuple[int, int]) -> None:
        self._row = row
        self._corpus = corpus
        self._seed = seed
        self._answer_tokens = answer_tokens
        self._style = style_of(row.id)
        self._composed = 0

    def compose(self, exchange: Exchange, model: ModelRow, now_s: float) -> None:
        """Decide the answer; the same seed, key and body give the same one."""
        self._composed += 1
        prompt, call = exchange.prompt, exchange.call
        number = zlib.crc32(exchange.request.body, zlib.crc32(f"{self._seed}/{call.key}".encode()))
        exchange.body_bytes = _header_number(exchange, BODY_BYTES_HEADER, MAX_ANSWER_BYTES)
        dialect = exchange.dialect
        if call.operation not in GENERATED:
            exchange.ready = dialect.ready(call.operation, prompt, number)
            return
        reasons = "reasoning" in model.capabilities and dialect.thinks_unasked(self._row.id)
        exchange.answer = answer(prompt, self._corpus, number, size=self._size(exchange), reasons=reasons)
        exchange.envelope = Envelope(
            id=dialect.answer_id(call.operation, f"{number:08x}{self._composed:08x}"),
            created=int(now_s),
            model=prompt.model,
            operation=call.operation,
            style=self._style,
            usage=_usage_place(self._row.stream.usage, asked=prompt.include_usage),
            shows_thoughts=prompt.shows_thoughts,
        )

    def _size(self, exchange: Exchange) -> Size:
        least, most = self._answer_tokens
        exact = _header_number(exchange, EVENTS_HEADER, MAX_EVENTS)
        return Size(least_tokens=least, most_tokens=most, exact_tokens=exact)


def _usage_place(habit: str, *, asked: bool) -> Literal["event", "last", "none"]:
    if habit == "always":
        return "last"
    return "event" if habit == "include_usage" and asked else "none"


def _header_number(exchange: Exchange, name: str, most: int) -> int:
    text = exchange.request.headers.get(name, "")
    return min(int(text), most) if text.isdecimal() else 0
